// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/BeadForce.h"
#include "openmm/KernelImpl.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include <string>
#include <vector>

namespace meanforce {

/** Computes the forces and energy of a BeadForce. */
class CalcBeadForceKernel : public OpenMM::KernelImpl {
public:
    CalcBeadForceKernel(const std::string& name, const OpenMM::Platform& platform) : OpenMM::KernelImpl(name, platform) {
    }
    /** Prepare the kernel.  The force has been validated and is of the class whose kernel this is. */
    virtual void initialize(const OpenMM::System& system, const BeadForce& force) = 0;
    /**
     * Add the forces to the platform's buffers, and the derivative with respect to the temperature if it was asked for.
     * C(T) is not included.
     *
     * @param temperature   T, or 0 if the energy does not depend on it
     * @return the energy, or the part of it that is not in the platform's buffers
     */
    virtual double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) = 0;
    /** Get the energy of each replica, without C(T), as of the last execute() with includeEnergy. */
    virtual std::vector<double> getReplicaEnergies() = 0;
    /** Add to the derivative of the energy with respect to the temperature. */
    virtual void addTemperatureDerivative(OpenMM::ContextImpl& context, double value) = 0;
    /** Copy all parameters and types; no shape has changed. */
    virtual void copyParametersToContext(OpenMM::ContextImpl& context, const BeadForce& force) = 0;
};

}
