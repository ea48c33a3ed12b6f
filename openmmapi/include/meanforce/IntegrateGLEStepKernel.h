// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/GLEIntegrator.h"
#include "openmm/KernelImpl.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"
#include <cstdint>
#include <string>
#include <vector>

namespace meanforce {

/**
 * Invoked by GLEIntegrator to take a step.  A platform holds the auxiliary variables and the heat; what else belongs to the
 * state of the bath is the integrator's, and checkpoints are its business alone.
 */
class IntegrateGLEStepKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "meanforce::IntegrateGLEStep";
    }
    IntegrateGLEStepKernel(std::string name, const OpenMM::Platform& platform) : KernelImpl(name, platform) {
    }
    /** Prepare for integrating the System.  The integrator has already checked that the two fit together. */
    virtual void initialize(const OpenMM::System& system, const GLEIntegrator& integrator) = 0;
    /**
     * Throws if the position of a particle is not finite.  A platform does so before the forces of a step are computed, or, where
     * a look at the positions takes time, after the last of several steps.
     */
    virtual void checkBeforeStep(OpenMM::ContextImpl& context) const {
    }
    virtual void checkAfterSteps(OpenMM::ContextImpl& context) {
    }
    /**
     * Take one step, given forces at the current positions.
     *
     * @param seed        the seed of RandomStream::GLENoise
     * @param noiseStep   the number of the step within that stream
     */
    virtual void execute(OpenMM::ContextImpl& context, const GLEIntegrator& integrator, std::uint32_t seed, std::int64_t noiseStep) = 0;
    virtual double computeKineticEnergy(OpenMM::ContextImpl& context, const GLEIntegrator& integrator) = 0;
    /** See GLEIntegrator::getAuxiliaryVariables(). */
    virtual void getAuxiliaryVariables(OpenMM::ContextImpl& context, std::vector<double>& s) const = 0;
    virtual void setAuxiliaryVariables(OpenMM::ContextImpl& context, const std::vector<double>& s) = 0;
    /** The energy that went from the particles to the bath since initialize(), in kJ/mol. */
    virtual double getBathHeat(OpenMM::ContextImpl& context) const = 0;
protected:
    [[noreturn]] static void throwBadPosition(int particle) {
        throw OpenMM::OpenMMException("GLEIntegrator: the position of particle "+std::to_string(particle)+" is NaN or infinite");
    }
};

}
