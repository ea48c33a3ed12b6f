// SPDX-License-Identifier: MIT
#pragma once
#include "CommonBeadForceKernel.h"
#include "meanforce/MomentTensorForce.h"

namespace meanforce {

/** MomentTensorForce on OpenCL, CUDA and HIP.  A platform with something better overrides single steps. */
class CommonCalcMomentTensorForceKernel : public CommonBeadForceKernel {
public:
    using CommonBeadForceKernel::CommonBeadForceKernel;
protected:
    void initializeModel(const BeadForce& force) override;
    void uploadParameters(const BeadForce& force) override;
    void compile() override;
    void compute(bool includeForces) override;
    /** Fill `moments` from the rows. */
    virtual void computeMoments();
    /** Fill `beadEnergies`, and replace `moments` by dU/dM. */
    virtual void evaluateNetwork();
    /** Add the forces to OpenMM's buffer. */
    virtual void computeForces();
    int maxL, channels, numProducts, numFunctions, numUnits, networkBlockSize, vectorWidth;
    double spacing;
    bool silu;
    std::vector<int> layerSizeValues;
    OpenMM::ComputeArray filters, typeWeights, layerSizes, weights, transposed, biases, moments, productStart, productEntries, productValues;
private:
    void createProducts(const MomentTensorForce& force);
    OpenMM::ComputeKernel momentsKernel, networkKernel, forceKernel;
};

}
