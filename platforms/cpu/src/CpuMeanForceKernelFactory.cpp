// SPDX-License-Identifier: MIT
#include "CpuCalcMomentTensorForceKernel.h"
#include "CpuIntegrateGLEStepKernel.h"
#include "CpuCalcPairSplineForceKernel.h"
#include "CpuCalcSchNetForceKernel.h"
#include "meanforce/Export.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/SchNetForce.h"
#include "CpuCalcStillingerWeberForceKernel.h"
#include "meanforce/StillingerWeberForce.h"
#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
// One include, one line in KERNEL_NAMES and one in createKernelImpl per feature.

using namespace OpenMM;
using namespace std;

namespace meanforce {

static const vector<string> KERNEL_NAMES = {
    MomentTensorForce::KernelName(),
    IntegrateGLEStepKernel::Name(),
    PairSplineForce::KernelName(),
    SchNetForce::KernelName(),
    StillingerWeberForce::KernelName(),
};

class CpuMeanForceKernelFactory : public KernelFactory {
public:
    KernelImpl* createKernelImpl(string name, const Platform& platform, ContextImpl& context) const override {
        // On the CPU platform this is the pool of its own PlatformData, with the number of threads that the user chose.
        ThreadPool& pool = static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData())->threads;
        if (name == MomentTensorForce::KernelName())
            return new CpuCalcMomentTensorForceKernel(name, platform, pool);
        if (name == IntegrateGLEStepKernel::Name())
            return new CpuIntegrateGLEStepKernel(name, platform, pool);
        if (name == PairSplineForce::KernelName())
            return new CpuCalcPairSplineForceKernel(name, platform, pool);
        if (name == SchNetForce::KernelName())
            return new CpuCalcSchNetForceKernel(name, platform, pool);
        if (name == StillingerWeberForce::KernelName())
            return new CpuCalcStillingerWeberForceKernel(name, platform, pool);
        throw OpenMMException("Tried to create kernel with illegal kernel name '"+name+"'");
    }
};

}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerPlatforms() {
}

extern "C" MEANFORCE_PLUGIN_EXPORT void registerKernelFactories() {
    // libOpenMMCPU is not linked: all we need of the CPU platform, its thread pool, is in ReferencePlatform::PlatformData.
    for (int i = 0; i < Platform::getNumPlatforms(); i++) {
        Platform& platform = Platform::getPlatform(i);
        if (platform.getName() != "CPU" || dynamic_cast<ReferencePlatform*>(&platform) == nullptr)
            continue;
        for (const string& name : meanforce::KERNEL_NAMES)
            platform.registerKernelFactory(name, new meanforce::CpuMeanForceKernelFactory());
    }
}
