// SPDX-License-Identifier: MIT
#pragma once
#include "CommonBeadForceKernel.h"

namespace meanforce {

/** PairSplineForce on OpenCL, CUDA and HIP. */
class CommonCalcPairSplineForceKernel : public CommonBeadForceKernel {
public:
    using CommonBeadForceKernel::CommonBeadForceKernel;
protected:
    void initializeModel(const BeadForce& force) override;
    void uploadParameters(const BeadForce& force) override;
    void compile() override;
    void compute(bool includeForces) override;
private:
    int numFunctions;
    OpenMM::ComputeArray pieces, exclusionStart, exclusions;
    OpenMM::ComputeKernel pairsKernel;
};

}
