// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include <vector>

namespace meanforce {

/**
 * The exact solution over one time step h of the force-free bath dy = -A y dt + noise, y = (u, s), in the normalised form
 * whose equilibrium covariance is C = kT 1:
 *
 *     y  <-  T y + sqrt(kT) S xi,      T = exp(-h A),      S S^T = 1 - T T^T,
 *
 * with xi a vector of independent normal deviates, shared by all rows of S.  Matrices are row-major, of dimension n+1 for
 * n auxiliary variables.
 */
struct MEANFORCE_EXPORT GLEPropagator {
    /** @param drift   the matrix A, in 1/ps.    @param stepSize   h, in ps. */
    GLEPropagator(const std::vector<double>& drift, double stepSize);
    int dimension;
    /** T - 1 rather than T: for a memory much longer than h, T is so close to 1 that single precision would lose it. */
    std::vector<double> decay;
    /** The symmetric square root S. */
    std::vector<double> noise;
};

/** The dimension of a square matrix of that many elements, or -1 if there is none. */
MEANFORCE_EXPORT int matrixDimension(std::size_t numElements);

/**
 * The smallest eigenvalue of (A+A^T)/2, in the unit of A.  The bath is passive, that is, it never gives away more energy
 * than it was given and has noise that satisfies the fluctuation-dissipation relation, if and only if this is not negative.
 */
MEANFORCE_EXPORT double smallestDissipation(const std::vector<double>& drift);

}
