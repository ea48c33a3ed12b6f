// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/Activation.h"
#include "meanforce/internal/LinearMap.h"

namespace meanforce {

/** The filters W^b(r) of a SchNetForce as its filter networks give them, and their derivatives, in double precision. */
class MEANFORCE_EXPORT FilterNetwork {
public:
    FilterNetwork() = default;
    explicit FilterNetwork(const SchNetForce& force);
    /**
     * Evaluate the filters of one block.  The formulas also hold for negative r, where B-splines near r = 0 have centres.
     *
     * @param W       on return the value of each filter
     * @param dWdr    on return its derivative, unless null
     */
    void evaluate(int block, double r, double* W, double* dWdr) const;
private:
    /** The radial functions phi_k(r) and their derivatives. */
    void evaluateBasis(double r, double* phi, double* slope) const;
    /** The cutoff function f(r) and its derivative. */
    double evaluateCutoffFunction(double r, double& slope) const;
    bool expNormal;
    std::string cutoffFunction;
    double cutoff, lower, exponent;
    std::vector<double> centers, widths;
    Activation activation;
    std::vector<LinearMap> layer1, layer2;    // of each block
};

}
