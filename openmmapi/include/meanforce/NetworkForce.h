// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/BeadForce.h"

namespace meanforce {

/**
 * What the learned potentials have in common: a dense network turns the features of each bead into its energy, and the
 * energy may depend on the temperature,
 *
 *     U(x; T) = sum_i A_i(x) - T sum_i B_i(x) + C(T),     C(T) = c_0 + c_1 T + c_2 T ln T + c_3 T^2  for each replica.
 *
 * Hidden layers apply the activation function, the last layer is linear.  It has one output, A_i, or two, A_i and B_i, if the
 * potential depends on the temperature; both cost one evaluation.  T is then the Context parameter TemperatureParameter(),
 * which must agree with the temperature of the integrator whenever a step is made.
 */
class MEANFORCE_EXPORT NetworkForce : public BeadForce {
public:
    /** The name of the Context parameter with the temperature, in K; all forces of a Context share it. */
    static const std::string& TemperatureParameter() {
        static const std::string name = "MeanForceTemperature";
        return name;
    }
    /** Get the number of inputs of the first layer. */
    virtual int getNumFeatures() const = 0;
    /** Get the number of separate networks: one for each type, or one for all. */
    int getNumNetworks() const {
        return numNetworks;
    }
    /**
     * Append a dense layer to the network.  The first layer has getNumFeatures() inputs, each later one the outputs of
     * the layer before.
     *
     * @param outputs   the number of outputs
     * @param weights   in the order [network][output][input]
     * @param biases    in the order [network][output]
     * @return the index of the layer
     */
    int addLayer(int outputs, const std::vector<double>& weights, const std::vector<double>& biases);
    int getNumLayers() const {
        return (int) layers.size();
    }
    int getNumLayerInputs(int index) const;
    int getNumLayerOutputs(int index) const;
    /** Get the weights of a layer, [network][output][input]. */
    const std::vector<double>& getLayerWeights(int index) const;
    /** Get the biases of a layer, [network][output]. */
    const std::vector<double>& getLayerBiases(int index) const;
    /** Replace the parameters of a layer by others of the same shape. */
    void setLayerParameters(int index, const std::vector<double>& weights, const std::vector<double>& biases);
    /**
     * Set the activation function: "tanh" (the default), "silu", x/(1+exp(-x)), or, where the class says so, "ssp", the
     * shifted softplus ln((1+exp(x))/2).
     */
    virtual void setActivation(const std::string& activation);
    const std::string& getActivation() const {
        return activation;
    }
    /** Set whether the energy depends on the temperature, so that the last layer has two outputs.  The default is false. */
    void setTemperatureDependent(bool dependent) {
        temperatureDependent = dependent;
    }
    bool isTemperatureDependent() const {
        return temperatureDependent;
    }
    /** Get the number of outputs of the last layer: 1, or 2 if the energy depends on the temperature. */
    int getNumReadouts() const {
        return temperatureDependent ? 2 : 1;
    }
    /** Set the temperature, in K, that new Contexts start with. */
    void setDefaultTemperature(double temperature);
    double getDefaultTemperature() const override {
        return defaultTemperature;
    }
    /** Set the coefficients c_0 to c_3 of C(T), in kJ/mol and K.  The default is 0. */
    void setOffset(const std::vector<double>& coefficients);
    const std::vector<double>& getOffset() const {
        return offset;
    }
    /** Ask for the derivative of the energy with respect to a Context parameter, which must be TemperatureParameter(). */
    void addEnergyParameterDerivative(const std::string& name);
    bool hasTemperatureDerivative() const override {
        return temperatureDerivative;
    }
    std::string getTemperatureParameter() const override {
        return temperatureDependent ? TemperatureParameter() : "";
    }
    double computeOffset(double temperature, double& derivative) const override;
    void validate() const override;
    std::vector<std::pair<std::string, std::string> > describeShape() const override;
protected:
    /** @param activations   the activation functions that the kernels of this class offer */
    NetworkForce(const std::string& className, int numTypes, double cutoff, int numNetworks, const std::vector<std::string>& activations);
private:
    struct Layer {
        int inputs, outputs;
        std::vector<double> weights, biases;
    };
    const Layer& getLayer(int index) const;
    void checkLayer(const Layer& layer) const;
    int numNetworks;
    std::vector<std::string> activations;
    std::string activation;
    bool temperatureDependent = false, temperatureDerivative = false;
    double defaultTemperature = 0.0;
    std::vector<double> offset;
    std::vector<Layer> layers;
};

}
