// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include "CpuSchNet.h"
#include <memory>
#include <vector>

namespace meanforce {

/**
 * SchNetForce on the CPU platform.  Distances are computed in double precision, everything that follows in single: see
 * CpuSchNet.  There beads are numbered along a curve through space.
 */
class CpuCalcSchNetForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const OpenMM::Vec3* box, double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    void numberBeads(const OpenMM::Vec3* box);
    void findPairs(int i, CpuPairs& pairs) const;
    std::unique_ptr<CpuSchNet> network;
    std::vector<int> order, number;                 // of each number its bead, of each bead its number
    std::vector<int> orderedTypes, rowStart;        // by number
    std::vector<double> orderedA, orderedB;
    std::vector<OpenMM::Vec3> orderedForces;
};

}
