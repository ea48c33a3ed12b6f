// SPDX-License-Identifier: MIT
#include "SchNetKernels.h"
#include "DenseKernels.h"
#include "InstructionSet.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/QuinticBSpline.h"
#include <math.h>

namespace meanforce {
namespace {

/** Beads that pass through the dense layers together. */
constexpr int TILE = 24;
/** Pairs whose exact filters are computed together, unless one row is longer. */
constexpr int BATCH = 96;

#if defined(__AVX512F__)
constexpr int MESSAGE_VECTORS = 8, GRADIENT_VECTORS = 8;
#else
constexpr int MESSAGE_VECTORS = 4, GRADIENT_VECTORS = 4;
#endif

/** Rows of the table that a distance sees: 4 (cubic), 6 (quintic), or 1 (exact, where the filter itself is the row). */
template <int ROWS>
MEANFORCE_INLINE void splineWeights(const Vector& f, Vector* weights, Vector* slopes) {
    if constexpr (ROWS == 4)
        cubicBSplineWeights<Vector, float>(f, weights, slopes);
    else if constexpr (ROWS == 6)
        quinticBSplineWeights<Vector, float>(f, weights, slopes);
    else
        weights[0] = slopes[0] = broadcast(1.0f);
}

/** The filters of the pairs in one row: in the table, or computed. */
struct Filters {
    const int* interval;
    const float *table, *slopeTable;    // slopeTable only for exact filters
    const float *weights, *slopes;      // [row of the table][pair]
    int padded;                         // pairs, padded
};

template <int N>
struct Constant {
    static constexpr int value = N;
};

struct Row {
    int count;
    const int *bead, *target;
};

/** m_i += sum_j W h_j and m_j += W h_i for V vectors of filters. */
template <int ROWS, int V, bool FIRST>
MEANFORCE_INLINE void messagesOfRow(const Row& row, const Filters& filters, int width, const int* types, int self, const float* h, float* sum, float* sums) {
    Vector hi[V], mi[V];
    MEANFORCE_UNROLL
    for (int v = 0; v < V; v++) {
        hi[v] = load(h+(long) self*width+v*LANES);
        mi[v] = load(sum+v*LANES);
    }
    for (int p = 0; p < row.count; p++) {
        // Everything is loaded before the first store, or the compiler would load it again after each.
        const float *table[ROWS], *hj = h+(long) (FIRST ? types[row.bead[p]] : row.bead[p])*width;
        Vector w[ROWS];
        MEANFORCE_UNROLL
        for (int k = 0; k < ROWS; k++) {
            table[k] = filters.table+((long) filters.interval[p]+k)*width;
            if (ROWS > 1)
                w[k] = broadcast(filters.weights[k*filters.padded+p]);
        }
        float* mj = sums+(long) row.target[p]*width;
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++) {
            Vector W = load(table[0]+v*LANES);
            if constexpr (ROWS > 1) {
                W *= w[0];
                MEANFORCE_UNROLL
                for (int k = 1; k < ROWS; k++)
                    W += load(table[k]+v*LANES)*w[k];
            }
            mi[v] += W*load(hj+v*LANES);
            store(load(mj+v*LANES)+W*hi[v], mj+v*LANES);
        }
    }
    MEANFORCE_UNROLL
    for (int v = 0; v < V; v++)
        store(mi[v], sum+v*LANES);
}

/** dU/dr of each pair, and dU/dh_i += sum_j W g_j and dU/dh_j += W g_i, for V vectors of filters. */
template <int ROWS, int V, bool FIRST>
MEANFORCE_INLINE void gradientsOfRow(const Row& row, const Filters& filters, int width, const int* types, int self, const float* h,
        const float* g, int bead, float* slope, float* sum, float* sums) {
    Vector hi[V], gi[V], di[V];
    MEANFORCE_UNROLL
    for (int v = 0; v < V; v++) {
        hi[v] = load(h+(long) self*width+v*LANES);
        gi[v] = load(g+(long) bead*width+v*LANES);
        if (!FIRST)
            di[v] = load(sum+v*LANES);
    }
    for (int p = 0; p < row.count; p++) {
        const float *table[ROWS], *slopeTable = nullptr;
        const float *hj = h+(long) (FIRST ? types[row.bead[p]] : row.bead[p])*width, *gj = g+(long) row.bead[p]*width;
        float* dj = sums+(long) row.target[p]*width;
        Vector w[ROWS], t[ROWS] = {};
        MEANFORCE_UNROLL
        for (int k = 0; k < ROWS; k++) {
            table[k] = filters.table+((long) filters.interval[p]+k)*width;
            if (ROWS > 1 && !FIRST)
                w[k] = broadcast(filters.weights[k*filters.padded+p]);
        }
        if (ROWS == 1)
            slopeTable = filters.slopeTable+(long) filters.interval[p]*width;
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++) {
            const Vector gjv = load(gj+v*LANES);
            const Vector s = load(hj+v*LANES)*gi[v]+gjv*hi[v];
            Vector W;
            if constexpr (ROWS == 1) {
                W = load(table[0]+v*LANES);
                t[0] += load(slopeTable+v*LANES)*s;
            }
            else {
                MEANFORCE_UNROLL
                for (int k = 0; k < ROWS; k++) {
                    const Vector tk = load(table[k]+v*LANES);
                    t[k] += tk*s;
                    if (!FIRST)
                        W = (k == 0 ? tk*w[k] : W+tk*w[k]);
                }
            }
            if (!FIRST) {
                di[v] += W*gjv;
                store(load(dj+v*LANES)+W*gi[v], dj+v*LANES);
            }
        }
        Vector total = t[0];
        if constexpr (ROWS > 1) {
            total *= filters.slopes[p];
            MEANFORCE_UNROLL
            for (int k = 1; k < ROWS; k++)
                total += t[k]*filters.slopes[k*filters.padded+p];
        }
        slope[p] += reduce(total);
    }
    if (!FIRST)
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++)
            store(di[v], sum+v*LANES);
}

// ---- exact filters ----

/** (1+cos(phase))/2, with d(phase)/dr given; slope is its derivative. */
double raisedCosine(double phase, double phaseSlope, double& slope) {
    slope = -0.5*phaseSlope*::sin(phase);
    return 0.5*(1+::cos(phase));
}

double cutoffFunction(const SchNetRadial& radial, double r, double& slope) {
    const double rc = radial.cutoff, r0 = radial.lowerCutoff, u = r/rc;
    switch (radial.cutoffFunction) {
        case CutoffFunction::Polynomial:
            slope = -30*u*u*(1-u)*(1-u)/rc;
            return 1-u*u*u*(10-u*(15-6*u));
        case CutoffFunction::ShiftedCosine:
            slope = 0.0;
            return r <= r0 ? 1.0 : raisedCosine(M_PI*(r-r0)/(rc-r0), M_PI/(rc-r0), slope);
        default:
            slope = 0.0;
            if (r0 == 0.0)
                return raisedCosine(M_PI*u, M_PI/rc, slope);
            return r <= r0 ? 0.0 : raisedCosine(M_PI*(2*(r-r0)/(rc-r0)+1), 2*M_PI/(rc-r0), slope);
    }
}

/** The radial basis of one pair and its derivative. */
void evaluateBasis(const SchNetRadial& radial, double r, float* value, float* slope) {
    double x = r, xSlope = 1.0, factor = 1.0, factorSlope = 0.0;
    if (radial.expNormal) {
        x = ::exp(-radial.alpha*r);
        xSlope = -radial.alpha*x;
        factor = raisedCosine(M_PI*r/radial.cutoff, M_PI/radial.cutoff, factorSlope);
    }
    for (int k = 0; k < radial.numFunctions; k += LANES) {
        const Vector width = load(radial.widths+k), delta = (float) x-load(radial.centers+k);
        const Vector b = exp(-width*delta*delta);
        store((float) factor*b, value+k);
        store(((float) factorSlope-(float) (2*factor*xSlope)*width*delta)*b, slope+k);
    }
}

/** W and dW/dr of some pairs, through the filter network and, for dW/dr, its tangent. */
void evaluateFilters(const SchNetModel& model, const SchNetBlock& block, int count, const float* r, float* W, float* dW, float* scratch) {
    const DenseLayer &first = block.filter[0], &second = block.filter[1];
    const int basisSize = roundUp(first.inputs, LANES), inner = roundUp(first.outputs, LANES);
    float *basis = scratch, *basisSlope = basis+(long) count*basisSize, *z = basisSlope+(long) count*basisSize;
    float *dz = z+(long) count*inner, *slope = dz+(long) count*inner;
    for (int p = 0; p < count; p++)
        evaluateBasis(model.radial, r[p], basis+(long) p*basisSize, basisSlope+(long) p*basisSize);
    forward(first, count, basis, z);
    activate(model.activation, z, slope, (long) count*inner);
    forward(second, count, z, W);
    if (dW != nullptr) {
        DenseLayer tangent = first;
        tangent.biases = nullptr;
        forward(tangent, count, basisSlope, dz);
        multiplyBy(dz, slope, (long) count*inner);
        tangent = second;
        tangent.biases = nullptr;
        forward(tangent, count, dz, dW);
    }
    for (int p = 0; p < count; p++) {
        double fcutSlope;
        const float fcut = (float) cutoffFunction(model.radial, r[p], fcutSlope);
        for (int c = p*model.filters; c < (p+1)*model.filters; c += LANES) {
            const Vector value = load(W+c);
            store(fcut*value, W+c);
            if (dW != nullptr)
                store(fcut*load(dW+c)+(float) fcutSlope*value, dW+c);
        }
    }
}

// ---- loops over pairs ----

int longestBatch(int longestRow) {
    return longestRow > BATCH ? longestRow : BATCH;
}

long pairScratch(const SchNetModel& model, int longestRow) {
    const long padded = roundUp(longestRow, LANES);
    long size = (2*6+1)*padded+longestBatch(longestRow);
    if (model.degree == 0)
        size += longestBatch(longestRow)*(2L*model.filters+2L*roundUp(model.radial.numFunctions, LANES)+3L*model.filters);
    return size;
}

/** Calls body(i, row, filters) for each row i of the thread, with W and, if SLOPES, dW/dr. */
template <int ROWS, bool SLOPES, class Body>
MEANFORCE_INLINE void forEachRow(const SchNetModel& model, const SchNetThread& thread, int block, float* scratch, Body body) {
    const SchNetPairs& pairs = thread.pairs;
    const int padded = roundUp(pairs.longestRow, LANES), longest = longestBatch(pairs.longestRow);
    float *weights = scratch, *slopes = weights+6*padded;
    int* sequence = (int*) (slopes+6*padded);
    float* W = (float*) (sequence+longest);
    float* dW = W+(ROWS == 1 ? (long) longest*model.filters : 0);
    float* more = dW+(ROWS == 1 ? (long) longest*model.filters : 0);
    if (ROWS == 1)
        for (int p = 0; p < longest; p++)
            sequence[p] = p;
    const int numRows = thread.rowEnd-thread.rowBegin;
    int batchBegin = 0, batchEnd = 0;
    for (int i = 0; i < numRows; i++) {
        const int start = pairs.rowStart[i], end = pairs.rowStart[i+1];
        const Row row = {end-start, pairs.bead+start, pairs.target+start};
        Filters filters = {pairs.interval+start, model.blocks[block].table, nullptr, weights, slopes, padded};
        if constexpr (ROWS == 1) {
            if (end > batchEnd) {
                batchBegin = start;
                for (int last = i; last < numRows && (last == i || pairs.rowStart[last+1]-batchBegin <= BATCH); last++)
                    batchEnd = pairs.rowStart[last+1];
                evaluateFilters(model, model.blocks[block], batchEnd-batchBegin, pairs.r+batchBegin, W, SLOPES ? dW : nullptr, more);
            }
            filters.interval = sequence+(start-batchBegin);
            filters.table = W;
            filters.slopeTable = dW;
        }
        else
            for (int p = 0; p < row.count; p += LANES) {
                Vector w[ROWS], dw[ROWS];
                splineWeights<ROWS>(load(pairs.f+start+p), w, dw);
                MEANFORCE_UNROLL
                for (int s = 0; s < ROWS; s++) {
                    store(w[s], weights+s*padded+p);
                    if (SLOPES)
                        store(-model.inverseSpacing*dw[s], slopes+s*padded+p);
                }
            }
        body(i, row, filters);
    }
}

void clear(float* values, long count) {
    memset(values, 0, count*sizeof(float));
}

long bufferRows(const SchNetThread& thread) {
    return thread.rowEnd-thread.rowBegin+thread.numHalo;
}

template <int ROWS, bool FIRST>
void sumMessagesWith(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    const int width = model.filters;
    const float* h = (FIRST ? model.firstFeatures : state.h[block]);
    clear(thread.buffer, bufferRows(thread)*width);
    forEachRow<ROWS, false>(model, thread, block, thread.scratch, [&](int i, const Row& row, Filters filters) __attribute__((always_inline)) {
        const int self = (FIRST ? state.types[thread.rowBegin+i] : thread.rowBegin+i);
        float* sum = thread.buffer+(long) i*width;
        int c = 0;
        auto chunk = [&](auto vectors) __attribute__((always_inline)) {
            constexpr int V = decltype(vectors)::value;
            for (; c+V*LANES <= width; c += V*LANES) {
                messagesOfRow<ROWS, V, FIRST>(row, filters, width, state.types, self, h+c, sum+c, thread.buffer+c);
                filters.table += V*LANES;
            }
        };
        chunk(Constant<MESSAGE_VECTORS>());
        chunk(Constant<MESSAGE_VECTORS/2>());
        chunk(Constant<MESSAGE_VECTORS/4>());
        chunk(Constant<1>());
    });
}

template <int ROWS, bool FIRST>
void sumGradientsWith(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    const int width = model.filters;
    const float* h = (FIRST ? model.firstFeatures : state.h[block]);
    const SchNetPairs& pairs = thread.pairs;
    float *slope = thread.scratch, *scratch = slope+roundUp(pairs.longestRow, LANES);
    const bool last = (block == model.numBlocks-1);
    if (FIRST)
        memset(thread.forces, 0, 3*bufferRows(thread)*sizeof(double));
    else
        clear(thread.buffer, bufferRows(thread)*width);
    forEachRow<ROWS, true>(model, thread, block, scratch, [&](int i, const Row& row, Filters filters) __attribute__((always_inline)) {
        const int bead = thread.rowBegin+i, self = (FIRST ? state.types[bead] : bead), start = pairs.rowStart[i];
        float* sum = thread.buffer+(long) i*width;
        if (last)
            clear(slope, row.count);
        else
            memcpy(slope, pairs.slope+start, row.count*sizeof(float));
        int c = 0;
        auto chunk = [&](auto vectors) __attribute__((always_inline)) {
            constexpr int V = decltype(vectors)::value;
            for (; c+V*LANES <= width; c += V*LANES) {
                gradientsOfRow<ROWS, V, FIRST>(row, filters, width, state.types, self, h+c, state.g+c, bead, slope, sum+c, thread.buffer+c);
                filters.table += V*LANES;
                if (ROWS == 1)
                    filters.slopeTable += V*LANES;
            }
        };
        chunk(Constant<GRADIENT_VECTORS>());
        chunk(Constant<GRADIENT_VECTORS/2>());
        chunk(Constant<GRADIENT_VECTORS/4>());
        chunk(Constant<1>());
        if (FIRST) {
            double* own = thread.forces+3L*i;
            for (int p = 0; p < row.count; p++) {
                double* other = thread.forces+3L*row.target[p];
                const double direction[3] = {pairs.x[start+p], pairs.y[start+p], pairs.z[start+p]};
                for (int k = 0; k < 3; k++) {
                    own[k] += slope[p]*direction[k];
                    other[k] -= slope[p]*direction[k];
                }
            }
        }
        else
            memcpy(pairs.slope+start, slope, row.count*sizeof(float));
    });
}

template <int ROWS>
void sumMessagesOf(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    if (block == 0)
        sumMessagesWith<ROWS, true>(model, state, thread, block);
    else
        sumMessagesWith<ROWS, false>(model, state, thread, block);
}

template <int ROWS>
void sumGradientsOf(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    if (block == 0)
        sumGradientsWith<ROWS, true>(model, state, thread, block);
    else
        sumGradientsWith<ROWS, false>(model, state, thread, block);
}

void sumMessages(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    switch (model.degree) {
        case 3: sumMessagesOf<4>(model, state, thread, block); break;
        case 5: sumMessagesOf<6>(model, state, thread, block); break;
        default: sumMessagesOf<1>(model, state, thread, block);
    }
}

void sumGradients(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block) {
    switch (model.degree) {
        case 3: sumGradientsOf<4>(model, state, thread, block); break;
        case 5: sumGradientsOf<6>(model, state, thread, block); break;
        default: sumGradientsOf<1>(model, state, thread, block);
    }
}

// ---- loops over beads ----

/** Calls add(row of the buffer, bead) for everything that any thread has summed for beads begin .. end-1. */
template <class Add>
MEANFORCE_INLINE void forEachPart(const SchNetState& state, int begin, int end, Add add) {
    for (int t = 0; t < state.numThreads; t++) {
        const SchNetThread& source = state.threads[t];
        const int numRows = source.rowEnd-source.rowBegin;
        for (int i = (begin > source.rowBegin ? begin : source.rowBegin); i < end && i < source.rowEnd; i++)
            add(source, i-source.rowBegin, i);
        int low = 0, high = source.numHalo;
        while (low < high) {
            const int middle = (low+high)/2;
            if (source.halo[middle] < begin)
                low = middle+1;
            else
                high = middle;
        }
        for (; low < source.numHalo && source.halo[low] < end; low++)
            add(source, numRows+low, source.halo[low]);
    }
}

/** The sums of all threads for beads begin .. end-1. */
void collect(const SchNetState& state, int width, int begin, int end, float* sum) {
    clear(sum, (long) (end-begin)*width);
    forEachPart(state, begin, end, [&](const SchNetThread& source, int row, int bead) __attribute__((always_inline)) {
        const float* part = source.buffer+(long) row*width;
        float* target = sum+(long) (bead-begin)*width;
        for (int c = 0; c < width; c += LANES)
            store(load(target+c)+load(part+c), target+c);
    });
}

int widest(const SchNetModel& model) {
    int width = (model.hidden > model.filters ? model.hidden : model.filters);
    for (int k = 0; k < model.numOutputLayers; k++) {
        const int outputs = roundUp(model.outputLayers[k].outputs, LANES);
        width = (outputs > width ? outputs : width);
    }
    return width;
}

long tileScratch(const SchNetModel& model) {
    return (long) TILE*widest(model)*(3+model.numOutputLayers);
}

long getScratchSize(const SchNetModel& model, int longestRow) {
    const long pairs = pairScratch(model, longestRow), tiles = tileScratch(model);
    return pairs > tiles ? pairs : tiles;
}

/** dU/dm of a block, given dU/dy after it and the slopes of its activation. */
void backThroughBlock(const SchNetModel& model, const SchNetBlock& block, int count, const float* gradient, const float* slopes, float* buffer, float* g) {
    backward(block.lin3, count, gradient, buffer);
    multiplyBy(buffer, slopes, (long) count*model.hidden);
    backward(block.lin2, count, buffer, g);
}

/** Energies of some beads, and the way back to dU/dy: y is replaced by it. */
void evaluateOutput(const SchNetModel& model, const SchNetState& state, int begin, int count, float* y, float* scratch) {
    const int size = TILE*widest(model), numLayers = model.numOutputLayers;
    float* slopes = scratch+2*size;
    float* x = y;
    for (int k = 0; k < numLayers; k++) {
        const DenseLayer& layer = model.outputLayers[k];
        float* next = scratch+(k%2)*size;
        forward(layer, count, x, next);
        x = next;
        activate(model.activation, x, slopes+k*size, (long) count*roundUp(layer.outputs, LANES));
    }
    const int width = model.outputWidth;
    for (int i = 0; i < count; i++)
        for (int output = 0; output < model.numReadouts; output++) {
            Vector sum = {};
            for (int c = 0; c < width; c += LANES)
                sum += load(x+i*width+c)*load(model.readout[output]+c);
            state.energies[2*(begin+i)+output] = reduce(sum)+model.readoutBias[output];
        }
    if (!state.includeForces)
        return;
    float* gradient = (numLayers == 0 ? y : scratch+(numLayers%2)*size);
    for (int i = 0; i < count; i++)
        memcpy(gradient+i*width, state.readoutGradient, width*sizeof(float));
    for (int k = numLayers-1; k >= 0; k--) {
        multiplyBy(gradient, slopes+k*size, (long) count*roundUp(model.outputLayers[k].outputs, LANES));
        float* next = (k == 0 ? y : scratch+(k%2)*size);
        backward(model.outputLayers[k], count, gradient, next);
        gradient = next;
    }
}

void updateBeads(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int b) {
    const SchNetBlock& block = model.blocks[b];
    const int H = model.hidden, F = model.filters, size = TILE*widest(model);
    const bool last = (b == model.numBlocks-1);
    float *m = thread.scratch, *z = m+size;
    for (int begin = thread.beadBegin; begin < thread.beadEnd; begin += TILE) {
        const int end = (begin+TILE < thread.beadEnd ? begin+TILE : thread.beadEnd), count = end-begin;
        float *y = state.y+(long) begin*H, *slopes = state.slopes[b]+(long) begin*H;
        collect(state, F, begin, end, m);
        forward(block.lin2, count, m, z);
        activate(model.activation, z, slopes, (long) count*H);
        if (b == 0)
            for (int i = 0; i < count; i++)
                memcpy(y+(long) i*H, model.embedding+(long) state.types[begin+i]*H, H*sizeof(float));
        addForward(block.lin3, count, z, y);
        if (!last)
            forward(model.blocks[b+1].lin1, count, y, state.h[b+1]+(long) begin*F);
        else {
            evaluateOutput(model, state, begin, count, y, m);
            if (state.includeForces)
                backThroughBlock(model, block, count, y, slopes, m, state.g+(long) begin*F);
        }
    }
}

void updateGradients(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int b) {
    const int H = model.hidden, F = model.filters;
    float *d = thread.scratch, *buffer = d+TILE*widest(model);
    for (int begin = thread.beadBegin; begin < thread.beadEnd; begin += TILE) {
        const int end = (begin+TILE < thread.beadEnd ? begin+TILE : thread.beadEnd), count = end-begin;
        float* gradient = state.y+(long) begin*H;
        collect(state, F, begin, end, d);
        addBackward(model.blocks[b].lin1, count, d, gradient);
        backThroughBlock(model, model.blocks[b-1], count, gradient, state.slopes[b-1]+(long) begin*H, buffer, state.g+(long) begin*F);
    }
}

void sumForces(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread) {
    for (long k = 3L*thread.beadBegin; k < 3L*thread.beadEnd; k++)
        state.forces[k] = 0.0;
    forEachPart(state, thread.beadBegin, thread.beadEnd, [&](const SchNetThread& source, int row, int bead) {
        for (int k = 0; k < 3; k++)
            state.forces[3*bead+k] += source.forces[3*row+k];
    });
}

}

namespace MEANFORCE_INSTRUCTION_SET {

extern const SchNetKernels schNetKernels;
const SchNetKernels schNetKernels = {LANES, getScratchSize, sumMessages, updateBeads, sumGradients, updateGradients, sumForces};

}
}
