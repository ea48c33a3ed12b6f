// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include <functional>
#include <vector>

namespace meanforce {

/**
 * Functions of a distance as uniform B-splines of degree 3 or 5 over [0, rc], in double precision.
 *
 * The G intervals count from the cutoff inwards: r is in interval n = floor((rc-r)/D), D = rc/G, where rows n to n+degree of
 * the coefficients act with the weights of cubicBSplineWeights() or quinticBSplineWeights().  Row m has its centre at
 * rc-(m-(degree-1)/2) D.
 */
class MEANFORCE_EXPORT FilterTable {
public:
    FilterTable() = default;
    /** @param coefficients   intervals+degree rows with one number for each function */
    FilterTable(double cutoff, int degree, int intervals, const std::vector<double>& coefficients);
    /** Computes all functions at a distance: values, and derivatives. */
    typedef std::function<void (double r, double* W, double* dWdr)> Functions;
    /**
     * The splines that take the values of some functions at the knots and their slopes at both ends, and if they are quintic
     * the values in the middle of the first and the last interval too.  So the error is of order D^4 or D^6 everywhere.
     *
     * @param functions   called with the same r for equal fractions of the cutoff, whatever the number of intervals
     * @return the coefficients
     */
    static std::vector<double> interpolate(double cutoff, int degree, int intervals, int numFunctions, const Functions& functions);
    /** Evaluate all functions at r < rc.  dWdr may be null. */
    void evaluate(double r, double* W, double* dWdr) const;
private:
    double cutoff = 0.0;
    int degree = 0, intervals = 0, numFunctions = 0;
    std::vector<double> coefficients;
};

}
