// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/MomentTensorForce.h"
#include "openmm/KernelImpl.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include <string>

namespace meanforce {

/** Computes the forces and energy of a MomentTensorForce. */
class CalcMomentTensorForceKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "meanforce::CalcMomentTensorForce";
    }
    CalcMomentTensorForceKernel(const std::string& name, const OpenMM::Platform& platform) : OpenMM::KernelImpl(name, platform) {
    }
    /** Prepare the kernel.  The force has been validated. */
    virtual void initialize(const OpenMM::System& system, const MomentTensorForce& force) = 0;
    /** Add the forces to the platform's buffers.  Returns the energy, or the part of it that is not in the platform's buffers. */
    virtual double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) = 0;
    /** Copy filters, type weights, layers and particle types, all of unchanged shape. */
    virtual void copyParametersToContext(OpenMM::ContextImpl& context, const MomentTensorForce& force) = 0;
};

}
