// SPDX-License-Identifier: MIT
#pragma once
#include "CommonBeadForceKernel.h"
#include "meanforce/SchNetForce.h"
#include <map>

namespace meanforce {

/** SchNetForce on OpenCL, CUDA and HIP.  A platform with something better overrides single steps. */
class CommonCalcSchNetForceKernel : public CommonBeadForceKernel {
public:
    using CommonBeadForceKernel::CommonBeadForceKernel;
protected:
    void initializeModel(const BeadForce& force) override;
    void uploadParameters(const BeadForce& force) override;
    void compile() override;
    void compute(bool includeForces) override;
    /** Fill `y`, and `h` of the first block, from the types. */
    virtual void embed();
    /** Fill `messages` from the rows and `h` of a block. */
    virtual void passMessages(int block);
    /** Update `y` from `messages`; fill `slopes` of a block and `h` of the next. */
    virtual void updateFeatures(int block);
    /** Fill `beadEnergies`, and replace `y` by dU/dy. */
    virtual void evaluateOutput();
    /** Fill `gradients`, dU/dm of a block, and add to dU/dy what `messageGradients` of the next block say. */
    virtual void propagateGradients(int block);
    /** Fill `messageGradients`, dU/dh of a block, and add the forces that come from its filters to OpenMM's buffer. */
    virtual void passGradients(int block);
    int features, filters, numBlocks, numRadialFunctions, degree, intervals;
    // Rows of arrays are whole vectors; what is beyond the width is 0.
    int vectorWidth, featureStride, filterStride, basisStride;
    std::vector<int> layerSizeValues;
    OpenMM::ComputeArray embeddings, firstMessages, typeEnergies;              // [type][channel]
    OpenMM::ComputeArray lin1, lin2, lin3, biases2, biases3;                   // [block][input][output]
    OpenMM::ComputeArray transposed1, transposed2, transposed3;                // [block][output][input]
    OpenMM::ComputeArray tables;                                               // [block][row][filter]
    OpenMM::ComputeArray centers, widths, filter1, filterBiases1, filter2, filterBiases2;
    OpenMM::ComputeArray layerSizes, layerWeights, layerTransposed, layerBiases;
    OpenMM::ComputeArray y, messages, gradients, messageGradients;             // [bead][channel]
    OpenMM::ComputeArray h, slopes;                                            // [block][bead][channel]
private:
    int padded(int width) const {
        return (width+vectorWidth-1)/vectorWidth*vectorWidth;
    }
    void chooseStrides();
    void chooseTile();
    void createArrays(const SchNetForce& force);
    std::map<std::string, std::string> defineFilters() const;
    void addFilterArguments(OpenMM::ComputeKernel& kernel, int index);
    void uploadBlocks(const SchNetForce& force);
    void uploadFilters(const SchNetForce& force);
    void uploadOutput(const SchNetForce& force);
    void executeTiles(OpenMM::ComputeKernel& kernel);
    void executeBeads(OpenMM::ComputeKernel& kernel);
    int vectorsPerItem, tile, groupSize;
    double exponent, lowerCutoff;
    std::string activation, basis, cutoffFunction;
    OpenMM::ComputeKernel embedKernel, messagesKernel, updateKernel, outputKernel, propagateKernel, gradientsKernel;
};

}
