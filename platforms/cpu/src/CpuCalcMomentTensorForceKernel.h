// SPDX-License-Identifier: MIT
#pragma once
#include "AlignedVector.h"
#include "CpuBeadForceKernel.h"
#include "CpuDenseLayer.h"
#include "isa/InstructionSet.h"
#include "isa/MomentTensorKernels.h"
#include <vector>

namespace meanforce {

class MomentTensorForce;

/**
 * MomentTensorForce on the CPU platform.  Distances are computed in double precision, everything that follows in single;
 * forces are summed in fixed point.  Channels lie on vector lanes where beads meet their neighbours.  Beads are numbered by
 * their places in the neighbour list, which are sorted by type.
 *
 * A thread takes some tiles of beads of one type.  For each bead it goes through its row of neighbours, which gives the
 * moments, and keeps the pairs that the row owns; each tile then goes through the network.  When all threads are done, each
 * turns its own pairs into forces on both beads.  No result depends on the number of threads, nor on the places of beads: every
 * sum is over a row, or of integers.
 */
class CpuCalcMomentTensorForceKernel : public CpuBeadForceKernel {
public:
    CpuCalcMomentTensorForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ThreadPool& pool,
            InstructionSet set = detectInstructionSet()) : CpuBeadForceKernel(name, platform, pool), kernels(getMomentTensorKernels(set)) {
    }
protected:
    void readParameters(const BeadForce& force) override;
    void compute(double temperature, std::vector<OpenMM::Vec3>* forces) override;
private:
    struct Tile {
        int first, count;
    };
    /** What one thread works with. */
    struct Workspace {
        AlignedVector<float> scratch, pairFloats;
        AlignedVector<int> pairInts;
        std::vector<int> pairCount;                   // of each bead of the thread
        std::vector<std::int64_t> forces;             // on all beads
        int capacity = 0;                             // in pairs
        MomentTensorPairs getPairs(int start);
        void reservePairs(int size);
    };
    void readFilters(const MomentTensorForce& force);
    void readProducts(const MomentTensorForce& force);
    void readNetwork(const MomentTensorForce& force);
    void createTiles(int numThreads);
    int findLongestRow() const;
    void computeMoments(Workspace& workspace, int firstTile, int endTile, const float* seed);
    void computeForces(Workspace& workspace, int first, int end);
    const MomentTensorKernels& kernels;
    MomentTensorModel model;
    MomentTensorGeometry geometry;
    AlignedVector<float> table, typeWeights, readout;
    std::vector<float> readoutBias;
    std::vector<int> copiedFrom, copyShift, productStart;
    std::vector<MomentTensorTerm> terms;
    std::vector<CpuDenseLayer> hidden;
    std::vector<DenseLayer> hiddenViews;
    std::vector<Tile> tiles;
    std::vector<MomentTensorBead> beads;
    AlignedVector<float> moments;                     // [bead][vector][lm][lane]; replaced by dU/dM once a tile is evaluated
    std::vector<Workspace> workspaces;
};

}
