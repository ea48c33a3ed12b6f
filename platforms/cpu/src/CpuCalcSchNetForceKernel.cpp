// SPDX-License-Identifier: MIT
#include "CpuCalcSchNetForceKernel.h"
#include "CpuSpatialOrder.h"
#include "meanforce/SchNetForce.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

void CpuCalcSchNetForceKernel::readParameters(const BeadForce& force) {
    network = make_unique<CpuSchNet>(static_cast<const SchNetForce&>(force), detectInstructionSet());
}

void CpuCalcSchNetForceKernel::compute(double temperature, vector<Vec3>* forces) {
    if (particles.empty())
        return;
    numberBeads();
    network->evaluate(parallel, orderedTypes, rowStart, [&](int i, CpuPairs& pairs) { findPairs(i, pairs); }, temperature,
            orderedA, orderedB, forces == nullptr ? nullptr : &orderedForces);
    for (size_t i = 0; i < order.size(); i++) {
        A[order[i]] = (float) orderedA[i];
        B[order[i]] = (float) orderedB[i];
        if (forces != nullptr)
            (*forces)[particles[order[i]]] += orderedForces[i];
    }
}

void CpuCalcSchNetForceKernel::numberBeads() {
    const int numBeads = (int) particles.size();
    sortSpatially(positions, replicas, numReplicas, periodic ? box : nullptr, order);
    orderedTypes.resize(numBeads);
    place.resize(numBeads);
    numberAt.resize(numBeads);
    rowStart.assign(1, 0);
    for (int i = 0; i < numBeads; i++) {
        orderedTypes[i] = types[order[i]];
        place[i] = placeOf[order[i]];
        numberAt[place[i]] = i;
        rowStart.push_back(rowStart.back()+1+(int) (list->end(place[i])-list->begin(place[i])));
    }
}

void CpuCalcSchNetForceKernel::findPairs(int i, CpuPairs& pairs) const {
    const CpuNeighborList::Neighbor *begin = list->begin(place[i]), *end = list->end(place[i]);
    pairs.reserve(end-begin);
    for (const CpuNeighborList::Neighbor* neighbor = begin; neighbor != end; neighbor++) {
        // Every pair is in the rows of both; taking turns gives each row its share.
        const int j = numberAt[neighbor->place()];
        if ((j > i) != ((i+j)%2 == 1))
            continue;
        const Vec3 delta = list->getDelta(place[i], *neighbor);
        const double r2 = delta.dot(delta);
        if (r2 >= cutoff*cutoff)
            continue;
        const double r = sqrt(r2);
        // Two beads at the same point have no direction.
        pairs.add(j, r, r > 0 ? delta/r : Vec3());
    }
}

}
