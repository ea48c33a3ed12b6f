// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/BeadForce.h"

namespace meanforce {

/**
 * The three-body term of the Stillinger-Weber potential, with any quadratic function of the cosine, for beads of several types.
 *
 *     U = sum_i sum_{j<k} (c_0 + c_1 cos + c_2 cos^2) g_ij g_ik,      cos = rhat_ij . rhat_ik
 *     g_ij = exp(gamma/(r_ij-a)) where r_ij < a, else 0
 *
 * The sum runs over all beads i and pairs of its neighbours.  c_0, c_1 and c_2 (kJ/mol) belong to the type of i and the
 * unordered pair of types of j and k; the range a and gamma (nm) to the type of i and that of j.  All derivatives vanish where
 * a neighbour comes into range.  The energy of a triple is that of its centre i.
 *
 * The classical form, lambda epsilon (cos-cos theta_0)^2, is set by setTripletAngle().  Types without pair parameters have no
 * range, and triples without coefficients no energy.
 *
 * F. H. Stillinger, T. A. Weber, doi:10.1103/PhysRevB.31.5262; for water V. Molinero, E. B. Moore, doi:10.1021/jp805227c.
 */
class MEANFORCE_EXPORT StillingerWeberForce : public BeadForce {
public:
    /**
     * Create a StillingerWeberForce without parameters or particles.
     *
     * @param numTypes   the number of bead types, at least 1
     * @param cutoff     the largest range that can be set, in nm
     */
    StillingerWeberForce(int numTypes, double cutoff);
    /**
     * Set how a neighbour fades out with its distance.
     *
     * @param center   the type of the bead in the centre
     * @param type     the type of its neighbour
     * @param range    a, in nm, at most the cutoff
     * @param gamma    in nm
     */
    void setPairParameters(int center, int type, double range, double gamma);
    /** Get the range and gamma, in nm; both are 0 if they were not set. */
    void getPairParameters(int center, int type, double& range, double& gamma) const;
    /** Set the coefficients of 1, cos and cos^2, in kJ/mol, of a centre and two neighbours, whose order does not matter. */
    void setTripletParameters(int center, int type1, int type2, double c0, double c1, double c2);
    void getTripletParameters(int center, int type1, int type2, double& c0, double& c1, double& c2) const;
    /** Set the coefficients of the classical form, strength (cos-cosAngle)^2, with the strength in kJ/mol. */
    void setTripletAngle(int center, int type1, int type2, double strength, double cosAngle);
    std::string getKernelName() const override {
        return KernelName();
    }
    static std::string KernelName() {
        return "meanforce::CalcStillingerWeberForce";
    }
    void validate() const override;

    // Everything at once, for kernels and serialization.

    /** The ranges and gammas, in the order [center][type][2]. */
    const std::vector<double>& getAllPairParameters() const {
        return pairParameters;
    }
    /** The coefficients, in the order [center][type1][type2][3]. */
    const std::vector<double>& getAllTripletParameters() const {
        return tripletParameters;
    }
private:
    void requireTypes(const std::vector<int>& types) const;
    int pairIndex(int center, int type) const {
        return 2*(center*getNumTypes()+type);
    }
    int tripletIndex(int center, int type1, int type2) const {
        return 3*((center*getNumTypes()+type1)*getNumTypes()+type2);
    }
    std::vector<double> pairParameters, tripletParameters;
};

}
