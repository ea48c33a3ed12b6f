// SPDX-License-Identifier: MIT
#include "CommonMeanForceKernelFactory.h"
#include "meanforce/Export.h"
#include "openmm/opencl/OpenCLPlatform.h"

using namespace OpenMM;

namespace meanforce {

class OpenCLMeanForceKernelFactory : public CommonMeanForceKernelFactory {
    ComputeContext& getComputeContext(ContextImpl& context) const override {
        // OpenCLContext derives singly from ComputeContext, so both have the same address; a static_cast would need
        // OpenCLContext.h, and with it the vendor's SDK.
        auto* data = static_cast<OpenCLPlatform::PlatformData*>(context.getPlatformData());
        return *reinterpret_cast<ComputeContext*>(data->contexts[0]);
    }
};

}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerPlatforms() {
}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerKernelFactories() {
    meanforce::CommonMeanForceKernelFactory::registerFor<meanforce::OpenCLMeanForceKernelFactory>("OpenCL");
}
