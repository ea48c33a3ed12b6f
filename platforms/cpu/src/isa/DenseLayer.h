// SPDX-License-Identifier: MIT
#pragma once

namespace meanforce {

/**
 * A dense layer, packed for the vector code: see CpuDenseLayer.  Its rows of inputs and outputs are padded with zeros to
 * whole vectors.
 */
struct DenseLayer {
    int inputs, outputs;                         // without padding
    const float *forward, *backward, *biases;    // biases may be null
};

/** The outputs that are computed together, in vectors: the width of a panel of packed weights. */
constexpr int PANEL_VECTORS = 2;

}
