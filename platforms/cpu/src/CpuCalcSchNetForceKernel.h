// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include "CpuSchNet.h"
#include <memory>
#include <vector>

namespace meanforce {

/**
 * SchNetForce on the CPU platform.  Distances are computed in double precision, everything that follows in single: see
 * CpuSchNet.  For it beads are numbered as sortSpatially() does.
 */
class CpuCalcSchNetForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    void numberBeads();
    void findPairs(int i, CpuPairs& pairs) const;
    std::unique_ptr<CpuSchNet> network;
    std::vector<int> order, place, numberAt;           // the bead with each number, its place in the list; the number at each place
    std::vector<int> orderedTypes, rowStart;           // by number
    std::vector<double> orderedA, orderedB;
    std::vector<OpenMM::Vec3> orderedForces;
};

}
