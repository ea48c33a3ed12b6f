// SPDX-License-Identifier: MIT
#include "CpuSchNet.h"
#include "CpuBarrier.h"
#include <algorithm>
#include <cmath>
#include <exception>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest pairs that are worth a thread: waking it takes as long as about this many. */
static constexpr int MIN_PAIRS_PER_THREAD = 400;

static int roundUp(int n, int multiple) {
    return (n+multiple-1)/multiple*multiple;
}

void CpuPairs::resize(const vector<int>& rowStart) {
    this->rowStart = rowStart;
    bead.resize(rowStart.back());
    r.resize(rowStart.back());
    for (auto& component : direction)
        component.resize(rowStart.back());
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

void CpuSchNet::evaluate(CpuParallel& parallel, const CpuPairs& pairs, const vector<int>& types, double temperature,
        vector<double>& energyA, vector<double>& energyB, vector<Vec3>* forcesOnBeads) {
    const int numBeads = pairs.getNumBeads(), numPairs = pairs.rowStart.back();
    // Whole vectors are read beyond the last pair.
    const int size = numPairs+kernels.lanes;
    target.resize(size);
    interval.resize(size);
    f.resize(size);
    r.resize(size);
    slope.resize(size);
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
    const int numThreads = max(1, min(parallel.getNumThreads(), numPairs/MIN_PAIRS_PER_THREAD));
    workspaces.resize(max((int) workspaces.size(), numThreads));
    threads.resize(numThreads);
    int longestRow = 0;
    for (int i = 0; i < numBeads; i++)
        longestRow = max(longestRow, pairs.rowStart[i+1]-pairs.rowStart[i]);
    for (int t = 0; t < numThreads; t++) {
        const auto boundary = [&](int thread) {
            const int pair = (int) ((long long) numPairs*thread/numThreads);
            return thread == numThreads ? numBeads : (int) (lower_bound(pairs.rowStart.begin(), pairs.rowStart.end(), pair)-pairs.rowStart.begin());
        };
        threads[t].rowBegin = (t == 0 ? 0 : threads[t-1].rowEnd);
        threads[t].rowEnd = boundary(t+1);
        threads[t].beadBegin = (int) ((long long) numBeads*t/numThreads);
        threads[t].beadEnd = (int) ((long long) numBeads*(t+1)/numThreads);
    }
    const SchNetLayerParameters& last = parameters.output.back();
    for (int k = 0; k < last.inputs; k++)
        readoutGradient[k] = (float) (last.weights[k]-(last.outputs == 2 ? temperature*last.weights[last.inputs+k] : 0.0));
    state.numBeads = numBeads;
    state.types = types.data();
    state.pairs = {pairs.rowStart.data(), pairs.bead.data(), target.data(), interval.data(), f.data(), r.data(),
            pairs.direction[0].data(), pairs.direction[1].data(), pairs.direction[2].data(), slope.data()};
    state.longestRow = longestRow;
    state.numThreads = numThreads;
    state.threads = threads.data();
    state.y = y.data();
    state.g = g.data();
    state.h = hViews.data();
    state.slopes = slopeViews.data();
    state.energies = energies.data();
    state.readoutGradient = readoutGradient.data();
    state.forces = forces.data();
    state.includeForces = (forcesOnBeads != nullptr);

    if (numThreads == 1) {
        prepareThread(0, pairs);
        run(0, [] {});
    }
    else {
        CpuBarrier barrier(numThreads);
        vector<exception_ptr> failures(numThreads);
        parallel.run(numThreads, 1, [&](int, int begin, int end) {
            for (int t = begin; t < end; t++) {
                // A thread that leaves would keep the others waiting: they leave together.
                try {
                    prepareThread(t, pairs);
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

    energyA.resize(numBeads);
    energyB.resize(numBeads);
    for (int i = 0; i < numBeads; i++) {
        energyA[i] = energies[2*i]+parameters.typeEnergies[types[i]];
        energyB[i] = (model.numReadouts == 2 ? energies[2*i+1] : 0.0f);
    }
    if (forcesOnBeads != nullptr) {
        forcesOnBeads->resize(numBeads);
        for (int i = 0; i < numBeads; i++)
            (*forcesOnBeads)[i] = Vec3(forces[3*i], forces[3*i+1], forces[3*i+2]);
    }
}

/** Where the distances lie in the tables, and where the sums of this thread's pairs go. */
void CpuSchNet::prepareThread(int t, const CpuPairs& pairs) {
    SchNetThread& thread = threads[t];
    Workspace& workspace = workspaces[t];
    const int numBeads = pairs.getNumBeads(), begin = pairs.rowStart[thread.rowBegin], end = pairs.rowStart[thread.rowEnd];
    const double spacing = parameters.cutoff/max(1, parameters.intervals);
    for (int p = begin; p < end; p++) {
        const double u = max(0.0, (parameters.cutoff-pairs.r[p])/spacing);
        interval[p] = max(0, min((int) u, parameters.intervals-1));
        f[p] = (float) (u-interval[p]);
        r[p] = (float) pairs.r[p];
    }
    const int numRows = thread.rowEnd-thread.rowBegin;
    workspace.halo.clear();
    if (numRows == numBeads)
        copy(pairs.bead.begin()+begin, pairs.bead.begin()+end, target.begin()+begin);
    else {
        workspace.slot.assign(numBeads, -1);
        for (int p = begin; p < end; p++)
            workspace.slot[pairs.bead[p]] = 0;
        for (int i = 0; i < numBeads; i++)
            if (i >= thread.rowBegin && i < thread.rowEnd)
                workspace.slot[i] = i-thread.rowBegin;
            else if (workspace.slot[i] == 0) {
                workspace.slot[i] = numRows+(int) workspace.halo.size();
                workspace.halo.push_back(i);
            }
        for (int p = begin; p < end; p++)
            target[p] = workspace.slot[pairs.bead[p]];
    }
    thread.numHalo = (int) workspace.halo.size();
    const size_t bufferRows = numRows+thread.numHalo, scratchSize = kernels.getScratchSize(model, state.longestRow);
    if (workspace.buffer.size() < bufferRows*model.filters)
        workspace.buffer.resize(bufferRows*model.filters);
    if (workspace.forces.size() < 3*bufferRows)
        workspace.forces.resize(3*bufferRows);
    if (workspace.scratch.size() < scratchSize)
        workspace.scratch.resize(scratchSize);
    thread.halo = workspace.halo.data();
    thread.buffer = workspace.buffer.data();
    thread.forces = workspace.forces.data();
    thread.scratch = workspace.scratch.data();
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
