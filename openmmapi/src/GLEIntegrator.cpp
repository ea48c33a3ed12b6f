// SPDX-License-Identifier: MIT
#include "meanforce/GLEIntegrator.h"
#include "meanforce/IntegrateGLEStepKernel.h"
#include "meanforce/internal/Base64.h"
#include "meanforce/internal/GLEPropagator.h"
#include "meanforce/internal/Philox.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/internal/OSRngSeed.h"
#include "openmm/reference/SimTKOpenMMRealType.h"
#include "openmm/serialization/SerializationNode.h"
#include <algorithm>
#include <cmath>
#include <istream>
#include <ostream>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Concatenates the arguments as a stream prints them: to_string() would show 1e-9 as 0.000000. */
template <class... ARGS>
static string text(ARGS... args) {
    stringstream stream;
    (stream << ... << args);
    return stream.str();
}

GLEIntegrator::GLEIntegrator(double temperature, double stepSize) : randomNumberSeed(0), auxiliaryInitialization(Equilibrium),
        numModes(0), noiseSeed(0), noiseStep(0), bathTemperature(0), initialHeat(0) {
    setTemperature(temperature);
    setStepSize(stepSize);
    setConstraintTolerance(1e-5);
}

void GLEIntegrator::setTemperature(double temperature) {
    if (!(temperature >= 0) || !isfinite(temperature))
        throw OpenMMException(text("GLEIntegrator: the temperature must be zero or positive and finite, got ", temperature, " K"));
    this->temperature = temperature;
}

void GLEIntegrator::setStepSize(double size) {
    if (!(size > 0) || !isfinite(size))
        throw OpenMMException(text("GLEIntegrator: the step size must be positive and finite, got ", size, " ps"));
    Integrator::setStepSize(size);
}

int GLEIntegrator::addKernel(const vector<double>& drift, int kernelDimension) {
    if (kernelDimension != 1 && kernelDimension != 3)
        throw OpenMMException(text("GLEIntegrator: the dimension of a kernel must be 1 or 3, got ", kernelDimension));
    const int dimension = matrixDimension(drift.size());
    if (dimension < 1)
        throw OpenMMException(text("GLEIntegrator: the drift matrix must be square, got ", drift.size(), " elements"));
    if (dimension < kernelDimension)
        throw OpenMMException(text("GLEIntegrator: the drift matrix of a kernel of dimension ", kernelDimension, " must be at least ", kernelDimension, " x ",
            kernelDimension, ", got ", dimension, " x ", dimension));
    const int largestDimension = MaxModes+kernelDimension;
    if (dimension > largestDimension)
        throw OpenMMException(text("GLEIntegrator: a kernel may have up to ", (int) MaxModes, " auxiliary variables, that is, a drift matrix of up to ",
            largestDimension, " x ", largestDimension, ", got ", dimension, " x ", dimension));
    double largest = 0;
    for (int i = 0; i < (int) drift.size(); i++) {
        if (!isfinite(drift[i]))
            throw OpenMMException(text("GLEIntegrator: the drift matrix must be finite, got ", drift[i], " in row ", i/dimension, ", column ", i%dimension));
        largest = max(largest, fabs(drift[i]));
    }
    const double dissipation = smallestDissipation(drift);
    // A little more than the 1e-10 of meanforce.MemoryKernel, whose eigenvalues are rounded in another way: what that accepts
    // is accepted here.
    if (!(dissipation >= -1.01e-10*largest)) {
        const SpectrumPoint spectrum = smallestSpectrum(drift, kernelDimension);
        const string reason = spectrum.friction < 0
            ? text("the friction is ", spectrum.friction, "/ps at the angular frequency ", spectrum.frequency, " rad/ps, so no bath has this kernel")
            : text("the friction is negative at no frequency, so meanforce.MemoryKernel.from_drift finds another matrix for the same kernel");
        throw OpenMMException(text("GLEIntegrator: the kernel is not passive: the symmetric part (A+A^T)/2 of its drift matrix has the negative eigenvalue ",
            dissipation, "/ps, so no random force satisfies the fluctuation-dissipation relation with C = kT 1; ", reason));
    }
    kernels.push_back(drift);
    kernelDimensions.push_back(kernelDimension);
    return kernels.size()-1;
}

const vector<double>& GLEIntegrator::getKernel(int index) const {
    if (index < 0 || index >= getNumKernels())
        throw OpenMMException(text("GLEIntegrator: there is no kernel ", index, ", the number of kernels is ", getNumKernels()));
    return kernels[index];
}

int GLEIntegrator::getKernelDimension(int index) const {
    getKernel(index);
    return kernelDimensions[index];
}

void GLEIntegrator::setParticleKernel(int particle, int kernel) {
    if (particle < 0)
        throw OpenMMException(text("GLEIntegrator: a particle index cannot be negative, got ", particle));
    if (kernel < -1 || kernel >= getNumKernels())
        throw OpenMMException(text("GLEIntegrator: the kernel of a particle must be -1 (no bath) or the index of one of the ", getNumKernels(),
            " kernels, got ", kernel));
    particleKernels[particle] = kernel;
}

int GLEIntegrator::getParticleKernel(int particle) const {
    if (particle < 0)
        throw OpenMMException(text("GLEIntegrator: a particle index cannot be negative, got ", particle));
    const auto found = particleKernels.find(particle);
    return found == particleKernels.end() ? 0 : found->second;
}

int GLEIntegrator::getNumModes() const {
    int modes = 0;
    for (int i = 0; i < getNumKernels(); i++)
        modes = max(modes, countComponents(matrixDimension(kernels[i].size()), kernelDimensions[i])-1);
    return modes;
}

void GLEIntegrator::setAuxiliaryInitialization(AuxiliaryInitialization initialization) {
    if (initialization != Equilibrium && initialization != Zero)
        throw OpenMMException(text("GLEIntegrator: the auxiliary initialization must be Equilibrium (0) or Zero (1), got ", (int) initialization));
    auxiliaryInitialization = initialization;
}

/** Of all three directions together. */
int GLEIntegrator::countAuxiliaries(const System& system, int particle) const {
    const int index = getParticleKernel(particle);
    if (index < 0 || system.getParticleMass(particle) == 0)
        return 0;
    const int modes = matrixDimension(kernels[index].size())-kernelDimensions[index];
    return kernelDimensions[index] == 3 ? modes : 3*modes;
}

/** Whether there is such a variable: the last mode of a kernel of dimension 3 may have one or two directions only. */
bool GLEIntegrator::isAuxiliary(int particle, int direction, int mode) const {
    return 3*mode+direction < numAuxiliaries[particle];
}

void GLEIntegrator::checkSystem(const System& system) const {
    if (kernels.empty())
        throw OpenMMException("GLEIntegrator: add at least one kernel before creating a Context");
    if (!particleKernels.empty() && particleKernels.rbegin()->first >= system.getNumParticles())
        throw OpenMMException(text("GLEIntegrator: a kernel was set for particle ", particleKernels.rbegin()->first, ", but the System has ",
            system.getNumParticles(), " particles"));
}

bool GLEIntegrator::needsRefill(const System& system) const {
    for (int i = 0; i < system.getNumConstraints(); i++) {
        int particle1, particle2;
        double distance;
        system.getConstraintParameters(i, particle1, particle2, distance);
        const int kernel1 = getParticleKernel(particle1), kernel2 = getParticleKernel(particle2);
        // With one friction for all, the bath and the projection on the constraints commute.
        if (kernel1 != kernel2 || (kernel1 >= 0 && getKernel(kernel1).size() > 1))
            return true;
    }
    return false;
}

void GLEIntegrator::setRandomNumberSeed(int seed) {
    randomNumberSeed = seed;
    chooseNoiseSeed();
}

void GLEIntegrator::chooseNoiseSeed() {
    noiseSeed = (uint32_t) randomNumberSeed;
    while (noiseSeed == 0)
        noiseSeed = (uint32_t) osrngseed();
}

void GLEIntegrator::initialize(ContextImpl& contextRef) {
    if (owner != nullptr && &contextRef.getOwner() != owner)
        throw OpenMMException("This Integrator is already bound to a context");
    const System& system = contextRef.getSystem();
    checkSystem(system);
    context = &contextRef;
    owner = &contextRef.getOwner();
    kernel = context->getPlatform().createKernel(IntegrateGLEStepKernel::Name(), contextRef);
    kernel.getAs<IntegrateGLEStepKernel>().initialize(system, *this);
    chooseNoiseSeed();
    noiseStep = 0;
    initialHeat = 0;
    numModes = getNumModes();
    numAuxiliaries.clear();
    for (int i = 0; i < system.getNumParticles(); i++)
        numAuxiliaries.push_back(countAuxiliaries(system, i));
    initializeAuxiliaryVariables();
}

void GLEIntegrator::initializeAuxiliaryVariables() {
    const NormalStream normal(RandomStream::GLEInitialAuxiliaries, noiseSeed);
    const double width = (auxiliaryInitialization == Equilibrium ? sqrt(BOLTZ*temperature) : 0.0);
    vector<double> s(3*numAuxiliaries.size()*numModes, 0.0);
    for (int i = 0; i < (int) numAuxiliaries.size(); i++)
        for (int mode = 0; 3*mode < numAuxiliaries[i]; mode++) {
            const auto xi = normal(0, i, mode);
            for (int direction = 0; direction < 3; direction++)
                s[(3*(size_t) i+direction)*numModes+mode] = width*xi[direction];
        }
    setAuxiliaryVariables(s);
}

void GLEIntegrator::cleanup() {
    kernel = Kernel();
}

vector<string> GLEIntegrator::getKernelNames() {
    return {IntegrateGLEStepKernel::Name()};
}

void GLEIntegrator::requireContext() const {
    if (context == nullptr)
        throw OpenMMException("This Integrator is not bound to a context!");
}

const KernelImpl& GLEIntegrator::getKernelImpl() const {
    requireContext();
    return kernel.getImpl();
}

double GLEIntegrator::computeKineticEnergy() {
    return kernel.getAs<IntegrateGLEStepKernel>().computeKineticEnergy(*context, *this);
}

void GLEIntegrator::step(int steps) {
    requireContext();
    if (steps < 1)
        return;
    adoptTemperature();
    IntegrateGLEStepKernel& stepKernel = kernel.getAs<IntegrateGLEStepKernel>();
    for (int i = 0; i < steps; i++) {
        context->updateContextState();
        stepKernel.checkBeforeStep(*context);
        context->calcForcesAndEnergy(true, false, getIntegrationForceGroups());
        stepKernel.execute(*context, *this, noiseSeed, noiseStep++);
    }
    stepKernel.checkAfterSteps(*context);
}

void GLEIntegrator::adoptTemperature() {
    if (temperature == bathTemperature)
        return;
    vector<double> s;
    getAuxiliaryVariables(s);
    setAuxiliaryVariables(s);
}

array<int, 3> GLEIntegrator::getAuxiliaryShape() const {
    requireContext();
    return {(int) numAuxiliaries.size(), 3, numModes};
}

void GLEIntegrator::getAuxiliaryVariables(vector<double>& s) const {
    getStoredVariables(s);
    if (temperature != bathTemperature && bathTemperature > 0)
        for (double& value : s)
            value *= sqrt(temperature/bathTemperature);
}

void GLEIntegrator::getStoredVariables(vector<double>& s) const {
    requireContext();
    kernel.getAs<IntegrateGLEStepKernel>().getAuxiliaryVariables(*context, s);
}

void GLEIntegrator::setAuxiliaryVariables(const vector<double>& s) {
    requireContext();
    const size_t expected = 3*numAuxiliaries.size()*numModes;
    if (s.size() != expected)
        throw OpenMMException(text("GLEIntegrator: expected ", expected, " auxiliary variables (", numAuxiliaries.size(), " particles x 3 directions x ",
            numModes, " modes), got ", s.size()));
    if (!all_of(s.begin(), s.end(), [](double value) { return isfinite(value); }))
        throw OpenMMException("GLEIntegrator: auxiliary variables must be finite");
    vector<double> own(s);
    for (size_t i = 0; i < numAuxiliaries.size(); i++)
        for (int direction = 0; direction < 3; direction++)
            for (int mode = 0; mode < numModes; mode++)
                if (!isAuxiliary(i, direction, mode))
                    own[(3*i+direction)*numModes+mode] = 0;
    kernel.getAs<IntegrateGLEStepKernel>().setAuxiliaryVariables(*context, own);
    bathTemperature = temperature;
}

double GLEIntegrator::getBathHeat() const {
    requireContext();
    return initialHeat+kernel.getAs<IntegrateGLEStepKernel>().getBathHeat(*context);
}

double GLEIntegrator::computeConservedEnergy() {
    requireContext();
    double energy = getBathHeat()+context->calcForcesAndEnergy(true, true, getIntegrationForceGroups());
    vector<Vec3> v;
    context->computeShiftedVelocities(getVelocityTimeOffset(), v);
    for (size_t i = 0; i < v.size(); i++)
        energy += 0.5*context->getSystem().getParticleMass(i)*v[i].dot(v[i]);
    return energy;
}

void GLEIntegrator::restore(uint32_t seed, int64_t step, double savedTemperature, double heat, const vector<double>& s) {
    if (!(isfinite(savedTemperature) && savedTemperature >= 0 && isfinite(heat)))
        throw OpenMMException(text("GLEIntegrator: a saved temperature must be finite and not negative, and a saved heat finite, got ", savedTemperature,
            " K and ", heat, " kJ/mol"));
    setAuxiliaryVariables(s);
    noiseSeed = seed;
    noiseStep = step;
    bathTemperature = savedTemperature;
    initialHeat = heat-kernel.getAs<IntegrateGLEStepKernel>().getBathHeat(*context);
}

// ---- checkpoints and States ----

static const char CHECKPOINT_MAGIC[8] = {'M', 'F', 'G', 'L', 'E', '\0', '\0', '\1'};

template <class T>
static void write(ostream& stream, const T& value) {
    stream.write(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
static T read(istream& stream) {
    T value;
    stream.read(reinterpret_cast<char*>(&value), sizeof(T));
    if (!stream)
        throw OpenMMException("GLEIntegrator: the checkpoint is truncated");
    return value;
}

void GLEIntegrator::createCheckpoint(ostream& stream) const {
    vector<double> s;
    getStoredVariables(s);
    stream.write(CHECKPOINT_MAGIC, sizeof(CHECKPOINT_MAGIC));
    write(stream, noiseSeed);
    write(stream, noiseStep);
    write(stream, bathTemperature);
    write(stream, getBathHeat());
    write(stream, (uint64_t) s.size());
    stream.write(reinterpret_cast<const char*>(s.data()), sizeof(double)*s.size());
}

void GLEIntegrator::loadCheckpoint(istream& stream) {
    char magic[sizeof(CHECKPOINT_MAGIC)];
    stream.read(magic, sizeof(magic));
    if (!stream || !equal(begin(magic), end(magic), CHECKPOINT_MAGIC))
        throw OpenMMException("GLEIntegrator: the checkpoint was not made with this version of GLEIntegrator");
    const auto seed = read<uint32_t>(stream);
    const auto step = read<int64_t>(stream);
    const auto savedTemperature = read<double>(stream);
    const auto heat = read<double>(stream);
    const auto size = read<uint64_t>(stream);
    const uint64_t expected = 3*(uint64_t) numAuxiliaries.size()*numModes;
    if (size != expected)
        throw OpenMMException(text("GLEIntegrator: the checkpoint has ", size, " auxiliary variables, this Context has ", expected));
    vector<double> s(size);
    stream.read(reinterpret_cast<char*>(s.data()), sizeof(double)*size);
    if (!stream)
        throw OpenMMException("GLEIntegrator: the checkpoint is truncated");
    restore(seed, step, savedTemperature, heat, s);
}

void GLEIntegrator::serializeParameters(SerializationNode& node) const {
    vector<double> s;
    getStoredVariables(s);
    node.setIntProperty("version", 1);
    node.setStringProperty("integrator", "meanforce::GLEIntegrator");
    node.setLongProperty("noiseSeed", noiseSeed);
    node.setLongProperty("noiseStep", noiseStep);
    node.setDoubleProperty("temperature", bathTemperature);
    node.setDoubleProperty("bathHeat", getBathHeat());
    node.setStringProperty("auxiliaryVariables", encodeDoubles(s));
}

void GLEIntegrator::deserializeParameters(const SerializationNode& node) {
    requireContext();
    // Integrators without parameters, such as OpenMM's Langevin integrators, leave the node empty: the bath stays as it is.
    if (node.getProperties().empty() && node.getChildren().empty())
        return;
    if (node.getStringProperty("integrator", "") != "meanforce::GLEIntegrator")
        throw OpenMMException("GLEIntegrator: the State has the parameters of another integrator");
    const int version = node.getIntProperty("version");
    if (version != 1)
        throw OpenMMException(text("GLEIntegrator: unsupported version number ", version, " in the State"));
    const auto seed = (uint32_t) node.getLongProperty("noiseSeed");
    // Copies of one State that take turns in this Context must not share their random forces.
    const auto step = max<int64_t>(node.getLongProperty("noiseStep"), seed == noiseSeed ? noiseStep : 0);
    restore(seed, step, node.getDoubleProperty("temperature"),
        node.getDoubleProperty("bathHeat"), decodeDoubles(node.getStringProperty("auxiliaryVariables")));
}

}
