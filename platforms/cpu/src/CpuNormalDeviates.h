// SPDX-License-Identifier: MIT
#pragma once
#include "CpuClones.h"
#include "meanforce/internal/RandomStreams.h"
#include <cstdint>
#include <cstring>

namespace meanforce {

constexpr int LANES = 8;

/** Eight doubles, and eight 64-bit words. */
typedef double Double8 __attribute__((vector_size(8*LANES)));
typedef std::uint64_t Word8 __attribute__((vector_size(8*LANES)));

__attribute__((always_inline)) inline void load(const double* source, Double8& target) {
    std::memcpy(&target, source, sizeof(Double8));
}

__attribute__((always_inline)) inline void store(const Double8& source, double* target) {
    std::memcpy(target, &source, sizeof(Double8));
}

__attribute__((always_inline)) inline void reinterpret(const Double8& source, Word8& target) {
    std::memcpy(&target, &source, sizeof(Word8));
}

__attribute__((always_inline)) inline void reinterpret(const Word8& source, Double8& target) {
    std::memcpy(&target, &source, sizeof(Double8));
}

/** Words below 2^52 as numbers: put into the mantissa of 2^52, and 2^52 taken off. */
__attribute__((always_inline)) inline void toDouble(const Word8& word, Double8& number) {
    reinterpret(word | 0x4330000000000000, number);
    number -= 4503599627370496.0;
}

/** philox4x32() for eight counters.  Every word holds 32 bits, so that products of two fit. */
__attribute__((always_inline)) inline void philox(Word8 counter[4], std::uint32_t key0, std::uint32_t key1) {
    const std::uint64_t low = 0xffffffff;
    MEANFORCE_UNROLL
    for (int round = 0; round < 10; round++) {
        const Word8 product0 = counter[0]*0xD2511F53, product1 = counter[2]*0xCD9E8D57;
        counter[0] = (product1 >> 32)^counter[1]^key0;
        counter[1] = product1 & low;
        counter[2] = (product0 >> 32)^counter[3]^key1;
        counter[3] = product0 & low;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

/** sqrt(-2 log u) with u = (word+1/2)/2^32, to 1e-15. */
__attribute__((always_inline)) inline void boxMullerRadius(const Word8& word, Double8& radius) {
    // 2 word + 1 = 2^exponent mantissa with 1/sqrt(2) <= mantissa < sqrt(2): for u next to 1 the exponent of u is 0, and
    // nothing cancels.
    Double8 odd, mantissa, exponent;
    toDouble(2*word+1, odd);
    Word8 bits;
    reinterpret(odd, bits);
    const Word8 exponentBits = (bits-0x3fe6a09e667f3bcd) >> 52;
    reinterpret(bits-(exponentBits << 52), mantissa);
    toDouble(exponentBits, exponent);
    // log(mantissa) = 2 artanh(f), |f| < 0.172
    const Double8 f = (mantissa-1.0)/(mantissa+1.0), g = f*f;
    const Double8 series = 1.0/3+g*(1.0/5+g*(1.0/7+g*(1.0/9+g*(1.0/11+g*(1.0/13+g*(1.0/15+g*(1.0/17+g*(1.0/19+g*(1.0/21)))))))));
    const Double8 logarithm = (exponent-33.0)*0.69314718055994531+2*f*(1.0+g*series);
    double squares[LANES];
    store(-2*logarithm, squares);
    for (int i = 0; i < LANES; i++)
        squares[i] = __builtin_sqrt(squares[i]);
    load(squares, radius);
}

/** sin(pi word/2^31), to 1e-15. */
__attribute__((always_inline)) inline void sineOfTurn(const Word8& word, Double8& sine) {
    // An even or odd number of half turns, and a rest between -1/4 and 1/4 of a turn.
    const Word8 shifted = word+0x40000000;
    Double8 rest;
    toDouble(shifted & 0x7fffffff, rest);
    const Double8 x = (rest-1073741824.0)*(3.14159265358979323846/2147483648.0), y = x*x;
    const Double8 series = -1.0/6+y*(1.0/120+y*(-1.0/5040+y*(1.0/362880+y*(-1.0/39916800+y*(1.0/6227020800.0+y*(-1.0/1307674368000.0
        +y*(1.0/355687428096000.0+y*(-1.0/121645100408832000.0+y*(1.0/51090942171709440000.0)))))))));
    const Word8 sign = (shifted << 32) & 0x8000000000000000;
    Word8 bits;
    reinterpret(x+x*(y*series), bits);
    reinterpret(bits^sign, sine);
}

/** What NormalStream gives for one component of eight particles, one deviate for each of the directions x, y and z. */
__attribute__((always_inline)) inline void normalDeviates(RandomStream stream, std::uint32_t seed, std::uint64_t step, const Word8& particle,
        std::uint32_t component, Double8 deviates[3]) {
    const Word8 zero = {};
    Word8 words[4] = {zero+(step & 0xffffffff), zero+(step >> 32), particle, zero+component};
    philox(words, seed, std::uint32_t(stream));
    Double8 radius1, radius2, cosine1, sine1, cosine2;
    boxMullerRadius(words[0], radius1);
    boxMullerRadius(words[2], radius2);
    // cos(a) = sin(a + 1/4 turn)
    sineOfTurn((words[1]+0x40000000) & 0xffffffff, cosine1);
    sineOfTurn(words[1], sine1);
    sineOfTurn((words[3]+0x40000000) & 0xffffffff, cosine2);
    deviates[0] = radius1*cosine1;
    deviates[1] = radius1*sine1;
    deviates[2] = radius2*cosine2;
}

}
