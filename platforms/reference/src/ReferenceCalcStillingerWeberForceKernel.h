// SPDX-License-Identifier: MIT
#pragma once
#include "ReferenceBeadForceKernel.h"
#include <vector>

namespace meanforce {

class StillingerWeberForce;

/** The specification of StillingerWeberForce: the equation of its header, triple by triple, in double precision. */
class ReferenceCalcStillingerWeberForceKernel : public ReferenceBeadForceKernel {
public:
    using ReferenceBeadForceKernel::ReferenceBeadForceKernel;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(const std::vector<Edge>& edges, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces) override;
private:
    /** Returns the energy of a triple, and adds its forces. */
    double computeTriple(const Edge& ij, const Edge& ik, std::vector<OpenMM::Vec3>* forces) const;
    /** Returns g of a neighbour and sets its derivative. */
    double fade(const Edge& edge, double& derivative) const;
    int numTypes;
    std::vector<double> pairParameters, tripletParameters;
};

}
