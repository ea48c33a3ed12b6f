// SPDX-License-Identifier: MIT
#pragma once
#include "DenseLayer.h"
#include "meanforce/internal/Activation.h"
#include <cstdint>

// MomentTensorForce on plain arrays, for vector code that is compiled once per instruction set.  See
// CpuCalcMomentTensorForceKernel for the whole.

namespace meanforce {

/** A term of a product: value times two or three rows of moments; the last is -1 in a product of two. */
struct MomentTensorTerm {
    int rows[3];
    float value;
};

/** Rows of channels are padded with zeros to whole vectors: `width` floats. */
struct MomentTensorModel {
    int maxL, channels, width, numFeatures, numReadouts;
    bool oneType;                        // then the weight of the only type is contained in the table
    double cutoff, inverseSpacing;
    int numIntervals;                    // the last one sees only zeros
    // The filters as polynomials, sum_p table_p f^p, and the types' weights.  Where many rows of channels follow each other, those
    // of one vector of channels come first: [vector] counts vectors, and a row is one vector long.
    const float *table, *typeWeights;    // [interval][vector][l][p][lane], [type][channel]
    // Products.  Rows below (maxL+1)^2 are moments; the others are copies of moments with channel c+shift in the place of c.
    int numProducts, numCopies;
    const int *copiedFrom, *copyShift;   // of each copy
    const int* productStart;             // of each product in the terms
    const MomentTensorTerm* terms;
    int numHidden;
    Activation activation;
    const DenseLayer* hidden;            // [type][layer]
    int readoutWidth;                    // inputs of the readout, padded
    const float *readout, *readoutBias;  // [type][output][input], [type][output]
};

/** The bead at a place. */
struct MomentTensorBead {
    double position[3];
    int particle;
};

struct MomentTensorGeometry {
    const MomentTensorBead* beads;
    const int* types;                    // of each place
    double box[9], inverseBox[3];        // rows; 1/diagonal
    bool periodic;
};

/** The candidates for neighbours of the bead at a place: their places times 32, plus a number that does not matter here. */
struct MomentTensorRow {
    int place, count;
    const std::uint32_t* neighbors;
};

/** Pairs within the cutoff, each in the row of one of its two beads, which both find by the same rule. */
struct MomentTensorPairs {
    int *place, *interval;
    float *f, *x, *y, *z, *inverseR;     // position in the interval; direction to the neighbour; 1/r
};

struct MomentTensorKernels {
    int lanes;
    /** Floats of scratch that a thread needs for rows of this length. */
    long (*getScratchSize)(const MomentTensorModel& model, int longestRow);
    /** Beads that pass through the network together. */
    int tile;
    /**
     * Compute the moments [vector][lm][lane] of the bead in a row, and write the pairs that the row owns.
     *
     * @return the number of pairs; room for all neighbours and one vector more may be overwritten
     */
    int (*computeMoments)(const MomentTensorModel& model, const MomentTensorGeometry& geometry, const MomentTensorRow& row,
            const MomentTensorPairs& pairs, float* scratch, float* moments);
    /**
     * Evaluate the network of up to `tile` beads of one type, and replace their moments by dU/dM.
     *
     * @param seed       dU/d(output)
     * @param outputs    [bead][output]
     */
    void (*evaluateNetwork)(const MomentTensorModel& model, int type, int count, const float* seed, float* moments, float* outputs, float* scratch);
    /** Add the forces of a row's pairs, in units of 2^-32, to those of both beads: [place][4]. */
    void (*computeForces)(const MomentTensorModel& model, const int* types, int place, int count, const MomentTensorPairs& pairs,
            const float* gradients, float* scratch, std::int64_t* forces);
};

}
