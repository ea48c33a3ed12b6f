// SPDX-License-Identifier: MIT
#include "meanforce/internal/FilterNetwork.h"
#include <algorithm>
#include <cmath>

using namespace std;

namespace meanforce {

FilterNetwork::FilterNetwork(const SchNetForce& force) : expNormal(force.getRadialBasis() == "expnormal"), cutoffFunction(force.getCutoffFunction()),
        cutoff(force.getCutoff()), lower(force.getLowerCutoff()), exponent(force.getBasisExponent()), centers(force.getBasisCenters()),
        widths(force.getBasisWidths()), activation(activationOf(force.getActivation())) {
    const int R = force.getNumRadialFunctions(), F = force.getNumFilters();
    for (int b = 0; b < force.getNumBlocks(); b++) {
        const SchNetForce::Block& block = force.getBlockParameters(b);
        layer1.emplace_back(F, R, block.filter1Weights, block.filter1Biases);
        layer2.emplace_back(F, F, block.filter2Weights, block.filter2Biases);
    }
}

/** (cos(k x)+1)/2 and its derivative. */
static double raisedCosine(double k, double x, double& slope) {
    slope = -0.5*k*sin(k*x);
    return 0.5*(cos(k*x)+1);
}

void FilterNetwork::evaluateBasis(double r, double* phi, double* slope) const {
    if (!expNormal) {
        for (size_t k = 0; k < centers.size(); k++) {
            double d = r-centers[k];
            phi[k] = exp(-exponent*d*d);
            slope[k] = -2*exponent*d*phi[k];
        }
        return;
    }
    double envelopeSlope, envelope = raisedCosine(M_PI/cutoff, r, envelopeSlope);
    double x = exp(-exponent*r);
    for (size_t k = 0; k < centers.size(); k++) {
        double d = x-centers[k], value = exp(-widths[k]*d*d);
        phi[k] = envelope*value;
        slope[k] = envelopeSlope*value+phi[k]*2*widths[k]*d*exponent*x;
    }
}

double FilterNetwork::evaluateCutoffFunction(double r, double& slope) const {
    if (cutoffFunction == "polynomial") {
        double u = r/cutoff;
        slope = -30*u*u*(1-u)*(1-u)/cutoff;
        return 1-u*u*u*(10-u*(15-6*u));
    }
    if (cutoffFunction == "shifted_cosine")
        return raisedCosine(M_PI/(cutoff-lower), max(r-lower, 0.0), slope);
    if (lower == 0)
        return raisedCosine(M_PI/cutoff, r, slope);
    double value = raisedCosine(2*M_PI/(cutoff-lower), max(r-lower, 0.0), slope);
    slope = -slope;
    return 1-value;
}

void FilterNetwork::evaluate(int block, double r, double* W, double* dWdr) const {
    const int F = layer1[block].getNumOutputs();
    if (r >= cutoff) {
        fill_n(W, F, 0.0);
        if (dWdr != nullptr)
            fill_n(dWdr, F, 0.0);
        return;
    }
    vector<double> phi(centers.size()), phiSlope(centers.size()), hidden(F), hiddenSlope(F), activationSlope(F);
    evaluateBasis(r, phi.data(), phiSlope.data());
    layer1[block].apply(phi.data(), hidden.data());
    for (int c = 0; c < F; c++)
        hidden[c] = activate(activation, hidden[c], activationSlope[c]);
    layer2[block].apply(hidden.data(), W);
    double fSlope, f = evaluateCutoffFunction(r, fSlope);
    if (dWdr != nullptr) {
        layer1[block].applySlope(phiSlope.data(), hiddenSlope.data());
        for (int c = 0; c < F; c++)
            hiddenSlope[c] *= activationSlope[c];
        layer2[block].applySlope(hiddenSlope.data(), dWdr);
        for (int c = 0; c < F; c++)
            dWdr[c] = dWdr[c]*f+W[c]*fSlope;
    }
    for (int c = 0; c < F; c++)
        W[c] *= f;
}

}
