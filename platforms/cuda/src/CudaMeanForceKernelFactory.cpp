// SPDX-License-Identifier: MIT
#include "CommonMeanForceKernelFactory.h"
#include "meanforce/Export.h"
#include "openmm/cuda/CudaPlatform.h"

using namespace OpenMM;

namespace meanforce {

class CudaMeanForceKernelFactory : public CommonMeanForceKernelFactory {
    ComputeContext& getComputeContext(ContextImpl& context) const override {
        // CudaContext derives singly from ComputeContext, so both have the same address; a static_cast would need
        // CudaContext.h, and with it the vendor's SDK.
        auto* data = static_cast<CudaPlatform::PlatformData*>(context.getPlatformData());
        return *reinterpret_cast<ComputeContext*>(data->contexts[0]);
    }
};

}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerPlatforms() {
}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerKernelFactories() {
    meanforce::CommonMeanForceKernelFactory::registerFor<meanforce::CudaMeanForceKernelFactory>("CUDA");
}
