// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include "CpuForceSums.h"
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
 * PairSplineForce on the CPU platform, in double precision.  Each pair is computed once, by the thread that has the bead with
 * the lower number, and every thread adds to sums of its own, bead by bead whatever their places: results are the same bits
 * whenever the number of threads is.
 */
class CpuCalcPairSplineForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    /** The first neighbour of a bead with a higher number. */
    const CpuNeighborList::Neighbor* firstLater(int bead) const;
    void computeBeads(int begin, int end, CpuPairRow& memory, double* sums) const;
    void removeExclusions(int bead, CpuPairRow::View& row) const;
    std::vector<int> divideWork(int parts) const;
    int numTypes, numFunctions;
    std::vector<double> pieces;
    std::vector<int> start;                         // [type][type of the neighbour]
    std::vector<std::vector<int> > exclusions;      // of each particle
    std::vector<CpuPairRow> rows;                   // of each thread
    CpuForceSums sums;
};

}
