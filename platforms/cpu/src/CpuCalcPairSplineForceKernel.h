// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include "CpuPairRow.h"
#include <vector>

namespace meanforce {

/** What a pass over a row of PairSplineForce needs to know. */
struct CpuSplinePieces {
    int numFunctions;
    double cutoff, inverseSpacing;
    const double* pieces;      // see splinePieces()
    const int* start;          // for each type of the neighbour, where the pair's pieces start
    const int* types;
};

/**
 * PairSplineForce on the CPU platform, in double precision.  Every bead's row is the work of one thread, so results do not
 * depend on the number of threads.
 */
class CpuCalcPairSplineForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const OpenMM::Vec3* box, double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    void removeExclusions(int bead, CpuPairRow::View& row) const;
    int numTypes, numFunctions;
    std::vector<double> pieces;
    std::vector<int> start;                         // [type][type of the neighbour]
    std::vector<std::vector<int> > exclusions;      // of each particle
    std::vector<CpuPairRow> rows;                   // of each thread
};

}
