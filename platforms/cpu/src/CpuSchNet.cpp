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

static int roundUp(int n, int multiple) {
    return (n+multiple-1)/multiple*multiple;
}

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

static CpuDenseLayer pack(const SchNetLayerParameters& layer, int lanes) {
    return CpuDenseLayer(layer.outputs, layer.inputs, layer.weights, layer.biases, lanes);
}

CpuSchNet::CpuSchNet(const SchNetParameters& parameters, InstructionSet set) : kernels(getSchNetKernels(set)), parameters(parameters) {
    const SchNetParameters& p = parameters;
    const int lanes = kernels.lanes, numBlocks = (int) p.blocks.size();
    blocks.resize(numBlocks);
    for (int b = 0; b < numBlocks; b++) {
        const SchNetBlockParameters& from = p.blocks[b];
        Block& to = blocks[b];
        to.lin1 = pack(from.lin1, lanes);
        to.lin2 = pack(from.lin2, lanes);
        to.lin3 = pack(from.lin3, lanes);
        SchNetBlock view = {to.lin1.getView(), to.lin2.getView(), to.lin3.getView(), nullptr, {}};
        if (p.intervals > 0) {
            to.table = padRows(from.table, p.filters, lanes);
            view.table = to.table.data();
        }
        else
            for (int k = 0; k < 2; k++) {
                to.filter[k] = pack(from.filter[k], lanes);
                view.filter[k] = to.filter[k].getView();
            }
        blockViews.push_back(view);
    }
    embedding = padRows(p.embedding, p.hidden, lanes);
    vector<double> first(p.numTypes*p.filters, 0.0);
    for (int type = 0; type < p.numTypes; type++)
        for (int c = 0; c < p.filters; c++)
            for (int k = 0; k < p.hidden; k++)
                first[type*p.filters+c] += p.blocks[0].lin1.weights[c*p.hidden+k]*p.embedding[type*p.hidden+k];
    firstFeatures = padRows(first, p.filters, lanes);
    for (size_t k = 0; k+1 < p.output.size(); k++)
        outputLayers.push_back(pack(p.output[k], lanes));
    for (const CpuDenseLayer& layer : outputLayers)
        outputViews.push_back(layer.getView());
    const SchNetLayerParameters& last = p.output.back();
    readout = padRows(last.weights, last.inputs, lanes);
    const int outputWidth = roundUp(last.inputs, lanes);
    readoutGradient.resize(outputWidth);
    centers = padRows(p.centers, max(1, (int) p.centers.size()), lanes);
    widths = padRows(p.widths, max(1, (int) p.widths.size()), lanes);
    model.numBlocks = numBlocks;
    model.hidden = roundUp(p.hidden, lanes);
    model.filters = roundUp(p.filters, lanes);
    model.degree = (p.intervals > 0 ? p.degree : 0);
    model.activation = p.activation;
    model.blocks = blockViews.data();
    model.embedding = embedding.data();
    model.firstFeatures = firstFeatures.data();
    model.numOutputLayers = (int) outputViews.size();
    model.numReadouts = last.outputs;
    model.outputLayers = outputViews.data();
    model.outputWidth = outputWidth;
    for (int k = 0; k < last.outputs; k++) {
        model.readout[k] = readout.data()+k*outputWidth;
        model.readoutBias[k] = (float) last.biases[k];
    }
    model.inverseSpacing = (float) (p.intervals/p.cutoff);
    model.radial = {p.expNormal, p.cutoffFunction, (int) p.centers.size(), p.cutoff, p.lowerCutoff, p.alpha, centers.data(), widths.data()};
    h.resize(numBlocks);
    slopes.resize(numBlocks);
    hViews.resize(numBlocks);
    slopeViews.resize(numBlocks);
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
    const SchNetLayerParameters& last = parameters.output.back();
    for (int k = 0; k < last.inputs; k++)
        readoutGradient[k] = (float) (last.weights[k]-(last.outputs == 2 ? temperature*last.weights[last.inputs+k] : 0.0));
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
        A[i] = energies[2*i]+parameters.typeEnergies[types[i]];
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
        pairs.locate(parameters.cutoff, parameters.intervals);
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
