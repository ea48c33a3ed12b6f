// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/BeadForce.h"
#include "meanforce/internal/KernelOwner.h"
#include "openmm/Kernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/Vec3.h"
#include "openmm/internal/ForceImpl.h"
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace meanforce {

/** The implementation of every BeadForce; what differs between families is in the kernel. */
class MEANFORCE_EXPORT BeadForceImpl : public OpenMM::ForceImpl, public KernelOwner {
public:
    explicit BeadForceImpl(const BeadForce& owner);
    void initialize(OpenMM::ContextImpl& context) override;
    const OpenMM::Force& getOwner() const override {
        return owner;
    }
    /** Throws if the integrator's temperature is not that of the potential.  Integrators call it at the start of a step. */
    void updateContextState(OpenMM::ContextImpl& context, bool& forcesInvalid) override;
    double calcForcesAndEnergy(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, int groups) override;
    std::map<std::string, double> getDefaultParameters() override;
    std::vector<std::string> getKernelNames() override;
    void updateParametersInContext(OpenMM::ContextImpl& context);
    std::vector<double> getReplicaEnergies(OpenMM::ContextImpl& context);
    const OpenMM::KernelImpl& getKernelImpl() const override;
    /** Throws if a periodic force with this cutoff would meet more than one image of a neighbour. */
    static void checkBox(const std::string& className, const OpenMM::Vec3* boxVectors, double cutoff);
    /** The exception for a particle whose position is NaN, infinite or too far away to be computed with. */
    static OpenMM::OpenMMException positionError(const std::string& className, int particle);
private:
    double getTemperature(OpenMM::ContextImpl& context) const;
    const BeadForce& owner;
    const std::string temperatureParameter;
    std::vector<std::pair<std::string, std::string> > shape;
    OpenMM::Kernel kernel;
};

}
