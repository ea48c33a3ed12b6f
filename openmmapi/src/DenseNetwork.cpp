// SPDX-License-Identifier: MIT
#include "meanforce/internal/DenseNetwork.h"

using namespace std;

namespace meanforce {

DenseNetwork::DenseNetwork(const NetworkForce& force) : activation(activationOf(force.getActivation())) {
    for (int k = 0; k < force.getNumLayers(); k++)
        layers.push_back({force.getNumLayerInputs(k), force.getNumLayerOutputs(k), force.getLayerWeights(k), force.getLayerBiases(k)});
}

vector<double> DenseNetwork::evaluate(int network, const vector<double>& x, const vector<double>& seed, vector<double>& dUdx) const {
    int last = (int) layers.size()-1;
    vector<vector<double> > values = {x}, slopes;
    for (int k = 0; k <= last; k++) {
        const Layer& layer = layers[k];
        vector<double> y(layer.outputs), slope(layer.outputs, 1.0);
        for (int o = 0; o < layer.outputs; o++) {
            double sum = layer.biases[network*layer.outputs+o];
            for (int in = 0; in < layer.inputs; in++)
                sum += layer.weights[(network*layer.outputs+o)*layer.inputs+in]*values[k][in];
            y[o] = (k < last ? activate(activation, sum, slope[o]) : sum);
        }
        values.push_back(y);
        slopes.push_back(slope);
    }
    dUdx = seed;
    for (int k = last; k >= 0; k--) {
        const Layer& layer = layers[k];
        vector<double> gradient(layer.inputs, 0.0);
        for (int o = 0; o < layer.outputs; o++)
            for (int in = 0; in < layer.inputs; in++)
                gradient[in] += layer.weights[(network*layer.outputs+o)*layer.inputs+in]*dUdx[o]*slopes[k][o];
        dUdx = gradient;
    }
    return values[last+1];
}

}
