// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include <array>
#include <vector>

namespace meanforce {

/** One term of a rotation-invariant product of moments: value times one component of each moment. */
struct CouplingTerm {
    std::array<int, 3> lm;    // component l*l+l+m of each factor; the last is not used in a product of two
    double value;
};

/**
 * The terms of the scalar that two or three moments of the given degrees, at most 4, can be coupled to.
 *
 * Two moments of one degree l: sum_m A_lm B_lm.  Three: sum_{m1 m2 m3} K_{m1 m2 m3} A_{l1 m1} B_{l2 m2} C_{l3 m3}, where K is
 * the Wigner 3j symbol in the basis of our real harmonics (SphericalHarmonics.h), normalised to sum K^2 = 1, with its first
 * term, in lexicographic order of the m, positive.  If l1+l2+l3 is even this is a true scalar; if it is odd, it changes its
 * sign in a mirror.  There are no terms if the degrees can't be coupled.
 */
MEANFORCE_EXPORT std::vector<CouplingTerm> coupleMoments(const std::vector<int>& degrees);

/**
 * Throw an OpenMMException unless a product of moments of these degrees, the n-th factor taken from channel
 * (c+shifts[n]) modulo `channels`, exists and does not vanish for all moments.
 */
MEANFORCE_EXPORT void checkProduct(int maxL, int channels, const std::vector<int>& degrees, const std::vector<int>& shifts);

}
