// SPDX-License-Identifier: MIT
#include "ReferenceIntegrateGLEStepKernel.h"
#include "meanforce/Export.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/SchNetForce.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/StillingerWeberForce.h"
#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include "ReferenceCalcMomentTensorForceKernel.h"
#include "ReferenceCalcSchNetForceKernel.h"
#include "ReferenceCalcPairSplineForceKernel.h"
#include "ReferenceCalcStillingerWeberForceKernel.h"
// One include, one line in KERNEL_NAMES and one in createKernelImpl per feature.

using namespace OpenMM;
using namespace std;

namespace meanforce {

static const vector<string> KERNEL_NAMES = {
    IntegrateGLEStepKernel::Name(),
    MomentTensorForce::KernelName(),
    SchNetForce::KernelName(),
    PairSplineForce::KernelName(),
    StillingerWeberForce::KernelName(),
};

class ReferenceMeanForceKernelFactory : public KernelFactory {
public:
    KernelImpl* createKernelImpl(string name, const Platform& platform, ContextImpl& context) const override {
        if (name == IntegrateGLEStepKernel::Name())
            return new ReferenceIntegrateGLEStepKernel(name, platform);
        if (name == MomentTensorForce::KernelName())
            return new ReferenceCalcMomentTensorForceKernel(name, platform);
        if (name == SchNetForce::KernelName())
            return new ReferenceCalcSchNetForceKernel(name, platform);
        if (name == PairSplineForce::KernelName())
            return new ReferenceCalcPairSplineForceKernel(name, platform);
        if (name == StillingerWeberForce::KernelName())
            return new ReferenceCalcStillingerWeberForceKernel(name, platform);
        throw OpenMMException("Tried to create kernel with illegal kernel name '"+name+"'");
    }
};

}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerPlatforms() {
}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerKernelFactories() {
    // The CPU platform derives from ReferencePlatform, so it gets these kernels too, except where a faster one is
    // already registered: the order in which plugins are loaded must not matter.
    for (int i = 0; i < Platform::getNumPlatforms(); i++) {
        Platform& platform = Platform::getPlatform(i);
        if (dynamic_cast<ReferencePlatform*>(&platform) == nullptr)
            continue;
        for (const string& name : meanforce::KERNEL_NAMES)
            if (platform.getName() == "Reference" || !platform.supportsKernels({name}))
                platform.registerKernelFactory(name, new meanforce::ReferenceMeanForceKernelFactory());
    }
}
