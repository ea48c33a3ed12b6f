// SPDX-License-Identifier: MIT
#pragma once
#include "DenseLayer.h"
#include "Vector.h"

// Dense layers on some rows (beads, or pairs), for the files that are compiled once per instruction set.

namespace meanforce {
namespace {

/** The rows whose sums fill the registers. */
#if defined(__AVX512F__)
constexpr int GROUP = 12;
#elif defined(__AVX2__)
constexpr int GROUP = 6;
#else
constexpr int GROUP = 5;
#endif

/** y[row][0..V) (+)= bias + sum_k x[row][k] w[k][0..V) for R rows; V in vectors. */
template <int R, int V, bool ADD>
MEANFORCE_INLINE void multiplyGroup(const float* x, int xStride, const float* w, int depth, const float* biases, float* y, int yStride) {
    Vector sum[R][V];
    MEANFORCE_UNROLL
    for (int r = 0; r < R; r++)
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++) {
            sum[r][v] = (biases == nullptr ? Vector{} : load(biases+v*LANES));
            if (ADD)
                sum[r][v] += load(y+r*yStride+v*LANES);
        }
    for (int k = 0; k < depth; k++) {
        Vector wk[V];
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++)
            wk[v] = load(w+v*LANES);
        w += V*LANES;
        MEANFORCE_UNROLL
        for (int r = 0; r < R; r++) {
            const Vector xk = broadcast(x[r*xStride+k]);
            MEANFORCE_UNROLL
            for (int v = 0; v < V; v++)
                sum[r][v] += xk*wk[v];
        }
    }
    MEANFORCE_UNROLL
    for (int r = 0; r < R; r++)
        MEANFORCE_UNROLL
        for (int v = 0; v < V; v++)
            store(sum[r][v], y+r*yStride+v*LANES);
}

template <int R, int V, bool ADD>
void multiplyRows(int rows, const float* x, int xStride, const float* w, int depth, const float* biases, float* y, int yStride) {
    if (rows == R)
        multiplyGroup<R, V, ADD>(x, xStride, w, depth, biases, y, yStride);
    else if constexpr (R > 1)
        multiplyRows<R-1, V, ADD>(rows, x, xStride, w, depth, biases, y, yStride);
}

/** y (+)= biases + x w, with w packed in panels of PANEL_VECTORS vectors. */
template <bool ADD>
void multiply(int rows, const float* x, int xStride, const float* w, int depth, int width, const float* biases, float* y, int yStride) {
    const int groups = (rows+GROUP-1)/GROUP;
    for (int first = 0; first < width; first += PANEL_VECTORS*LANES) {
        const bool whole = (width-first >= PANEL_VECTORS*LANES);
        const float* b = (biases == nullptr ? nullptr : biases+first);
        for (int group = 0; group < groups; group++) {
            const int begin = rows*group/groups, count = rows*(group+1)/groups-begin;
            const float* xg = x+(long) begin*xStride;
            float* yg = y+(long) begin*yStride+first;
            if (whole)
                multiplyRows<GROUP, PANEL_VECTORS, ADD>(count, xg, xStride, w, depth, b, yg, yStride);
            else
                multiplyRows<GROUP, 1, ADD>(count, xg, xStride, w, depth, b, yg, yStride);
        }
        w += (long) depth*(whole ? PANEL_VECTORS : 1)*LANES;
    }
}

/** Outputs of a layer; x and y have as many columns as the layer, padded. */
MEANFORCE_INLINE void forward(const DenseLayer& layer, int rows, const float* x, float* y) {
    const int width = roundUp(layer.outputs, LANES);
    multiply<false>(rows, x, roundUp(layer.inputs, LANES), layer.forward, layer.inputs, width, layer.biases, y, width);
}

/** Add the outputs of a layer to y. */
MEANFORCE_INLINE void addForward(const DenseLayer& layer, int rows, const float* x, float* y) {
    const int width = roundUp(layer.outputs, LANES);
    multiply<true>(rows, x, roundUp(layer.inputs, LANES), layer.forward, layer.inputs, width, layer.biases, y, width);
}

/** The gradient with respect to the inputs, given that with respect to the outputs. */
MEANFORCE_INLINE void backward(const DenseLayer& layer, int rows, const float* gradient, float* result) {
    const int width = roundUp(layer.inputs, LANES);
    multiply<false>(rows, gradient, roundUp(layer.outputs, LANES), layer.backward, layer.outputs, width, nullptr, result, width);
}

MEANFORCE_INLINE void addBackward(const DenseLayer& layer, int rows, const float* gradient, float* result) {
    const int width = roundUp(layer.inputs, LANES);
    multiply<true>(rows, gradient, roundUp(layer.outputs, LANES), layer.backward, layer.outputs, width, nullptr, result, width);
}

template <Vector function(const Vector&, Vector&)>
MEANFORCE_INLINE void applyToEach(float* values, float* slopes, long count) {
    for (long i = 0; i < count; i += LANES) {
        Vector slope;
        store(function(load(values+i), slope), values+i);
        store(slope, slopes+i);
    }
}

/** Replace values by their activation, and write its slopes. */
inline void activate(Activation activation, float* values, float* slopes, long count) {
    switch (activation) {
        case Activation::Tanh: applyToEach<tanh>(values, slopes, count); break;
        case Activation::SiLU: applyToEach<silu>(values, slopes, count); break;
        case Activation::ShiftedSoftplus: applyToEach<shiftedSoftplus>(values, slopes, count); break;
    }
}

MEANFORCE_INLINE void multiplyBy(float* values, const float* factors, long count) {
    for (long i = 0; i < count; i += LANES)
        store(load(values+i)*load(factors+i), values+i);
}

}
}
