// SPDX-License-Identifier: MIT
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/MomentTensorForceImpl.h"
#include "openmm/OpenMMException.h"
#include <cmath>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace meanforce {

template <class T> static void require(bool condition, const string& rule, const T& found) {
    if (condition)
        return;
    stringstream message;
    message << "MomentTensorForce: " << rule << ", found " << found;
    throw OpenMMException(message.str());
}

static void requireArray(const string& name, const string& shape, const vector<double>& values, size_t size) {
    require(values.size() == size, "the length of the "+name+" must be "+to_string(size)+" "+shape, values.size());
    for (size_t i = 0; i < size; i++)
        require(isfinite(values[i]), "the "+name+" must be finite", to_string(values[i])+" at position "+to_string(i));
}

static void requireIndex(const string& name, int index, size_t size) {
    require(index >= 0 && index < (int) size, "the index of a "+name+" must be at least 0 and less than "+to_string(size), index);
}

MomentTensorForce::MomentTensorForce(int numTypes, double cutoff, int maxL, int channels) : numTypes(numTypes), maxL(maxL), channels(channels), cutoff(cutoff) {
    require(numTypes >= 1, "the number of types must be at least 1", numTypes);
    require(isfinite(cutoff) && cutoff > 0, "the cutoff must be positive (nm)", cutoff);
    require(maxL >= 0 && maxL <= MaxDegree, "the largest degree must be from 0 to "+to_string(MaxDegree), maxL);
    require(channels >= 1, "the number of channels must be at least 1", channels);
    setName("MomentTensorForce");
}

void MomentTensorForce::setFilters(double spacing, const vector<double>& coefficients) {
    require(isfinite(spacing) && spacing > 0, "the spacing of the filters must be positive (nm)", spacing);
    size_t perFunction = (maxL+1)*channels;
    require(!coefficients.empty() && coefficients.size()%perFunction == 0, "the number of filter coefficients must be a positive multiple of "
            "(degrees)*(channels) = "+to_string(perFunction), coefficients.size());
    requireArray("filter coefficients", "", coefficients, coefficients.size());
    this->spacing = spacing;
    this->coefficients = coefficients;
}

void MomentTensorForce::setTypeWeights(const vector<double>& weights) {
    requireArray("type weights", "(types*channels)", weights, numTypes*channels);
    typeWeights = weights;
}

int MomentTensorForce::addLayer(int outputs, const vector<double>& weights, const vector<double>& biases) {
    require(outputs >= 1, "a layer must have at least 1 output", outputs);
    Layer layer = {layers.empty() ? getNumFeatures() : layers.back().outputs, outputs, weights, biases};
    checkLayer(layer);
    layers.push_back(layer);
    return (int) layers.size()-1;
}

void MomentTensorForce::checkLayer(const Layer& layer) const {
    size_t inputs = layer.inputs, outputs = layer.outputs;
    requireArray("weights of a layer with "+to_string(inputs)+" inputs", "(types*outputs*inputs)", layer.weights, numTypes*outputs*inputs);
    requireArray("biases of a layer", "(types*outputs)", layer.biases, numTypes*outputs);
}

const MomentTensorForce::Layer& MomentTensorForce::getLayer(int index) const {
    requireIndex("layer", index, layers.size());
    return layers[index];
}

int MomentTensorForce::getNumLayerInputs(int index) const {
    return getLayer(index).inputs;
}

int MomentTensorForce::getNumLayerOutputs(int index) const {
    return getLayer(index).outputs;
}

const vector<double>& MomentTensorForce::getLayerWeights(int index) const {
    return getLayer(index).weights;
}

const vector<double>& MomentTensorForce::getLayerBiases(int index) const {
    return getLayer(index).biases;
}

void MomentTensorForce::setLayerParameters(int index, const vector<double>& weights, const vector<double>& biases) {
    Layer layer = {getLayer(index).inputs, getLayer(index).outputs, weights, biases};
    checkLayer(layer);
    layers[index] = layer;
}

void MomentTensorForce::setActivation(const string& activation) {
    require(activation == "tanh" || activation == "silu", "the activation must be 'tanh' or 'silu'", "'"+activation+"'");
    this->activation = activation;
}

static void requireType(int type, int numTypes) {
    require(type >= -1 && type < numTypes, "a particle's type must be from 0 to "+to_string(numTypes-1)+", or -1 if it takes no part", type);
}

int MomentTensorForce::addParticle(int type) {
    requireType(type, numTypes);
    types.push_back(type);
    return (int) types.size()-1;
}

int MomentTensorForce::getParticleType(int index) const {
    requireIndex("particle", index, types.size());
    return types[index];
}

void MomentTensorForce::setParticleType(int index, int type) {
    requireIndex("particle", index, types.size());
    requireType(type, numTypes);
    types[index] = type;
}

void MomentTensorForce::updateParametersInContext(Context& context) {
    dynamic_cast<MomentTensorForceImpl&>(getImplInContext(context)).updateParametersInContext(getContextImpl(context));
}

ForceImpl* MomentTensorForce::createImpl() const {
    return new MomentTensorForceImpl(*this);
}

}
