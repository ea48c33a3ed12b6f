// SPDX-License-Identifier: MIT
#pragma once
#include "CpuNeighborList.h"
#include "CpuParallel.h"
#include "meanforce/CalcBeadForceKernel.h"
#include <memory>
#include <vector>

namespace meanforce {

/**
 * What all kernels of a BeadForce on the CPU platform share.  The beads that take part are numbered by their places in the
 * Verlet list that gives each bead's neighbours, by type and then in space, so that neighbours are near in memory.  Only
 * particles change their places, when the list is rebuilt; the number of beads of each type does not.  Positions are double
 * precision.
 */
class CpuBeadForceKernel : public CalcBeadForceKernel {
public:
    CpuBeadForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ThreadPool& pool) :
            CalcBeadForceKernel(name, platform), parallel(pool) {
    }
    void initialize(const OpenMM::System& system, const BeadForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) override;
    std::vector<double> getReplicaEnergies() override {
        return replicaEnergies;
    }
    void addTemperatureDerivative(OpenMM::ContextImpl& context, double value) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const BeadForce& force) override;
protected:
    /** Read the parameters of the family's class; the beads below are already set. */
    virtual void readParameters(const BeadForce& force) = 0;
    /**
     * Compute the energy A_i-T B_i of each bead, and add the forces on particles.  `list` is up to date.
     *
     * @param box       the periodic box vectors
     * @param forces    the forces on particles, or null if they are not wanted
     */
    virtual void compute(const OpenMM::Vec3* box, double temperature, std::vector<OpenMM::Vec3>* forces) = 0;
    CpuParallel parallel;
    bool periodic;
    double cutoff;
    std::vector<int> particles, types;              // of each bead
    std::unique_ptr<CpuNeighborList> list;
    std::vector<float> A, B;                        // of each bead; B stays 0 unless the energy depends on the temperature
    // In the order of types and indices, which never changes: sums over it do not depend on when the list was built.
    std::vector<OpenMM::Vec3> positions;
    std::vector<int> places;                        // the bead, that is the place, of each of them
private:
    void gatherPositions(const std::vector<OpenMM::Vec3>& all, const OpenMM::Vec3* box);
    void sumEnergies(double temperature, double& energy, double& entropy);
    std::vector<int> members, replicas;             // in that order
    std::string forceName, temperatureParameter;
    bool hasTemperatureDerivative;
    std::vector<double> replicaEnergies;
};

}
