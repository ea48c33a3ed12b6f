// SPDX-License-Identifier: MIT
#include "ReferenceBeadForceKernel.h"
#include "meanforce/internal/BeadEnergies.h"
#include "meanforce/internal/BeadForceImpl.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferenceForce.h"
#include "openmm/reference/ReferencePlatform.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

void ReferenceBeadForceKernel::initialize(const System& system, const BeadForce& force) {
    forceName = force.getName();
    cutoff = force.getCutoff();
    periodic = force.usesPeriodicBoundaryConditions();
    temperatureParameter = force.getTemperatureParameter();
    hasTemperatureDerivative = force.hasTemperatureDerivative();
    types.clear();
    replicas.clear();
    for (int i = 0; i < force.getNumParticles(); i++) {
        types.push_back(force.getParticleType(i));
        replicas.push_back(force.getParticleReplica(i));
    }
    numReplicas = force.getNumReplicas();
    readParameters(force);
}

void ReferenceBeadForceKernel::copyParametersToContext(ContextImpl& context, const BeadForce& force) {
    initialize(context.getSystem(), force);
}

double ReferenceBeadForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) {
    auto& data = *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
    vector<Edge> edges = findEdges(*data.positions, data.periodicBoxVectors);
    vector<double> A(types.size(), 0.0), B(types.size(), 0.0);
    compute(edges, temperature, A, B, includeForces ? data.forces : nullptr);
    const BeadEnergies energies(A, B, temperature, replicas, numReplicas);
    replicaEnergies = energies.ofReplica;
    if (hasTemperatureDerivative)
        addTemperatureDerivative(context, -energies.entropy);
    return energies.total;
}

void ReferenceBeadForceKernel::addTemperatureDerivative(ContextImpl& context, double value) {
    auto& data = *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
    (*data.energyParameterDerivatives)[temperatureParameter] += value;
}

vector<Edge> ReferenceBeadForceKernel::findEdges(const vector<Vec3>& positions, const Vec3* boxVectors) const {
    if (periodic)
        BeadForceImpl::checkBox(forceName, boxVectors, cutoff);
    int numParticles = (int) types.size();
    for (int i = 0; i < numParticles; i++)
        if (types[i] >= 0 && !isfinite(positions[i].dot(Vec3(1, 1, 1))))
            throw BeadForceImpl::positionError(forceName, i);
    vector<Edge> edges;
    for (int i = 0; i < numParticles; i++)
        for (int j = 0; j < numParticles; j++) {
            if (i == j || types[i] < 0 || types[j] < 0 || replicas[i] != replicas[j])
                continue;
            double delta[ReferenceForce::LastDeltaRIndex];
            if (periodic)
                ReferenceForce::getDeltaRPeriodic(positions[i], positions[j], boxVectors, delta);
            else
                ReferenceForce::getDeltaR(positions[i], positions[j], delta);
            double r = delta[ReferenceForce::RIndex];
            if (r < cutoff) {
                // Two beads at the same point have no direction.
                double inverseR = (r > 0 ? 1/r : 0.0);
                edges.push_back({i, j, r, Vec3(delta[0], delta[1], delta[2])*inverseR});
            }
        }
    return edges;
}

}
