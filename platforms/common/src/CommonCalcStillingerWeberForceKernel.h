// SPDX-License-Identifier: MIT
#pragma once
#include "CommonBeadForceKernel.h"

namespace meanforce {

/** StillingerWeberForce on OpenCL, CUDA and HIP. */
class CommonCalcStillingerWeberForceKernel : public CommonBeadForceKernel {
public:
    using CommonBeadForceKernel::CommonBeadForceKernel;
protected:
    void initializeModel(const BeadForce& force) override;
    void uploadParameters(const BeadForce& force) override;
    void compile() override;
    void compute(bool includeForces) override;
private:
    OpenMM::ComputeArray pairs, triplets;
    OpenMM::ComputeKernel triplesKernel;
};

}
