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
 * with xi a vector of independent normal deviates, shared by all rows of S.  Matrices are row-major, of dimension d+n for
 * d = 1 or 3 velocities and n auxiliary variables.
 *
 * Platforms apply T-1 in two parts: the blocks that act within u and within s (propagateBath), and those that take u to s and
 * s to u (couple).
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

/**
 * The number of components of y of a kernel that couples `dimension` (1 or 3) directions: component 0 is the velocity u of a
 * particle, the others are its auxiliary variables, one for each direction.  Element k of the y of a kernel of dimension 3
 * is direction k%3 of component k/3; there, the last component may have directions without variable.
 */
inline int countComponents(int matrixDimension, int kernelDimension) {
    return (matrixDimension+kernelDimension-1)/kernelDimension;
}

/**
 * A matrix on y, as blocks that act on the directions of a component.  Element ((a*numComponents+b)*blockSize+i)*blockSize+j
 * takes direction j of component b to direction i of component a.  Blocks of size 1 are numbers, for kernels of dimension 1.
 */
MEANFORCE_EXPORT std::vector<double> arrangeInBlocks(const std::vector<double>& matrix, int kernelDimension, int numComponents, int blockSize);

/** The dimension of a square matrix of that many elements, or -1 if there is none. */
MEANFORCE_EXPORT int matrixDimension(std::size_t numElements);

/**
 * The smallest eigenvalue of (A+A^T)/2, in the unit of A.  The bath is passive, that is, it never gives away more energy
 * than it was given and has noise that satisfies the fluctuation-dissipation relation, if and only if this is not negative.
 */
MEANFORCE_EXPORT double smallestDissipation(const std::vector<double>& drift);

/** An angular frequency, in rad/ps, and the friction at it, in 1/ps. */
struct SpectrumPoint {
    double frequency, friction;
};

/**
 * The place where the spectrum of the friction, the Hermitian part of A_uu - a^T (i omega + Ass)^-1 abar, is smallest, of the d
 * directions and some hundred frequencies.  If that is negative, no bath in any basis has this kernel.
 */
MEANFORCE_EXPORT SpectrumPoint smallestSpectrum(const std::vector<double>& drift, int kernelDimension);

}
