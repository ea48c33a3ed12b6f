// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/CalcMomentTensorForceKernel.h"
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/** The specification of MomentTensorForce: the equations of its header, in double precision and without optimisation. */
class ReferenceCalcMomentTensorForceKernel : public CalcMomentTensorForceKernel {
public:
    ReferenceCalcMomentTensorForceKernel(const std::string& name, const OpenMM::Platform& platform) : CalcMomentTensorForceKernel(name, platform) {
    }
    void initialize(const OpenMM::System& system, const MomentTensorForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const MomentTensorForce& force) override;
private:
    /** The directed edge from bead i to its neighbour j. */
    struct Edge {
        int i, j;
        double r;
        OpenMM::Vec3 direction;
    };
    struct Layer {
        int inputs, outputs;
        std::vector<double> weights, biases;
    };
    std::vector<Edge> findEdges(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors) const;
    void evaluateFilters(double r, std::vector<double>& W, std::vector<double>& dWdr) const;
    void computeMoments(const std::vector<Edge>& edges, std::vector<double>& M) const;
    double evaluateBead(int i, const std::vector<double>& M, std::vector<double>& dUdM) const;
    double evaluateNetwork(int type, const std::vector<double>& x, std::vector<double>& dUdx) const;
    void computeForces(const std::vector<Edge>& edges, const std::vector<double>& dUdM, std::vector<OpenMM::Vec3>& forces) const;
    int maxL, channels, numFunctions;
    double cutoff, spacing;
    bool periodic, silu;
    std::vector<int> types;
    std::vector<double> coefficients, typeWeights;
    std::vector<Layer> layers;
};

}
