// SPDX-License-Identifier: MIT
#include "ReferenceCalcMomentTensorForceKernel.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/MomentTensorForceImpl.h"
#include "meanforce/internal/SphericalHarmonics.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferenceForce.h"
#include "openmm/reference/ReferencePlatform.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Moments are always computed with room for the largest degree, so that one call of the harmonics serves every L. */
static constexpr int MAX_MOMENTS = (MomentTensorForce::MaxDegree+1)*(MomentTensorForce::MaxDegree+1);

void ReferenceCalcMomentTensorForceKernel::initialize(const System& system, const MomentTensorForce& force) {
    maxL = force.getMaxL();
    channels = force.getNumChannels();
    cutoff = force.getCutoff();
    spacing = force.getFilterSpacing();
    numFunctions = force.getNumFilterFunctions();
    periodic = force.usesPeriodicBoundaryConditions();
    silu = (force.getActivation() == "silu");
    types.resize(force.getNumParticles());
    for (int i = 0; i < force.getNumParticles(); i++)
        types[i] = force.getParticleType(i);
    coefficients = force.getFilterCoefficients();
    typeWeights = force.getTypeWeights();
    layers.clear();
    for (int k = 0; k < force.getNumLayers(); k++)
        layers.push_back({force.getNumLayerInputs(k), force.getNumLayerOutputs(k), force.getLayerWeights(k), force.getLayerBiases(k)});
}

void ReferenceCalcMomentTensorForceKernel::copyParametersToContext(ContextImpl& context, const MomentTensorForce& force) {
    initialize(context.getSystem(), force);
}

double ReferenceCalcMomentTensorForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy) {
    auto& data = *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
    vector<Edge> edges = findEdges(*data.positions, data.periodicBoxVectors);
    vector<double> M, dUdM(types.size()*MAX_MOMENTS*channels);
    computeMoments(edges, M);
    double energy = 0.0;
    for (int i = 0; i < (int) types.size(); i++)
        if (types[i] >= 0)
            energy += evaluateBead(i, M, dUdM);
    if (includeForces)
        computeForces(edges, dUdM, *data.forces);
    return energy;
}

vector<ReferenceCalcMomentTensorForceKernel::Edge> ReferenceCalcMomentTensorForceKernel::findEdges(const vector<Vec3>& positions, const Vec3* boxVectors) const {
    if (periodic)
        MomentTensorForceImpl::checkBox(boxVectors, cutoff);
    int numParticles = (int) types.size();
    for (int i = 0; i < numParticles; i++)
        if (types[i] >= 0 && !isfinite(positions[i].dot(Vec3(1, 1, 1))))
            throw MomentTensorForceImpl::positionError(i);
    vector<Edge> edges;
    for (int i = 0; i < numParticles; i++)
        for (int j = 0; j < numParticles; j++) {
            if (i == j || types[i] < 0 || types[j] < 0)
                continue;
            double delta[ReferenceForce::LastDeltaRIndex];
            if (periodic)
                ReferenceForce::getDeltaRPeriodic(positions[i], positions[j], boxVectors, delta);
            else
                ReferenceForce::getDeltaR(positions[i], positions[j], delta);
            double r = delta[ReferenceForce::RIndex];
            if (r < cutoff) {
                // Two beads at the same point have no direction: they see each other through l = 0 alone.
                double inverseR = (r > 0 ? 1/r : 0.0);
                edges.push_back({i, j, r, Vec3(delta[0], delta[1], delta[2])*inverseR});
            }
        }
    return edges;
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

double ReferenceCalcMomentTensorForceKernel::evaluateBead(int i, const vector<double>& M, vector<double>& dUdM) const {
    auto moment = [&](int lm, int c) {
        return (i*MAX_MOMENTS+lm)*channels+c;
    };
    vector<double> x((maxL+2)*channels, 0.0), dUdx;
    for (int c = 0; c < channels; c++) {
        x[c] = M[moment(0, c)];
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                x[(l+1)*channels+c] += M[moment(lm, c)]*M[moment(lm, c)];
    }
    double energy = evaluateNetwork(types[i], x, dUdx);
    for (int c = 0; c < channels; c++) {
        for (int l = 0; l <= maxL; l++)
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                dUdM[moment(lm, c)] = 2*M[moment(lm, c)]*dUdx[(l+1)*channels+c];
        dUdM[moment(0, c)] += dUdx[c];
    }
    return energy;
}

double ReferenceCalcMomentTensorForceKernel::evaluateNetwork(int type, const vector<double>& x, vector<double>& dUdx) const {
    int last = (int) layers.size()-1;
    vector<vector<double> > values = {x}, slopes;
    for (int k = 0; k <= last; k++) {
        const Layer& layer = layers[k];
        vector<double> y(layer.outputs), slope(layer.outputs, 1.0);
        for (int o = 0; o < layer.outputs; o++) {
            double sum = layer.biases[type*layer.outputs+o];
            for (int in = 0; in < layer.inputs; in++)
                sum += layer.weights[(type*layer.outputs+o)*layer.inputs+in]*values[k][in];
            y[o] = sum;
            if (k < last && silu) {
                double sigmoid = 1/(1+exp(-sum));
                y[o] = sum*sigmoid;
                slope[o] = sigmoid*(1+sum*(1-sigmoid));
            }
            else if (k < last) {
                y[o] = tanh(sum);
                slope[o] = 1-y[o]*y[o];
            }
        }
        values.push_back(y);
        slopes.push_back(slope);
    }
    dUdx = {1.0};
    for (int k = last; k >= 0; k--) {
        const Layer& layer = layers[k];
        vector<double> gradient(layer.inputs, 0.0);
        for (int o = 0; o < layer.outputs; o++)
            for (int in = 0; in < layer.inputs; in++)
                gradient[in] += layer.weights[(type*layer.outputs+o)*layer.inputs+in]*dUdx[o]*slopes[k][o];
        dUdx = gradient;
    }
    return values[last+1][0];
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
