// SPDX-License-Identifier: MIT
#include "CpuBeadForceKernel.h"
#include "meanforce/internal/BeadEnergies.h"
#include "meanforce/internal/BeadForceImpl.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The skin of the neighbour list, in units of the cutoff. */
static constexpr double SKIN = 0.15;

void CpuBeadForceKernel::initialize(const System& system, const BeadForce& force) {
    forceName = force.getName();
    cutoff = force.getCutoff();
    periodic = force.usesPeriodicBoundaryConditions();
    temperatureParameter = force.getTemperatureParameter();
    hasTemperatureDerivative = force.hasTemperatureDerivative();
    particles.clear();
    types.clear();
    replicas.clear();
    for (int type = 0; type < force.getNumTypes(); type++)
        for (int i = 0; i < force.getNumParticles(); i++)
            if (force.getParticleType(i) == type) {
                particles.push_back(i);
                types.push_back(type);
                replicas.push_back(force.getParticleReplica(i));
            }
    positions.resize(particles.size());
    placeOf.resize(particles.size());
    A.assign(particles.size(), 0.0f);
    B.assign(particles.size(), 0.0f);
    numReplicas = force.getNumReplicas();
    list = make_unique<CpuNeighborList>(cutoff, SKIN*cutoff, periodic, types, numReplicas > 1 ? replicas : vector<int>());
    readParameters(force);
}

void CpuBeadForceKernel::copyParametersToContext(ContextImpl& context, const BeadForce& force) {
    initialize(context.getSystem(), force);
}

double CpuBeadForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) {
    auto& data = *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
    copy(data.periodicBoxVectors, data.periodicBoxVectors+3, box);
    if (periodic)
        BeadForceImpl::checkBox(forceName, box, cutoff);
    gatherPositions(*data.positions);
    if (list->update(positions, box, parallel))
        for (size_t place = 0; place < particles.size(); place++)
            placeOf[list->getOrder()[place]] = (int) place;
    compute(temperature, includeForces ? data.forces : nullptr);
    const BeadEnergies energies(A, B, temperature, replicas, numReplicas);
    replicaEnergies = energies.ofReplica;
    if (hasTemperatureDerivative)
        addTemperatureDerivative(context, -energies.entropy);
    return energies.total;
}

void CpuBeadForceKernel::addTemperatureDerivative(ContextImpl& context, double value) {
    auto& data = *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
    (*data.energyParameterDerivatives)[temperatureParameter] += value;
}

void CpuBeadForceKernel::gatherPositions(const vector<Vec3>& all) {
    double largest = numeric_limits<double>::max();
    if (periodic)
        largest = CpuNeighborList::MaxImage*min({box[0][0], box[1][1], box[2][2]});
    int bad = -1;
    for (size_t bead = 0; bead < particles.size(); bead++) {
        positions[bead] = all[particles[bead]];
        bool good = true;
        for (int k = 0; k < 3; k++)
            good &= (fabs(positions[bead][k]) <= largest);    // false for NaN
        if (!good && (bad == -1 || particles[bead] < bad))
            bad = particles[bead];
    }
    if (bad != -1)
        throw BeadForceImpl::positionError(forceName, bad);
}

}
