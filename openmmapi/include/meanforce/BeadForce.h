// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include "meanforce/internal/ArgumentChecks.h"
#include "openmm/Context.h"
#include "openmm/Force.h"
#include <string>
#include <utility>
#include <vector>

namespace meanforce {

/**
 * What every potential here is: a force on typed beads that see each other up to a cutoff.
 *
 * Each particle of the System has a type and belongs to a replica.  A particle of type -1 takes no part: it is nobody's
 * neighbour, has no energy and feels no force.  Particles of different replicas do not see each other, so that one Context
 * holds many independent copies of a system, which share the box and the temperature.
 *
 * Lengths are in nm, energies in kJ/mol.  An evaluation throws an exception if the position of a particle that takes part
 * is not finite or too far from the origin (1e18 nm on GPUs, 1e8 widths of a periodic box on the CPU platform), or if the
 * periodic box has become smaller than twice the cutoff.
 */
class MEANFORCE_EXPORT BeadForce : public OpenMM::Force {
public:
    int getNumTypes() const {
        return numTypes;
    }
    /** Get the distance, in nm, beyond which no two beads see each other. */
    double getCutoff() const {
        return cutoff;
    }
    /**
     * Add the next particle of the System.
     *
     * @param type      its type, 0 to getNumTypes()-1, or -1 if it takes no part
     * @param replica   the copy of the system that it belongs to, 0 or more
     * @return the index of the particle
     */
    int addParticle(int type, int replica = 0);
    int getNumParticles() const {
        return (int) types.size();
    }
    int getParticleType(int index) const;
    void setParticleType(int index, int type);
    int getParticleReplica(int index) const;
    /** Get the number of replicas: one more than the largest replica of any particle. */
    int getNumReplicas() const {
        return numReplicas;
    }
    void setUsesPeriodicBoundaryConditions(bool periodic) {
        this->periodic = periodic;
    }
    /** Whether distances are those to the nearest periodic image.  The default is false. */
    bool usesPeriodicBoundaryConditions() const override {
        return periodic;
    }
    /**
     * Copy all parameters and the particles' types to a Context.  Numbers, shapes, lengths and options are fixed when the
     * Context is created; an exception says so if one of them changed.
     */
    void updateParametersInContext(OpenMM::Context& context);
    /** Compute the energy of each replica, in kJ/mol, at the Context's present positions. */
    std::vector<double> getReplicaEnergies(OpenMM::Context& context) const;

    // What BeadForceImpl and the kernels ask; users have no need of it.

    /** The name under which platforms register the kernel. */
    virtual std::string getKernelName() const = 0;
    /** The Context parameter with the temperature on which the energy depends, or an empty string. */
    virtual std::string getTemperatureParameter() const {
        return "";
    }
    virtual double getDefaultTemperature() const {
        return 0.0;
    }
    /** The part of a replica's energy that depends on the temperature alone, C(T), and its derivative. */
    virtual double computeOffset(double temperature, double& derivative) const {
        derivative = 0.0;
        return 0.0;
    }
    /** Whether the derivative of the energy with respect to the temperature was asked for. */
    virtual bool hasTemperatureDerivative() const {
        return false;
    }
    /** Throw an exception if anything is missing that a Context needs. */
    virtual void validate() const;
    /** Everything that kernels fix when they are initialized, with the names used in messages. */
    virtual std::vector<std::pair<std::string, std::string> > describeShape() const;
protected:
    BeadForce(const std::string& className, int numTypes, double cutoff);
    OpenMM::ForceImpl* createImpl() const override;
    /** The shortest text that gives the number back. */
    static std::string toText(double value);
    const ArgumentChecks check;
    const std::string className;
private:
    void requireType(int type) const;
    int numTypes, numReplicas = 1;
    double cutoff;
    bool periodic = false;
    std::vector<int> types, replicas;
};

}
