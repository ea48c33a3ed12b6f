// SPDX-License-Identifier: MIT
#include "ReferenceCalcPairSplineForceKernel.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/CubicBSpline.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

void ReferenceCalcPairSplineForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const PairSplineForce&>(beadForce);
    cutoff = force.getCutoff();
    numFunctions = force.getNumFunctions();
    spacing = cutoff/numFunctions;
    coefficients = force.getCoefficients();
    exclusions = force.listExclusions();
}

double ReferenceCalcPairSplineForceKernel::evaluatePair(int pair, double r, double& dUdr) const {
    // Count intervals and functions from the cutoff inwards: function q is G-1-k.
    double u = (cutoff-r)/spacing;
    int n = min((int) floor(u), numFunctions-1);    // u is G where r is 0
    double B[4], dB[4], U = 0.0;
    cubicBSplineWeights<double, double>(u-n, B, dB);
    dUdr = 0.0;
    for (int s = 0; s < 4; s++) {
        int q = n-3+s;
        if (q >= 0) {
            double c = coefficients[pair*numFunctions+numFunctions-1-q];
            U += c*B[s];
            dUdr -= c*dB[s]/spacing;
        }
    }
    return U;
}

void ReferenceCalcPairSplineForceKernel::compute(const vector<Edge>& edges, double temperature, vector<double>& A, vector<double>& B,
        vector<Vec3>* forces) {
    // Each pair has an edge in either direction.
    for (const Edge& edge : edges) {
        if (binary_search(exclusions[edge.i].begin(), exclusions[edge.i].end(), edge.j))
            continue;
        double dUdr;
        A[edge.i] += 0.5*evaluatePair(PairSplineForce::getPair(types[edge.i], types[edge.j]), edge.r, dUdr);
        if (forces != nullptr)
            (*forces)[edge.i] += edge.direction*dUdr;
    }
}

}
