// SPDX-License-Identifier: MIT
#pragma once
#include <vector>

namespace meanforce {

/**
 * Write sums of uniform cubic B-splines that end at the cutoff as polynomials, four coefficients for each interval:
 *
 *     sum_k c_k B_k(r) = a_0 + a_1 f + a_2 f^2 + a_3 f^3,     u = (r_c-r)/D,  n = floor(u),  f = u-n
 *
 * @param coefficients   c, in the order [row][k]
 * @param numFunctions   G
 * @param numIntervals   n = 0 .. numIntervals-1
 * @return a, in the order [row][n][power]
 */
inline std::vector<double> splinePieces(const std::vector<double>& coefficients, int numFunctions, int numIntervals) {
    std::vector<double> pieces;
    for (size_t first = 0; first < coefficients.size(); first += numFunctions)
        for (int n = 0; n < numIntervals; n++) {
            // Counted from the cutoff inwards, function q = G-1-k, the interval sees the functions n-3 .. n.
            double c[4];
            for (int s = 0; s < 4; s++) {
                int q = n-3+s;
                c[s] = (q < 0 || q >= numFunctions ? 0.0 : coefficients[first+numFunctions-1-q]);
            }
            pieces.push_back((c[0]+4*c[1]+c[2])/6);
            pieces.push_back((c[2]-c[0])/2);
            pieces.push_back((c[0]-2*c[1]+c[2])/2);
            pieces.push_back((c[3]-c[0]+3*(c[1]-c[2]))/6);
        }
    return pieces;
}

}
