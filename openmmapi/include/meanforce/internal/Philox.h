// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/internal/RandomStreams.h"
#include <array>
#include <cmath>
#include <cstdint>

namespace meanforce {

/**
 * Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (doi:10.1145/2063384.2063405): 128 random
 * bits as a pure function of a counter and a key.  There is no state to store, and no order in which it must be called.
 */
inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; round++) {
        const std::uint64_t product0 = std::uint64_t(0xD2511F53)*counter[0];
        const std::uint64_t product1 = std::uint64_t(0xCD9E8D57)*counter[2];
        counter = {std::uint32_t(product1 >> 32)^counter[1]^key[0], std::uint32_t(product1),
                   std::uint32_t(product0 >> 32)^counter[3]^key[1], std::uint32_t(product0)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return counter;
}

/**
 * Two independent normal deviates from two random words, by Box and Muller.  Radii come from the 2^32 points
 * (word+1/2)/2^32, so deviates end at 6.8 standard deviations, beyond which lies 1e-11 of the normal distribution.
 */
inline std::array<double, 2> boxMuller(std::uint32_t radiusWord, std::uint32_t angleWord) {
    const double radius = std::sqrt(-2*std::log((radiusWord+0.5)/4294967296.0));
    const double angle = 3.14159265358979323846*(std::int32_t(angleWord)/2147483648.0);
    return {radius*std::cos(angle), radius*std::sin(angle)};
}

/** One random stream: normal deviates keyed by (stream, seed) and counted by (step, particle, component). */
class NormalStream {
public:
    NormalStream(RandomStream stream, std::uint32_t seed) : key({seed, std::uint32_t(stream)}) {
    }
    /** The deviates of one component of one particle: one for each of the directions x, y and z. */
    std::array<double, 3> operator()(std::uint64_t step, std::uint32_t particle, std::uint32_t component) const {
        const auto bits = philox4x32({std::uint32_t(step), std::uint32_t(step >> 32), particle, component}, key);
        const auto xy = boxMuller(bits[0], bits[1]);
        return {xy[0], xy[1], boxMuller(bits[2], bits[3])[0]};
    }
private:
    std::array<std::uint32_t, 2> key;
};

}
