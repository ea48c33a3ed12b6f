// SPDX-License-Identifier: MIT
#include "meanforce/NetworkForce.h"
#include <algorithm>
#include <cmath>

using namespace std;

namespace meanforce {

NetworkForce::NetworkForce(const string& className, int numTypes, double cutoff, int numNetworks, const vector<string>& activations) :
        BeadForce(className, numTypes, cutoff), numNetworks(numNetworks), activations(activations), activation(activations[0]), offset(4, 0.0) {
}

int NetworkForce::addLayer(int outputs, const vector<double>& weights, const vector<double>& biases) {
    check.require(outputs >= 1, "a layer must have at least 1 output", outputs);
    Layer layer = {layers.empty() ? getNumFeatures() : layers.back().outputs, outputs, weights, biases};
    checkLayer(layer);
    layers.push_back(layer);
    return (int) layers.size()-1;
}

void NetworkForce::checkLayer(const Layer& layer) const {
    size_t inputs = layer.inputs, outputs = layer.outputs, networks = numNetworks;
    const string first = (networks == 1 ? "(" : "(types*");
    check.requireArray("weights of a layer with "+to_string(inputs)+" inputs", first+"outputs*inputs)", layer.weights, networks*outputs*inputs);
    check.requireArray("biases of a layer", first+"outputs)", layer.biases, networks*outputs);
}

const NetworkForce::Layer& NetworkForce::getLayer(int index) const {
    check.requireIndex("layer", index, layers.size());
    return layers[index];
}

int NetworkForce::getNumLayerInputs(int index) const {
    return getLayer(index).inputs;
}

int NetworkForce::getNumLayerOutputs(int index) const {
    return getLayer(index).outputs;
}

const vector<double>& NetworkForce::getLayerWeights(int index) const {
    return getLayer(index).weights;
}

const vector<double>& NetworkForce::getLayerBiases(int index) const {
    return getLayer(index).biases;
}

void NetworkForce::setLayerParameters(int index, const vector<double>& weights, const vector<double>& biases) {
    Layer layer = {getLayer(index).inputs, getLayer(index).outputs, weights, biases};
    checkLayer(layer);
    layers[index] = layer;
}

void NetworkForce::setActivation(const string& activation) {
    string rule = "the activation must be ";
    for (size_t i = 0; i < activations.size(); i++)
        rule += (i == 0 ? "'" : (i+1 == activations.size() ? " or '" : ", '"))+activations[i]+"'";
    check.require(find(activations.begin(), activations.end(), activation) != activations.end(), rule, "'"+activation+"'");
    this->activation = activation;
}

void NetworkForce::setDefaultTemperature(double temperature) {
    check.require(isfinite(temperature) && temperature > 0, "the temperature must be positive (K)", temperature);
    defaultTemperature = temperature;
}

void NetworkForce::setOffset(const vector<double>& coefficients) {
    check.requireArray("coefficients of the offset", "(1, T, T ln T, T^2)", coefficients, 4);
    offset = coefficients;
}

void NetworkForce::addEnergyParameterDerivative(const string& name) {
    check.require(name == TemperatureParameter(), "the only parameter with a derivative is '"+TemperatureParameter()+"'", "'"+name+"'");
    temperatureDerivative = true;
}

double NetworkForce::computeOffset(double T, double& derivative) const {
    // Without a temperature only the constant is left.
    if (!temperatureDependent) {
        derivative = 0.0;
        return offset[0];
    }
    derivative = offset[1]+offset[2]*(log(T)+1)+2*offset[3]*T;
    return offset[0]+offset[1]*T+offset[2]*T*log(T)+offset[3]*T*T;
}

void NetworkForce::validate() const {
    BeadForce::validate();
    check.requireCalled(!layers.empty(), "addLayer");
    int outputs = layers.back().outputs;
    if (temperatureDependent)
        check.require(outputs == 2, "the last layer of a potential that depends on the temperature must have 2 outputs, A and B", outputs);
    else
        check.require(outputs == 1, "the last layer must have 1 output, the energy", outputs);
    if (temperatureDependent)
        check.requireCalled(defaultTemperature > 0, "setDefaultTemperature");
    check.require(temperatureDependent || !temperatureDerivative, "the derivative with respect to the temperature needs a potential that depends on it",
            "setTemperatureDependent(false)");
    check.require(temperatureDependent || all_of(offset.begin()+1, offset.end(), [](double c) { return c == 0; }),
            "the offset of a potential that does not depend on the temperature must be constant", "c1 to c3 that are not 0");
}

vector<pair<string, string> > NetworkForce::describeShape() const {
    vector<pair<string, string> > result = BeadForce::describeShape();
    result.push_back({"activation", activation});
    result.push_back({"dependence on the temperature", temperatureDependent ? "true" : "false"});
    result.push_back({"request for the derivative with respect to the temperature", temperatureDerivative ? "true" : "false"});
    result.push_back({"number of layers", to_string(layers.size())});
    for (size_t i = 0; i < layers.size(); i++)
        result.push_back({"number of outputs of layer "+to_string(i), to_string(layers[i].outputs)});
    return result;
}

}
