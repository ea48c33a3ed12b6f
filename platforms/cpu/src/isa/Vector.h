// SPDX-License-Identifier: MIT
#pragma once
#include "CpuClones.h"
#include <cstring>

// One register of floats, for the files that are compiled once per instruction set.  Everything is in an anonymous
// namespace: a function that two sets share would be merged into one copy, which might be the one that cannot run here.

#define MEANFORCE_INLINE __attribute__((always_inline)) inline

namespace meanforce {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(4*LANES)));
typedef int IntVector __attribute__((vector_size(4*LANES)));

constexpr int roundUp(int n, int multiple) {
    return (n+multiple-1)/multiple*multiple;
}

MEANFORCE_INLINE Vector load(const float* source) {
    Vector result;
    std::memcpy(&result, source, sizeof(Vector));
    return result;
}

MEANFORCE_INLINE void store(const Vector& source, float* target) {
    std::memcpy(target, &source, sizeof(Vector));
}

MEANFORCE_INLINE Vector broadcast(float value) {
    return value-Vector{};    // unlike a sum with zero, this is nothing but a copy
}

/** The sum of all lanes. */
MEANFORCE_INLINE float reduce(const Vector& x) {
    typedef float Vector4 __attribute__((vector_size(16)));
    Vector4 part[LANES/4];
    std::memcpy(part, &x, sizeof(Vector));
    MEANFORCE_UNROLL
    for (int width = LANES/8; width > 0; width /= 2)
        MEANFORCE_UNROLL
        for (int i = 0; i < width; i++)
            part[i] += part[i+width];
    return (part[0][0]+part[0][2])+(part[0][1]+part[0][3]);
}

MEANFORCE_INLINE IntVector bitsOf(const Vector& x) {
    IntVector result;
    std::memcpy(&result, &x, sizeof(result));
    return result;
}

MEANFORCE_INLINE Vector floatsOf(const IntVector& x) {
    Vector result;
    std::memcpy(&result, &x, sizeof(result));
    return result;
}

MEANFORCE_INLINE Vector abs(const Vector& x) {
    return floatsOf(bitsOf(x) & 0x7fffffff);
}

/** exp(x) to a relative error of 2e-7, for |x| up to 87; beyond that the value at 87. */
MEANFORCE_INLINE Vector exp(const Vector& argument) {
    const Vector limit = broadcast(87.0f);
    Vector x = argument < limit ? argument : limit;
    x = x > -limit ? x : -limit;
    // exp(x) = 2^n exp(r), |r| < ln(2)/2.  Adding 1.5*2^23 rounds to an integer and leaves it in the lowest bits.
    const float shift = 12582912.0f;
    const Vector shifted = x*1.44269504f+shift;
    const Vector n = shifted-shift;
    const Vector r = (x-n*0.693145752f)-n*1.42860677e-6f;
    const Vector series = 1.0f+r*(1.0f+r*(0.5f+r*(1.0f/6+r*(1.0f/24+r*(1.0f/120+r*(1.0f/720+r*(1.0f/5040)))))));
    return floatsOf(bitsOf(series)+(bitsOf(shifted) << 23));
}

/** ln(1+x) for 0 <= x <= 1. */
MEANFORCE_INLINE Vector log1p(const Vector& x) {
    // ln(1+x) = 2 artanh(s), s = x/(2+x) <= 1/3.
    const Vector s = x/(2.0f+x), t = s*s;
    return 2.0f*s*(1.0f+t*(1.0f/3+t*(1.0f/5+t*(1.0f/7+t*(1.0f/9+t*(1.0f/11+t*(1.0f/13)))))));
}

/** tanh(x) and its derivative. */
MEANFORCE_INLINE Vector tanh(const Vector& x, Vector& slope) {
    const Vector magnitude = abs(x), square = x*x;
    Vector large = 1.0f-2.0f/(exp(2.0f*magnitude)+1.0f);
    large = floatsOf(bitsOf(large) | (bitsOf(x) & (int) 0x80000000));
    // A minimax polynomial (Cephes): the form above has no relative accuracy near zero.
    const Vector small = x+x*square*(-3.33332819422e-1f+square*(1.33314422036e-1f+square*(-5.37397155531e-2f
            +square*(2.06390887954e-2f+square*-5.70498872745e-3f))));
    const Vector value = magnitude < 0.625f ? small : large;
    slope = 1.0f-value*value;
    return value;
}

/** The shifted softplus ln((1+exp(x))/2) and its derivative. */
MEANFORCE_INLINE Vector shiftedSoftplus(const Vector& x, Vector& slope) {
    const Vector e = exp(-abs(x)), sigmoid = 1.0f/(1.0f+e);
    slope = x > 0.0f ? sigmoid : 1.0f-sigmoid;
    return 0.5f*(x+abs(x))+(log1p(e)-0.693147181f);
}

/** x/(1+exp(-x)) and its derivative. */
MEANFORCE_INLINE Vector silu(const Vector& x, Vector& slope) {
    const Vector sigmoid = 1.0f/(1.0f+exp(-x));
    slope = sigmoid*(1.0f+x*(1.0f-sigmoid));
    return x*sigmoid;
}

}
}
