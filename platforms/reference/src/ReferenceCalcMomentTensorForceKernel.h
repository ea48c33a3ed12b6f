// SPDX-License-Identifier: MIT
#pragma once
#include "ReferenceBeadForceKernel.h"
#include "meanforce/internal/Coupling.h"
#include "meanforce/internal/DenseNetwork.h"
#include <vector>

namespace meanforce {

/** The specification of MomentTensorForce: the equations of its header, in double precision and without optimisation. */
class ReferenceCalcMomentTensorForceKernel : public ReferenceBeadForceKernel {
public:
    using ReferenceBeadForceKernel::ReferenceBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const std::vector<Edge>& edges, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces) override;
private:
    struct Product {
        std::vector<int> shifts;
        std::vector<CouplingTerm> terms;
    };
    void evaluateFilters(double r, std::vector<double>& W, std::vector<double>& dWdr) const;
    void computeMoments(const std::vector<Edge>& edges, std::vector<double>& M) const;
    /** Returns the outputs of bead i's network and sets its part of dUdM, where U = output . seed. */
    std::vector<double> evaluateBead(int i, const std::vector<double>& M, const std::vector<double>& seed, std::vector<double>& dUdM) const;
    void computeForces(const std::vector<Edge>& edges, const std::vector<double>& dUdM, std::vector<OpenMM::Vec3>& forces) const;
    int maxL, channels, numFunctions, numReadouts;
    double cutoff, spacing;
    std::vector<double> coefficients, typeWeights;
    std::vector<Product> products;
    DenseNetwork network;
};

}
