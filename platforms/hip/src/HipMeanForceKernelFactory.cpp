// SPDX-License-Identifier: MIT
#include "CommonMeanForceKernelFactory.h"
#include "meanforce/Export.h"
#include "openmm/hip/HipPlatform.h"

using namespace OpenMM;

namespace meanforce {

class HipMeanForceKernelFactory : public CommonMeanForceKernelFactory {
    ComputeContext& getComputeContext(ContextImpl& context) const override {
        // HipContext derives singly from ComputeContext, so both have the same address; a static_cast would need
        // HipContext.h, and with it the vendor's SDK.
        auto* data = static_cast<HipPlatform::PlatformData*>(context.getPlatformData());
        return *reinterpret_cast<ComputeContext*>(data->contexts[0]);
    }
};

}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerPlatforms() {
}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerKernelFactories() {
    meanforce::CommonMeanForceKernelFactory::registerFor<meanforce::HipMeanForceKernelFactory>("HIP");
}
