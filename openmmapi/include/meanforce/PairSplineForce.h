// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/BeadForce.h"
#include <set>

namespace meanforce {

/**
 * A pair potential made of cubic B-splines, a different one for each pair of types.
 *
 *     U = sum_{i<j, r_ij < r_c} sum_k c_p(type_i, type_j),k B((r_ij-r_k)/D)       k = 0..G-1,  r_k = (k-1) D,  D = r_c/G
 *
 * B is the cubic cardinal B-spline (support [-2, 2], B(0) = 2/3).  The last function ends at the cutoff, where the energy and
 * its first and second derivatives vanish.  The pair of types s <= t has the row p = t(t+1)/2+s: (0,0), (0,1), (1,1), (0,2), ...
 * Each bead of a pair counts half of its energy as its own.
 *
 * To use it, create a PairSplineForce, call setCoefficients(), addParticle() once for each particle of the System, and
 * addExclusion() for each pair of particles that shall not see each other.
 */
class MEANFORCE_EXPORT PairSplineForce : public BeadForce {
public:
    /**
     * Create a PairSplineForce without coefficients or particles.
     *
     * @param numTypes   the number of bead types, at least 1
     * @param cutoff     the cutoff distance r_c, in nm
     */
    PairSplineForce(int numTypes, double cutoff) : BeadForce("PairSplineForce", numTypes, cutoff) {
    }
    /** Get the number of pairs of types, T(T+1)/2. */
    int getNumPairs() const {
        return getNumTypes()*(getNumTypes()+1)/2;
    }
    /** Get the row of a pair of types in the coefficients. */
    static int getPair(int type1, int type2) {
        int low = std::min(type1, type2), high = std::max(type1, type2);
        return high*(high+1)/2+low;
    }
    /**
     * Set the coefficients of all pairs of types.
     *
     * @param coefficients   c_pk in kJ/mol, in the order [pair][k]; its length fixes the number of functions G, at least 4
     */
    void setCoefficients(const std::vector<double>& coefficients);
    const std::vector<double>& getCoefficients() const {
        return coefficients;
    }
    /** Get the number of functions G of each pair; 0 before setCoefficients() is called. */
    int getNumFunctions() const {
        return (int) coefficients.size()/getNumPairs();
    }
    /**
     * Let two particles not see each other, as where a bond already says how they interact.
     *
     * @return the index of the exclusion
     */
    int addExclusion(int particle1, int particle2);
    int getNumExclusions() const {
        return (int) exclusions.size();
    }
    /** Get the two particles of an exclusion. */
    std::pair<int, int> getExclusionParticles(int index) const;
    std::string getKernelName() const override {
        return KernelName();
    }
    static std::string KernelName() {
        return "meanforce::CalcPairSplineForce";
    }
    void validate() const override;
    std::vector<std::pair<std::string, std::string> > describeShape() const override;
    /** For kernels: the particles that each particle does not see, in ascending order. */
    std::vector<std::vector<int> > listExclusions() const;
private:
    std::vector<double> coefficients;
    std::vector<std::pair<int, int> > exclusions;
    std::set<std::pair<int, int> > known;
};

}
