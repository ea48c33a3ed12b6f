// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include "openmm/Context.h"
#include "openmm/Force.h"
#include <string>
#include <vector>

namespace meanforce {

/**
 * A strictly local many-body potential: a small neural network for each bead reads the rotational invariants of
 * the moments of its neighbourhood.
 *
 *     W_lc(r)  = sum_k C_klc B((r-r_k)/D)                          l = 0..L, c = 1..F, k = 0..G-1
 *     M_i,lm,c = sum_{j != i, r_ij < r_c} a_c(type_j) W_lc(r_ij) Y_lm(rhat_ij)
 *     x_i      = ( M_i,00,c ;  sum_m M_i,lm,c^2 for l = 0, then 1, .. L )      each for all channels c
 *     U        = sum_i NN_{type_i}(x_i)
 *
 * B is the cubic cardinal B-spline (support [-2, 2], B(0) = 2/3).  Basis function k is centred at
 * r_k = r_c - (G+1-k) D, so the last one ends exactly at the cutoff, where W, W' and W'' vanish: the energy is twice
 * continuously differentiable there.  With D = r_c/G the grid covers the whole interval from 0 to r_c.
 * rhat_ij points from i to j.  The Y_lm are real spherical harmonics normalised so that sum_m Y_lm(u) Y_lm(v) = P_l(u.v):
 * Y_00 = 1 and Y_1 = (y, z, x).  NN is a dense network: the hidden layers apply "tanh" or "silu", the last is linear
 * and has one output, the bead's energy in kJ/mol.  Every bead type has weights of its own.
 *
 * To use it, create a MomentTensorForce, call setFilters(), setTypeWeights(), addLayer() once for each layer, and
 * addParticle() once for each particle of the System.  A particle of type -1 takes no part: it is nobody's neighbour, has
 * no energy and feels no force.
 *
 * Lengths are in nm, energies in kJ/mol.  An evaluation throws an exception if the position of a particle that takes part
 * is not finite or too far from the origin (1e18 nm on GPUs, 1e8 widths of a periodic box on the CPU platform), or if the
 * periodic box has become smaller than twice the cutoff.
 *
 * Same family as moment tensor potentials (doi:10.1137/15M1054183) and the atomic cluster expansion
 * (doi:10.1103/PhysRevB.99.014104).
 */
class MEANFORCE_EXPORT MomentTensorForce : public OpenMM::Force {
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
    int getNumTypes() const {
        return numTypes;
    }
    /** Get the cutoff distance, in nm. */
    double getCutoff() const {
        return cutoff;
    }
    int getMaxL() const {
        return maxL;
    }
    int getNumChannels() const {
        return channels;
    }
    /** Get the number of the network's inputs, (L+2) F. */
    int getNumFeatures() const {
        return (maxL+2)*channels;
    }
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
    /**
     * Append a dense layer to the network.  The first layer has getNumFeatures() inputs, each later one the outputs of
     * the layer before.  The last layer must have one output.
     *
     * @param outputs   the number of outputs
     * @param weights   in the order [type][output][input]
     * @param biases    in the order [type][output]
     * @return the index of the layer
     */
    int addLayer(int outputs, const std::vector<double>& weights, const std::vector<double>& biases);
    int getNumLayers() const {
        return (int) layers.size();
    }
    int getNumLayerInputs(int index) const;
    int getNumLayerOutputs(int index) const;
    /** Get the weights of a layer, [type][output][input]. */
    const std::vector<double>& getLayerWeights(int index) const;
    /** Get the biases of a layer, [type][output]. */
    const std::vector<double>& getLayerBiases(int index) const;
    /** Replace the parameters of a layer by others of the same shape. */
    void setLayerParameters(int index, const std::vector<double>& weights, const std::vector<double>& biases);
    /** Set the activation function of the hidden layers: "tanh" (the default) or "silu", x/(1+exp(-x)). */
    void setActivation(const std::string& activation);
    const std::string& getActivation() const {
        return activation;
    }
    /**
     * Add the next particle of the System.
     *
     * @param type    its type, 0 to getNumTypes()-1, or -1 if it takes no part
     * @return the index of the particle
     */
    int addParticle(int type);
    int getNumParticles() const {
        return (int) types.size();
    }
    int getParticleType(int index) const;
    void setParticleType(int index, int type);
    void setUsesPeriodicBoundaryConditions(bool periodic) {
        this->periodic = periodic;
    }
    /** Whether distances are those to the nearest periodic image.  The default is false. */
    bool usesPeriodicBoundaryConditions() const override {
        return periodic;
    }
    /**
     * Copy the filter coefficients, type weights, layer parameters and particle types to a Context.  Everything else is
     * fixed when the Context is created: numbers of types, channels, layers, basis functions and particles, the degree L,
     * cutoff, spacing, activation and periodicity.  An exception says so if one of them changed.
     */
    void updateParametersInContext(OpenMM::Context& context);
protected:
    OpenMM::ForceImpl* createImpl() const override;
private:
    struct Layer {
        int inputs, outputs;
        std::vector<double> weights, biases;
    };
    const Layer& getLayer(int index) const;
    void checkLayer(const Layer& layer) const;
    int numTypes, maxL, channels;
    double cutoff, spacing = 0.0;
    bool periodic = false;
    std::string activation = "tanh";
    std::vector<double> coefficients, typeWeights;
    std::vector<Layer> layers;
    std::vector<int> types;
};

}
