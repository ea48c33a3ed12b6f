// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/CalcBeadForceKernel.h"
#include "meanforce/internal/Edge.h"
#include <vector>

namespace meanforce {

/** What all Reference kernels of a BeadForce share: finding neighbours, and adding up energies. */
class ReferenceBeadForceKernel : public CalcBeadForceKernel {
public:
    ReferenceBeadForceKernel(const std::string& name, const OpenMM::Platform& platform) : CalcBeadForceKernel(name, platform) {
    }
    void initialize(const OpenMM::System& system, const BeadForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, double temperature) override;
    std::vector<double> getReplicaEnergies() override {
        return replicaEnergies;
    }
    void addTemperatureDerivative(OpenMM::ContextImpl& context, double value) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const BeadForce& force) override;
protected:
    /** Read the parameters of the family's class. */
    virtual void readParameters(const BeadForce& force) = 0;
    /**
     * Compute the energy A_i-T B_i of each bead, and add the forces.
     *
     * @param edges     all pairs of beads within the cutoff, in both directions, ordered by i, then j
     * @param A, B      for each particle; set to 0 before the call
     * @param forces    for each particle, or null if they are not wanted
     */
    virtual void compute(const std::vector<Edge>& edges, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces) = 0;
    std::vector<int> types;    // of each particle, -1 if it takes no part
private:
    std::vector<Edge> findEdges(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors) const;
    std::string forceName, temperatureParameter;
    bool periodic, hasTemperatureDerivative;
    double cutoff;
    int numReplicas;
    std::vector<int> replicas;
    std::vector<double> replicaEnergies;
};

}
