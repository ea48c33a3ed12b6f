// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/NetworkForce.h"
#include "openmm/Vec3.h"

namespace meanforce {

/**
 * A many-body potential of beads that send each other messages through filters that depend on distance.
 *
 *     y_i    = E[type_i]                                                    H features
 *     W^b(r) = ( V2^b act(V1^b phi(r) + v1^b) + v2^b ) f(r)                 F filters of block b
 *     m_i    = sum_{j != i, r_ij < r_c} W^b(r_ij) * (L1^b y_j)              * is the product of elements
 *     y_i   <- y_i + L3^b act(L2^b m_i + l2^b) + l3^b                       b = 0 .. blocks-1
 *     U      = sum_i ( NN(y_i) + e[type_i] )
 *
 * The radial basis phi is one of
 *
 *     "gaussian"    exp(-gamma (r-mu_k)^2)
 *     "expnormal"   (cos(pi r/r_c)+1)/2 exp(-beta_k (exp(-alpha r)-mu_k)^2)
 *
 * and the cutoff function f, which is 0 beyond r_c, one of
 *
 *     "cosine"           (cos(pi r/r_c)+1)/2
 *                        with r_0 > 0: (1-cos(2 pi (r-r_0)/(r_c-r_0)))/2, and 0 below r_0
 *     "shifted_cosine"   (cos(pi (r-r_0)/(r_c-r_0))+1)/2, and 1 below r_0
 *     "polynomial"       1-10 u^3+15 u^4-6 u^5,  u = r/r_c
 *
 * act is the activation function, "tanh", "silu" or "ssp", and NN the dense network of NetworkForce, one for all types.  If
 * the energy depends on the temperature, e belongs to the readout A.  The potential cannot tell mirror images apart.
 *
 * Filters are functions of one distance, so they can be put on a grid once instead of being computed for each pair: then each
 * is a uniform B-spline of degree 3 or 5 over [0, r_c], and forces are the exact gradient of the tabulated energy.  Interval n
 * of the G intervals counts from the cutoff inwards; in it, rows n to n+degree of the coefficients act.  tabulateFilters()
 * finds the coarsest grid whose error is small enough.  Without a grid the filter network is evaluated for each pair, which is
 * slower by far and serves as the referee.
 *
 * To use it, create a SchNetForce, call setRadialBasis(), setEmbeddings(), setBlockParameters() for each block, addLayer() for
 * each layer of NN, tabulateFilters(), and addParticle() for each particle of the System.
 *
 * The network is SchNet (doi:10.1063/1.5019779) as coarse-grained models use it (doi:10.1063/5.0026133).
 */
class MEANFORCE_EXPORT SchNetForce : public NetworkForce {
public:
    static constexpr int MaxBlocks = 8;
    /** The parameters of one block.  Weights are in the order [output][input]. */
    struct Block {
        std::vector<double> lin1Weights;                      // L1: F outputs, H inputs
        std::vector<double> filter1Weights, filter1Biases;    // V1, v1: F outputs, R inputs
        std::vector<double> filter2Weights, filter2Biases;    // V2, v2: F outputs, F inputs
        std::vector<double> lin2Weights, lin2Biases;          // L2, l2: H outputs, F inputs
        std::vector<double> lin3Weights, lin3Biases;          // L3, l3: H outputs, H inputs
    };
    /**
     * Create a SchNetForce without parameters, layers or particles.
     *
     * @param numTypes   the number of bead types, at least 1
     * @param cutoff     the cutoff distance r_c, in nm
     * @param features   the number of features H, at least 1
     * @param filters    the number of filters F, at least 1
     * @param blocks     the number of blocks, 1 to MaxBlocks
     */
    SchNetForce(int numTypes, double cutoff, int features, int filters, int blocks);
    int getNumFeatures() const override {
        return features;
    }
    int getNumFilters() const {
        return filters;
    }
    int getNumBlocks() const {
        return (int) blocks.size();
    }
    /**
     * Set the radial basis.  Blocks whose filters had another number of radial functions must be set again.
     *
     * @param kind       "gaussian" or "expnormal"
     * @param exponent   gamma, in 1/nm^2, or alpha, in 1/nm; positive
     * @param centers    mu_k, in nm for "gaussian"; their number is that of the radial functions, R
     * @param widths     beta_k for "expnormal", not negative; empty for "gaussian"
     */
    void setRadialBasis(const std::string& kind, double exponent, const std::vector<double>& centers, const std::vector<double>& widths = {});
    /** Get "gaussian" or "expnormal"; an empty string before setRadialBasis() is called. */
    const std::string& getRadialBasis() const {
        return basis;
    }
    double getBasisExponent() const {
        return basisExponent;
    }
    const std::vector<double>& getBasisCenters() const {
        return basisCenters;
    }
    const std::vector<double>& getBasisWidths() const {
        return basisWidths;
    }
    int getNumRadialFunctions() const {
        return (int) basisCenters.size();
    }
    /**
     * Set the cutoff function.  The default is "cosine" with r_0 = 0.
     *
     * @param kind    "cosine", "shifted_cosine" or "polynomial"
     * @param lower   r_0, in nm, from 0 to less than the cutoff; 0 for "polynomial"
     */
    void setCutoffFunction(const std::string& kind, double lower = 0.0);
    const std::string& getCutoffFunction() const {
        return cutoffFunction;
    }
    double getLowerCutoff() const {
        return lowerCutoff;
    }
    /** Set the embeddings E, in the order [type][feature]. */
    void setEmbeddings(const std::vector<double>& embeddings);
    const std::vector<double>& getEmbeddings() const {
        return embeddings;
    }
    /** Set the energy e of each type, in kJ/mol.  The default is 0. */
    void setTypeEnergies(const std::vector<double>& energies);
    const std::vector<double>& getTypeEnergies() const {
        return typeEnergies;
    }
    /** Set the parameters of a block.  setRadialBasis() must have been called. */
    void setBlockParameters(int index, const Block& block);
    /** Get the parameters of a block; its arrays are empty before setBlockParameters() is called. */
    const Block& getBlockParameters(int index) const;
    /**
     * Put the filters on a grid with this many intervals, or on none.  The splines take the values of the filters at the
     * grid's knots.  They follow later changes of the parameters.
     *
     * @param degree      3 or 5
     * @param intervals   at least 4, or 0, the default, to evaluate the filter network itself
     */
    void setFilterGrid(int degree, int intervals);
    int getFilterDegree() const {
        return filterDegree;
    }
    int getNumFilterIntervals() const {
        return filterIntervals;
    }
    /**
     * Put the filters on a grid with given coefficients, those of a model that was trained on its grid.  They stay as they are
     * when other parameters change.
     *
     * @param coefficients   in the order [block][row][filter]; intervals+degree rows, from the cutoff inwards
     */
    void setFilterTables(int degree, int intervals, const std::vector<double>& coefficients);
    /** Whether setFilterTables() was called. */
    bool hasGivenFilterTables() const {
        return !givenTables.empty();
    }
    /** Get the coefficients that kernels use, [block][row][filter]; empty without a grid. */
    std::vector<double> getFilterTables() const;
    /**
     * Choose the grid: the coarsest whose error is below the tolerance, cubic if 1024 intervals are enough for that and quintic
     * otherwise.  The error is measured against the filter network, in double precision, for random packings of all types
     * with up to 50 neighbours, and for the given positions.  It is the largest that any of them has of the forces' root mean
     * square difference relative to their root mean square, of the energy's difference per bead relative to that root mean
     * square times the cutoff, and of the root mean square difference of the filters' derivatives relative to theirs.  All
     * parameters must have been set.  Throws an exception if 2048 intervals are not enough, as for a cutoff function with a
     * kink in its slope, r_0 > 0: that needs exact filters, or a larger tolerance.
     *
     * @param tolerance   the largest error allowed
     * @param positions   configurations to measure too, one after another, in nm, not periodic
     * @param types       the types of the beads of one configuration
     * @return the error
     */
    double tabulateFilters(double tolerance = 1e-6, const std::vector<OpenMM::Vec3>& positions = {}, const std::vector<int>& types = {});
    /** Get the error that tabulateFilters() measured; NaN if it was not called, or if anything but NN has changed since. */
    double getFilterError() const {
        return filterError;
    }
    /** Used by deserialization. */
    void setFilterError(double error) {
        filterError = error;
    }
    /** Evaluate the filter network, whatever the grid: [block][distance][filter] for distances in nm. */
    std::vector<double> evaluateFilters(const std::vector<double>& distances) const;
    /** Compute L_1 y of the first block, which depends on a bead's type alone: [type][filter]. */
    std::vector<double> computeFirstMessages() const;
    void setActivation(const std::string& activation) override;
    std::string getKernelName() const override {
        return KernelName();
    }
    static std::string KernelName() {
        return "meanforce::CalcSchNetForce";
    }
    void validate() const override;
    std::vector<std::pair<std::string, std::string> > describeShape() const override;
private:
    void checkGrid(int degree, int intervals) const;
    void forgetFilterError();
    /** Throw an exception if the filter network lacks parameters. */
    void validateFilters() const;
    int features, filters;
    std::string basis, cutoffFunction = "cosine";
    double basisExponent = 0.0, lowerCutoff = 0.0;
    std::vector<double> basisCenters, basisWidths, embeddings, typeEnergies;
    std::vector<Block> blocks;
    int filterDegree = 3, filterIntervals = 0;
    std::vector<double> givenTables;
    double filterError;    // NaN if it is not known
};

}
