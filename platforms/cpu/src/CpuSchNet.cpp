// SPDX-License-Identifier: MIT
#include "CpuSchNet.h"
#include "CpuBarrier.h"
#include <algorithm>
#include <cmath>
#include <exception>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest beads that are worth a thread: waking it takes about as long as they do. */
static constexpr int MIN_BEADS_PER_THREAD = 16;

/** Whole vectors are read beyond the last pair. */
static constexpr int PADDING = 16;

void CpuPairs::reserve(size_t most) {
    const size_t needed = count+most+PADDING;
    if (needed <= bead.size())
        return;
    const size_t size = needed+needed/2;
    for (vector<int>* array : {&bead, &target, &interval})
        array->resize(size);
    exactR.resize(size);
    for (AlignedVector<float>* array : {&f, &r, &x, &y, &z, &slope})
        array->resize(size);
}

void CpuPairs::locate(double cutoff, int intervals) {
    const double inverseSpacing = intervals/cutoff;
    for (int p = 0; p < count; p++) {
        const double u = max(0.0, (cutoff-exactR[p])*inverseSpacing);
        interval[p] = max(0, min((int) u, intervals-1));
        f[p] = (float) (u-interval[p]);
    }
}

CpuSchNet::CpuSchNet(const SchNetForce& force, InstructionSet set) : kernels(getSchNetKernels(set)), cutoff(force.getCutoff()),
        intervals(force.getNumFilterIntervals()), typeEnergies(force.getTypeEnergies()) {
    const int lanes = kernels.lanes, H = force.getNumFeatures(), F = force.getNumFilters();
    model.numBlocks = force.getNumBlocks();
    model.hidden = roundUp(H, lanes);
    model.filters = roundUp(F, lanes);
    model.degree = (intervals > 0 ? force.getFilterDegree() : 0);
    model.activation = activationOf(force.getActivation());
    model.inverseSpacing = (float) (intervals/cutoff);
    embedding = padRows(force.getEmbeddings(), H, lanes);
    firstFeatures = padRows(force.computeFirstMessages(), F, lanes);
    model.embedding = embedding.data();
    model.firstFeatures = firstFeatures.data();
    readBlocks(force);
    readOutput(force);
    readRadialBasis(force);
    h.resize(model.numBlocks);
    slopes.resize(model.numBlocks);
    hViews.resize(model.numBlocks);
    slopeViews.resize(model.numBlocks);
}

void CpuSchNet::readBlocks(const SchNetForce& force) {
    const int lanes = kernels.lanes, H = force.getNumFeatures(), F = force.getNumFilters(), R = force.getNumRadialFunctions();
    const vector<double> tables = force.getFilterTables();
    const size_t tableSize = tables.size()/model.numBlocks;
    blocks.resize(model.numBlocks);
    for (int b = 0; b < model.numBlocks; b++) {
        const SchNetForce::Block& from = force.getBlockParameters(b);
        Block& to = blocks[b];
        to.lin1 = CpuDenseLayer(F, H, from.lin1Weights, {}, lanes);
        to.lin2 = CpuDenseLayer(H, F, from.lin2Weights, from.lin2Biases, lanes);
        to.lin3 = CpuDenseLayer(H, H, from.lin3Weights, from.lin3Biases, lanes);
        SchNetBlock view = {to.lin1.getView(), to.lin2.getView(), to.lin3.getView(), nullptr, {}};
        if (intervals > 0) {
            to.table = padRows(vector<double>(tables.begin()+b*tableSize, tables.begin()+(b+1)*tableSize), F, lanes);
            view.table = to.table.data();
        }
        else {
            to.filter[0] = CpuDenseLayer(F, R, from.filter1Weights, from.filter1Biases, lanes);
            to.filter[1] = CpuDenseLayer(F, F, from.filter2Weights, from.filter2Biases, lanes);
            for (int k = 0; k < 2; k++)
                view.filter[k] = to.filter[k].getView();
        }
        blockViews.push_back(view);
    }
    model.blocks = blockViews.data();
}

void CpuSchNet::readOutput(const SchNetForce& force) {
    const int lanes = kernels.lanes, last = force.getNumLayers()-1, inputs = force.getNumLayerInputs(last);
    for (int k = 0; k < last; k++)
        outputLayers.emplace_back(force.getNumLayerOutputs(k), force.getNumLayerInputs(k), force.getLayerWeights(k), force.getLayerBiases(k), lanes);
    for (const CpuDenseLayer& layer : outputLayers)
        outputViews.push_back(layer.getView());
    lastWeights = force.getLayerWeights(last);
    readout = padRows(lastWeights, inputs, lanes);
    model.numOutputLayers = last;
    model.numReadouts = force.getNumReadouts();
    model.outputLayers = outputViews.data();
    model.outputWidth = roundUp(inputs, lanes);
    for (int k = 0; k < model.numReadouts; k++) {
        model.readout[k] = readout.data()+k*model.outputWidth;
        model.readoutBias[k] = (float) force.getLayerBiases(last)[k];
    }
    readoutGradient.resize(model.outputWidth);
}

/** What exact filters need. */
void CpuSchNet::readRadialBasis(const SchNetForce& force) {
    const int lanes = kernels.lanes, R = force.getNumRadialFunctions();
    const bool expNormal = (force.getRadialBasis() == "expnormal");
    const double exponent = force.getBasisExponent();
    centers = padRows(force.getBasisCenters(), R, lanes);
    widths = padRows(expNormal ? force.getBasisWidths() : vector<double>(R, exponent), R, lanes);
    CutoffFunction cutoffFunction = CutoffFunction::Cosine;
    if (force.getCutoffFunction() == "polynomial")
        cutoffFunction = CutoffFunction::Polynomial;
    else if (force.getCutoffFunction() == "shifted_cosine")
        cutoffFunction = CutoffFunction::ShiftedCosine;
    model.radial = {expNormal, cutoffFunction, R, cutoff, force.getLowerCutoff(), expNormal ? exponent : 0.0, centers.data(), widths.data()};
}

void CpuSchNet::evaluate(CpuParallel& parallel, const vector<int>& types, const vector<int>& rowStart,
        const function<void(int, CpuPairs&)>& findPairs, double temperature, vector<double>& A, vector<double>& B, vector<Vec3>* forcesOnBeads) {
    const int numBeads = (int) types.size();
    const int numThreads = max(1, min(parallel.getNumThreads(), numBeads/MIN_BEADS_PER_THREAD));
    allocate(numBeads, numThreads);
    for (int t = 0; t < numThreads; t++) {
        // Each thread gets the same share of the pairs, then of the beads.
        const long long work = (long long) rowStart.back()*(t+1)/numThreads;
        threads[t].rowBegin = (t == 0 ? 0 : threads[t-1].rowEnd);
        threads[t].rowEnd = (t+1 == numThreads ? numBeads : (int) (lower_bound(rowStart.begin(), rowStart.end()-1, work)-rowStart.begin()));
        threads[t].beadBegin = (int) ((long long) numBeads*t/numThreads);
        threads[t].beadEnd = (int) ((long long) numBeads*(t+1)/numThreads);
    }
    const int inputs = (int) lastWeights.size()/model.numReadouts;
    for (int k = 0; k < inputs; k++)
        readoutGradient[k] = (float) (lastWeights[k]-(model.numReadouts == 2 ? temperature*lastWeights[inputs+k] : 0.0));
    state.types = types.data();
    state.includeForces = (forcesOnBeads != nullptr);

    if (numThreads == 1) {
        preparePairs(0, findPairs);
        run(0, [] {});
    }
    else {
        CpuBarrier barrier(numThreads);
        vector<exception_ptr> failures(numThreads);
        parallel.run(numThreads, 1, [&](int, int begin, int end) {
            for (int t = begin; t < end; t++) {
                // A thread that leaves would keep the others waiting: they leave together.
                try {
                    preparePairs(t, findPairs);
                }
                catch (...) {
                    failures[t] = current_exception();
                }
                barrier.wait();
                if (all_of(failures.begin(), failures.end(), [](const exception_ptr& failure) { return failure == nullptr; }))
                    run(t, [&] { barrier.wait(); });
            }
        });
        for (const exception_ptr& failure : failures)
            if (failure)
                rethrow_exception(failure);
    }

    A.resize(numBeads);
    B.resize(numBeads);
    for (int i = 0; i < numBeads; i++) {
        A[i] = energies[2*i]+typeEnergies[types[i]];
        B[i] = (model.numReadouts == 2 ? energies[2*i+1] : 0.0f);
    }
    if (forcesOnBeads != nullptr) {
        forcesOnBeads->resize(numBeads);
        for (int i = 0; i < numBeads; i++)
            (*forcesOnBeads)[i] = Vec3(forces[3*i], forces[3*i+1], forces[3*i+2]);
    }
}

void CpuSchNet::allocate(int numBeads, int numThreads) {
    y.resize((size_t) numBeads*model.hidden);
    g.resize((size_t) numBeads*model.filters);
    energies.resize(2*numBeads);
    forces.resize(3*numBeads);
    for (int b = 0; b < model.numBlocks; b++) {
        slopes[b].resize((size_t) numBeads*model.hidden);
        slopeViews[b] = slopes[b].data();
        if (b > 0)
            h[b].resize((size_t) numBeads*model.filters);
        hViews[b] = h[b].data();
    }
    if ((int) workspaces.size() < numThreads)
        workspaces.resize(numThreads);
    threads.resize(numThreads);
    state.numBeads = numBeads;
    state.numThreads = numThreads;
    state.threads = threads.data();
    state.y = y.data();
    state.g = g.data();
    state.h = hViews.data();
    state.slopes = slopeViews.data();
    state.energies = energies.data();
    state.readoutGradient = readoutGradient.data();
    state.forces = forces.data();
}

/** Find the pairs of a thread, and prepare the memory that the sums over them need. */
void CpuSchNet::preparePairs(int t, const function<void(int, CpuPairs&)>& findPairs) {
    SchNetThread& thread = threads[t];
    Workspace& workspace = workspaces[t];
    CpuPairs& pairs = workspace.pairs;
    pairs.clear();
    pairs.reserve(0);
    for (int i = thread.rowBegin; i < thread.rowEnd; i++) {
        findPairs(i, pairs);
        pairs.endRow();
    }
    if (model.degree > 0)
        pairs.locate(cutoff, intervals);
    findTargets(t);
    thread.pairs = {pairs.longestRow, pairs.rowStart.data(), pairs.bead.data(), pairs.target.data(), pairs.interval.data(), pairs.f.data(),
            pairs.r.data(), pairs.x.data(), pairs.y.data(), pairs.z.data(), pairs.slope.data()};
    const size_t numRows = thread.rowEnd-thread.rowBegin+workspace.halo.size();
    const size_t scratchSize = kernels.getScratchSize(model, pairs.longestRow);
    if (workspace.buffer.size() < numRows*model.filters)
        workspace.buffer.resize(numRows*model.filters);
    if (workspace.forces.size() < 3*numRows)
        workspace.forces.resize(3*numRows);
    if (workspace.scratch.size() < scratchSize)
        workspace.scratch.resize(scratchSize);
    thread.numHalo = (int) workspace.halo.size();
    thread.halo = workspace.halo.data();
    thread.buffer = workspace.buffer.data();
    thread.forces = workspace.forces.data();
    thread.scratch = workspace.scratch.data();
}

/** Where the sums of this thread go: first its own rows, then the other beads that its pairs touch. */
void CpuSchNet::findTargets(int t) {
    const SchNetThread& thread = threads[t];
    CpuPairs& pairs = workspaces[t].pairs;
    vector<int> &halo = workspaces[t].halo, &slot = workspaces[t].slot;
    const int numRows = thread.rowEnd-thread.rowBegin;
    halo.clear();
    slot.assign(state.numBeads, -1);
    for (int p = 0; p < pairs.count; p++)
        slot[pairs.bead[p]] = 0;
    for (int i = 0; i < state.numBeads; i++)
        if (i >= thread.rowBegin && i < thread.rowEnd)
            slot[i] = i-thread.rowBegin;
        else if (slot[i] == 0) {
            slot[i] = numRows+(int) halo.size();
            halo.push_back(i);
        }
    for (int p = 0; p < pairs.count; p++)
        pairs.target[p] = slot[pairs.bead[p]];
}

template <class Meet>
void CpuSchNet::run(int t, Meet meet) {
    const SchNetThread& thread = threads[t];
    for (int b = 0; b < model.numBlocks; b++) {
        kernels.sumMessages(model, state, thread, b);
        meet();
        kernels.updateBeads(model, state, thread, b);
        meet();
    }
    if (!state.includeForces)
        return;
    for (int b = model.numBlocks-1; b >= 0; b--) {
        kernels.sumGradients(model, state, thread, b);
        meet();
        if (b > 0) {
            kernels.updateGradients(model, state, thread, b);
            meet();
        }
    }
    kernels.sumForces(model, state, thread);
}

}
