// SPDX-License-Identifier: MIT
#include "MomentTensorKernels.h"
#include "DenseKernels.h"
#include "InstructionSet.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/SphericalHarmonics.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

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

/** Displacements to all candidates of one row, then, with squares of distances, to those within the cutoff. */
struct RowScratch {
    double *x, *y, *z, *r2;
    int *place, *particle;
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

/** Move the selected of `lanes` values to the front.  Values behind them may be overwritten too. */
MEANFORCE_INLINE void pack(unsigned mask, const double* from, double* to) {
#if defined(__AVX512F__)
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd((__mmask8) mask, _mm512_loadu_pd(from)));
#else
    for (int lane = 0, n = 0; lane < HALF; n += (mask>>lane)&1, lane++)
        to[n] = from[lane];
#endif
}

template <int COUNT>
MEANFORCE_INLINE void pack(unsigned mask, const int* from, int* to) {
#if defined(__AVX512F__)
    if constexpr (COUNT == HALF)
        _mm256_storeu_si256((__m256i*) to, _mm256_maskz_compress_epi32((__mmask8) mask, _mm256_loadu_si256((const __m256i*) from)));
    else
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16) mask, _mm512_loadu_si512(from)));
#else
    for (int lane = 0, n = 0; lane < COUNT; n += (mask>>lane)&1, lane++)
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

/** 1/sqrt(x) for x > 0, to rounding: a good guess from the exponent and Newton's method, much faster than root and division. */
MEANFORCE_INLINE DoubleVector inverseRoot(const DoubleVector& x) {
    UnsignedVector bits;
    std::memcpy(&bits, &x, sizeof(bits));
    bits = 0x5fe6eb50c7b537a9-(bits >> 1);
    DoubleVector y;
    std::memcpy(&y, &bits, sizeof(y));
    const DoubleVector half = 0.5*x;
    for (int k = 0; k < 4; k++)
        y += y*(0.5-half*y*y);
    return y;
}

/** The nearest integers.  Adding 1.5*2^52 rounds. */
MEANFORCE_INLINE DoubleVector nearest(const DoubleVector& x) {
    const double shift = 6755399441055744.0;
    return (x+shift)-shift;
}

/**
 * Find the vectors to the nearest images, as the Reference platform does, of all candidates within the cutoff.  Returns their
 * number; arrays have room for one vector more than the candidates.
 */
int findNear(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row, const RowScratch& all, const RowScratch& near) {
    const MomentTensorBead& from = geometry.beads[row.place];
    const double x0 = from.position[0], y0 = from.position[1], z0 = from.position[2];
    for (int k = 0; k < row.count; k++) {
        const int place = (int) (row.neighbors[k]>>5);
        const MomentTensorBead& to = geometry.beads[place];
        all.x[k] = to.position[0]-x0;
        all.y[k] = to.position[1]-y0;
        all.z[k] = to.position[2]-z0;
        all.place[k] = place;
        all.particle[k] = to.particle;
    }
    // What lies beyond the last candidate is nobody's neighbour.
    for (int k = row.count; k%HALF != 0; k++)
        all.x[k] = all.y[k] = all.z[k] = 1e300;
    // OpenMM's boxes are lower triangular.
    const double *box = geometry.box, *inverse = geometry.inverseBox;
    const double cutoff2 = model.cutoff*model.cutoff;
    int count = 0;
    for (int k = 0; k < row.count; k += HALF) {
        DoubleVector x = loadDoubles(all.x+k), y = loadDoubles(all.y+k), z = loadDoubles(all.z+k);
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
        const DoubleVector r2 = x*x+y*y+z*z;
        const unsigned mask = selected((LongVector) (r2 < cutoff2))&((1u<<(row.count-k < HALF ? row.count-k : HALF))-1);
        double values[4][HALF];
        std::memcpy(values[0], &x, sizeof(x));
        std::memcpy(values[1], &y, sizeof(y));
        std::memcpy(values[2], &z, sizeof(z));
        std::memcpy(values[3], &r2, sizeof(r2));
        pack(mask, values[0], near.x+count);
        pack(mask, values[1], near.y+count);
        pack(mask, values[2], near.z+count);
        pack(mask, values[3], near.r2+count);
        pack<HALF>(mask, all.place+k, near.place+count);
        pack<HALF>(mask, all.particle+k, near.particle+count);
        count += __builtin_popcount(mask);
    }
    return count;
}

/** Write all pairs within the cutoff.  Returns their number. */
int findPairs(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row, const RowScratch& all,
        const RowScratch& near, const MomentTensorPairs& pairs) {
    const int count = findNear(model, geometry, row, all, near);
    for (int e = count; e%LANES != 0; e++) {
        near.x[e] = near.y[e] = near.z[e] = 0.0;
        near.r2[e] = model.cutoff*model.cutoff;
    }
    for (int e = 0; e < roundUp(count, LANES); e += HALF) {
        const DoubleVector r2 = loadDoubles(near.r2+e);
        // Two beads at the same point have no direction.
        const DoubleVector inverseR = r2 > 0.0 ? inverseRoot(r2) : 0.0*r2;
        DoubleVector u = (model.cutoff-r2*inverseR)*model.inverseSpacing;
        const DoubleVector last = 0.0*r2+(double) (model.numIntervals-1);
        u = u > 0.0 ? u : 0.0*r2;    // may be negative by rounding
        u = u < last ? u : last;
        const HalfIntVector interval = __builtin_convertvector(u, HalfIntVector);
        std::memcpy(pairs.interval+e, &interval, sizeof(interval));
        storeFloats(u-__builtin_convertvector(interval, DoubleVector), pairs.f+e);
        storeFloats(loadDoubles(near.x+e)*inverseR, pairs.x+e);
        storeFloats(loadDoubles(near.y+e)*inverseR, pairs.y+e);
        storeFloats(loadDoubles(near.z+e)*inverseR, pairs.z+e);
        storeFloats(inverseR, pairs.inverseR+e);
    }
    std::memcpy(pairs.place, near.place, sizeof(int)*count);
    return count;
}

/**
 * Copy the pairs that the row owns.  Each of the two beads must come to the same answer, whatever their places are, and each
 * should own about half of its pairs.  Returns their number.
 */
int copyOwned(int particle, int count, const int* others, const MomentTensorPairs& pairs, const MomentTensorPairs& owned) {
    int n = 0;
    for (int e = 0; e < count; e += LANES) {
        IntVector other;
        std::memcpy(&other, others+e, sizeof(other));
        const IntVector odd = ((other+particle)&1) != 0, above = other > particle;
        const unsigned mask = selected(odd == above)&(count-e < LANES ? (1u<<(count-e))-1 : (1u<<(LANES-1))*2-1);
        pack<LANES>(mask, pairs.place+e, owned.place+n);
        pack<LANES>(mask, pairs.interval+e, owned.interval+n);
        for (auto member : {&MomentTensorPairs::f, &MomentTensorPairs::x, &MomentTensorPairs::y, &MomentTensorPairs::z, &MomentTensorPairs::inverseR})
            pack(mask, pairs.*member+e, owned.*member+n);
        n += __builtin_popcount(mask);
    }
    return n;
}

// ---- moments ----

/** Scratch of the first pass: displacements, then for each vector of neighbours the spline weights and harmonics. */
constexpr int ROW_FLOATS = 7*2+4+7;

template <int L>
int momentsOfRow(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row,
        const MomentTensorPairs& owned, float* scratch, float* moments) {
    constexpr int M = MOMENTS<L>, BLOCK = (4+M)*LANES;
    const int room = roundUp(row.count, LANES)+LANES;    // packing overwrites one vector
    double* d = (double*) scratch;
    int* n = (int*) (d+7L*room);
    const RowScratch all = {d, d+room, d+2*room, nullptr, n, n+room};
    const RowScratch near = {d+3*room, d+4*room, d+5*room, d+6*room, n+2*room, n+3*room};
    float* p = (float*) (n+4L*room);
    const MomentTensorPairs pairs = {(int*) p, (int*) (p+room), p+2*room, p+3*room, p+4*room, p+5*room, p+6*room};
    float* geometryBlocks = p+7L*room;
    const int count = findPairs(model, geometry, row, all, near, pairs);
    const int numOwned = copyOwned(geometry.beads[row.place].particle, count, near.particle, pairs, owned);
    for (int e = 0; e < count; e += LANES) {
        Vector weights[4], slopes[4], Y[M];
        cubicBSplineWeights<Vector, float>(load(pairs.f+e), weights, slopes);
        sphericalHarmonics<L, Vector, float>(load(pairs.x+e), load(pairs.y+e), load(pairs.z+e), Y);
        float* block = geometryBlocks+(long) e/LANES*BLOCK;
        for (int s = 0; s < 4; s++)
            store(weights[s], block+s*LANES);
        for (int lm = 0; lm < M; lm++)
            store(Y[lm], block+(4+lm)*LANES);
    }
    const int width = model.width, stride = (L+1)*width;
    for (int c = 0; c < width; c += LANES) {
        Vector sum[M] = {};
        for (int e = 0; e < count; e++) {
            const float *block = geometryBlocks+(long) (e/LANES)*BLOCK+e%LANES, *table = model.table+(long) pairs.interval[e]*stride+c;
            Vector B[4], a = {};
            MEANFORCE_UNROLL
            for (int s = 0; s < 4; s++)
                B[s] = broadcast(block[s*LANES]);
            if (!model.oneType)
                a = load(model.typeWeights+(long) geometry.types[pairs.place[e]]*width+c);
            MEANFORCE_UNROLL
            for (int l = 0; l <= L; l++) {
                const float* t = table+l*width;
                Vector W = load(t)*B[0]+load(t+stride)*B[1]+load(t+2*stride)*B[2]+load(t+3*stride)*B[3];
                if (!model.oneType)
                    W *= a;
                MEANFORCE_UNROLL
                for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                    sum[lm] += W*block[(4+lm)*LANES];
            }
        }
        MEANFORCE_UNROLL
        for (int lm = 0; lm < M; lm++)
            store(sum[lm], moments+lm*width+c);
    }
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

/** The rows that products are made of: moments, then their copies with shifted channels.  Copies' padding is not set. */
void fillRows(const MomentTensorModel& model, const float* moments, float* rows) {
    const int width = model.width, channels = model.channels, numMoments = (model.maxL+1)*(model.maxL+1);
    std::memcpy(rows, moments, sizeof(float)*numMoments*width);
    for (int k = 0; k < model.numCopies; k++) {
        const float* from = moments+model.copiedFrom[k]*width;
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
        store(load(moments+c), x+c);
    for (int l = 0; l <= L; l++)
        for (int c = 0; c < width; c += LANES) {
            Vector sum = {};
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                const Vector m = load(moments+lm*width+c);
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
        for (int c = 0; c < width; c += LANES)
            store(load(gradients+k*width+c)+channelsOnly(load(rowGradients+k*width+c), c, channels), gradients+k*width+c);
}

/** Replace the moments of one bead by dU/dM. */
void momentGradients(const MomentTensorModel& model, const float* dUdx, float* rows, float* moments) {
    const int L = model.maxL, channels = model.channels, width = model.width;
    if (model.numProducts > 0)
        fillRows(model, moments, rows);
    for (int c = 0; c < width; c += LANES) {
        for (int l = 0; l <= L; l++) {
            const Vector twice = 2.0f*channelsOnly(load(dUdx+(l+1)*channels+c), c, channels);
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                store(load(moments+lm*width+c)*twice, moments+lm*width+c);
        }
        store(load(moments+c)+channelsOnly(load(dUdx+c), c, channels), moments+c);
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

/** The sums of four vectors. */
MEANFORCE_INLINE void reduceFour(const Vector* x, float* sums) {
    typedef float Vector4 __attribute__((vector_size(16)));
    typedef int Index4 __attribute__((vector_size(16)));
    Vector4 four[4];
    MEANFORCE_UNROLL
    for (int k = 0; k < 4; k++) {
        Vector4 part[LANES/4];
        std::memcpy(part, &x[k], sizeof(Vector));
        MEANFORCE_UNROLL
        for (int width = LANES/8; width > 0; width /= 2)
            MEANFORCE_UNROLL
            for (int i = 0; i < width; i++)
                part[i] += part[i+width];
        four[k] = part[0];
    }
    const Vector4 ab = __builtin_shuffle(four[0], four[1], Index4{0, 4, 1, 5})+__builtin_shuffle(four[0], four[1], Index4{2, 6, 3, 7});
    const Vector4 cd = __builtin_shuffle(four[2], four[3], Index4{0, 4, 1, 5})+__builtin_shuffle(four[2], four[3], Index4{2, 6, 3, 7});
    const Vector4 sum = __builtin_shuffle(ab, cd, Index4{0, 1, 4, 5})+__builtin_shuffle(ab, cd, Index4{2, 3, 6, 7});
    std::memcpy(sums, &sum, sizeof(sum));
}

MEANFORCE_INLINE std::int64_t toFixedPoint(float force) {
    force = (force < LARGEST_FORCE ? force : LARGEST_FORCE);    // also NaN
    force = (force > -LARGEST_FORCE ? force : -LARGEST_FORCE);
    return (std::int64_t) (force*FIXED_POINT);
}

/** G_i pulls on the neighbour through M_i, and G_j on the bead through M_j; Y_lm(-n) = (-1)^l Y_lm(n). */
template <int L, bool ONE_TYPE>
void forcesOfRow(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
        const float* gradients, float* scratch, std::int64_t* forces) {
    constexpr int M = MOMENTS<L>, BLOCK = (8+4*M)*LANES;
    for (int e = 0; e < count; e += LANES) {
        Vector weights[4], slopes[4], Y[M], Yx[M], Yy[M], Yz[M];
        const Vector x = load(pairs.x+e), y = load(pairs.y+e), z = load(pairs.z+e);
        cubicBSplineWeights<Vector, float>(load(pairs.f+e), weights, slopes);
        sphericalHarmonics<L, Vector, float>(x, y, z, Y);
        sphericalHarmonicGradients<L, Vector, float>(x, y, z, Yx, Yy, Yz);
        float* block = scratch+(long) e/LANES*BLOCK;
        for (int s = 0; s < 4; s++) {
            store(weights[s], block+s*LANES);
            store(slopes[s], block+(4+s)*LANES);
        }
        for (int lm = 0; lm < M; lm++) {
            store(Y[lm], block+(8+4*lm)*LANES);
            store(Yx[lm], block+(9+4*lm)*LANES);
            store(Yy[lm], block+(10+4*lm)*LANES);
            store(Yz[lm], block+(11+4*lm)*LANES);
        }
    }
    const int width = model.width, stride = (L+1)*width;
    float* sums = scratch+(long) roundUp(count, LANES)/LANES*BLOCK;
    for (int c = 0; c < width; c += LANES) {
        Vector Gi[M], ai = {};
        const float* Gp = gradients+(long) place*M*width+c;
        MEANFORCE_UNROLL
        for (int lm = 0; lm < M; lm++)
            Gi[lm] = load(Gp+lm*width);
        if (!ONE_TYPE)
            ai = load(model.typeWeights+(long) types[place]*width+c);
        for (int e = 0; e < count; e++) {
            const int j = pairs.place[e];
            const float *block = scratch+(long) (e/LANES)*BLOCK+e%LANES, *table = model.table+(long) pairs.interval[e]*stride+c;
            const float* Gj = gradients+(long) j*M*width+c;
            // Rows of other beads come from afar: ask for one that the next row of pairs needs.
            const float* ahead = gradients+(long) pairs.place[roundUp(count, LANES)+e]*M*width+c;
            Vector B[4], dB[4], aj = {}, total[4] = {};
            MEANFORCE_UNROLL
            for (int s = 0; s < 4; s++) {
                B[s] = broadcast(block[s*LANES]);
                dB[s] = broadcast(block[(4+s)*LANES]);
            }
            if (!ONE_TYPE)
                aj = load(model.typeWeights+(long) types[j]*width+c);
            MEANFORCE_UNROLL
            for (int l = 0; l <= L; l++) {
                const float* t = table+l*width;
                const Vector t0 = load(t), t1 = load(t+stride), t2 = load(t+2*stride), t3 = load(t+3*stride);
                const Vector W = t0*B[0]+t1*B[1]+t2*B[2]+t3*B[3], dW = t0*dB[0]+t1*dB[1]+t2*dB[2]+t3*dB[3];
                Vector S = {}, Sx = {}, Sy = {}, Sz = {};
                MEANFORCE_UNROLL
                for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                    __builtin_prefetch(ahead+lm*width);
                    Vector h = load(Gj+lm*width);
                    if (ONE_TYPE)
                        h = (l%2 == 0 ? Gi[lm]+h : Gi[lm]-h);
                    else
                        h = (l%2 == 0 ? aj*Gi[lm]+ai*h : aj*Gi[lm]-ai*h);
                    const float* Y = block+(8+4*lm)*LANES;
                    S += h*Y[0];
                    if (HAS_GRADIENT[lm][0])
                        Sx += h*Y[LANES];
                    if (HAS_GRADIENT[lm][1])
                        Sy += h*Y[2*LANES];
                    if (HAS_GRADIENT[lm][2])
                        Sz += h*Y[3*LANES];
                }
                total[3] += dW*S;
                if (l > 0) {
                    total[0] += W*Sx;
                    total[1] += W*Sy;
                    total[2] += W*Sz;
                }
            }
            float four[4];
            reduceFour(total, four);
            for (int k = 0; k < 4; k++)
                sums[4*e+k] = (c == 0 ? four[k] : sums[4*e+k]+four[k]);
        }
    }
    const float inverseSpacing = (float) model.inverseSpacing;
    std::int64_t fx = 0, fy = 0, fz = 0;
    for (int e = 0; e < count; e++) {
        // Only the part of the polynomials' gradient that is perpendicular to rhat turns with it.
        const float *s = sums+4*e, x = pairs.x[e], y = pairs.y[e], z = pairs.z[e], inverseR = pairs.inverseR[e];
        const float radial = -inverseSpacing*s[3]-inverseR*(x*s[0]+y*s[1]+z*s[2]);
        const std::int64_t dx = toFixedPoint(inverseR*s[0]+radial*x), dy = toFixedPoint(inverseR*s[1]+radial*y), dz = toFixedPoint(inverseR*s[2]+radial*z);
        std::int64_t* f = forces+4L*pairs.place[e];
        f[0] -= dx;
        f[1] -= dy;
        f[2] -= dz;
        fx += dx;
        fy += dy;
        fz += dz;
    }
    std::int64_t* f = forces+4L*place;
    f[0] += fx;
    f[1] += fy;
    f[2] += fz;
}

// ---- the table of functions ----

long getScratchSize(const MomentTensorModel& model, int longestRow) {
    const long room = roundUp(longestRow, LANES)+LANES, numMoments = (model.maxL+1)*(model.maxL+1);
    const long rows = room*(ROW_FLOATS+8+4*numMoments+4);
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
