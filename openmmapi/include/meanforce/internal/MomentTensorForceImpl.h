// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/MomentTensorForce.h"
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

class MEANFORCE_EXPORT MomentTensorForceImpl : public OpenMM::ForceImpl, public KernelOwner {
public:
    explicit MomentTensorForceImpl(const MomentTensorForce& owner);
    void initialize(OpenMM::ContextImpl& context) override;
    const OpenMM::Force& getOwner() const override {
        return owner;
    }
    void updateContextState(OpenMM::ContextImpl& context, bool& forcesInvalid) override {
    }
    double calcForcesAndEnergy(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, int groups) override;
    std::map<std::string, double> getDefaultParameters() override {
        return {};
    }
    std::vector<std::string> getKernelNames() override;
    void updateParametersInContext(OpenMM::ContextImpl& context);
    const OpenMM::KernelImpl& getKernelImpl() const override;
    /** Throws if a periodic force with this cutoff would meet more than one image of a neighbour. */
    static void checkBox(const OpenMM::Vec3* boxVectors, double cutoff);
    /** The exception for a particle whose position is NaN, infinite or too far away to be computed with. */
    static OpenMM::OpenMMException positionError(int particle);
private:
    std::vector<std::pair<std::string, std::string> > describeShape() const;
    const MomentTensorForce& owner;
    std::vector<std::pair<std::string, std::string> > shape;
    OpenMM::Kernel kernel;
};

}
