// SPDX-License-Identifier: MIT
#include "CpuCalcSchNetForceKernel.h"
#include "CpuSpatialOrder.h"
#include "meanforce/SchNetForce.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

static CutoffFunction cutoffFunctionOf(const SchNetForce& force) {
    if (force.getCutoffFunction() == "polynomial")
        return CutoffFunction::Polynomial;
    return force.getCutoffFunction() == "shifted_cosine" ? CutoffFunction::ShiftedCosine : CutoffFunction::Cosine;
}

static SchNetParameters parametersOf(const SchNetForce& force) {
    const int H = force.getNumFeatures(), F = force.getNumFilters(), numBlocks = force.getNumBlocks();
    SchNetParameters p;
    p.numTypes = force.getNumTypes();
    p.hidden = H;
    p.filters = F;
    p.activation = activationOf(force.getActivation());
    p.cutoff = force.getCutoff();
    p.embedding = force.getEmbeddings();
    p.typeEnergies = force.getTypeEnergies();
    p.degree = force.getFilterDegree();
    p.intervals = force.getNumFilterIntervals();
    const vector<double> tables = force.getFilterTables();
    const size_t tableSize = tables.size()/numBlocks;
    for (int b = 0; b < numBlocks; b++) {
        const SchNetForce::Block& from = force.getBlockParameters(b);
        SchNetBlockParameters to;
        to.lin1 = {F, H, from.lin1Weights, {}};
        to.lin2 = {H, F, from.lin2Weights, from.lin2Biases};
        to.lin3 = {H, H, from.lin3Weights, from.lin3Biases};
        to.table.assign(tables.begin()+b*tableSize, tables.begin()+(b+1)*tableSize);
        to.filter[0] = {F, force.getNumRadialFunctions(), from.filter1Weights, from.filter1Biases};
        to.filter[1] = {F, F, from.filter2Weights, from.filter2Biases};
        p.blocks.push_back(to);
    }
    for (int k = 0; k < force.getNumLayers(); k++)
        p.output.push_back({force.getNumLayerOutputs(k), force.getNumLayerInputs(k), force.getLayerWeights(k), force.getLayerBiases(k)});
    p.expNormal = (force.getRadialBasis() == "expnormal");
    p.cutoffFunction = cutoffFunctionOf(force);
    p.lowerCutoff = force.getLowerCutoff();
    p.alpha = (p.expNormal ? force.getBasisExponent() : 0.0);
    p.centers = force.getBasisCenters();
    p.widths = (p.expNormal ? force.getBasisWidths() : vector<double>(p.centers.size(), force.getBasisExponent()));
    return p;
}

void CpuCalcSchNetForceKernel::readParameters(const BeadForce& force) {
    network = make_unique<CpuSchNet>(parametersOf(dynamic_cast<const SchNetForce&>(force)), detectInstructionSet());
}

void CpuCalcSchNetForceKernel::compute(double temperature, vector<Vec3>* forces) {
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
    sortSpatially(positions, replicas, (int) getReplicaEnergies().size(), periodic ? box : nullptr, order);
    vector<int> number(numBeads);
    orderedTypes.resize(numBeads);
    for (int i = 0; i < numBeads; i++) {
        number[order[i]] = i;
        orderedTypes[i] = types[order[i]];
    }
    place.resize(numBeads);
    numberAt.resize(numBeads);
    for (int k = 0; k < numBeads; k++) {
        numberAt[k] = number[list->getOrder()[k]];
        place[numberAt[k]] = k;
    }
    rowStart.assign(1, 0);
    for (int i = 0; i < numBeads; i++)
        rowStart.push_back(rowStart.back()+1+(int) (list->end(place[i])-list->begin(place[i])));
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
