// SPDX-License-Identifier: MIT
#include "CommonBeadForceKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/internal/BeadForceImpl.h"
#include "openmm/OpenMMException.h"
#include "openmm/common/ComputeForceInfo.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/internal/ContextImpl.h"
#include <algorithm>

using namespace OpenMM;
using namespace std;

namespace meanforce {

class CommonBeadForceKernel::ForceInfo : public ComputeForceInfo {
public:
    explicit ForceInfo(const BeadForce& force) : force(force) {
    }
    bool areParticlesIdentical(int particle1, int particle2) override {
        return force.getParticleType(particle1) == force.getParticleType(particle2) && force.getParticleReplica(particle1) == force.getParticleReplica(particle2);
    }
private:
    const BeadForce& force;
};

void CommonBeadForceKernel::initialize(const System& system, const BeadForce& force) {
    ContextSelector selector(cc);
    forceName = force.getName();
    if (cc.getNumContexts() > 1)
        throw OpenMMException(forceName+" does not support using multiple devices, found "+to_string(cc.getNumContexts()));
    isOpenCL = (getPlatform().getName() == "OpenCL");
    cutoff = force.getCutoff();
    periodic = force.usesPeriodicBoundaryConditions();
    numTypes = force.getNumTypes();
    numReplicas = force.getNumReplicas();
    temperatureParameter = force.getTemperatureParameter();
    numReadouts = (temperatureParameter.empty() ? 1 : 2);
    hasTemperatureDerivative = force.hasTemperatureDerivative();
    if (hasTemperatureDerivative)
        cc.addEnergyParameterDerivative(temperatureParameter);
    types.initialize<int>(cc, cc.getNumAtoms(), "beadTypes");
    beadEnergies.initialize(cc, (size_t) numReadouts*cc.getNumAtoms(), getRealSize(), "beadEnergies");
    if (numReplicas > 1)
        replicas.initialize<int>(cc, cc.getNumAtoms(), "beadReplicas");
    uploadTypes(force);
    initializeModel(force);
    uploadParameters(force);
    list = make_unique<NeighborList>(cc, cutoff, periodic, isOpenCL, [this](int particle) {
        throw BeadForceImpl::positionError(forceName, particle);
    });
    list->initialize(types, numReplicas > 1 ? &replicas : nullptr);
    cc.addForce(info = new ForceInfo(force));
}

void CommonBeadForceKernel::uploadTypes(const BeadForce& force) {
    // OpenMM only exchanges particles of the same type and replica, so values in the original order hold in any present order.
    typeValues.clear();
    replicaValues.clear();
    for (int i = 0; i < force.getNumParticles(); i++) {
        typeValues.push_back(force.getParticleType(i));
        replicaValues.push_back(force.getParticleReplica(i));
    }
    types.upload(typeValues);
    if (numReplicas > 1)
        replicas.upload(replicaValues);
}

void CommonBeadForceKernel::copyParametersToContext(ContextImpl& context, const BeadForce& force) {
    ContextSelector selector(cc);
    uploadTypes(force);
    uploadParameters(force);
    cc.invalidateMolecules(info);
}

void CommonBeadForceKernel::addRowArguments(ComputeKernel& kernel, int index) {
    kernel->addArg(list->getCounts());
    kernel->addArg(list->getRows());
    kernel->addArg(list->getDeltas());
    kernel->addArg();
    capacityArguments.push_back({kernel, index+3});
}

void CommonBeadForceKernel::setRealArg(ComputeKernel& kernel, int index, double value) const {
    if (cc.getUseDoublePrecision())
        kernel->setArg(index, value);
    else
        kernel->setArg(index, (float) value);
}

void CommonBeadForceKernel::addVectorDefines(map<string, string>& defines, int width) const {
    const string digits = cc.intToString(width);
    defines["VECTOR_WIDTH"] = digits;
    if (width == 1) {
        defines["vec"] = "real";
        defines["VLOAD(p)"] = "(*(p))";
        defines["VSTORE(v, p)"] = "(*(p) = (v))";
        defines["VSUM(v)"] = "(v)";
        return;
    }
    // Only OpenCL runs on CPUs, and it has vectors.
    defines["vec"] = (cc.getUseDoublePrecision() ? "double" : "float")+digits;
    defines["VLOAD(p)"] = "vload"+digits+"(0, p)";
    defines["VSTORE(v, p)"] = "vstore"+digits+"(v, 0, p)";
    defines["VSUM(v)"] = (width == 8 ? "dot((v).lo+(v).hi, (real4) (1))" : "dot(v, (real"+digits+") (1))");
}

void CommonBeadForceKernel::compileSum() {
    map<string, string> defines;
    if (numReadouts == 2)
        defines["NUM_READOUTS_2"] = "1";
    if (hasTemperatureDerivative) {
        const vector<string>& names = cc.getEnergyParamDerivNames();
        defines["NUM_DERIVATIVES"] = cc.intToString((int) names.size());
        defines["DERIVATIVE_INDEX"] = cc.intToString((int) (find(names.begin(), names.end(), temperatureParameter)-names.begin()));
    }
    sumKernel = cc.compileProgram(CommonMeanForceKernelSources::beadForce, defines)->createKernel("sumEnergies");
    sumKernel->addArg(cc.getNumAtoms());
    sumKernel->addArg(types);
    sumKernel->addArg(beadEnergies);
    sumKernel->addArg(cc.getEnergyBuffer());
    if (numReadouts == 2)
        sumKernel->addArg();                      // 4
    if (hasTemperatureDerivative)
        sumKernel->addArg(cc.getEnergyParamDerivBuffer());
}

double CommonBeadForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) {
    ContextSelector selector(cc);
    if (!compiled) {
        compile();
        compileSum();
        compiled = true;
    }
    if (periodic) {
        Vec3 box[3];
        cc.getPeriodicBoxVectors(box[0], box[1], box[2]);
        BeadForceImpl::checkBox(forceName, box, cutoff);
    }
    this->temperature = temperature;
    buildNeighborList();
    for (auto& argument : capacityArguments)
        argument.first->setArg(argument.second, list->getCapacity());
    compute(includeForces);
    if (numReadouts == 2) {
        if (cc.getUseDoublePrecision() || cc.getUseMixedPrecision())
            sumKernel->setArg(4, temperature);
        else
            sumKernel->setArg(4, (float) temperature);
    }
    sumKernel->execute(cc.getNumAtoms());
    list->finish();
    return 0.0;
}

vector<double> CommonBeadForceKernel::getReplicaEnergies() {
    ContextSelector selector(cc);
    vector<double> values(beadEnergies.getSize());
    if (cc.getUseDoublePrecision())
        beadEnergies.download(values);
    else {
        vector<float> singles(values.size());
        beadEnergies.download(singles);
        copy(singles.begin(), singles.end(), values.begin());
    }
    vector<double> energies(numReplicas, 0.0);
    const int numAtoms = cc.getNumAtoms();
    for (int i = 0; i < numAtoms; i++)
        if (typeValues[i] >= 0)
            energies[replicaValues[i]] += values[i]-(numReadouts == 2 ? temperature*values[numAtoms+i] : 0.0);
    return energies;
}

void CommonBeadForceKernel::addTemperatureDerivative(ContextImpl& context, double value) {
    cc.getEnergyParamDerivWorkspace()[temperatureParameter] += value;
}

void CommonBeadForceKernel::buildNeighborList() {
    list->build();
}

}
