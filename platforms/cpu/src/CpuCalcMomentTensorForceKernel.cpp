// SPDX-License-Identifier: MIT
#include "CpuCalcMomentTensorForceKernel.h"
#include "CpuBarrier.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/Coupling.h"
#include "meanforce/internal/SplinePieces.h"
#include <algorithm>
#include <exception>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest beads that are worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 50;

void CpuCalcMomentTensorForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const MomentTensorForce&>(beadForce);
    model = {};
    model.maxL = force.getMaxL();
    model.channels = force.getNumChannels();
    model.width = roundUp(model.channels, kernels.lanes);
    model.numFeatures = force.getNumFeatures();
    model.numReadouts = force.getNumReadouts();
    model.oneType = (force.getNumTypes() == 1);
    model.cutoff = cutoff;
    model.activation = activationOf(force.getActivation());
    readFilters(force);
    readProducts(force);
    readNetwork(force);
    beads.resize(particles.size());
    moments.resize(particles.size()*(model.maxL+1)*(model.maxL+1)*model.width);
    tiles.clear();
}

void CpuCalcMomentTensorForceKernel::readFilters(const MomentTensorForce& force) {
    const int degrees = model.maxL+1, channels = model.channels, numFunctions = force.getNumFilterFunctions();
    // The functions reach into three more intervals than there are functions; the last interval sees only zeros.
    const int numIntervals = numFunctions+4;
    vector<double> rows((size_t) degrees*channels*numFunctions);
    for (int k = 0; k < numFunctions; k++)
        for (int row = 0; row < degrees*channels; row++)
            rows[row*numFunctions+k] = force.getFilterCoefficients()[k*degrees*channels+row]*(model.oneType ? force.getTypeWeights()[row%channels] : 1.0);
    const vector<double> pieces = splinePieces(rows, numFunctions, numIntervals);
    table.assign((size_t) numIntervals*degrees*4*model.width, 0.0f);
    for (int n = 0; n < numIntervals; n++)
        for (int l = 0; l < degrees; l++)
            for (int p = 0; p < 4; p++)
                for (int c = 0; c < channels; c++)
                    table[((n*(model.width/kernels.lanes)+c/kernels.lanes)*degrees+l)*4*kernels.lanes+p*kernels.lanes+c%kernels.lanes] = (float) pieces[((l*channels+c)*numIntervals+n)*4+p];
    typeWeights = padRows(force.getTypeWeights(), channels, kernels.lanes);
    model.inverseSpacing = 1/force.getFilterSpacing();
    model.numIntervals = numIntervals;
    model.table = table.data();
    model.typeWeights = typeWeights.data();
}

void CpuCalcMomentTensorForceKernel::readProducts(const MomentTensorForce& force) {
    const int numMoments = (model.maxL+1)*(model.maxL+1);
    copiedFrom.clear();
    copyShift.clear();
    terms.clear();
    productStart.assign(1, 0);
    // The row with a moment, or with its copy with shifted channels.
    auto findRow = [&](int lm, int shift) {
        if (shift == 0)
            return lm;
        for (size_t k = 0; k < copiedFrom.size(); k++)
            if (copiedFrom[k] == lm && copyShift[k] == shift)
                return numMoments+(int) k;
        copiedFrom.push_back(lm);
        copyShift.push_back(shift);
        return numMoments+(int) copiedFrom.size()-1;
    };
    for (int p = 0; p < force.getNumProducts(); p++) {
        vector<int> degrees, shifts;
        force.getProduct(p, degrees, shifts);
        for (const CouplingTerm& term : coupleMoments(degrees)) {
            MomentTensorTerm rows = {{-1, -1, -1}, (float) term.value};
            for (size_t n = 0; n < degrees.size(); n++)
                rows.rows[n] = findRow(term.lm[n], shifts[n]);
            terms.push_back(rows);
        }
        productStart.push_back((int) terms.size());
    }
    model.numProducts = force.getNumProducts();
    model.numCopies = (int) copiedFrom.size();
    model.copiedFrom = copiedFrom.data();
    model.copyShift = copyShift.data();
    model.productStart = productStart.data();
    model.terms = terms.data();
}

void CpuCalcMomentTensorForceKernel::readNetwork(const MomentTensorForce& force) {
    const int last = force.getNumLayers()-1, numReadouts = model.numReadouts;
    hidden.clear();
    hiddenViews.clear();
    for (int type = 0; type < force.getNumTypes(); type++)
        for (int k = 0; k < last; k++) {
            const int inputs = force.getNumLayerInputs(k), outputs = force.getNumLayerOutputs(k);
            const double* w = force.getLayerWeights(k).data()+(size_t) type*outputs*inputs;
            const double* b = force.getLayerBiases(k).data()+(size_t) type*outputs;
            hidden.emplace_back(outputs, inputs, vector<double>(w, w+(size_t) outputs*inputs), vector<double>(b, b+outputs), kernels.lanes);
        }
    for (const CpuDenseLayer& layer : hidden)
        hiddenViews.push_back(layer.getView());
    readout = padRows(force.getLayerWeights(last), force.getNumLayerInputs(last), kernels.lanes);
    readoutBias.assign(force.getLayerBiases(last).begin(), force.getLayerBiases(last).end());
    model.numHidden = last;
    model.hidden = hiddenViews.data();
    model.readoutWidth = (int) readout.size()/(force.getNumTypes()*numReadouts);
    model.readout = readout.data();
    model.readoutBias = readoutBias.data();
}

MomentTensorPairs CpuCalcMomentTensorForceKernel::Workspace::getPairs(int start) {
    int* i = pairInts.data()+start;
    float* f = pairFloats.data()+start;
    return {i, i+capacity, f, f+capacity, f+2*capacity, f+3*capacity, f+4*capacity};
}

void CpuCalcMomentTensorForceKernel::Workspace::reservePairs(int size) {
    if (size <= capacity)
        return;
    const int larger = roundUp(size+size/2, 16);
    AlignedVector<int> ints(2*larger);
    AlignedVector<float> floats(5*larger);
    for (int k = 0; k < 2; k++)
        copy_n(pairInts.begin()+k*capacity, capacity, ints.begin()+k*larger);
    for (int k = 0; k < 5; k++)
        copy_n(pairFloats.begin()+k*capacity, capacity, floats.begin()+k*larger);
    pairInts.swap(ints);
    pairFloats.swap(floats);
    capacity = larger;
}

/** Beads are numbered by type.  Tiles are no larger than a thread's share of all beads. */
void CpuCalcMomentTensorForceKernel::createTiles(int numThreads) {
    const int numBeads = (int) particles.size(), share = (numBeads+numThreads-1)/numThreads;
    const int tilesPerShare = (share+kernels.tile-1)/kernels.tile, size = (share+tilesPerShare-1)/max(1, tilesPerShare);
    for (int first = 0, end; first < numBeads; first = end) {
        for (end = first; end < numBeads && end < first+size && types[end] == types[first]; end++);
        tiles.push_back({first, end-first});
    }
}

int CpuCalcMomentTensorForceKernel::findLongestRow() const {
    int longest = 0;
    for (size_t place = 0; place < particles.size(); place++)
        longest = max(longest, (int) (list->end(place)-list->begin(place)));
    return longest;
}

void CpuCalcMomentTensorForceKernel::compute(double temperature, vector<Vec3>* forces) {
    const int numBeads = (int) particles.size();
    const int numThreads = max(1, min(parallel.getNumThreads(), numBeads/MIN_BEADS_PER_THREAD));
    if (tiles.empty())
        createTiles(numThreads);
    workspaces.resize(numThreads);
    const long scratchSize = kernels.getScratchSize(model, findLongestRow());
    for (int place = 0; place < numBeads; place++) {
        const Vec3& x = positions[list->getOrder()[place]];
        beads[place] = {{x[0], x[1], x[2]}, particleAt(place)};
    }
    geometry.beads = beads.data();
    geometry.types = types.data();
    geometry.periodic = periodic;
    for (int k = 0; k < 9; k++)
        geometry.box[k] = box[k/3][k%3];
    for (int k = 0; k < 3; k++)
        geometry.inverseBox[k] = 1/box[k][k];
    const float seed[2] = {1.0f, (float) -temperature};    // U_i = A_i - T B_i
    vector<int> firstTile, firstPlace;
    for (int t = 0; t <= numThreads; t++) {
        firstTile.push_back((int) (tiles.size()*t/numThreads));
        firstPlace.push_back(t == numThreads ? numBeads : (tiles.empty() ? 0 : tiles[firstTile[t]].first));
    }
    CpuBarrier barrier(numThreads);
    vector<exception_ptr> failures(numThreads);
    parallel.run(numThreads, 1, [&](int, int begin, int end) {
        for (int t = begin; t < end; t++) {
            Workspace& workspace = workspaces[t];
            // A thread that leaves would keep the others waiting: they leave together.
            try {
                if ((long) workspace.scratch.size() < scratchSize)
                    workspace.scratch.resize(scratchSize);
                workspace.forces.assign(4*numBeads, 0);
                computeMoments(workspace, firstTile[t], firstTile[t+1], seed);
            }
            catch (...) {
                failures[t] = current_exception();
            }
            if (numThreads > 1)
                barrier.wait();
            if (forces == nullptr || any_of(failures.begin(), failures.end(), [](const exception_ptr& failure) { return failure != nullptr; }))
                continue;
            computeForces(workspace, firstPlace[t], firstPlace[t+1]);
            if (numThreads > 1)
                barrier.wait();
            for (int place = firstPlace[t]; place < firstPlace[t+1]; place++) {
                int64_t sum[3] = {};
                for (const Workspace& part : workspaces)
                    for (int k = 0; k < 3; k++)
                        sum[k] += part.forces[4*place+k];
                (*forces)[particleAt(place)] += Vec3(sum[0], sum[1], sum[2])*(1/4294967296.0);
            }
        }
    });
    for (const exception_ptr& failure : failures)
        if (failure)
            rethrow_exception(failure);
}

void CpuCalcMomentTensorForceKernel::computeMoments(Workspace& workspace, int firstTile, int endTile, const float* seed) {
    const size_t size = (size_t) (model.maxL+1)*(model.maxL+1)*model.width;
    vector<float> outputs(kernels.tile*model.numReadouts);
    workspace.pairCount.clear();
    int numPairs = 0;
    for (int t = firstTile; t < endTile; t++) {
        const Tile& tile = tiles[t];
        for (int place = tile.first; place < tile.first+tile.count; place++) {
            const int length = (int) (list->end(place)-list->begin(place));
            const MomentTensorRow row = {place, length, reinterpret_cast<const uint32_t*>(list->begin(place))};
            workspace.reservePairs(numPairs+length+2*kernels.lanes);
            workspace.pairCount.push_back(kernels.computeMoments(model, geometry, row, workspace.getPairs(numPairs),
                    workspace.scratch.data(), moments.data()+place*size));
            numPairs += roundUp(workspace.pairCount.back(), kernels.lanes);
        }
        kernels.evaluateNetwork(model, types[tile.first], tile.count, seed, moments.data()+tile.first*size, outputs.data(), workspace.scratch.data());
        for (int i = 0; i < tile.count; i++) {
            const int bead = list->getOrder()[tile.first+i];
            A[bead] = outputs[i*model.numReadouts];
            if (model.numReadouts == 2)
                B[bead] = outputs[2*i+1];
        }
    }
}

void CpuCalcMomentTensorForceKernel::computeForces(Workspace& workspace, int first, int end) {
    int start = 0;
    for (int place = first; place < end; place++) {
        const int count = workspace.pairCount[place-first];
        kernels.computeForces(model, types.data(), place, count, workspace.getPairs(start), moments.data(), workspace.scratch.data(),
                workspace.forces.data());
        start += roundUp(count, kernels.lanes);
    }
}

}
