// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/Vec3.h"
#include <cstdint>

namespace meanforce {

/** The coordinates of a point in units of the box vectors, which are lower triangular as OpenMM's are. */
inline OpenMM::Vec3 toFractions(const OpenMM::Vec3& x, const OpenMM::Vec3* box) {
    OpenMM::Vec3 s;
    s[2] = x[2]/box[2][2];
    s[1] = (x[1]-s[2]*box[2][1])/box[1][1];
    s[0] = (x[0]-s[2]*box[2][0]-s[1]*box[1][0])/box[0][0];
    return s;
}

/** The place of a cell on Morton's curve, which interleaves the bits of the three coordinates, each below 2^20. */
inline std::uint64_t mortonCode(std::uint64_t x, std::uint64_t y, std::uint64_t z) {
    std::uint64_t code = 0;
    for (int bit = 0; (x|y|z)>>bit != 0; bit++)
        code |= ((x>>bit & 1) | (y>>bit & 1)<<1 | (z>>bit & 1)<<2) << (3*bit);
    return code;
}

}
