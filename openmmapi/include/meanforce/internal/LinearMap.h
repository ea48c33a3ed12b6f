// SPDX-License-Identifier: MIT
#pragma once
#include <vector>

namespace meanforce {

/** y = W x + b and its transpose, in double precision. */
class LinearMap {
public:
    LinearMap() = default;
    /**
     * @param weights   in the order [output][input]
     * @param biases    of the outputs, or empty for none
     */
    LinearMap(int outputs, int inputs, const std::vector<double>& weights, const std::vector<double>& biases = {}) :
            outputs(outputs), inputs(inputs), weights(weights), transposed(weights.size()), biases(biases) {
        for (int out = 0; out < outputs; out++)
            for (int in = 0; in < inputs; in++)
                transposed[in*outputs+out] = weights[out*inputs+in];
    }
    int getNumOutputs() const {
        return outputs;
    }
    /** y = W x + b. */
    void apply(const double* x, double* y) const {
        for (int out = 0; out < outputs; out++)
            y[out] = (biases.empty() ? 0.0 : biases[out]);
        add(outputs, inputs, transposed, x, y);
    }
    /** y = W x: how a change of x changes y. */
    void applySlope(const double* x, double* y) const {
        for (int out = 0; out < outputs; out++)
            y[out] = 0.0;
        add(outputs, inputs, transposed, x, y);
    }
    /** Add W^T g to `sum`: from the gradient with respect to y to that with respect to x. */
    void addTransposed(const double* g, double* sum) const {
        add(inputs, outputs, weights, g, sum);
    }
private:
    /** y += M^T x.  Compilers turn this order of the loops into vector code. */
    static void add(int columns, int rows, const std::vector<double>& M, const double* x, double* y) {
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns; column++)
                y[column] += M[row*columns+column]*x[row];
    }
    int outputs = 0, inputs = 0;
    std::vector<double> weights, transposed, biases;
};

}
