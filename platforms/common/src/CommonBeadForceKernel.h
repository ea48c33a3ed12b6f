// SPDX-License-Identifier: MIT
#pragma once
#include "NeighborList.h"
#include "meanforce/CalcBeadForceKernel.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace meanforce {

/** What all kernels of a BeadForce on OpenCL, CUDA and HIP share. */
class CommonBeadForceKernel : public CalcBeadForceKernel {
public:
    CommonBeadForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc) :
            CalcBeadForceKernel(name, platform), cc(cc) {
    }
    void initialize(const OpenMM::System& system, const BeadForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) override;
    std::vector<double> getReplicaEnergies() override;
    void addTemperatureDerivative(OpenMM::ContextImpl& context, double value) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const BeadForce& force) override;
protected:
    /** Read what is fixed, and create the arrays. */
    virtual void initializeModel(const BeadForce& force) = 0;
    virtual void uploadParameters(const BeadForce& force) = 0;
    /** Compile the kernels.  Called by the first execute(), when all forces of the Context have been initialized. */
    virtual void compile() = 0;
    /** Fill `beadEnergies` from the neighbour list, and add the forces to OpenMM's buffer if they are wanted. */
    virtual void compute(bool includeForces) = 0;
    /** Find the rows of neighbours. */
    virtual void buildNeighborList();
    /** The size of a real number on the device. */
    size_t getRealSize() const {
        return cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    }
    /**
     * Add the four arguments through which a kernel reads the rows of neighbours: counts, rows, deltas and the capacity, which
     * execute() sets to its present value.
     *
     * @param index    that of the first of them
     */
    void addRowArguments(OpenMM::ComputeKernel& kernel, int index);
    /** Set an argument of type real of a kernel. */
    void setRealArg(OpenMM::ComputeKernel& kernel, int index, double value) const;
    /** Define VECTOR_WIDTH and what kernel text does with a `vec` of so many real numbers: 1, or on a CPU 2, 4 or 8. */
    void addVectorDefines(std::map<std::string, std::string>& defines, int width) const;
    OpenMM::ComputeContext& cc;
    bool isOpenCL, periodic;
    int numTypes, numReadouts = 1;                  // 2 if the energy depends on the temperature
    double cutoff, temperature;
    std::unique_ptr<NeighborList> list;
    OpenMM::ComputeArray types, replicas;           // in OpenMM's present order; without replicas there is no such array
    OpenMM::ComputeArray beadEnergies;              // A_i, then B_i
private:
    class ForceInfo;
    void compileSum();
    void uploadTypes(const BeadForce& force);
    std::string forceName, temperatureParameter;
    bool compiled = false, hasTemperatureDerivative;
    std::vector<int> typeValues, replicaValues;
    int numReplicas;
    OpenMM::ComputeKernel sumKernel;
    std::vector<std::pair<OpenMM::ComputeKernel, int> > capacityArguments;
    ForceInfo* info = nullptr;
};

}
