// SPDX-License-Identifier: MIT
#pragma once
#include "DenseLayer.h"
#include "meanforce/internal/Activation.h"

// SchNet on plain arrays, for vector code that is compiled once per instruction set.  See CpuSchNet for the whole.

namespace meanforce {

enum class CutoffFunction {
    Cosine, ShiftedCosine, Polynomial
};

/** How the inputs of exact filters are computed: see SchNetForce. */
struct SchNetRadial {
    bool expNormal;                  // else Gaussian
    CutoffFunction cutoffFunction;
    int numFunctions;
    double cutoff, lowerCutoff, alpha;
    const float *centers, *widths;   // padded; widths are gamma or beta
};

struct SchNetBlock {
    DenseLayer lin1, lin2, lin3;     // lin1 of the first block is not used: its outputs are a table of types
    const float* table;              // [interval][filter]; null for exact filters
    DenseLayer filter[2];
};

/** Widths are padded to whole vectors. */
struct SchNetModel {
    int numBlocks, hidden, filters, degree;    // degree of the tables, or 0 for exact filters
    Activation activation;
    const SchNetBlock* blocks;
    const float *embedding, *firstFeatures;    // [type][hidden] and lin1 of that, [type][filter]
    int numOutputLayers, numReadouts;
    const DenseLayer* outputLayers;            // those before the readout
    int outputWidth;                           // inputs of the readout
    const float *readout[2];
    float readoutBias[2];
    float inverseSpacing;
    SchNetRadial radial;
};

/** Pairs of beads within the cutoff, in rows: those of one bead with some others. */
struct SchNetPairs {
    int longestRow;
    const int *rowStart, *bead, *target;    // the other bead, and its row in the buffer of the thread
    const int* interval;
    const float *f, *r, *x, *y, *z;         // position in the interval of the table; distance and direction to the other bead
    float* slope;                           // dU/dr
};

/**
 * What one thread works on: the pairs in the rows of some beads, then some beads.  Sums over pairs go to a buffer with a row
 * for each of its own rows, then one for each other bead that its pairs touch.
 */
struct SchNetThread {
    int rowBegin, rowEnd, beadBegin, beadEnd;
    SchNetPairs pairs;
    int numHalo;
    const int* halo;                        // sorted
    float* buffer;
    double* forces;                         // the same rows, x y z
    float* scratch;
};

struct SchNetState {
    int numBeads;
    const int* types;
    int numThreads;
    const SchNetThread* threads;
    float *y, *g;                           // features, later dU/dy; dU/dm
    float* const* h;                        // of each block but the first
    float* const* slopes;                   // of the activation in each block but the last
    float* energies;                        // [bead][2]
    const float* readoutGradient;           // dU/d(inputs of the readout)
    double* forces;
    bool includeForces;
};

struct SchNetKernels {
    int lanes;
    /** Floats of scratch that a thread needs. */
    long (*getScratchSize)(const SchNetModel& model, int longestRow);
    /** Sum the messages over the pairs of this thread's rows. */
    void (*sumMessages)(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block);
    /** Update this thread's beads; after the last block, evaluate the output network and begin the way back. */
    void (*updateBeads)(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block);
    /** dU/dr of the pairs of this thread's rows, and dU/dh; in the first block, the forces instead. */
    void (*sumGradients)(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block);
    /** dU/dm of the block before, for this thread's beads. */
    void (*updateGradients)(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread, int block);
    /** Sum the forces on this thread's beads. */
    void (*sumForces)(const SchNetModel& model, const SchNetState& state, const SchNetThread& thread);
};

}
