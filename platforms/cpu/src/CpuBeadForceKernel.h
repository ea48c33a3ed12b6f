// SPDX-License-Identifier: MIT
#pragma once
#include "CpuNeighborList.h"
#include "CpuParallel.h"
#include "meanforce/CalcBeadForceKernel.h"
#include <memory>
#include <vector>

namespace meanforce {

/**
 * What all kernels of a BeadForce on the CPU platform share.  The beads that take part are numbered by type, then by index;
 * positions are double precision, and a Verlet list gives each bead's neighbours.
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
     * Compute the energy A_i-T B_i of each bead, and add the forces on particles.  `positions` and `list` are up to date.
     *
     * @param box       the periodic box vectors
     * @param forces    the forces on particles, or null if they are not wanted
     */
    virtual void compute(const OpenMM::Vec3* box, double temperature, std::vector<OpenMM::Vec3>* forces) = 0;
    /** Set `delta` to the vector from a bead to its neighbour; return the square of its length. */
    double displacement(int bead, const CpuNeighborList::Neighbor& neighbor, const OpenMM::Vec3* box, OpenMM::Vec3& delta) const {
        delta = positions[neighbor.bead]-positions[bead];
        if (periodic)
            delta += box[0]*neighbor.image[0]+box[1]*neighbor.image[1]+box[2]*neighbor.image[2];
        return delta.dot(delta);
    }
    CpuParallel parallel;
    bool periodic;
    double cutoff;
    std::vector<int> particles, types, replicas;    // of each bead
    std::vector<OpenMM::Vec3> positions;
    std::unique_ptr<CpuNeighborList> list;
    std::vector<float> A, B;                        // of each bead; B stays 0 unless the energy depends on the temperature
private:
    void gatherPositions(const std::vector<OpenMM::Vec3>& all, const OpenMM::Vec3* box);
    std::string forceName, temperatureParameter;
    bool hasTemperatureDerivative;
    std::vector<double> replicaEnergies;
};

}
