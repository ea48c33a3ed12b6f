// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/KernelFactory.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/internal/ContextImpl.h"
#include <string>

namespace meanforce {

/**
 * Creates the common-compute kernels for OpenCL, CUDA and HIP.  A platform tells it how to reach its ComputeContext, and
 * overrides createKernelImpl() only for kernels it specialises.
 */
class CommonMeanForceKernelFactory : public OpenMM::KernelFactory {
public:
    OpenMM::KernelImpl* createKernelImpl(std::string name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) const override;
    /** Register a factory of class FACTORY for every kernel, if the platform is present. */
    template <class FACTORY>
    static void registerFor(const std::string& platformName) {
        for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++) {
            OpenMM::Platform& platform = OpenMM::Platform::getPlatform(i);
            if (platform.getName() == platformName)
                for (const std::string& name : kernelNames())
                    platform.registerKernelFactory(name, new FACTORY());
        }
    }
protected:
    virtual OpenMM::ComputeContext& getComputeContext(OpenMM::ContextImpl& context) const = 0;
private:
    static const std::vector<std::string>& kernelNames();
};

}
