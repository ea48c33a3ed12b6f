// SPDX-License-Identifier: MIT
#include "meanforce/internal/MomentTensorForceImpl.h"
#include "meanforce/CalcMomentTensorForceKernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace meanforce {

MomentTensorForceImpl::MomentTensorForceImpl(const MomentTensorForce& owner) : owner(owner) {
    forceGroup = owner.getForceGroup();
}

void MomentTensorForceImpl::initialize(ContextImpl& context) {
    const System& system = context.getSystem();
    if (owner.getNumParticles() != system.getNumParticles())
        throw OpenMMException("MomentTensorForce: the number of particles must be that of the System, "+to_string(system.getNumParticles())+
                ", found "+to_string(owner.getNumParticles()));
    if (owner.getFilterCoefficients().empty())
        throw OpenMMException("MomentTensorForce: setFilters() must be called before a Context is created");
    if (owner.getTypeWeights().empty())
        throw OpenMMException("MomentTensorForce: setTypeWeights() must be called before a Context is created");
    if (owner.getNumLayers() == 0)
        throw OpenMMException("MomentTensorForce: addLayer() must be called before a Context is created");
    int outputs = owner.getNumLayerOutputs(owner.getNumLayers()-1);
    if (outputs != 1)
        throw OpenMMException("MomentTensorForce: the last layer must have 1 output, the energy, found "+to_string(outputs));
    if (owner.usesPeriodicBoundaryConditions()) {
        Vec3 box[3];
        system.getDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
        checkBox(box, owner.getCutoff());
    }
    shape = describeShape();
    kernel = context.getPlatform().createKernel(CalcMomentTensorForceKernel::Name(), context);
    kernel.getAs<CalcMomentTensorForceKernel>().initialize(system, owner);
}

void MomentTensorForceImpl::checkBox(const Vec3* boxVectors, double cutoff) {
    for (int i = 0; i < 3; i++)
        if (boxVectors[i][i] < 2*cutoff) {
            stringstream message;
            message << "MomentTensorForce: the periodic box must be at least twice the cutoff, " << 2*cutoff << " nm, in every direction, found "
                    << boxVectors[i][i] << " nm along " << "xyz"[i];
            throw OpenMMException(message.str());
        }
}

OpenMMException MomentTensorForceImpl::positionError(int particle) {
    return OpenMMException("MomentTensorForce: the position of particle "+to_string(particle)+" is NaN, infinite or too far from the origin");
}

double MomentTensorForceImpl::calcForcesAndEnergy(ContextImpl& context, bool includeForces, bool includeEnergy, int groups) {
    if ((groups & (1<<owner.getForceGroup())) == 0)
        return 0.0;
    return kernel.getAs<CalcMomentTensorForceKernel>().execute(context, includeForces, includeEnergy);
}

vector<string> MomentTensorForceImpl::getKernelNames() {
    return {CalcMomentTensorForceKernel::Name()};
}

/** Everything that kernels fix when they are initialized, with the names used in messages. */
vector<pair<string, string> > MomentTensorForceImpl::describeShape() const {
    // The shortest text that gives the number back.
    auto text = [](double value) {
        for (int digits = 6; ; digits++) {
            stringstream s;
            s.precision(digits);
            s << value;
            if (stod(s.str()) == value || digits == 17)
                return s.str();
        }
    };
    vector<pair<string, string> > result = {
        {"number of particles", to_string(owner.getNumParticles())},
        {"number of basis functions", to_string(owner.getNumFilterFunctions())},
        {"spacing of the filters", text(owner.getFilterSpacing())},
        {"activation", owner.getActivation()},
        {"number of layers", to_string(owner.getNumLayers())},
        {"use of periodic boundary conditions", owner.usesPeriodicBoundaryConditions() ? "true" : "false"},
    };
    for (int i = 0; i < owner.getNumLayers(); i++)
        result.push_back({"number of outputs of layer "+to_string(i), to_string(owner.getNumLayerOutputs(i))});
    return result;
}

void MomentTensorForceImpl::updateParametersInContext(ContextImpl& context) {
    auto now = describeShape();
    for (size_t i = 0; i < shape.size(); i++)
        if (now[i] != shape[i])
            throw OpenMMException("MomentTensorForce: updateParametersInContext() cannot change the "+shape[i].first+" from "+
                    shape[i].second+" to "+now[i].second);
    kernel.getAs<CalcMomentTensorForceKernel>().copyParametersToContext(context, owner);
    context.systemChanged();
}

const KernelImpl& MomentTensorForceImpl::getKernelImpl() const {
    return kernel.getImpl();
}

}
