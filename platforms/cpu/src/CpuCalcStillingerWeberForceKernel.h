// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include "CpuForceSums.h"
#include "CpuPairRow.h"
#include <vector>

namespace meanforce {

/** The parameters of all triples with one type of bead in the centre. */
struct CpuTriplets {
    int numTypes;
    const double *pairs, *triplets;    // [type][2] and [type][type][3]
    const int* types;                  // of each bead
};

/**
 * StillingerWeberForce on the CPU platform, in double precision, through the moments of each bead's neighbours instead of its
 * triples: see docs/theory/stillinger_weber.md.  Every thread adds to sums of its own: results are the same bits whenever the
 * number of threads is.
 */
class CpuCalcStillingerWeberForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    int numTypes;
    std::vector<double> pairParameters, tripletParameters;
    std::vector<CpuPairRow> rows;                  // of each thread
    std::vector<std::vector<double> > moments;     // of each thread: for each type the moments, then their gradients
    CpuForceSums sums;
};

}
