// SPDX-License-Identifier: MIT
#pragma once
#include "CpuNeighborList.h"
#include "CpuParallel.h"
#include "meanforce/CalcBeadForceKernel.h"
#include <memory>
#include <vector>

namespace meanforce {

/**
 * What all kernels of a BeadForce on the CPU platform share.  The beads that take part are numbered by type, then by index; a
 * Verlet list gives them places, and each place's neighbours.
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
     * Compute the energy A_i-T B_i of each bead, and add the forces on particles.  The list is up to date.  What is stored for
     * neighbours to read should be stored by place; A and B are numbered by bead, so that their sums do not depend on places.
     *
     * @param forces    the forces on particles, or null if they are not wanted
     */
    virtual void compute(double temperature, std::vector<OpenMM::Vec3>* forces) = 0;
    /** The particle that is the bead at a place of the list. */
    int particleAt(int place) const {
        return particles[list->getOrder()[place]];
    }
    CpuParallel parallel;
    bool periodic;
    double cutoff;
    int numReplicas;
    std::vector<int> particles, types, replicas;    // of each bead
    std::vector<OpenMM::Vec3> positions;            // of each bead
    OpenMM::Vec3 box[3];
    std::unique_ptr<CpuNeighborList> list;
    std::vector<int> placeOf;                       // of each bead
    std::vector<float> A, B;                        // of each bead; B stays 0 unless the energy depends on the temperature
private:
    void gatherPositions(const std::vector<OpenMM::Vec3>& all);
    std::string forceName, temperatureParameter;
    bool hasTemperatureDerivative;
    std::vector<double> replicaEnergies;
};

}
