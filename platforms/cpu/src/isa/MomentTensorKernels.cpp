// SPDX-License-Identifier: MIT
#include "MomentTensorKernels.h"
#include "DenseKernels.h"
#include "InstructionSet.h"
#include "meanforce/internal/SphericalHarmonics.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#include <utility>

namespace meanforce {
namespace {

/** Beads that pass through the network together. */
constexpr int TILE = 48;
/** A pair's force is limited to this many kJ/mol/nm, so that sums of fixed-point numbers stay in range. */
constexpr float LARGEST_FORCE = 1e8f;
constexpr float FIXED_POINT = 4294967296.0f;

template <int L>
constexpr int MOMENTS = (L+1)*(L+1);

/** Whether the derivative of Y_lm with respect to x, y or z is more than 0. */
constexpr bool HAS_GRADIENT[25][3] = {
    {0, 0, 0},
    {0, 1, 0}, {0, 0, 1}, {1, 0, 0},
    {1, 1, 0}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {1, 1, 0},
    {1, 1, 0}, {1, 1, 1}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {1, 1, 0},
    {1, 1, 0}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 0}
};

// ---- rows of neighbours ----

/** The vectors to all neighbours of a bead within the cutoff, and the squares of their lengths. */
struct RowScratch {
    double* r2;
    float *x, *y, *z;
    int* place;
};

constexpr int HALF = LANES/2;
typedef double DoubleVector __attribute__((vector_size(8*HALF)));
typedef std::int64_t LongVector __attribute__((vector_size(8*HALF)));
typedef std::uint64_t UnsignedVector __attribute__((vector_size(8*HALF)));
typedef float HalfVector __attribute__((vector_size(4*HALF)));
typedef int HalfIntVector __attribute__((vector_size(4*HALF)));

MEANFORCE_INLINE DoubleVector loadDoubles(const double* source) {
    DoubleVector result;
    std::memcpy(&result, source, sizeof(result));
    return result;
}

MEANFORCE_INLINE void storeFloats(const DoubleVector& source, float* target) {
    const HalfVector floats = __builtin_convertvector(source, HalfVector);
    std::memcpy(target, &floats, sizeof(floats));
}

/** The lanes that a condition, -1 or 0 in each lane, selects. */
template <class Condition>
MEANFORCE_INLINE unsigned selected(const Condition& condition) {
#if defined(__AVX512F__)
    if constexpr (sizeof(condition[0]) == 8)
        return _mm512_movepi64_mask((__m512i) condition);
    else
        return _mm512_movepi32_mask((__m512i) condition);
#else
    unsigned mask = 0;
    for (unsigned lane = 0; lane < sizeof(condition)/sizeof(condition[0]); lane++)
        mask |= (unsigned) (condition[lane]&1)<<lane;
    return mask;
#endif
}

/** The lanes before `count`. */
MEANFORCE_INLINE unsigned firstLanes(int count) {
    return count < LANES ? (1u<<count)-1 : (1u<<(LANES-1))*2-1;
}

/** Move the selected of the values in one vector to the front.  Values behind them may be overwritten too. */
MEANFORCE_INLINE void pack(unsigned mask, const double* from, double* to) {
#if defined(__AVX512F__)
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd((__mmask8) mask, _mm512_loadu_pd(from)));
#else
    for (int lane = 0, n = 0; lane < HALF; n += (mask>>lane)&1, lane++)
        to[n] = from[lane];
#endif
}

MEANFORCE_INLINE void pack(unsigned mask, const int* from, int* to) {
#if defined(__AVX512F__)
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16) mask, _mm512_loadu_si512(from)));
#else
    for (int lane = 0, n = 0; lane < LANES; n += (mask>>lane)&1, lane++)
        to[n] = from[lane];
#endif
}

MEANFORCE_INLINE void pack(unsigned mask, const float* from, float* to) {
#if defined(__AVX512F__)
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps((__mmask16) mask, _mm512_loadu_ps(from)));
#else
    for (int lane = 0, n = 0; lane < LANES; n += (mask>>lane)&1, lane++)
        to[n] = from[lane];
#endif
}

/** 1/sqrt(x) for x > 0, to rounding: a good guess and Newton's method, much faster than root and division. */
MEANFORCE_INLINE DoubleVector inverseRoot(const DoubleVector& x) {
    DoubleVector y;
#if defined(__AVX512F__)
    constexpr int STEPS = 2;
    y = (DoubleVector) _mm512_maskz_rsqrt14_pd(0xff, (__m512d) x);
#else
    constexpr int STEPS = 4;
    UnsignedVector bits;
    std::memcpy(&bits, &x, sizeof(bits));
    bits = 0x5fe6eb50c7b537a9-(bits >> 1);
    std::memcpy(&y, &bits, sizeof(y));
#endif
    const DoubleVector half = 0.5*x;
    MEANFORCE_UNROLL
    for (int k = 0; k < STEPS; k++)
        y += y*(0.5-half*y*y);
    return y;
}

/** The nearest integers.  Adding 1.5*2^52 rounds. */
MEANFORCE_INLINE DoubleVector nearest(const DoubleVector& x) {
    const double shift = 6755399441055744.0;
    return (x+shift)-shift;
}

/** One coordinate of the beads at some places. */
MEANFORCE_INLINE DoubleVector gatherCoordinate(const MomentTensorBead* beads, const int* places, int axis) {
    static_assert(sizeof(MomentTensorBead) == 4*sizeof(double));
#if defined(__AVX512F__)
    HalfIntVector index;
    std::memcpy(&index, places, sizeof(index));
    return (DoubleVector) _mm512_mask_i32gather_pd(_mm512_setzero_pd(), 0xff, (__m256i) (index*4), beads[0].position+axis, sizeof(double));
#else
    DoubleVector result;
    for (int lane = 0; lane < HALF; lane++)
        result[lane] = beads[places[lane]].position[axis];
    return result;
#endif
}

/** The particles at some places. */
MEANFORCE_INLINE IntVector gatherParticles(const MomentTensorBead* beads, const int* places) {
#if defined(__AVX512F__)
    IntVector index;
    std::memcpy(&index, places, sizeof(index));
    return (IntVector) _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, (__m512i) (index*8), &beads[0].particle, sizeof(int));
#else
    IntVector result;
    for (int lane = 0; lane < LANES; lane++)
        result[lane] = beads[places[lane]].particle;
    return result;
#endif
}

/**
 * Find the vectors to the nearest images, as the Reference platform does, of all candidates within the cutoff.  Returns their
 * number; arrays have room for one vector more than the candidates.
 */
int findNear(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row, const RowScratch& near) {
    const double* from = geometry.beads[row.place].position;
    // OpenMM's boxes are lower triangular.
    const double *box = geometry.box, *inverse = geometry.inverseBox;
    const double cutoff2 = model.cutoff*model.cutoff;
    int count = 0;
    for (int k = 0; k < row.count; k += LANES) {
        // What lies beyond the last candidate is the bead itself, which is not selected.
        const int lanes = (row.count-k < LANES ? row.count-k : LANES);
        int place[LANES];
        if (lanes == LANES)
            for (int lane = 0; lane < LANES; lane++)
                place[lane] = (int) (row.neighbors[k+lane]>>5);
        else
            for (int lane = 0; lane < LANES; lane++)
                place[lane] = (lane < lanes ? (int) (row.neighbors[k+lane]>>5) : row.place);
        float delta[3][LANES];
        double r2[LANES];
        unsigned mask = 0;
        MEANFORCE_UNROLL
        for (int first = 0; first < LANES; first += HALF) {
            DoubleVector x = gatherCoordinate(geometry.beads, place+first, 0)-from[0];
            DoubleVector y = gatherCoordinate(geometry.beads, place+first, 1)-from[1];
            DoubleVector z = gatherCoordinate(geometry.beads, place+first, 2)-from[2];
            if (geometry.periodic) {
                const DoubleVector c = nearest(z*inverse[2]);
                x -= c*box[6];
                y -= c*box[7];
                z -= c*box[8];
                const DoubleVector b = nearest(y*inverse[1]);
                x -= b*box[3];
                y -= b*box[4];
                x -= nearest(x*inverse[0])*box[0];
            }
            const DoubleVector square = x*x+y*y+z*z;
            storeFloats(x, delta[0]+first);
            storeFloats(y, delta[1]+first);
            storeFloats(z, delta[2]+first);
            std::memcpy(r2+first, &square, sizeof(square));
            mask |= selected((LongVector) (square < cutoff2)) << first;
        }
        mask &= firstLanes(lanes);
        pack(mask, delta[0], near.x+count);
        pack(mask, delta[1], near.y+count);
        pack(mask, delta[2], near.z+count);
        pack(mask, place, near.place+count);
        const unsigned low = mask&((1u<<HALF)-1);
        pack(low, r2, near.r2+count);
        pack(mask>>HALF, r2+HALF, near.r2+count+__builtin_popcount(low));
        count += __builtin_popcount(mask);
    }
    return count;
}

/** Write all pairs within the cutoff.  Returns their number; places beyond them, in the last vector, are valid ones. */
int findPairs(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row, const RowScratch& near, const MomentTensorPairs& pairs) {
    const int count = findNear(model, geometry, row, near);
    for (int e = count; e%LANES != 0; e++) {
        near.x[e] = near.y[e] = near.z[e] = 0.0f;
        near.r2[e] = model.cutoff*model.cutoff;
        near.place[e] = row.place;
    }
    for (int e = 0; e < count; e += LANES) {
        MEANFORCE_UNROLL
        for (int part = e; part < e+LANES; part += HALF) {
            const DoubleVector r2 = loadDoubles(near.r2+part);
            // Two beads at the same point have no direction.
            const DoubleVector inverseR = r2 > 0.0 ? inverseRoot(r2) : 0.0*r2;
            DoubleVector u = (model.cutoff-r2*inverseR)*model.inverseSpacing;
            const DoubleVector last = 0.0*r2+(double) (model.numIntervals-1);
            u = u > 0.0 ? u : 0.0*r2;    // may be negative by rounding
            u = u < last ? u : last;
            const HalfIntVector interval = __builtin_convertvector(u, HalfIntVector);
            std::memcpy(pairs.interval+part, &interval, sizeof(interval));
            storeFloats(u-__builtin_convertvector(interval, DoubleVector), pairs.f+part);
            storeFloats(inverseR, pairs.inverseR+part);
        }
        const Vector inverseR = load(pairs.inverseR+e);
        store(load(near.x+e)*inverseR, pairs.x+e);
        store(load(near.y+e)*inverseR, pairs.y+e);
        store(load(near.z+e)*inverseR, pairs.z+e);
    }
    std::memcpy(pairs.place, near.place, sizeof(int)*roundUp(count, LANES));
    return count;
}

/**
 * Copy the pairs that the row owns.  Each of the two beads must come to the same answer, whatever their places are, and each
 * should own about half of its pairs.  Returns their number.
 */
int copyOwned(const MomentTensorBead* beads, int place, int count, const MomentTensorPairs& pairs, const MomentTensorPairs& owned) {
    const int particle = beads[place].particle;
    int n = 0;
    for (int e = 0; e < count; e += LANES) {
        const IntVector other = gatherParticles(beads, pairs.place+e);
        const IntVector odd = ((other+particle)&1) != 0, above = other > particle;
        const unsigned mask = selected(odd == above)&firstLanes(count-e);
        pack(mask, pairs.place+e, owned.place+n);
        pack(mask, pairs.interval+e, owned.interval+n);
        for (auto member : {&MomentTensorPairs::f, &MomentTensorPairs::x, &MomentTensorPairs::y, &MomentTensorPairs::z, &MomentTensorPairs::inverseR})
            pack(mask, pairs.*member+e, owned.*member+n);
        n += __builtin_popcount(mask);
    }
    return n;
}

// ---- moments ----

/** Scratch of the first pass, in floats for each pair: what is near, then the pairs; harmonics follow. */
constexpr int ROW_FLOATS = 2+4+7;

#if defined(__AVX512F__)
/** Vectors of channels that share what is loaded of a pair. */
constexpr int SHARED = 2;
/** The most sums that registers hold beside what a pair needs. */
constexpr int LARGEST_SUM = 25;
#else
constexpr int SHARED = 1;
constexpr int LARGEST_SUM = 9;
#endif

/** Moments of degrees l to the result's are summed together. */
template <int L, int V>
constexpr int lastDegree(int l) {
    int last = l;
    while (last < L && ((last+2)*(last+2)-l*l)*V <= LARGEST_SUM)
        last++;
    return last;
}

/** W(f) = t_0 + t_1 f + t_2 f^2 + t_3 f^3. */
MEANFORCE_INLINE Vector evaluateFilter(const float* t, const Vector& f) {
    return load(t)+f*(load(t+LANES)+f*(load(t+2*LANES)+f*load(t+3*LANES)));
}

/** The same, and dW/df. */
MEANFORCE_INLINE Vector evaluateFilter(const float* t, const Vector& f, Vector& slope) {
    const Vector t3 = load(t+3*LANES), first = load(t+2*LANES)+f*t3, second = load(t+LANES)+f*first;
    slope = second+f*(first+f*t3);
    return load(t)+f*second;
}

/** Compute the moments of degrees FIRST to L of V vectors of channels from c on.  Y holds the harmonics, one block for each vector of pairs. */
template <int L, int V, int FIRST = 0>
MEANFORCE_INLINE void sumMoments(const MomentTensorModel& model, const int* types, int count, const MomentTensorPairs& pairs, const float* Y, int c, float* moments) {
    constexpr int M = MOMENTS<L>, LAST = lastDegree<L, V>(FIRST), BEGIN = FIRST*FIRST, END = (LAST+1)*(LAST+1);
    constexpr int PER_VECTOR = (L+1)*4*LANES;
    const int width = model.width, perInterval = (L+1)*4*width;
    Vector sum[END-BEGIN][V] = {};
    for (int e = 0; e < count; e++) {
        const float *Ye = Y+(long) (e/LANES)*M*LANES+e%LANES, *table = model.table+(long) pairs.interval[e]*perInterval+c/LANES*PER_VECTOR;
        const Vector f = broadcast(pairs.f[e]);
        MEANFORCE_UNROLL
        for (int l = FIRST; l <= LAST; l++) {
            Vector W[V];
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++) {
                W[v] = evaluateFilter(table+l*4*LANES+v*PER_VECTOR, f);
                if (!model.oneType)
                    W[v] *= load(model.typeWeights+(long) types[pairs.place[e]]*width+c+v*LANES);
            }
            MEANFORCE_UNROLL
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                MEANFORCE_UNROLL
                for (int v = 0; v < V; v++)
                    sum[lm-BEGIN][v] += W[v]*Ye[lm*LANES];
        }
    }
    MEANFORCE_UNROLL
    for (int lm = BEGIN; lm < END; lm++)
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++)
            store(sum[lm-BEGIN][v], moments+(c/LANES+v)*M*LANES+lm*LANES);
    if constexpr (LAST < L)
        sumMoments<L, V, LAST+1>(model, types, count, pairs, Y, c, moments);
}

template <int L>
int momentsOfRow(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row,
        const MomentTensorPairs& owned, float* scratch, float* moments) {
    constexpr int M = MOMENTS<L>;
    const int room = roundUp(row.count, LANES)+LANES;    // packing overwrites one vector
    float *n = scratch+2L*room, *p = n+4L*room;
    const RowScratch near = {(double*) scratch, n, n+room, n+2*room, (int*) (n+3*room)};
    const MomentTensorPairs pairs = {(int*) p, (int*) (p+room), p+2*room, p+3*room, p+4*room, p+5*room, p+6*room};
    float* harmonics = p+7L*room;
    const int count = findPairs(model, geometry, row, near, pairs);
    const int numOwned = copyOwned(geometry.beads, row.place, count, pairs, owned);
    for (int e = 0; e < count; e += LANES) {
        Vector Y[M];
        sphericalHarmonics<L, Vector, float>(load(pairs.x+e), load(pairs.y+e), load(pairs.z+e), Y);
        for (int lm = 0; lm < M; lm++)
            store(Y[lm], harmonics+(long) e*M+lm*LANES);
    }
    int c = 0;
    for (; c+SHARED*LANES <= model.width; c += SHARED*LANES)
        sumMoments<L, SHARED>(model, geometry.types, count, pairs, harmonics, c, moments);
    for (; c < model.width; c += LANES)
        sumMoments<L, 1>(model, geometry.types, count, pairs, harmonics, c, moments);
    return numOwned;
}

// ---- the network ----

/** 0 in lanes beyond the last channel, whatever they held. */
MEANFORCE_INLINE Vector channelsOnly(const Vector& x, int first, int channels) {
    IntVector lanes;
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = lane;
    return floatsOf(bitsOf(x) & (lanes < channels-first));
}

/** Where the moments lm of one bead begin, for the vector of channels from c on. */
MEANFORCE_INLINE long momentsAt(const MomentTensorModel& model, int lm, int c) {
    return ((long) c/LANES*(model.maxL+1)*(model.maxL+1)+lm)*LANES;
}

/** The rows that products are made of: moments, then their copies with shifted channels.  Copies' padding is not set. */
void fillRows(const MomentTensorModel& model, const float* moments, float* rows) {
    const int width = model.width, channels = model.channels, numMoments = (model.maxL+1)*(model.maxL+1);
    for (int lm = 0; lm < numMoments; lm++)
        for (int c = 0; c < width; c += LANES)
            store(load(moments+momentsAt(model, lm, c)), rows+lm*width+c);
    for (int k = 0; k < model.numCopies; k++) {
        const float* from = rows+model.copiedFrom[k]*width;
        float* to = rows+(numMoments+k)*width;
        const int shift = model.copyShift[k];
        std::memcpy(to, from+shift, sizeof(float)*(channels-shift));
        std::memcpy(to+channels-shift, from, sizeof(float)*shift);
    }
}

/**
 * One product for one vector of channels, and, given its derivative g, additions to the derivatives by each row.  Terms come
 * in lexicographic order, so that what belongs to the first factors is loaded and stored once for many terms.
 */
template <bool GRADIENTS>
MEANFORCE_INLINE Vector multiplyMoments(const MomentTensorTerm* term, const MomentTensorTerm* end, int width, const float* rows, const Vector& g, float* gradients) {
    Vector sum = {};
    while (term != end) {
        const int first = term->rows[0];
        const Vector a = load(rows+first*width);
        const Vector ga = g*a;
        Vector byFirst = {};
        while (term != end && term->rows[0] == first) {
            const int second = term->rows[1];
            const Vector b = load(rows+second*width);
            const Vector gab = ga*b;
            Vector others = {};
            for (; term != end && term->rows[0] == first && term->rows[1] == second; term++) {
                if (term->rows[2] < 0)
                    others += term->value;
                else {
                    others += term->value*load(rows+term->rows[2]*width);
                    if (GRADIENTS) {
                        float* third = gradients+term->rows[2]*width;
                        store(load(third)+gab*term->value, third);
                    }
                }
            }
            byFirst += b*others;
            if (GRADIENTS)
                store(load(gradients+second*width)+ga*others, gradients+second*width);
        }
        sum += a*byFirst;
        if (GRADIENTS)
            store(load(gradients+first*width)+g*byFirst, gradients+first*width);
    }
    return sum;
}

/** The features of one bead; what is stored beyond a row's channels is overwritten by the next row. */
void computeFeatures(const MomentTensorModel& model, const float* moments, float* rows, float* x) {
    const int L = model.maxL, channels = model.channels, width = model.width;
    for (int c = 0; c < width; c += LANES)
        store(load(moments+momentsAt(model, 0, c)), x+c);
    for (int l = 0; l <= L; l++)
        for (int c = 0; c < width; c += LANES) {
            Vector sum = {};
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                const Vector m = load(moments+momentsAt(model, lm, c));
                sum += m*m;
            }
            store(sum, x+(l+1)*channels+c);
        }
    if (model.numProducts > 0)
        fillRows(model, moments, rows);
    for (int p = 0; p < model.numProducts; p++)
        for (int c = 0; c < width; c += LANES)
            store(multiplyMoments<false>(model.terms+model.productStart[p], model.terms+model.productStart[p+1], width, rows+c, Vector{}, nullptr),
                    x+(L+2+p)*channels+c);
}

/** Add the products' part of dU/dM to `gradients`. */
void differentiateProducts(const MomentTensorModel& model, const float* rows, const float* dUdx, float* rowGradients, float* gradients) {
    const int L = model.maxL, channels = model.channels, width = model.width, numMoments = (L+1)*(L+1);
    std::memset(rowGradients, 0, sizeof(float)*(numMoments+model.numCopies)*width);
    for (int p = 0; p < model.numProducts; p++)
        for (int c = 0; c < width; c += LANES)
            multiplyMoments<true>(model.terms+model.productStart[p], model.terms+model.productStart[p+1], width, rows+c,
                    load(dUdx+(L+2+p)*channels+c), rowGradients+c);
    for (int k = 0; k < model.numCopies; k++) {
        const float* from = rowGradients+(numMoments+k)*width;
        float* to = rowGradients+model.copiedFrom[k]*width;
        const int shift = model.copyShift[k];
        for (int c = 0; c < channels-shift; c++)
            to[c+shift] += from[c];
        for (int c = channels-shift; c < channels; c++)
            to[c+shift-channels] += from[c];
    }
    for (int k = 0; k < numMoments; k++)
        for (int c = 0; c < width; c += LANES) {
            float* gradient = gradients+momentsAt(model, k, c);
            store(load(gradient)+channelsOnly(load(rowGradients+k*width+c), c, channels), gradient);
        }
}

/** Replace the moments of one bead by dU/dM. */
void momentGradients(const MomentTensorModel& model, const float* dUdx, float* rows, float* moments) {
    const int L = model.maxL, channels = model.channels, width = model.width;
    if (model.numProducts > 0)
        fillRows(model, moments, rows);
    for (int c = 0; c < width; c += LANES) {
        for (int l = 0; l <= L; l++) {
            const Vector twice = 2.0f*channelsOnly(load(dUdx+(l+1)*channels+c), c, channels);
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                float* moment = moments+momentsAt(model, lm, c);
                store(load(moment)*twice, moment);
            }
        }
        float* first = moments+momentsAt(model, 0, c);
        store(load(first)+channelsOnly(load(dUdx+c), c, channels), first);
    }
    if (model.numProducts > 0)
        differentiateProducts(model, rows, dUdx, rows+((L+1)*(L+1)+model.numCopies)*width, moments);
}

long productFloats(const MomentTensorModel& model) {
    return model.numProducts == 0 ? 0 : (2L*model.numCopies+2L*(model.maxL+1)*(model.maxL+1))*model.width;
}

/** Floats that the network of one bead needs: features, and values and slopes of the hidden layers. */
long networkFloats(const MomentTensorModel& model) {
    long size = 2*roundUp(model.numFeatures, LANES), widest = 0;
    for (int k = 0; k < model.numHidden; k++) {
        const long width = roundUp(model.hidden[k].outputs, LANES);
        size += 2*width;
        widest = width > widest ? width : widest;
    }
    return size+2*widest;
}

void evaluateNetwork(const MomentTensorModel& model, int type, int count, const float* seed, float* moments, float* outputs, float* scratch) {
    const int features = roundUp(model.numFeatures, LANES), size = (model.maxL+1)*(model.maxL+1)*model.width;
    const DenseLayer* hidden = model.hidden+(long) type*model.numHidden;
    // Storing and loading whole vectors goes beyond the last row of channels.
    float *rows = scratch, *x = rows+productFloats(model), *next = x+(long) count*features+model.width;
    if (model.numHidden == 0)
        std::memset(x, 0, sizeof(float)*count*features);    // the readout reads whole vectors
    for (int i = 0; i < count; i++)
        computeFeatures(model, moments+(long) i*size, rows, x+(long) i*features);
    const float* input = x;
    float *values[2], *slopes = next;
    long widest = 0;
    for (int k = 0; k < model.numHidden; k++) {
        const long width = roundUp(hidden[k].outputs, LANES);
        widest = width > widest ? width : widest;
        next += count*width;
    }
    values[0] = next;
    values[1] = next+count*widest;
    float* slope = slopes;
    for (int k = 0; k < model.numHidden; k++) {
        const long width = roundUp(hidden[k].outputs, LANES);
        forward(hidden[k], count, input, values[k%2]);
        activate(model.activation, values[k%2], slope, count*width);
        input = values[k%2];
        slope += count*width;
    }
    // The readout, and its gradient times the slopes of the last hidden layer.
    const int width = model.readoutWidth;
    const float* readout = model.readout+(long) type*model.numReadouts*width;
    const int last = model.numHidden-1;
    if (last >= 0)
        slope -= (long) count*width;
    float* gradient = values[(last+2)%2 == 0 ? 1 : 0];
    for (int i = 0; i < count; i++) {
        for (int o = 0; o < model.numReadouts; o++) {
            Vector sum = {};
            for (int k = 0; k < width; k += LANES)
                sum += load(input+(long) i*width+k)*load(readout+o*width+k);
            outputs[i*model.numReadouts+o] = reduce(sum)+model.readoutBias[type*model.numReadouts+o];
        }
    }
    if (last < 0)
        gradient = x;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < width; k += LANES) {
            Vector g = seed[0]*load(readout+k);
            if (model.numReadouts == 2)
                g += seed[1]*load(readout+width+k);
            store(last < 0 ? g : g*load(slope+(long) i*width+k), gradient+(long) i*width+k);
        }
    for (int k = last; k >= 0; k--) {
        float* result = (k == 0 ? x : (gradient == values[0] ? values[1] : values[0]));
        backward(hidden[k], count, gradient, result);
        if (k > 0) {
            const long inner = roundUp(hidden[k].inputs, LANES);
            slope -= count*inner;
            multiplyBy(result, slope, count*inner);
        }
        gradient = result;
    }
    for (int i = 0; i < count; i++)
        momentGradients(model, x+(long) i*features, rows, moments+(long) i*size);
}

// ---- forces ----

/** Add the halves of each block of 2*W lanes: of a into its first half, of b into its second. */
template <int W, int... LANE>
MEANFORCE_INLINE Vector addHalves(const Vector& a, const Vector& b, std::integer_sequence<int, LANE...>) {
    return __builtin_shuffle(a, b, IntVector{(LANE/W%2 == 0 ? LANE : LANE-W+LANES)...})+
            __builtin_shuffle(a, b, IntVector{(LANE/W%2 == 0 ? LANE+W : LANE+LANES)...});
}

/** Lane k of the result is the sum over row k of as many rows as there are lanes. */
template <int W = LANES/2>
MEANFORCE_INLINE Vector sumRows(Vector* rows) {
    MEANFORCE_UNROLL
    for (int k = 0; k < W; k++)
        rows[k] = addHalves<W>(rows[k], rows[k+W], std::make_integer_sequence<int, LANES>());
    if constexpr (W > 1)
        return sumRows<W/2>(rows);
    else
        return rows[0];
}

/** Forces in units of 2^-32. */
MEANFORCE_INLINE void toFixedPoint(const Vector& force, std::int64_t* result) {
    Vector x = (force < LARGEST_FORCE ? force : broadcast(LARGEST_FORCE));    // also NaN
    x = (x > -LARGEST_FORCE ? x : broadcast(-LARGEST_FORCE))*FIXED_POINT;
    HalfVector halves[2];
    std::memcpy(halves, &x, sizeof(x));
    const LongVector integers[2] = {__builtin_convertvector(halves[0], LongVector), __builtin_convertvector(halves[1], LongVector)};
    std::memcpy(result, integers, sizeof(integers));
}

/** Harmonics and their gradients: four rows for each lm. */
template <int L>
MEANFORCE_INLINE void fillHarmonics(int count, const MomentTensorPairs& pairs, float* harmonics) {
    constexpr int M = MOMENTS<L>;
    for (int e = 0; e < count; e += LANES) {
        Vector Y[M], Yx[M], Yy[M], Yz[M];
        const Vector x = load(pairs.x+e), y = load(pairs.y+e), z = load(pairs.z+e);
        sphericalHarmonics<L, Vector, float>(x, y, z, Y);
        sphericalHarmonicGradients<L, Vector, float>(x, y, z, Yx, Yy, Yz);
        float* block = harmonics+(long) e*4*M;
        for (int lm = 0; lm < M; lm++) {
            store(Y[lm], block+4*lm*LANES);
            store(Yx[lm], block+(4*lm+1)*LANES);
            store(Yy[lm], block+(4*lm+2)*LANES);
            store(Yz[lm], block+(4*lm+3)*LANES);
        }
    }
}

/**
 * Compute, or add to, four sums over channels for each pair, in rows of so many pairs as there is `room` for: the gradient of the
 * harmonics, weighted by filters and G, and the derivative by f.  G_i pulls on the neighbour through M_i, and G_j on the bead through M_j; Y_lm(-n) = (-1)^l Y_lm(n).
 */
template <int L, bool ONE_TYPE, int V>
MEANFORCE_INLINE void sumGradients(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
        const float* gradients, const float* harmonics, int c, int room, float* sums) {
    // So many pairs are summed over channels at a time.
    constexpr int GROUPED = LANES/4;
    float partial[LANES*LANES] = {};
    constexpr int M = MOMENTS<L>, PER_VECTOR = (L+1)*4*LANES;
    const int width = model.width, perInterval = (L+1)*4*width;
    const float *Gi = gradients+((long) place*width+c)*M, *ai = model.typeWeights+(long) types[place]*width+c;
    for (int e = 0; e < count; e++) {
        const int j = pairs.place[e];
        const float *block = harmonics+(long) (e/LANES)*LANES*4*M+e%LANES, *table = model.table+(long) pairs.interval[e]*perInterval+c/LANES*PER_VECTOR;
        const float *Gj = gradients+((long) j*width+c)*M, *aj = model.typeWeights+(long) types[j]*width+c;
        const Vector f = broadcast(pairs.f[e]);
        Vector total[4][V] = {};
        MEANFORCE_UNROLL
        for (int l = 0; l <= L; l++) {
            Vector S[4][V] = {};
            MEANFORCE_UNROLL
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                const float* Y = block+4*lm*LANES;
                MEANFORCE_UNROLL
                for (int v = 0; v < V; v++) {
                    const Vector gi = load(Gi+(v*M+lm)*LANES), gj = load(Gj+(v*M+lm)*LANES);
                    Vector h;
                    if (ONE_TYPE)
                        h = (l%2 == 0 ? gi+gj : gi-gj);
                    else {
                        const Vector own = load(aj+v*LANES)*gi, other = load(ai+v*LANES)*gj;
                        h = (l%2 == 0 ? own+other : own-other);
                    }
                    if (l == 0)
                        S[3][v] = h;
                    else
                        S[3][v] += h*Y[0];
                    MEANFORCE_UNROLL
                    for (int k = 0; k < 3; k++)
                        if (HAS_GRADIENT[lm][k])
                            S[k][v] += h*Y[(k+1)*LANES];
                }
            }
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++) {
                Vector slope;
                const Vector W = evaluateFilter(table+l*4*LANES+v*PER_VECTOR, f, slope);
                total[3][v] += slope*S[3][v];
                if (l > 0)
                    MEANFORCE_UNROLL
                    for (int k = 0; k < 3; k++)
                        total[k][v] += W*S[k][v];
            }
        }
        MEANFORCE_UNROLL
        for (int k = 0; k < 4; k++) {
            MEANFORCE_UNROLL
            for (int v = 1; v < V; v++)
                total[k][0] += total[k][v];
            store(total[k][0], partial+(k*GROUPED+e%GROUPED)*LANES);
        }
        if (e%GROUPED == GROUPED-1 || e == count-1) {
            Vector rows[LANES];
            MEANFORCE_UNROLL
            for (int k = 0; k < LANES; k++)
                rows[k] = load(partial+k*LANES);
            float sum[LANES];
            store(sumRows(rows), sum);
            MEANFORCE_UNROLL
            for (int k = 0; k < 4; k++)
                for (int p = 0; p < GROUPED; p++) {
                    float* target = sums+k*room+e/GROUPED*GROUPED+p;
                    *target = (c == 0 ? 0.0f : *target)+sum[k*GROUPED+p];
                }
        }
    }
}

template <int L, bool ONE_TYPE>
void forcesOfRow(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
        const float* gradients, float* scratch, std::int64_t* forces) {
    const int room = roundUp(count, LANES);
    std::int64_t* fixed = (std::int64_t*) scratch;
    float *sums = (float*) (fixed+3L*room), *harmonics = sums+4L*room;
    fillHarmonics<L>(count, pairs, harmonics);
    int c = 0;
    for (; c+SHARED*LANES <= model.width; c += SHARED*LANES)
        sumGradients<L, ONE_TYPE, SHARED>(model, types, place, count, pairs, gradients, harmonics, c, room, sums);
    for (; c < model.width; c += LANES)
        sumGradients<L, ONE_TYPE, 1>(model, types, place, count, pairs, gradients, harmonics, c, room, sums);
    const float inverseSpacing = (float) model.inverseSpacing;
    for (int e = 0; e < count; e += LANES) {
        // Only the part of the polynomials' gradient that is perpendicular to rhat turns with it.
        const Vector x = load(pairs.x+e), y = load(pairs.y+e), z = load(pairs.z+e), inverseR = load(pairs.inverseR+e);
        const Vector sx = load(sums+e), sy = load(sums+room+e), sz = load(sums+2*room+e), slope = load(sums+3*room+e);
        const Vector radial = -inverseSpacing*slope-inverseR*(x*sx+y*sy+z*sz);
        toFixedPoint(inverseR*sx+radial*x, fixed+e);
        toFixedPoint(inverseR*sy+radial*y, fixed+room+e);
        toFixedPoint(inverseR*sz+radial*z, fixed+2*room+e);
    }
    std::int64_t own[3] = {};
    for (int e = 0; e < count; e++) {
        std::int64_t* f = forces+4L*pairs.place[e];
        MEANFORCE_UNROLL
        for (int k = 0; k < 3; k++) {
            f[k] -= fixed[k*room+e];
            own[k] += fixed[k*room+e];
        }
    }
    for (int k = 0; k < 3; k++)
        forces[4L*place+k] += own[k];
}

// ---- the table of functions ----

long getScratchSize(const MomentTensorModel& model, int longestRow) {
    const long room = roundUp(longestRow, LANES)+LANES, numMoments = (model.maxL+1)*(model.maxL+1);
    const long rows = room*(ROW_FLOATS+4*numMoments);
    const long network = TILE*networkFloats(model)+2*model.width+productFloats(model);
    return (rows > network ? rows : network)+64;
}

int computeMoments(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row,
        const MomentTensorPairs& pairs, float* scratch, float* moments) {
    switch (model.maxL) {
        case 0: return momentsOfRow<0>(model, geometry, row, pairs, scratch, moments);
        case 1: return momentsOfRow<1>(model, geometry, row, pairs, scratch, moments);
        case 2: return momentsOfRow<2>(model, geometry, row, pairs, scratch, moments);
        case 3: return momentsOfRow<3>(model, geometry, row, pairs, scratch, moments);
        default: return momentsOfRow<4>(model, geometry, row, pairs, scratch, moments);
    }
}

template <int L>
void forces(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
        const float* gradients, float* scratch, std::int64_t* forces) {
    if (model.oneType)
        forcesOfRow<L, true>(model, types, place, count, pairs, gradients, scratch, forces);
    else
        forcesOfRow<L, false>(model, types, place, count, pairs, gradients, scratch, forces);
}

void computeForces(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
        const float* gradients, float* scratch, std::int64_t* result) {
    switch (model.maxL) {
        case 0: return forces<0>(model, types, place, count, pairs, gradients, scratch, result);
        case 1: return forces<1>(model, types, place, count, pairs, gradients, scratch, result);
        case 2: return forces<2>(model, types, place, count, pairs, gradients, scratch, result);
        case 3: return forces<3>(model, types, place, count, pairs, gradients, scratch, result);
        default: return forces<4>(model, types, place, count, pairs, gradients, scratch, result);
    }
}

}

namespace MEANFORCE_INSTRUCTION_SET {

extern const MomentTensorKernels momentTensorKernels;
const MomentTensorKernels momentTensorKernels = {LANES, getScratchSize, TILE, computeMoments, evaluateNetwork, computeForces};

}
}
