// SPDX-License-Identifier: MIT
#pragma once
#include "NeighborList.h"
#include "meanforce/CalcMomentTensorForceKernel.h"
#include <memory>

namespace meanforce {

/** MomentTensorForce on OpenCL, CUDA and HIP.  A platform with something better overrides single steps. */
class CommonCalcMomentTensorForceKernel : public CalcMomentTensorForceKernel {
public:
    CommonCalcMomentTensorForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc) :
            CalcMomentTensorForceKernel(name, platform), cc(cc) {
    }
    void initialize(const OpenMM::System& system, const MomentTensorForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const MomentTensorForce& force) override;
protected:
    /** Compile the kernels.  Called by the first execute(), when all forces of the Context have been initialized. */
    virtual void compile();
    /** Find the rows of neighbours. */
    virtual void buildNeighborList();
    /** Fill `moments` from the rows. */
    virtual void computeMoments();
    /** Add the energy to OpenMM's buffer and replace `moments` by dU/dM. */
    virtual void evaluateNetwork();
    /** Add the forces to OpenMM's buffer. */
    virtual void computeForces();
    OpenMM::ComputeContext& cc;
    int maxL, channels, numTypes, numFunctions, numUnits, networkBlockSize;
    double cutoff, spacing;
    bool periodic, silu;
    std::vector<int> layerSizeValues;
    std::unique_ptr<NeighborList> list;
    OpenMM::ComputeArray types, filters, typeWeights, layerSizes, weights, transposed, biases, moments;
private:
    class ForceInfo;
    void uploadParameters(const MomentTensorForce& force);
    bool compiled = false;
    ForceInfo* info = nullptr;
    OpenMM::ComputeKernel momentsKernel, networkKernel, forceKernel;
};

}
