// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/IntegrateGLEStepKernel.h"
#include "meanforce/internal/GLEPropagator.h"
#include "meanforce/internal/Philox.h"
#include "openmm/Vec3.h"
#include "openmm/reference/ReferencePlatform.h"
#include <vector>

namespace meanforce {

/** The specification of the integrator, in double precision.  Symbols as in docs/theory/gle.md. */
class ReferenceIntegrateGLEStepKernel : public IntegrateGLEStepKernel {
public:
    using IntegrateGLEStepKernel::IntegrateGLEStepKernel;
    void initialize(const OpenMM::System& system, const GLEIntegrator& integrator) override;
    void checkBeforeStep(OpenMM::ContextImpl& context) const override;
    void execute(OpenMM::ContextImpl& context, const GLEIntegrator& integrator, std::uint32_t seed, std::int64_t noiseStep) override;
    double computeKineticEnergy(OpenMM::ContextImpl& context, const GLEIntegrator& integrator) override;
    void getAuxiliaryVariables(OpenMM::ContextImpl& context, std::vector<double>& s) const override;
    void setAuxiliaryVariables(OpenMM::ContextImpl& context, const std::vector<double>& s) override;
    double getBathHeat(OpenMM::ContextImpl& context) const override;
protected:
    /** What the parts of one step need to know. */
    struct Step {
        double h, kT, tolerance;
        std::uint32_t seed;
        std::int64_t noiseStep;
    };
    /** One step of a System without constraints. */
    virtual void stepFreely(std::vector<OpenMM::Vec3>& x, std::vector<OpenMM::Vec3>& v, std::vector<OpenMM::Vec3>& f, const Step& step);
    /**
     * (u, s) <- T (u, s) + sqrt(kT) S xi for all particles.  A coupling that depends on a particle's surroundings would change
     * the propagator that its three operators propagateBath, couple and addNoise are given, and nothing else.
     */
    virtual void exchangeWithBath(std::vector<OpenMM::Vec3>& v, const Step& step);
    std::vector<double> mass, inverseMass;
    std::vector<int> particleKernel;
    /** 1 or 3 for each kernel. */
    std::vector<int> kernelDimensions;
    std::vector<GLEPropagator> propagators;
    int numModes = 0;
private:
    /** The constraints of the System, at work on the positions and velocities of the Context. */
    struct Constrained;
    void stepWithoutMemory(const Constrained& state, const std::vector<OpenMM::Vec3>& f, const Step& step);
    void stepWithRefill(const Constrained& state, const std::vector<OpenMM::Vec3>& f, const Step& step);
    void refill(const Constrained& state, const Step& step);
    double kineticEnergy(const std::vector<OpenMM::Vec3>& v) const;
    void kick(std::vector<OpenMM::Vec3>& v, const std::vector<OpenMM::Vec3>& f, double h) const;
    void drift(std::vector<OpenMM::Vec3>& x, const std::vector<OpenMM::Vec3>& v, double h) const;
    void propagateBath(const GLEPropagator& propagator, int d, const std::vector<double>& y, std::vector<double>& change) const;
    void couple(const GLEPropagator& propagator, int d, const std::vector<double>& y, std::vector<double>& change) const;
    void addNoise(const GLEPropagator& propagator, double sqrtkT, const std::vector<double>& xi, std::vector<double>& change) const;
    void updatePropagators(double h);
    std::vector<double> s;
    std::vector<std::vector<double> > drifts;
    double propagatorStepSize = 0, heat = 0;
    bool hasConstraints = false, needsRefill = false;
    std::vector<bool> isConstrained;
};

}
