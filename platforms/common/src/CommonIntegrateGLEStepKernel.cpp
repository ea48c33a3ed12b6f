// SPDX-License-Identifier: MIT
#include "CommonIntegrateGLEStepKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/internal/GLEPropagator.h"
#include "meanforce/internal/RandomStreams.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/common/IntegrationUtilities.h"
#include "openmm/reference/SimTKOpenMMRealType.h"
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The first of the arguments seed, stepLow and stepHigh, which change from step to step. */
enum NoiseArgument {ExchangeNoise = 12, DrawNoise = 6, RefillNoise = 6};

void CommonIntegrateGLEStepKernel::initialize(const System& system, const GLEIntegrator& integrator) {
    cc.initializeContexts();
    ContextSelector selector(cc);
    const int numParticles = system.getNumParticles();
    vector<int> kernelOfParticle(numParticles), modesOfKernel;
    for (int i = 0; i < numParticles; i++)
        kernelOfParticle[i] = integrator.getParticleKernel(i);
    for (int i = 0; i < integrator.getNumKernels(); i++) {
        drifts.push_back(integrator.getKernel(i));
        kernelDimensions.push_back(integrator.getKernelDimension(i));
        modesOfKernel.push_back(countComponents(matrixDimension(drifts[i].size()), kernelDimensions[i])-1);
        blockSize = max(blockSize, kernelDimensions[i]);
    }
    numModes = integrator.getNumModes();
    hasConstraints = system.getNumConstraints() > 0;
    needsRefill = integrator.needsRefill(system);

    const bool mixedIsDouble = cc.getUseDoublePrecision() || cc.getUseMixedPrecision();
    const int mixedSize = mixedIsDouble ? sizeof(double) : sizeof(float);
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    const size_t matrixSize = (numModes+1)*(numModes+1)*blockSize*blockSize;
    auxiliary.initialize(cc, max<size_t>(1, 3*(size_t) numParticles*numModes), mixedSize, "gleAuxiliary");
    heat.initialize(cc, cc.getPaddedNumAtoms(), mixedSize, "gleHeat");
    oldDelta.initialize(cc, cc.getPaddedNumAtoms(), 4*mixedSize, "gleOldDelta");
    decay.initialize(cc, matrixSize*drifts.size(), mixedSize, "gleDecay");
    noise.initialize(cc, matrixSize*drifts.size(), realSize, "gleNoise");
    particleKernel.initialize<int>(cc, numParticles, "gleParticleKernel");
    kernelModes.initialize<int>(cc, modesOfKernel.size(), "gleKernelModes");
    badParticle.initialize<int>(cc, 1, "gleBadParticle");
    cc.clearBuffer(heat);
    cc.clearBuffer(badParticle);
    particleKernel.upload(kernelOfParticle);
    kernelModes.upload(modesOfKernel);

    // With one number of modes for all kernels, loops over modes have a constant length and can be unrolled.
    const bool sameModes = *min_element(modesOfKernel.begin(), modesOfKernel.end()) == numModes;
    map<string, string> defines;
    defines["REFILL"] = needsRefill ? "1" : "0";
    defines["CONSTRAINED"] = hasConstraints ? "1" : "0";
    defines["BLOCK_SIZE"] = cc.intToString(blockSize);
    defines["LARGEST_POSITION"] = "1e+18f";
    defines["MAX_MODES"] = cc.intToString(numModes);
    defines["NUM_MODES(bath)"] = sameModes ? "MAX_MODES" : "kernelModes[bath]";
    defines["NOISE_STREAM"] = cc.intToString((int) RandomStream::GLENoise);
    defines["REFILL_STREAM"] = cc.intToString((int) RandomStream::GLERefill);
    ComputeProgram program = cc.compileProgram(CommonMeanForceKernelSources::gle, defines);
    kickKernel = program->createKernel("kick");
    exchangeKernel = program->createKernel("exchangeWithBath");
    moveKernel = program->createKernel("move");
    if (!hasConstraints)
        return;
    savedVelocity.initialize(cc, cc.getPaddedNumAtoms(), 4*mixedSize, "gleSavedVelocity");
    wholeDriftKernel = program->createKernel("wholeDrift");
    countHeatKernel = program->createKernel("countHeat");
    if (!needsRefill)
        return;
    halfDriftKernel = program->createKernel("halfDrift");
    drawKernel = program->createKernel("drawConstrainedVelocities");
    refillKernel = program->createKernel("refill");
    vector<int> constrained(numParticles, 0);
    for (int i = 0; i < system.getNumConstraints(); i++) {
        int particle1, particle2;
        double distance;
        system.getConstraintParameters(i, particle1, particle2, distance);
        constrained[particle1] = constrained[particle2] = 1;
    }
    isConstrained.initialize<int>(cc, numParticles, "gleIsConstrained");
    isConstrained.upload(constrained);
}

void CommonIntegrateGLEStepKernel::createKernels() {
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    const int numAtoms = cc.getNumAtoms();
    kickKernel->addArg(numAtoms);
    kickKernel->addArg(cc.getPaddedNumAtoms());
    kickKernel->addArg(cc.getVelm());
    kickKernel->addArg(cc.getLongForceBuffer());
    kickKernel->addArg(integration.getStepSize());
    kickKernel->addArg(cc.getPosq());
    kickKernel->addArg(cc.getAtomIndexArray());
    kickKernel->addArg(badParticle);
    exchangeKernel->addArg(numAtoms);
    exchangeKernel->addArg(cc.getVelm());
    exchangeKernel->addArg(integration.getPosDelta());
    exchangeKernel->addArg(oldDelta);
    exchangeKernel->addArg(auxiliary);
    exchangeKernel->addArg(heat);
    exchangeKernel->addArg(cc.getAtomIndexArray());
    exchangeKernel->addArg(particleKernel);
    exchangeKernel->addArg(kernelModes);
    exchangeKernel->addArg(decay);
    exchangeKernel->addArg(noise);
    exchangeKernel->addArg(integration.getStepSize());
    for (int i = 0; i < 3; i++)
        exchangeKernel->addArg();
    moveKernel->addArg(numAtoms);
    moveKernel->addArg(cc.getPosq());
    moveKernel->addArg(cc.getVelm());
    moveKernel->addArg(integration.getPosDelta());
    moveKernel->addArg(oldDelta);
    moveKernel->addArg(integration.getStepSize());
    if (cc.getUseMixedPrecision())
        moveKernel->addArg(cc.getPosqCorrection());
    if (!hasConstraints)
        return;
    wholeDriftKernel->addArg(numAtoms);
    wholeDriftKernel->addArg(cc.getVelm());
    wholeDriftKernel->addArg(savedVelocity);
    wholeDriftKernel->addArg(integration.getPosDelta());
    wholeDriftKernel->addArg(oldDelta);
    wholeDriftKernel->addArg(integration.getStepSize());
    countHeatKernel->addArg(numAtoms);
    countHeatKernel->addArg(cc.getVelm());
    countHeatKernel->addArg(savedVelocity);
    countHeatKernel->addArg(heat);
    if (!needsRefill)
        return;
    halfDriftKernel->addArg(numAtoms);
    halfDriftKernel->addArg(cc.getVelm());
    halfDriftKernel->addArg(integration.getPosDelta());
    halfDriftKernel->addArg(oldDelta);
    halfDriftKernel->addArg(integration.getStepSize());
    for (ComputeKernel& kernel : {ref(drawKernel), ref(refillKernel)}) {
        kernel->addArg(numAtoms);
        kernel->addArg(cc.getVelm());
        kernel->addArg(savedVelocity);
        kernel->addArg(cc.getAtomIndexArray());
        kernel->addArg(isConstrained);
        for (int i = 0; i < 4; i++)
            kernel->addArg(); // sqrt(kT), seed, stepLow, stepHigh
    }
}

void CommonIntegrateGLEStepKernel::execute(ContextImpl& context, const GLEIntegrator& integrator, uint32_t seed, int64_t noiseStep) {
    ContextSelector selector(cc);
    const double h = integrator.getStepSize(), tolerance = integrator.getConstraintTolerance();
    if (propagatorStepSize == 0)
        createKernels();
    updatePropagators(h, integrator.getTemperature());
    cc.getIntegrationUtilities().setNextStepSize(h);
    setNoise(exchangeKernel, ExchangeNoise, seed, noiseStep);
    if (needsRefill) {
        setNoise(drawKernel, DrawNoise, seed, noiseStep);
        setNoise(refillKernel, RefillNoise, seed, noiseStep);
        stepWithRefill(tolerance);
    }
    else if (hasConstraints)
        stepWithoutMemory(tolerance);
    else
        stepFreely();
    cc.getIntegrationUtilities().computeVirtualSites();
    cc.setTime(cc.getTime()+h);
    cc.setStepCount(cc.getStepCount()+1);
    cc.reorderAtoms();
}

void CommonIntegrateGLEStepKernel::setNoise(ComputeKernel& kernel, int firstArgument, uint32_t seed, int64_t noiseStep) {
    kernel->setArg(firstArgument, seed);
    kernel->setArg(firstArgument+1, (uint32_t) noiseStep);
    kernel->setArg(firstArgument+2, (uint32_t) ((uint64_t) noiseStep >> 32));
}

void CommonIntegrateGLEStepKernel::stepFreely() {
    const int numAtoms = cc.getNumAtoms();
    kickKernel->execute(numAtoms);
    exchangeKernel->execute(numAtoms);
    moveKernel->execute(numAtoms);
}

/** One correction of positions for the whole step. */
void CommonIntegrateGLEStepKernel::stepWithoutMemory(double tolerance) {
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    const int numAtoms = cc.getNumAtoms();
    kickKernel->execute(numAtoms);
    integration.applyVelocityConstraints(tolerance);
    cc.getVelm().copyTo(savedVelocity);
    exchangeKernel->execute(numAtoms);
    integration.applyVelocityConstraints(tolerance);
    countHeatKernel->execute(numAtoms);
    wholeDriftKernel->execute(numAtoms);
    integration.applyConstraints(tolerance);
    moveKernel->execute(numAtoms);
}

void CommonIntegrateGLEStepKernel::stepWithRefill(double tolerance) {
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    const int numAtoms = cc.getNumAtoms();
    kickKernel->execute(numAtoms);
    integration.applyVelocityConstraints(tolerance);
    driftOnConstraints(tolerance);
    drawKernel->execute(numAtoms);
    integration.applyVelocityConstraints(tolerance);
    refillKernel->execute(numAtoms);
    exchangeKernel->execute(numAtoms);
    integration.applyVelocityConstraints(tolerance);
    countHeatKernel->execute(numAtoms);
    driftOnConstraints(tolerance);
}

void CommonIntegrateGLEStepKernel::driftOnConstraints(double tolerance) {
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    halfDriftKernel->execute(cc.getNumAtoms());
    integration.applyConstraints(tolerance);
    moveKernel->execute(cc.getNumAtoms());
    integration.applyVelocityConstraints(tolerance);
}

void CommonIntegrateGLEStepKernel::updatePropagators(double h, double temperature) {
    if (h == propagatorStepSize && temperature == propagatorTemperature)
        return;
    propagatorStepSize = h;
    propagatorTemperature = temperature;
    const double sqrtkT = sqrt(BOLTZ*temperature);
    if (needsRefill)
        for (ComputeKernel& kernel : {ref(drawKernel), ref(refillKernel)}) {
            if (cc.getUseDoublePrecision())
                kernel->setArg(5, sqrtkT);
            else
                kernel->setArg(5, (float) sqrtkT);
        }
    vector<double> decays, noises;
    for (size_t i = 0; i < drifts.size(); i++) {
        const GLEPropagator propagator(drifts[i], h);
        const vector<double> blocks = arrangeInBlocks(propagator.decay, kernelDimensions[i], numModes+1, blockSize);
        decays.insert(decays.end(), blocks.begin(), blocks.end());
        for (double element : arrangeInBlocks(propagator.noise, kernelDimensions[i], numModes+1, blockSize))
            noises.push_back(sqrtkT*element);
    }
    decay.upload(decays, true);
    noise.upload(noises, true);
}

void CommonIntegrateGLEStepKernel::checkAfterSteps(ContextImpl& context) {
    ContextSelector selector(cc);
    vector<int> found;
    badParticle.download(found);
    if (found[0] == 0)
        return;
    cc.clearBuffer(badParticle);
    throwBadPosition(found[0]-1);
}

double CommonIntegrateGLEStepKernel::computeKineticEnergy(ContextImpl& context, const GLEIntegrator& integrator) {
    return cc.getIntegrationUtilities().computeKineticEnergy(0.0);
}

void CommonIntegrateGLEStepKernel::getAuxiliaryVariables(ContextImpl& context, vector<double>& s) const {
    ContextSelector selector(cc);
    auxiliary.download(s, true);
    s.resize(3*(size_t) cc.getNumAtoms()*numModes);
}

void CommonIntegrateGLEStepKernel::setAuxiliaryVariables(ContextImpl& context, const vector<double>& s) {
    ContextSelector selector(cc);
    if (!s.empty())
        auxiliary.upload(s, true);
}

double CommonIntegrateGLEStepKernel::getBathHeat(ContextImpl& context) const {
    ContextSelector selector(cc);
    vector<double> heats;
    heat.download(heats, true);
    double total = 0;
    for (int i = 0; i < cc.getNumAtoms(); i++)
        total += heats[i];
    return total;
}

}
