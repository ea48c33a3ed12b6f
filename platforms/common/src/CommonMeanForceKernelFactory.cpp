// SPDX-License-Identifier: MIT
#include "CommonMeanForceKernelFactory.h"
#include "CommonIntegrateGLEStepKernel.h"
#include "CommonCalcMomentTensorForceKernel.h"
#include "CommonCalcPairSplineForceKernel.h"
#include "CommonCalcSchNetForceKernel.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/SchNetForce.h"
#include "CommonCalcStillingerWeberForceKernel.h"
#include "meanforce/StillingerWeberForce.h"
#include "openmm/OpenMMException.h"
// One include, one line in kernelNames() and one in createKernelImpl() per feature.

using namespace OpenMM;
using namespace std;

namespace meanforce {

const vector<string>& CommonMeanForceKernelFactory::kernelNames() {
    static const vector<string> names = {
        IntegrateGLEStepKernel::Name(),
        MomentTensorForce::KernelName(),
        PairSplineForce::KernelName(),
        SchNetForce::KernelName(),
        StillingerWeberForce::KernelName(),
    };
    return names;
}

KernelImpl* CommonMeanForceKernelFactory::createKernelImpl(string name, const Platform& platform, ContextImpl& context) const {
    if (name == IntegrateGLEStepKernel::Name())
        return new CommonIntegrateGLEStepKernel(name, platform, getComputeContext(context));
    if (name == MomentTensorForce::KernelName())
        return new CommonCalcMomentTensorForceKernel(name, platform, getComputeContext(context));
    if (name == PairSplineForce::KernelName())
        return new CommonCalcPairSplineForceKernel(name, platform, getComputeContext(context));
    if (name == SchNetForce::KernelName())
        return new CommonCalcSchNetForceKernel(name, platform, getComputeContext(context));
    if (name == StillingerWeberForce::KernelName())
        return new CommonCalcStillingerWeberForceKernel(name, platform, getComputeContext(context));
    throw OpenMMException("Tried to create kernel with illegal kernel name '"+name+"'");
}

}
