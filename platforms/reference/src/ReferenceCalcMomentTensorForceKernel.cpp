// SPDX-License-Identifier: MIT
#include "ReferenceCalcMomentTensorForceKernel.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/SphericalHarmonics.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Moments are always computed with room for the largest degree, so that one call of the harmonics serves every L. */
static constexpr int MAX_MOMENTS = (MomentTensorForce::MaxDegree+1)*(MomentTensorForce::MaxDegree+1);

void ReferenceCalcMomentTensorForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const MomentTensorForce&>(beadForce);
    maxL = force.getMaxL();
    channels = force.getNumChannels();
    cutoff = force.getCutoff();
    spacing = force.getFilterSpacing();
    numFunctions = force.getNumFilterFunctions();
    numReadouts = force.getNumReadouts();
    coefficients = force.getFilterCoefficients();
    typeWeights = force.getTypeWeights();
    products.clear();
    for (int p = 0; p < force.getNumProducts(); p++) {
        vector<int> degrees, shifts;
        force.getProduct(p, degrees, shifts);
        products.push_back({shifts, coupleMoments(degrees)});
    }
    network = DenseNetwork(force);
}

void ReferenceCalcMomentTensorForceKernel::compute(const vector<Edge>& edges, double temperature, vector<double>& A, vector<double>& B,
        vector<Vec3>* forces) {
    vector<double> M, dUdM(types.size()*MAX_MOMENTS*channels);
    computeMoments(edges, M);
    // U_i = A_i - T B_i
    const vector<double> seed = (numReadouts == 2 ? vector<double>{1.0, -temperature} : vector<double>{1.0});
    for (int i = 0; i < (int) types.size(); i++)
        if (types[i] >= 0) {
            vector<double> outputs = evaluateBead(i, M, seed, dUdM);
            A[i] = outputs[0];
            if (numReadouts == 2)
                B[i] = outputs[1];
        }
    if (forces != nullptr)
        computeForces(edges, dUdM, *forces);
}

void ReferenceCalcMomentTensorForceKernel::evaluateFilters(double r, vector<double>& W, vector<double>& dWdr) const {
    int numFilters = (maxL+1)*channels;
    W.assign(numFilters, 0.0);
    dWdr.assign(numFilters, 0.0);
    // Count intervals and functions from the cutoff inwards: function q is G-1-k.
    double u = (cutoff-r)/spacing;
    double n = floor(u);
    double B[4], dB[4];
    cubicBSplineWeights<double, double>(u-n, B, dB);
    for (int s = 0; s < 4; s++) {
        double k = numFunctions-1-(n-3+s);
        if (k >= 0 && k < numFunctions)
            for (int f = 0; f < numFilters; f++) {
                double C = coefficients[(int) k*numFilters+f];
                W[f] += C*B[s];
                dWdr[f] -= C*dB[s]/spacing;
            }
    }
}

void ReferenceCalcMomentTensorForceKernel::computeMoments(const vector<Edge>& edges, vector<double>& M) const {
    M.assign(types.size()*MAX_MOMENTS*channels, 0.0);
    vector<double> W, dWdr;
    double Y[MAX_MOMENTS];
    for (const Edge& edge : edges) {
        evaluateFilters(edge.r, W, dWdr);
        sphericalHarmonics<MomentTensorForce::MaxDegree, double, double>(edge.direction[0], edge.direction[1], edge.direction[2], Y);
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                for (int c = 0; c < channels; c++)
                    M[(edge.i*MAX_MOMENTS+lm)*channels+c] += typeWeights[types[edge.j]*channels+c]*W[l*channels+c]*Y[lm];
    }
}

vector<double> ReferenceCalcMomentTensorForceKernel::evaluateBead(int i, const vector<double>& M, const vector<double>& seed,
        vector<double>& dUdM) const {
    auto moment = [&](int lm, int c) {
        return (i*MAX_MOMENTS+lm)*channels+c;
    };
    vector<double> x((maxL+2+products.size())*channels, 0.0), dUdx;
    for (int c = 0; c < channels; c++) {
        x[c] = M[moment(0, c)];
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                x[(l+1)*channels+c] += M[moment(lm, c)]*M[moment(lm, c)];
    }
    // Visit each term of each product, in each channel: its feature, its coefficient and the moments that are multiplied.
    auto forEachTerm = [&](auto visit) {
        for (size_t p = 0; p < products.size(); p++)
            for (int c = 0; c < channels; c++)
                for (const CouplingTerm& term : products[p].terms) {
                    vector<int> factors;
                    for (size_t n = 0; n < products[p].shifts.size(); n++)
                        factors.push_back(moment(term.lm[n], (c+products[p].shifts[n])%channels));
                    visit((maxL+2+p)*channels+c, term.value, factors);
                }
    };
    forEachTerm([&](size_t feature, double value, const vector<int>& factors) {
        for (int factor : factors)
            value *= M[factor];
        x[feature] += value;
    });
    vector<double> outputs = network.evaluate(types[i], x, seed, dUdx);
    for (int c = 0; c < channels; c++) {
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                dUdM[moment(lm, c)] = 2*M[moment(lm, c)]*dUdx[(l+1)*channels+c];
        dUdM[moment(0, c)] += dUdx[c];
    }
    forEachTerm([&](size_t feature, double value, const vector<int>& factors) {
        for (size_t n = 0; n < factors.size(); n++) {
            double others = value;
            for (size_t k = 0; k < factors.size(); k++)
                if (k != n)
                    others *= M[factors[k]];
            dUdM[factors[n]] += others*dUdx[feature];
        }
    });
    return outputs;
}

void ReferenceCalcMomentTensorForceKernel::computeForces(const vector<Edge>& edges, const vector<double>& dUdM, vector<Vec3>& forces) const {
    vector<double> W, dWdr;
    double Y[MAX_MOMENTS], Yx[MAX_MOMENTS], Yy[MAX_MOMENTS], Yz[MAX_MOMENTS];
    for (const Edge& edge : edges) {
        evaluateFilters(edge.r, W, dWdr);
        const Vec3& n = edge.direction;
        double inverseR = (edge.r > 0 ? 1/edge.r : 0.0);
        sphericalHarmonics<MomentTensorForce::MaxDegree, double, double>(n[0], n[1], n[2], Y);
        sphericalHarmonicGradients<MomentTensorForce::MaxDegree, double, double>(n[0], n[1], n[2], Yx, Yy, Yz);
        // The derivative of M_i with respect to the vector from i to j pulls i towards where U falls, and pushes j back.
        Vec3 gradient;
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                projectGradient(n[0], n[1], n[2], inverseR, Yx[lm], Yy[lm], Yz[lm]);
                for (int c = 0; c < channels; c++) {
                    double g = dUdM[(edge.i*MAX_MOMENTS+lm)*channels+c]*typeWeights[types[edge.j]*channels+c];
                    gradient += n*(g*dWdr[l*channels+c]*Y[lm])+Vec3(Yx[lm], Yy[lm], Yz[lm])*(g*W[l*channels+c]);
                }
            }
        forces[edge.i] += gradient;
        forces[edge.j] -= gradient;
    }
}

}
