// SPDX-License-Identifier: MIT
#pragma once
#include <cstring>

// The vector code is compiled once for each instruction set; the dynamic loader picks one.  clang accepts the attribute
// for these names but never picks anything beyond the default.  "flatten" because only what is inlined is cloned.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define MEANFORCE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), flatten))
#else
#define MEANFORCE_CLONES
#endif

// Before a loop over an array that must live in registers: it only does if every index is a constant.
#if defined(__clang__)
#define MEANFORCE_UNROLL _Pragma("unroll")
#else
#define MEANFORCE_UNROLL _Pragma("GCC unroll 32")
#endif

namespace meanforce {

constexpr int LANES = 8;

/** Eight floats in one vector register, or in two where registers are shorter. */
typedef float Float8 __attribute__((vector_size(4*LANES)));
typedef int Int8 __attribute__((vector_size(4*LANES)));

__attribute__((always_inline)) inline void load(const float* source, Float8& target) {
    std::memcpy(&target, source, sizeof(Float8));
}

__attribute__((always_inline)) inline void store(const Float8& source, float* target) {
    std::memcpy(target, &source, sizeof(Float8));
}

/** exp(x) to a relative error of 2e-7, for |x| up to 87; beyond that the value at 87. */
__attribute__((always_inline)) inline void fastExp(const Float8& argument, Float8& result) {
    const Float8 limit = argument*0.0f+87.0f;
    Float8 x = argument < limit ? argument : limit;
    x = x > -limit ? x : -limit;
    // exp(x) = 2^n exp(r), |r| < ln(2)/2.  Adding 1.5*2^23 rounds to an integer and leaves it in the lowest bits.
    const float shift = 12582912.0f;
    const Float8 shifted = x*1.44269504f+shift;
    const Float8 n = shifted-shift;
    const Float8 r = (x-n*0.693145752f)-n*1.42860677e-6f;
    const Float8 series = 1.0f+r*(1.0f+r*(0.5f+r*(1.0f/6+r*(1.0f/24+r*(1.0f/120+r*(1.0f/720+r*(1.0f/5040)))))));
    Int8 bits, exponent;
    std::memcpy(&bits, &series, sizeof(bits));
    std::memcpy(&exponent, &shifted, sizeof(exponent));
    bits += exponent << 23;
    std::memcpy(&result, &bits, sizeof(bits));
}

}
