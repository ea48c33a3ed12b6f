// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/NetworkForce.h"

namespace meanforce {

/**
 * A strictly local many-body potential: a small neural network for each bead reads the rotational invariants of
 * the moments of its neighbourhood.
 *
 *     W_lc(r)  = sum_k C_klc B((r-r_k)/D)                          l = 0..L, c = 1..F, k = 0..G-1
 *     M_i,lm,c = sum_{j != i, r_ij < r_c} a_c(type_j) W_lc(r_ij) Y_lm(rhat_ij)
 *     x_i      = ( M_i,00,c ;  sum_m M_i,lm,c^2 for l = 0, then 1, .. L ;  products )      each for all channels c
 *     U        = sum_i NN_{type_i}(x_i)
 *
 * B is the cubic cardinal B-spline (support [-2, 2], B(0) = 2/3).  Basis function k is centred at
 * r_k = r_c - (G+1-k) D, so the last one ends exactly at the cutoff, where W, W' and W'' vanish: the energy is twice
 * continuously differentiable there.  With D = r_c/G the grid covers the whole interval from 0 to r_c.
 * rhat_ij points from i to j.  The Y_lm are real spherical harmonics normalised so that sum_m Y_lm(u) Y_lm(v) = P_l(u.v):
 * Y_00 = 1 and Y_1 = (y, z, x).  NN is the dense network of NetworkForce with the activation "tanh" or "silu"; every bead
 * type has weights of its own.
 *
 * Products couple two or three moments, also of different degrees and channels, to a number that no rotation changes; those
 * with an odd sum of degrees change their sign in a mirror, and let the potential tell a molecule from its mirror image.
 *
 * To use it, create a MomentTensorForce, call addProduct() for each product, if any, then setFilters(), setTypeWeights(),
 * addLayer() once for each layer, and addParticle() once for each particle of the System.
 *
 * Same family as moment tensor potentials (doi:10.1137/15M1054183) and the atomic cluster expansion
 * (doi:10.1103/PhysRevB.99.014104).
 */
class MEANFORCE_EXPORT MomentTensorForce : public NetworkForce {
public:
    /** The largest degree l of spherical harmonics that is implemented. */
    static constexpr int MaxDegree = 4;
    /**
     * Create a MomentTensorForce without filters, layers or particles.
     *
     * @param numTypes   the number of bead types, at least 1
     * @param cutoff     the cutoff distance r_c, in nm
     * @param maxL       the largest degree L of the moments, 0 to 4
     * @param channels   the number of channels F, at least 1
     */
    MomentTensorForce(int numTypes, double cutoff, int maxL, int channels);
    int getMaxL() const {
        return maxL;
    }
    int getNumChannels() const {
        return channels;
    }
    /** Get the number of the network's inputs, (L+2+getNumProducts()) F. */
    int getNumFeatures() const override {
        return (maxL+2+getNumProducts())*channels;
    }
    /**
     * Add F features, the products of two or three moments for all channels c,
     *
     *     sum_m M_lm,c M_lm,c+s      or      sum_{m1 m2 m3} K_{m1 m2 m3} M_{l1 m1,c} M_{l2 m2,c+s2} M_{l3 m3,c+s3}
     *
     * with channels counted modulo F.  K is the Wigner 3j symbol in the basis of the Y_lm, normalised to sum K^2 = 1 with its
     * first entry, in lexicographic order of the m, positive.  Call it before addLayer().
     *
     * @param degrees   (l, l) or (l1, l2, l3), which must form a triangle
     * @param shifts    (0, s) or (0, s2, s3), each less than F.  If l1+l2+l3 is odd, factors of the same degree must have
     *                  different shifts: else the product vanishes.
     * @return the index of the product
     */
    int addProduct(const std::vector<int>& degrees, const std::vector<int>& shifts);
    int getNumProducts() const {
        return (int) products.size();
    }
    void getProduct(int index, std::vector<int>& degrees, std::vector<int>& shifts) const;
    /**
     * Set the radial filters.
     *
     * @param spacing       the distance D between the centres of neighbouring B-splines, in nm
     * @param coefficients  C_klc in the order [k][l][c]; its length fixes the number of basis functions G
     */
    void setFilters(double spacing, const std::vector<double>& coefficients);
    /** Get the distance between the centres of neighbouring B-splines, in nm; 0 before setFilters() is called. */
    double getFilterSpacing() const {
        return spacing;
    }
    /** Get the number of basis functions G; 0 before setFilters() is called. */
    int getNumFilterFunctions() const {
        return (int) (coefficients.size()/((maxL+1)*channels));
    }
    const std::vector<double>& getFilterCoefficients() const {
        return coefficients;
    }
    /** Set the weights a_c(type) of a neighbour of each type, in the order [type][c]. */
    void setTypeWeights(const std::vector<double>& weights);
    const std::vector<double>& getTypeWeights() const {
        return typeWeights;
    }
    std::string getKernelName() const override {
        return KernelName();
    }
    static std::string KernelName() {
        return "meanforce::CalcMomentTensorForce";
    }
    void validate() const override;
    std::vector<std::pair<std::string, std::string> > describeShape() const override;
private:
    struct Product {
        std::vector<int> degrees, shifts;
    };
    int maxL, channels;
    double spacing = 0.0;
    std::vector<Product> products;
    std::vector<double> coefficients, typeWeights;
};

}
