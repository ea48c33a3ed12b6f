// SPDX-License-Identifier: MIT
#include "CpuDenseLayer.h"
#include <algorithm>

using namespace std;

namespace meanforce {

/** Panels of columns, [panel][row][column of the panel], of the matrix element(row, column). */
template <class Element>
static AlignedVector<float> pack(int rows, int columns, int lanes, Element element) {
    const int width = roundUp(columns, lanes), panel = PANEL_VECTORS*lanes;
    AlignedVector<float> result;
    for (int first = 0; first < width; first += panel)
        for (int row = 0; row < rows; row++)
            for (int column = first; column < min(first+panel, width); column++)
                result.push_back(column < columns ? (float) element(row, column) : 0.0f);
    return result;
}

CpuDenseLayer::CpuDenseLayer(int outputs, int inputs, const vector<double>& weights, const vector<double>& biases, int lanes) :
        inputs(inputs), outputs(outputs) {
    forward = pack(inputs, outputs, lanes, [&](int input, int output) { return weights[(size_t) output*inputs+input]; });
    backward = pack(outputs, inputs, lanes, [&](int output, int input) { return weights[(size_t) output*inputs+input]; });
    if (!biases.empty())
        this->biases = padRows(biases, outputs, lanes);
}

AlignedVector<float> padRows(const vector<double>& rows, int width, int lanes) {
    const size_t numRows = rows.size()/width, paddedWidth = roundUp(width, lanes);
    AlignedVector<float> result(numRows*paddedWidth, 0.0f);
    for (size_t row = 0; row < numRows; row++)
        for (int k = 0; k < width; k++)
            result[row*paddedWidth+k] = (float) rows[row*width+k];
    return result;
}

}
