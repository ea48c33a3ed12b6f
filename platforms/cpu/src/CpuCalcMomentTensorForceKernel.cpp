// SPDX-License-Identifier: MIT
#include "CpuCalcMomentTensorForceKernel.h"
#include "CpuVector.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/SphericalHarmonics.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

static constexpr int TILE = CpuCalcMomentTensorForceKernel::TILE;
/** Rows of a weight matrix that are multiplied together. */
static constexpr int ROWS = 4;
/** The shortest loop over beads that is worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 50;

static int roundUp(int n, int multiple) {
    return (n+multiple-1)/multiple*multiple;
}

// ---- vector code: plain static functions on plain arrays ----

namespace {

/** Spline weights B and slopes dB and harmonics Y and their derivatives, for eight neighbours at a time. */
template <int L, bool GRADIENTS>
inline void computeGeometry(const CpuRow& row, float* B, float* dB, float* Y, float* D) {
    constexpr int M = (L+1)*(L+1);
    for (int e = 0; e < row.count; e += LANES) {
        Float8 f, x, y, z, weights[4], slopes[4], value[M];
        load(row.f+e, f);
        load(row.x+e, x);
        load(row.y+e, y);
        load(row.z+e, z);
        cubicBSplineWeights<Float8, float>(f, weights, slopes);
        sphericalHarmonics<L, Float8, float>(x, y, z, value);
        for (int s = 0; s < 4; s++)
            store(weights[s], B+4*e+s*LANES);
        for (int lm = 0; lm < M; lm++)
            store(value[lm], Y+M*e+lm*LANES);
        if constexpr (GRADIENTS) {
            Float8 inverseR, gx[M], gy[M], gz[M];
            load(row.inverseR+e, inverseR);
            sphericalHarmonicGradients<L, Float8, float>(x, y, z, gx, gy, gz);
            for (int s = 0; s < 4; s++)
                store(slopes[s], dB+4*e+s*LANES);
            for (int lm = 0; lm < M; lm++) {
                projectGradient(x, y, z, inverseR, gx[lm], gy[lm], gz[lm]);
                store(gx[lm], D+3*M*e+(3*lm+0)*LANES);
                store(gy[lm], D+3*M*e+(3*lm+1)*LANES);
                store(gz[lm], D+3*M*e+(3*lm+2)*LANES);
            }
        }
    }
}

template <int L>
inline void momentsOfRow(const CpuRow& row, const CpuChannels& c, float* scratch, float* moments) {
    constexpr int M = (L+1)*(L+1);
    const int padded = roundUp(row.count, LANES);
    float *B = scratch, *Y = B+4*padded;
    computeGeometry<L, false>(row, B, nullptr, Y, nullptr);
    const int width = c.numBlocks*LANES, stride = (L+1)*width;
    for (int block = 0; block < c.numBlocks; block++) {
        Float8 sum[M] = {};
        for (int e = 0; e < row.count; e++) {
            const int lane = e%LANES;
            const float *b = B+4*(e-lane)+lane, *Ye = Y+M*(e-lane)+lane;
            const float* t = c.table+row.interval[e]*stride+block*LANES;
            Float8 a;
            load(c.typeWeights+c.types[row.bead[e]]*width+block*LANES, a);
            MEANFORCE_UNROLL
            for (int l = 0; l <= L; l++) {
                Float8 t0, t1, t2, t3;
                load(t+l*width, t0);
                load(t+l*width+stride, t1);
                load(t+l*width+2*stride, t2);
                load(t+l*width+3*stride, t3);
                const Float8 W = a*(t0*b[0]+t1*b[LANES]+t2*b[2*LANES]+t3*b[3*LANES]);
                MEANFORCE_UNROLL
                for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                    sum[lm] += W*Ye[lm*LANES];
            }
        }
        MEANFORCE_UNROLL
        for (int lm = 0; lm < M; lm++)
            store(sum[lm], moments+(block*M+lm)*LANES);
    }
}

/** G_i pulls on the neighbours through M_i, and G_j on the bead through M_j; Y_lm(-n) = (-1)^l Y_lm(n). */
template <int L>
inline void forceOfRow(int bead, const CpuRow& row, const CpuChannels& c, const float* G, float* scratch, float* force) {
    constexpr int M = (L+1)*(L+1);
    const int padded = roundUp(row.count, LANES);
    float *B = scratch, *dB = B+4*padded, *Y = dB+4*padded, *D = Y+M*padded;
    computeGeometry<L, true>(row, B, dB, Y, D);
    const int width = c.numBlocks*LANES, stride = (L+1)*width;
    Float8 fx = {}, fy = {}, fz = {};
    for (int block = 0; block < c.numBlocks; block++) {
        Float8 Gi[M], ai;
        MEANFORCE_UNROLL
        for (int lm = 0; lm < M; lm++)
            load(G+((bead*c.numBlocks+block)*M+lm)*LANES, Gi[lm]);
        load(c.typeWeights+c.types[bead]*width+block*LANES, ai);
        for (int e = 0; e < row.count; e++) {
            const int j = row.bead[e], lane = e%LANES;
            const float *b = B+4*(e-lane)+lane, *db = dB+4*(e-lane)+lane, *Ye = Y+M*(e-lane)+lane, *De = D+3*M*(e-lane)+lane;
            const float* t = c.table+row.interval[e]*stride+block*LANES;
            const float* Gj = G+(j*c.numBlocks+block)*M*LANES;
            Float8 aj, radial = {};
            load(c.typeWeights+c.types[j]*width+block*LANES, aj);
            MEANFORCE_UNROLL
            for (int l = 0; l <= L; l++) {
                Float8 t0, t1, t2, t3, Y0 = {}, Yx = {}, Yy = {}, Yz = {};
                load(t+l*width, t0);
                load(t+l*width+stride, t1);
                load(t+l*width+2*stride, t2);
                load(t+l*width+3*stride, t3);
                const Float8 W = t0*b[0]+t1*b[LANES]+t2*b[2*LANES]+t3*b[3*LANES];
                const Float8 dW = t0*db[0]+t1*db[LANES]+t2*db[2*LANES]+t3*db[3*LANES];
                const Float8 sign = (l%2 == 0 ? ai : -ai);
                MEANFORCE_UNROLL
                for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                    Float8 g;
                    load(Gj+lm*LANES, g);
                    g = g*sign+Gi[lm]*aj;
                    Y0 += g*Ye[lm*LANES];
                    if (l > 0) {
                        Yx += g*De[(3*lm+0)*LANES];
                        Yy += g*De[(3*lm+1)*LANES];
                        Yz += g*De[(3*lm+2)*LANES];
                    }
                }
                radial += dW*Y0;
                if (l > 0) {
                    fx += W*Yx;
                    fy += W*Yy;
                    fz += W*Yz;
                }
            }
            radial *= -c.inverseSpacing;
            fx += radial*row.x[e];
            fy += radial*row.y[e];
            fz += radial*row.z[e];
        }
    }
    store(fx, force);
    store(fy, force+LANES);
    store(fz, force+2*LANES);
}

MEANFORCE_CLONES void computeMomentsOfRow(int maxL, const CpuRow& row, const CpuChannels& c, float* scratch, float* moments) {
    switch (maxL) {
        case 0: momentsOfRow<0>(row, c, scratch, moments); break;
        case 1: momentsOfRow<1>(row, c, scratch, moments); break;
        case 2: momentsOfRow<2>(row, c, scratch, moments); break;
        case 3: momentsOfRow<3>(row, c, scratch, moments); break;
        default: momentsOfRow<4>(row, c, scratch, moments);
    }
}

MEANFORCE_CLONES void computeForceOfRow(int maxL, int bead, const CpuRow& row, const CpuChannels& c, const float* G, float* scratch, float* force) {
    switch (maxL) {
        case 0: forceOfRow<0>(bead, row, c, G, scratch, force); break;
        case 1: forceOfRow<1>(bead, row, c, G, scratch, force); break;
        case 2: forceOfRow<2>(bead, row, c, G, scratch, force); break;
        case 3: forceOfRow<3>(bead, row, c, G, scratch, force); break;
        default: forceOfRow<4>(bead, row, c, G, scratch, force);
    }
}

/** The features of one bead, as column `lane` of x[feature][bead]. */
MEANFORCE_CLONES void computeFeatures(int maxL, int channels, const float* moments, float* x, int lane) {
    const int M = (maxL+1)*(maxL+1);
    for (int first = 0; first < channels; first += LANES, moments += M*LANES) {
        const int count = channels-first < LANES ? channels-first : LANES;
        for (int c = 0; c < count; c++)
            x[(first+c)*TILE+lane] = moments[c];
        for (int l = 0; l <= maxL; l++) {
            Float8 sum = {};
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                Float8 m;
                load(moments+lm*LANES, m);
                sum += m*m;
            }
            for (int c = 0; c < count; c++)
                x[((l+1)*channels+first+c)*TILE+lane] = sum[c];
        }
    }
}

/** Replace the moments of one bead by dU/dM, given column `lane` of dU/dx[feature][bead]. */
MEANFORCE_CLONES void momentGradients(int maxL, int channels, const float* gradient, int lane, float* moments) {
    const int M = (maxL+1)*(maxL+1);
    for (int first = 0; first < channels; first += LANES, moments += M*LANES) {
        const int count = channels-first < LANES ? channels-first : LANES;
        for (int l = 0; l <= maxL; l++) {
            Float8 twice = {};
            for (int c = 0; c < count; c++)
                twice[c] = 2.0f*gradient[((l+1)*channels+first+c)*TILE+lane];
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                Float8 m;
                load(moments+lm*LANES, m);
                m *= twice;
                store(m, moments+lm*LANES);
            }
        }
        for (int c = 0; c < count; c++)
            moments[c] += gradient[(first+c)*TILE+lane];
    }
}

/** y[row][bead] = bias[row] + sum_col w[row][col] x[col][bead] for a tile of beads; w is packed by pack(). */
MEANFORCE_CLONES void multiply(const float* w, const float* bias, const float* x, float* y, int rows, int cols) {
    constexpr int V = TILE/LANES;
    for (int row = 0; row < rows; row += ROWS) {
        Float8 sum[ROWS][V];
        MEANFORCE_UNROLL
        for (int i = 0; i < ROWS; i++)
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++)
                sum[i][v] = Float8{}+(bias == nullptr ? 0.0f : bias[row+i]);
        for (int col = 0; col < cols; col++) {
            Float8 xv[V];
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++)
                load(x+col*TILE+v*LANES, xv[v]);
            MEANFORCE_UNROLL
            for (int i = 0; i < ROWS; i++)
                MEANFORCE_UNROLL
                for (int v = 0; v < V; v++)
                    sum[i][v] += xv[v]*w[i];
            w += ROWS;
        }
        MEANFORCE_UNROLL
        for (int i = 0; i < ROWS; i++)
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++)
                store(sum[i][v], y+(row+i)*TILE+v*LANES);
    }
}

/** Replace y by the activation of y, and write its derivative. */
MEANFORCE_CLONES void activate(bool silu, float* y, float* slope, int count) {
    for (int i = 0; i < count; i += LANES) {
        Float8 x, e, value, derivative;
        load(y+i, x);
        if (silu) {
            fastExp(-x, e);
            const Float8 sigmoid = 1.0f/(1.0f+e);
            value = x*sigmoid;
            derivative = sigmoid*(1.0f+x*(1.0f-sigmoid));
        }
        else {
            fastExp(2.0f*x, e);
            value = 1.0f-2.0f/(1.0f+e);
            derivative = 1.0f-value*value;
        }
        store(value, y+i);
        store(derivative, slope+i);
    }
}

}

// ---- the kernel ----

void CpuCalcMomentTensorForceKernel::Edges::resize(size_t size) {
    bead.resize(size);
    interval.resize(size);
    for (auto* array : {&f, &x, &y, &z, &inverseR})
        array->resize(size);
}

/** Put the weights w[row][col] in the order in which multiply() reads them, with rows of zeros at the end. */
static vector<float> pack(const double* w, int rows, int cols, bool transpose) {
    vector<float> packed((size_t) roundUp(rows, ROWS)*cols, 0.0f);
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < cols; col++)
            packed[((row/ROWS)*cols+col)*ROWS+row%ROWS] = (float) (transpose ? w[col*rows+row] : w[row*cols+col]);
    return packed;
}

void CpuCalcMomentTensorForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const MomentTensorForce&>(beadForce);
    maxL = force.getMaxL();
    channels = force.getNumChannels();
    numBlocks = roundUp(channels, LANES)/LANES;
    numMoments = (maxL+1)*(maxL+1);
    numFeatures = force.getNumFeatures();
    numFunctions = force.getNumFilterFunctions();
    numReadouts = force.getNumReadouts();
    spacing = force.getFilterSpacing();
    silu = (force.getActivation() == "silu");
    const int width = numBlocks*LANES;
    // Functions are counted from the cutoff inwards, q = G-1-k, and interval n needs functions n-3..n: three rows of zeros
    // come first.  The last interval kept is G+3, which sees only zeros.
    table.assign((size_t) (numFunctions+7)*(maxL+1)*width, 0.0f);
    for (int q = 0; q < numFunctions; q++)
        for (int l = 0; l <= maxL; l++)
            for (int c = 0; c < channels; c++)
                table[((q+3)*(maxL+1)+l)*width+c] = (float) force.getFilterCoefficients()[((numFunctions-1-q)*(maxL+1)+l)*channels+c];
    typeWeights.assign(force.getNumTypes()*width, 0.0f);
    for (int type = 0; type < force.getNumTypes(); type++)
        for (int c = 0; c < channels; c++)
            typeWeights[type*width+c] = (float) force.getTypeWeights()[type*channels+c];
    layers.clear();
    for (int k = 0; k < force.getNumLayers(); k++) {
        Layer layer = {force.getNumLayerInputs(k), force.getNumLayerOutputs(k), {}, {}, {}};
        for (int type = 0; type < force.getNumTypes(); type++) {
            const double* w = force.getLayerWeights(k).data()+type*layer.outputs*layer.inputs;
            const double* b = force.getLayerBiases(k).data()+type*layer.outputs;
            layer.forward.push_back(pack(w, layer.outputs, layer.inputs, false));
            layer.backward.push_back(pack(w, layer.inputs, layer.outputs, true));
            layer.biases.push_back(vector<float>(b, b+layer.outputs));
            layer.biases.back().resize(roundUp(layer.outputs, ROWS), 0.0f);
        }
        layers.push_back(layer);
    }
    // Beads are numbered by type, and so are their places.
    tiles.clear();
    const int numBeads = (int) particles.size();
    for (int first = 0, end; first < numBeads; first = end) {
        for (end = first; end < numBeads && end < first+TILE && types[end] == types[first]; end++);
        tiles.push_back({first, end-first, types[first]});
    }
    moments.resize(particles.size()*numBlocks*numMoments*LANES);
    int widest = numFeatures;
    for (const Layer& layer : layers)
        widest = max(widest, layer.outputs);
    Scratch one;
    one.values.push_back(vector<float>(numFeatures*TILE));
    for (const Layer& layer : layers) {
        one.values.push_back(vector<float>(roundUp(layer.outputs, ROWS)*TILE));
        one.slopes.push_back(vector<float>(roundUp(layer.outputs, ROWS)*TILE));
    }
    one.gradient.resize(roundUp(widest, ROWS)*TILE);
    one.nextGradient.resize(roundUp(widest, ROWS)*TILE);
    scratch.assign(parallel.getNumThreads(), one);
}

void CpuCalcMomentTensorForceKernel::compute(double temperature, vector<Vec3>* forces) {
    const int numBeads = (int) particles.size();
    // Rows start at whole vectors.
    edges.start.assign(1, 0);
    edges.count.resize(numBeads);
    for (int bead = 0; bead < numBeads; bead++)
        edges.start.push_back(edges.start[bead]+roundUp((int) (list->end(bead)-list->begin(bead)), LANES));
    edges.resize(edges.start[numBeads]);
    parallel.run((int) tiles.size(), roundUp(MIN_BEADS_PER_THREAD, TILE)/TILE, [&](int thread, int begin, int end) {
        for (int t = begin; t < end; t++) {
            for (int i = 0; i < tiles[t].count; i++) {
                findRow(tiles[t].first+i);
                computeMoments(tiles[t].first+i, scratch[thread]);
            }
            evaluateNetwork(tiles[t], temperature, scratch[thread]);
        }
    });
    if (forces != nullptr)
        parallel.run(numBeads, MIN_BEADS_PER_THREAD, [&](int thread, int begin, int end) {
            for (int bead = begin; bead < end; bead++)
                (*forces)[particleAt(bead)] += computeForce(bead, scratch[thread]);
        });
}

void CpuCalcMomentTensorForceKernel::findRow(int bead) {
    int edge = edges.start[bead];
    for (const CpuNeighborList::Neighbor* n = list->begin(bead); n != list->end(bead); n++) {
        const Vec3 delta = list->getDelta(bead, *n);
        double r2 = delta.dot(delta);
        if (r2 >= cutoff*cutoff)
            continue;
        double r = sqrt(r2);
        // Two beads at the same point have no direction.
        double inverseR = (r > 0 ? 1/r : 0.0);
        double u = min((cutoff-r)/spacing, numFunctions+3.0), interval = floor(u);
        edges.bead[edge] = n->place();
        edges.interval[edge] = (int) interval;
        edges.f[edge] = (float) (u-interval);
        edges.x[edge] = (float) (delta[0]*inverseR);
        edges.y[edge] = (float) (delta[1]*inverseR);
        edges.z[edge] = (float) (delta[2]*inverseR);
        edges.inverseR[edge] = (float) inverseR;
        edge++;
    }
    edges.count[bead] = edge-edges.start[bead];
    for (; edge%LANES != 0; edge++)
        edges.f[edge] = edges.x[edge] = edges.y[edge] = edges.z[edge] = edges.inverseR[edge] = 0.0f;
}

CpuRow CpuCalcMomentTensorForceKernel::getRow(int bead) const {
    const int start = edges.start[bead];
    return {edges.count[bead], edges.bead.data()+start, edges.interval.data()+start, edges.f.data()+start, edges.x.data()+start,
            edges.y.data()+start, edges.z.data()+start, edges.inverseR.data()+start};
}

CpuChannels CpuCalcMomentTensorForceKernel::getChannels() const {
    return {numBlocks, table.data(), typeWeights.data(), types.data(), (float) (1/spacing)};
}

void CpuCalcMomentTensorForceKernel::computeMoments(int bead, Scratch& scratch) {
    const CpuRow row = getRow(bead);
    scratch.reserveRow((4+numMoments)*roundUp(row.count, LANES));
    computeMomentsOfRow(maxL, row, getChannels(), scratch.row.data(), &moments[(size_t) bead*numBlocks*numMoments*LANES]);
}

Vec3 CpuCalcMomentTensorForceKernel::computeForce(int bead, Scratch& scratch) const {
    const CpuRow row = getRow(bead);
    scratch.reserveRow((8+4*numMoments)*roundUp(row.count, LANES));
    float lanes[3*LANES];
    computeForceOfRow(maxL, bead, row, getChannels(), moments.data(), scratch.row.data(), lanes);
    Vec3 force;
    for (int k = 0; k < 3; k++)
        for (int lane = 0; lane < LANES; lane++)
            force[k] += lanes[k*LANES+lane];
    return force;
}

void CpuCalcMomentTensorForceKernel::evaluateNetwork(const Tile& tile, double temperature, Scratch& scratch) {
    const int size = numBlocks*numMoments*LANES;
    // Lanes without a bead compute something that is never read.
    for (int i = 0; i < tile.count; i++)
        computeFeatures(maxL, channels, &moments[(size_t) (tile.first+i)*size], scratch.values[0].data(), i);
    const int last = (int) layers.size()-1;
    for (int k = 0; k <= last; k++) {
        const Layer& layer = layers[k];
        const int rows = roundUp(layer.outputs, ROWS);
        multiply(layer.forward[tile.type].data(), layer.biases[tile.type].data(), scratch.values[k].data(), scratch.values[k+1].data(), rows, layer.inputs);
        if (k < last)
            activate(silu, scratch.values[k+1].data(), scratch.slopes[k].data(), rows*TILE);
    }
    // U_i = A_i - T B_i
    vector<float>& gradient = scratch.gradient;
    for (int i = 0; i < tile.count; i++)
        A[list->getOrder()[tile.first+i]] = scratch.values[last+1][i];
    fill_n(gradient.begin(), TILE, 1.0f);
    if (numReadouts == 2) {
        for (int i = 0; i < tile.count; i++)
            B[list->getOrder()[tile.first+i]] = scratch.values[last+1][TILE+i];
        fill_n(gradient.begin()+TILE, TILE, (float) -temperature);
    }
    for (int k = last; k >= 0; k--) {
        const Layer& layer = layers[k];
        if (k < last)
            for (int i = 0; i < layer.outputs*TILE; i++)
                gradient[i] *= scratch.slopes[k][i];
        multiply(layer.backward[tile.type].data(), nullptr, gradient.data(), scratch.nextGradient.data(), roundUp(layer.inputs, ROWS), layer.outputs);
        gradient.swap(scratch.nextGradient);
    }
    for (int i = 0; i < tile.count; i++)
        momentGradients(maxL, channels, gradient.data(), i, &moments[(size_t) (tile.first+i)*size]);
}

}
