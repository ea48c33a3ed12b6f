// SPDX-License-Identifier: MIT
#pragma once
#include "ReferenceBeadForceKernel.h"
#include "meanforce/internal/SchNetEvaluator.h"

namespace meanforce {

/** The specification of SchNetForce: its equations are in SchNetEvaluator, which also measures the error of filter grids. */
class ReferenceCalcSchNetForceKernel : public ReferenceBeadForceKernel {
public:
    using ReferenceBeadForceKernel::ReferenceBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const std::vector<Edge>& edges, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces) override;
private:
    SchNetEvaluator model;
};

}
