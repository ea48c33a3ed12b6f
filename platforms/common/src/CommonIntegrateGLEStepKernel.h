// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/IntegrateGLEStepKernel.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include <vector>

namespace meanforce {

/** Integrates on OpenCL, CUDA and HIP.  The device text is kernels/gle.cc. */
class CommonIntegrateGLEStepKernel : public IntegrateGLEStepKernel {
public:
    CommonIntegrateGLEStepKernel(std::string name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc) :
            IntegrateGLEStepKernel(name, platform), cc(cc) {
    }
    void initialize(const OpenMM::System& system, const GLEIntegrator& integrator) override;
    void execute(OpenMM::ContextImpl& context, const GLEIntegrator& integrator, std::uint32_t seed, std::int64_t noiseStep) override;
    void checkAfterSteps(OpenMM::ContextImpl& context) override;
    double computeKineticEnergy(OpenMM::ContextImpl& context, const GLEIntegrator& integrator) override;
    void getAuxiliaryVariables(OpenMM::ContextImpl& context, std::vector<double>& s) const override;
    void setAuxiliaryVariables(OpenMM::ContextImpl& context, const std::vector<double>& s) override;
    double getBathHeat(OpenMM::ContextImpl& context) const override;
private:
    void createKernels();
    void stepFreely();
    void stepWithoutMemory(double tolerance);
    void stepWithRefill(double tolerance);
    void driftOnConstraints(double tolerance);
    void setNoise(OpenMM::ComputeKernel& kernel, int firstArgument, std::uint32_t seed, std::int64_t noiseStep);
    void updatePropagators(double h, double temperature);
    OpenMM::ComputeContext& cc;
    int numModes = 0;
    bool hasConstraints = false, needsRefill = false;
    /** The size of the blocks of all matrices: 3 as soon as one kernel is a 3 x 3 matrix. */
    int blockSize = 1;
    std::vector<std::vector<double> > drifts;
    std::vector<int> kernelDimensions;
    double propagatorStepSize = 0, propagatorTemperature = -1;
    OpenMM::ComputeArray auxiliary, heat, oldDelta, decay, noise, particleKernel, kernelModes, badParticle;
    OpenMM::ComputeKernel kickKernel, exchangeKernel, moveKernel;
    // Of steps with constraints only.
    OpenMM::ComputeArray savedVelocity;
    OpenMM::ComputeKernel wholeDriftKernel, countHeatKernel;
    // Of steps with refill only.
    OpenMM::ComputeArray isConstrained;
    OpenMM::ComputeKernel halfDriftKernel, drawKernel, refillKernel;
};

}
