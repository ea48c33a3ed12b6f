// SPDX-License-Identifier: MIT
#pragma once
#include "AlignedVector.h"
#include "isa/DenseLayer.h"
#include <vector>

namespace meanforce {

/** The smallest multiple that is not less than n. */
inline int roundUp(int n, int multiple) {
    return (n+multiple-1)/multiple*multiple;
}

/** Owns a dense layer that is packed for the vector code, for both directions. */
class CpuDenseLayer {
public:
    CpuDenseLayer() = default;
    /**
     * @param weights   [output][input]
     * @param biases    may be empty
     * @param lanes     floats in a vector
     */
    CpuDenseLayer(int outputs, int inputs, const std::vector<double>& weights, const std::vector<double>& biases, int lanes);
    DenseLayer getView() const {
        return {inputs, outputs, forward.data(), backward.data(), biases.empty() ? nullptr : biases.data()};
    }
private:
    int inputs = 0, outputs = 0;
    AlignedVector<float> forward, backward, biases;
};

/** Copy rows of `width` numbers to rows padded with zeros to whole vectors. */
AlignedVector<float> padRows(const std::vector<double>& rows, int width, int lanes);

}
