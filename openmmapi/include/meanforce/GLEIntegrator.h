// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include "meanforce/internal/KernelOwner.h"
#include "openmm/Integrator.h"
#include "openmm/Kernel.h"
#include <array>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

namespace meanforce {

/**
 * This integrator simulates a System with the generalized Langevin equation (GLE): friction that remembers the past
 * velocity, and a random force whose correlations match it,
 *
 *     m dv/dt = F - m Int_0^t k(s) v(t-s) ds + R(t),      <R(t) R(t')> = m kT k(|t-t'|).
 *
 * The second relation (fluctuation-dissipation) holds by construction, because the memory is that of auxiliary variables.
 * With u = sqrt(m) v for each degree of freedom, and n auxiliary variables s in the unit of u, sqrt(kJ/mol),
 *
 *     d(u, s) = (F/sqrt(m), 0) dt - A (u, s) dt + noise,      A = [[A00, a^T], [abar, Ass]],
 *     k(t) = 2 A00 delta(t) - a^T exp(-Ass t) abar,
 *
 * and the noise is the one for which, in equilibrium, u and every s are independent normal variables of variance kT.  Such
 * noise exists if and only if A + A^T has no negative eigenvalue; the bath is then passive.  This is the convention of
 * GLE4MD, i-PI and LAMMPS's fix gle, in the basis where their static covariance is C = kT 1.  An exponential memory
 * k(t) = (gamma/tau) exp(-t/tau), for example, is A = [[0, -b], [b, 1/tau]] with b = sqrt(gamma/tau).
 *
 * The drift matrix A of a memory kernel is added by addKernel().  Every particle uses kernel 0 unless setParticleKernel()
 * says otherwise.  A kernel of dimension 1 acts on each of the three directions alike.  A kernel of dimension 3 is a 3 x 3
 * matrix k(t) in the laboratory frame, as near a wall or in a channel: u has three components then, which share n auxiliary
 * variables.  A kernel with n = 0 is A = [[gamma]], ordinary Langevin dynamics with friction gamma, for which this
 * integrator equals OpenMM's LangevinMiddleIntegrator.
 *
 * Each step of length h kicks all velocities with the whole step's force, drifts for h/2, lets the bath act on (u, s)
 * exactly, and drifts for h/2:
 *
 *     v += h F/m;   x += (h/2) v;   (u, s) <- T (u, s) + sqrt(kT) S xi;   x += (h/2) v,      T = exp(-hA), S S^T = 1-T T^T.
 *
 * It needs one force evaluation, is stable wherever Verlet integration of the same forces is, and samples positions,
 * velocities and auxiliary variables of harmonic systems without any error from h.  Velocities lag half a step behind
 * positions, as in OpenMM's other leapfrog-middle integrators.
 *
 * Random numbers are a pure function of (seed, number of steps taken, particle, component): all platforms use the same
 * ones, and neither the number of threads nor the order of atoms on a GPU changes them.  Checkpoints, and States with
 * integrator parameters, hold all there is to continue a trajectory exactly: the auxiliary variables, the
 * temperature they belong to, the number of steps taken, the seed, and the heat of the bath.  One thing sets States apart:
 * in a Context that has already taken more steps with the same seed, a State continues with fresh noise, where a checkpoint
 * would repeat it.  The replicas of OpenMM's ReplicaExchangeSampler, which take turns in one Context, would otherwise all
 * feel the same random forces.
 *
 * Constraints between particles that share one friction without memory are treated as by LangevinMiddleIntegrator, except that
 * noise in the velocities that they forbid, which moves nothing, is removed at once and is no heat.  As soon
 * as a constraint acts on a particle with memory, or joins particles with different kernels, each half drift ends on the
 * constraints, and the velocities that they forbid are drawn anew from equilibrium before the bath acts and removed after it:
 *
 *     v += h F/m;  P;   x += (h/2) v on the constraints;   v += (1-P) w;  (u, s) <- T (u, s) + sqrt(kT) S xi;  P;
 *     x += (h/2) v on the constraints,      P = projection on the constraints, <w^2> = kT/m.
 *
 * Then the memory sees what it would see without constraints, and the canonical distribution is kept; without the fresh w, or
 * with one correction for the whole step, the temperature is off in proportion to h.  Particles of mass zero and virtual
 * sites have no bath.
 *
 * Kernels, their assignment to particles, the random seed and the initialization of auxiliary variables are read when a
 * Context is created (or reinitialized).  The step size and the temperature may be changed at any time.
 */
class MEANFORCE_EXPORT GLEIntegrator : public OpenMM::Integrator, public KernelOwner {
public:
    /** How auxiliary variables start when a Context is created. */
    enum AuxiliaryInitialization {
        /** Independent normal deviates of variance kT, as in a bath that has been in equilibrium for ever. */
        Equilibrium = 0,
        /** All zero: the bath has no memory of the time before. */
        Zero = 1
    };
    /** The largest number n of auxiliary variables of a kernel. */
    static constexpr int MaxModes = 32;
    /**
     * Create a GLEIntegrator.  At least one kernel must be added before it can be used.
     *
     * @param temperature   the temperature of the heat bath, in K
     * @param stepSize      the step size h, in ps
     */
    GLEIntegrator(double temperature, double stepSize);
    /** Get the temperature of the heat bath, in K. */
    double getTemperature() const {
        return temperature;
    }
    /**
     * Set the temperature of the heat bath, in K.  It takes effect with the next step.  Auxiliary variables are then scaled
     * by sqrt(T'/T), so that the bath is in equilibrium at the new temperature at once; velocities are left alone.  When the
     * old temperature is 0 there is nothing to scale: auxiliary variables are kept and warm up within the memory time.
     */
    void setTemperature(double temperature);
    /** Set the step size h, in ps. */
    void setStepSize(double size) override;
    /**
     * Add a memory kernel.
     *
     * @param drift       the matrix A in 1/ps, row-major, (d+n) x (d+n) for n <= MaxModes auxiliary variables.  A+A^T must
     *                    not have a negative eigenvalue (beyond roundoff: 1e-10 of the largest element).
     * @param dimension   d: 1 if each direction has a bath of its own, all with the same A; 3 for one bath that acts on the
     *                    velocity (x, y, z)
     * @return the index of the kernel
     */
    int addKernel(const std::vector<double>& drift, int dimension = 1);
    /** Get the number of memory kernels. */
    int getNumKernels() const {
        return kernels.size();
    }
    /** Get the drift matrix A of a memory kernel in 1/ps, row-major. */
    const std::vector<double>& getKernel(int index) const;
    /** Get the dimension of a memory kernel, 1 or 3. */
    int getKernelDimension(int index) const;
    /**
     * Set the memory kernel of a particle.
     *
     * @param particle   the index of the particle
     * @param kernel     the index of the kernel, or -1 for a particle without heat bath (plain Newtonian dynamics)
     */
    void setParticleKernel(int particle, int kernel);
    /** Get the index of the memory kernel of a particle, or -1 if it has no heat bath.  The default is 0. */
    int getParticleKernel(int particle) const;
    /** Get the kernels of those particles for which setParticleKernel() was called, by particle index. */
    const std::map<int, int>& getParticleKernels() const {
        return particleKernels;
    }
    /**
     * Get the largest number of auxiliary variables per degree of freedom of any kernel added so far: n, or n/3 rounded up for
     * a kernel of dimension 3.
     */
    int getNumModes() const;
    /** Whether a constraint of the System needs the steps with fresh velocities along constraints that are described above. */
    bool needsRefill(const OpenMM::System& system) const;
    /** Get the random number seed set by setRandomNumberSeed(). */
    int getRandomNumberSeed() const {
        return randomNumberSeed;
    }
    /**
     * Set the random number seed.  Equal seeds give equal random forces on every platform.  With 0, the default, each Context
     * draws a fresh seed.  Loading a checkpoint or State restores the seed in use when it was made; calling this afterwards
     * makes runs that start from one State independent of each other: a Context goes on with the new seed from its next step.
     */
    void setRandomNumberSeed(int seed);
    /** Get how auxiliary variables start.  The default is Equilibrium. */
    AuxiliaryInitialization getAuxiliaryInitialization() const {
        return auxiliaryInitialization;
    }
    /** Set how auxiliary variables start when a Context is created. */
    void setAuxiliaryInitialization(AuxiliaryInitialization initialization);
    /**
     * Get the shape of the auxiliary variables of the Context: the number of particles, 3 directions, and the number of modes,
     * which is getNumModes() at the time when the Context was created.
     */
    std::array<int, 3> getAuxiliaryShape() const;
    /**
     * Get the auxiliary variables s of the Context, in sqrt(kJ/mol), as they are at the integrator's temperature.
     *
     * @param[out] s   element (3*particle+direction)*modes+mode, see getAuxiliaryShape(), in the order of the System's particles;
     *                 zero for the modes that a particle's kernel does not have.  Variable j of a kernel of dimension 3
     *                 is at direction j%3, mode j/3.
     */
    void getAuxiliaryVariables(std::vector<double>& s) const;
    /**
     * Set the auxiliary variables s of the Context, in sqrt(kJ/mol).  They are taken to belong to the current temperature.
     *
     * @param s   in the order of getAuxiliaryVariables(); elements for modes that a particle's kernel does not have are
     *            ignored
     */
    void setAuxiliaryVariables(const std::vector<double>& s);
    /**
     * Get the energy that the particles have given to the bath since the Context was created, in kJ/mol.  The sum of potential
     * energy, kinetic energy and this heat does not drift where the step resolves the forces.  It fluctuates in proportion to the
     * step size, because velocities lag half a step behind positions; see computeConservedEnergy().
     */
    double getBathHeat() const;
    /**
     * Compute the sum of potential energy, kinetic energy and heat of the bath, in kJ/mol, with velocities taken half a step
     * forward to the time of the positions.  It is conserved as well as the total energy of a Verlet integration: it
     * fluctuates in proportion to the square of the step size.  Evaluates the forces of the integration force groups.
     */
    double computeConservedEnergy();
    void step(int steps) override;
    const OpenMM::KernelImpl& getKernelImpl() const override;
protected:
    void initialize(OpenMM::ContextImpl& context) override;
    void cleanup() override;
    std::vector<std::string> getKernelNames() override;
    double computeKineticEnergy() override;
    bool kineticEnergyRequiresForce() const override {
        return false;
    }
    double getVelocityTimeOffset() const override {
        return getStepSize()/2;
    }
    void createCheckpoint(std::ostream& stream) const override;
    void loadCheckpoint(std::istream& stream) override;
    void serializeParameters(OpenMM::SerializationNode& node) const override;
    void deserializeParameters(const OpenMM::SerializationNode& node) override;
private:
    int countAuxiliaries(const OpenMM::System& system, int particle) const;
    bool isAuxiliary(int particle, int direction, int mode) const;
    void checkSystem(const OpenMM::System& system) const;
    void initializeAuxiliaryVariables();
    void chooseNoiseSeed();
    void requireContext() const;
    /** The auxiliary variables at the temperature that they were last used with. */
    void getStoredVariables(std::vector<double>& s) const;
    void restore(std::uint32_t seed, std::int64_t step, double temperature, double heat, const std::vector<double>& s);
    /** Scale the auxiliary variables of the Context to the integrator's temperature, if that was changed. */
    void adoptTemperature();
    double temperature;
    std::vector<std::vector<double> > kernels;
    std::vector<int> kernelDimensions;
    std::map<int, int> particleKernels;
    int randomNumberSeed;
    AuxiliaryInitialization auxiliaryInitialization;
    OpenMM::Kernel kernel;
    // What the Context was created with: the number of auxiliary variables of each particle, and the number of modes.
    std::vector<int> numAuxiliaries;
    int numModes;
    // The state of the bath in the Context, beside the auxiliary variables, which the kernel holds.
    std::uint32_t noiseSeed;
    std::int64_t noiseStep;
    double bathTemperature, initialHeat;
};

}
