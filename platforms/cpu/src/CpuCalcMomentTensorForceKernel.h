// SPDX-License-Identifier: MIT
#pragma once
#include "CpuBeadForceKernel.h"
#include <vector>

namespace meanforce {

/** A bead's neighbours within the cutoff; everything but beads and intervals is padded to whole vectors. */
struct CpuRow {
    int count;
    const int *bead, *interval;                   // the neighbour, and the interval of the filters' grid that r falls in
    const float *f, *x, *y, *z, *inverseR;        // the position in that interval; unit vector to the neighbour; 1/r
};

/** What the two passes over neighbours share. */
struct CpuChannels {
    int numBlocks;
    const float *table, *typeWeights;
    const int* types;
    float inverseSpacing;
};

/**
 * MomentTensorForce on the CPU platform.  Distances are computed in double precision, everything that follows in single.
 * Here "bead" means the place that the neighbour list gives it.  Channels lie on vector lanes where beads meet their
 * neighbours; beads lie on vector lanes in the network.  Every bead's row and every tile of the network is the work of one
 * thread, so results do not depend on the number of threads.
 */
class CpuCalcMomentTensorForceKernel : public CpuBeadForceKernel {
public:
    using CpuBeadForceKernel::CpuBeadForceKernel;
    /** Up to this many beads of one type pass through the network together. */
    static constexpr int TILE = 16;
protected:
    void readParameters(const BeadForce& force) override;
    void compute(double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    /** A dense layer, packed for multiplication from the left and from the right: see pack(). */
    struct Layer {
        int inputs, outputs;
        std::vector<std::vector<float> > forward, backward, biases;    // one for each type
    };
    struct Tile {
        int first, count, type;
    };
    /** The rows of all beads, each starting at a whole vector. */
    struct Edges {
        std::vector<int> bead, interval;
        std::vector<float> f, x, y, z, inverseR;
        std::vector<int> start, count;
        void resize(size_t size);
    };
    /** Working memory of one thread. */
    struct Scratch {
        std::vector<float> row;                           // geometry of one row
        std::vector<std::vector<float> > values, slopes;  // of each layer, [unit][bead of the tile]
        std::vector<float> gradient, nextGradient;
        void reserveRow(size_t size) {
            if (row.size() < size)
                row.resize(size);
        }
    };
    void findRow(int bead);
    CpuRow getRow(int bead) const;
    CpuChannels getChannels() const;
    void computeMoments(int bead, Scratch& scratch);
    void evaluateNetwork(const Tile& tile, double temperature, Scratch& scratch);
    OpenMM::Vec3 computeForce(int bead, Scratch& scratch) const;
    int maxL, channels, numBlocks, numMoments, numFeatures, numFunctions, numReadouts;
    double spacing;
    bool silu;
    std::vector<float> table;                     // [interval][l][padded channel], with zeros beyond both ends of the grid
    std::vector<float> typeWeights;               // [type][padded channel]
    std::vector<Layer> layers;
    std::vector<Tile> tiles;
    Edges edges;
    std::vector<float> moments;                   // [bead][block][lm][lane]; replaced by dU/dM once a tile is evaluated
    std::vector<Scratch> scratch;
};

}
