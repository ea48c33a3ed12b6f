// SPDX-License-Identifier: MIT
#pragma once
#include "ReferenceBeadForceKernel.h"
#include <vector>

namespace meanforce {

/** The specification of PairSplineForce: the equation of its header, in double precision and without optimisation. */
class ReferenceCalcPairSplineForceKernel : public ReferenceBeadForceKernel {
public:
    using ReferenceBeadForceKernel::ReferenceBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const std::vector<Edge>& edges, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces) override;
private:
    /** Returns the energy of a pair at a distance and sets its derivative. */
    double evaluatePair(int pair, double r, double& dUdr) const;
    int numFunctions;
    double cutoff, spacing;
    std::vector<double> coefficients;
    std::vector<std::vector<int> > exclusions;
};

}
