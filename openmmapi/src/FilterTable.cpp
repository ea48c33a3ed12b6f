// SPDX-License-Identifier: MIT
#include "meanforce/internal/FilterTable.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/QuinticBSpline.h"
#include <algorithm>
#include <cmath>

using namespace std;

namespace meanforce {

static constexpr int MAX_ROWS = 6;

/** The weights of the rows that act at u = (rc-r)/D, and their derivatives with respect to u; returns the first row. */
static int findWeights(int degree, int intervals, double u, double* weights, double* slopes) {
    // The inner end of the last interval belongs to it.
    int n = min((int) floor(u), intervals-1);
    if (degree == 3)
        cubicBSplineWeights<double, double>(u-n, weights, slopes);
    else
        quinticBSplineWeights<double, double>(u-n, weights, slopes);
    return n;
}

FilterTable::FilterTable(double cutoff, int degree, int intervals, const vector<double>& coefficients) : cutoff(cutoff), degree(degree),
        intervals(intervals), numFunctions((int) coefficients.size()/(intervals+degree)), coefficients(coefficients) {
}

void FilterTable::evaluate(double r, double* W, double* dWdr) const {
    double weights[MAX_ROWS], slopes[MAX_ROWS], inverseSpacing = intervals/cutoff;
    int first = findWeights(degree, intervals, (cutoff-r)*inverseSpacing, weights, slopes);
    fill_n(W, numFunctions, 0.0);
    if (dWdr != nullptr)
        fill_n(dWdr, numFunctions, 0.0);
    for (int s = 0; s <= degree; s++) {
        const double* row = &coefficients[(first+s)*numFunctions];
        for (int c = 0; c < numFunctions; c++)
            W[c] += weights[s]*row[c];
        if (dWdr != nullptr)
            for (int c = 0; c < numFunctions; c++)
                dWdr[c] -= slopes[s]*inverseSpacing*row[c];
    }
}

namespace {

/** One linear equation for the coefficients: a few neighbouring rows, weighted, give the right-hand sides. */
struct Condition {
    int first;
    double weights[MAX_ROWS];
    vector<double> values;
};

}

/**
 * Solve as many equations as unknowns.  Equation k acts on unknown k and a few neighbours, and Gaussian elimination without
 * exchange of equations is stable: collocation with B-splines is totally positive.
 */
static vector<double> solve(vector<Condition>& conditions, int degree) {
    const int size = (int) conditions.size(), numFunctions = (int) conditions[0].values.size();
    auto weight = [&](int k, int column) -> double& {
        return conditions[k].weights[column-conditions[k].first];
    };
    auto reaches = [&](int k, int column) {
        return column >= conditions[k].first && column <= conditions[k].first+degree;
    };
    for (int k = 0; k < size; k++)
        for (int later = k+1; later < size && later <= k+degree; later++) {
            if (!reaches(later, k) || weight(later, k) == 0.0)
                continue;
            double factor = weight(later, k)/weight(k, k);
            for (int column = k; reaches(k, column); column++)
                if (reaches(later, column))
                    weight(later, column) -= factor*weight(k, column);
            for (int c = 0; c < numFunctions; c++)
                conditions[later].values[c] -= factor*conditions[k].values[c];
        }
    for (int k = size-1; k >= 0; k--)
        for (int c = 0; c < numFunctions; c++) {
            double sum = conditions[k].values[c];
            for (int column = k+1; reaches(k, column) && column < size; column++)
                sum -= weight(k, column)*conditions[column].values[c];
            conditions[k].values[c] = sum/weight(k, k);
        }
    vector<double> result;
    for (const Condition& condition : conditions)
        result.insert(result.end(), condition.values.begin(), condition.values.end());
    return result;
}

vector<double> FilterTable::interpolate(double cutoff, int degree, int intervals, int numFunctions, const Functions& functions) {
    const double spacing = cutoff/intervals;
    vector<Condition> conditions;
    vector<double> W(numFunctions), dWdr(numFunctions);
    auto addPoint = [&](double u, bool withSlope) {
        double weights[MAX_ROWS], slopes[MAX_ROWS];
        functions(cutoff*((intervals-u)/intervals), W.data(), dWdr.data());
        int first = findWeights(degree, intervals, u, weights, slopes);
        conditions.push_back({first, {}, W});
        copy_n(weights, degree+1, conditions.back().weights);
        if (withSlope) {
            for (double& slope : dWdr)
                slope *= -spacing;    // dW/du
            conditions.push_back({first, {}, dWdr});
            copy_n(slopes, degree+1, conditions.back().weights);
        }
    };
    addPoint(0, true);
    if (degree == 5)
        addPoint(0.5, false);
    for (int n = 1; n < intervals; n++)
        addPoint(n, false);
    if (degree == 5)
        addPoint(intervals-0.5, false);
    addPoint(intervals, true);
    return solve(conditions, degree);
}

}
