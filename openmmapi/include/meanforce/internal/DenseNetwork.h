// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/NetworkForce.h"
#include "meanforce/internal/Activation.h"
#include <vector>

namespace meanforce {

/** The networks of a NetworkForce, one for each type or one for all, in double precision. */
class MEANFORCE_EXPORT DenseNetwork {
public:
    DenseNetwork() = default;
    explicit DenseNetwork(const NetworkForce& force);
    /**
     * Evaluate one of the networks.
     *
     * @param x       the features
     * @param seed    the derivative of the energy with respect to each output
     * @param dUdx    on return the derivative of the energy with respect to each feature
     * @return the outputs
     */
    std::vector<double> evaluate(int network, const std::vector<double>& x, const std::vector<double>& seed, std::vector<double>& dUdx) const;
private:
    struct Layer {
        int inputs, outputs;
        std::vector<double> weights, biases;
    };
    Activation activation = Activation::Tanh;
    std::vector<Layer> layers;
};

}
