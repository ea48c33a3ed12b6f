// SPDX-License-Identifier: MIT
#pragma once
#include "AlignedVector.h"
#include "CpuDenseLayer.h"
#include "CpuParallel.h"
#include "isa/InstructionSet.h"
#include "isa/SchNetKernels.h"
#include "meanforce/SchNetForce.h"
#include "openmm/Vec3.h"
#include <algorithm>
#include <functional>
#include <vector>

namespace meanforce {

/** The pairs in the rows of some beads, in the order of rows. */
class CpuPairs {
public:
    void clear() {
        count = longestRow = 0;
        rowStart.assign(1, 0);
    }
    /** Make room for this many pairs in the next row. */
    void reserve(size_t most);
    /** Add a pair to the present row; direction is from the bead of the row to the other. */
    void add(int other, double distance, const OpenMM::Vec3& direction) {
        bead[count] = other;
        r[count] = (float) distance;
        exactR[count] = distance;
        x[count] = (float) direction[0];
        y[count] = (float) direction[1];
        z[count] = (float) direction[2];
        count++;
    }
    void endRow() {
        longestRow = std::max(longestRow, count-rowStart.back());
        rowStart.push_back(count);
    }
    /** The place of every distance in a table with this many intervals. */
    void locate(double cutoff, int intervals);
    int count = 0, longestRow = 0;
    std::vector<int> rowStart, bead, target, interval;
    std::vector<double> exactR;
    AlignedVector<float> f, r, x, y, z, slope;
};

/**
 * SchNet on the CPU.  Filters lie on vector lanes.  Each block is a loop over pairs and one over tiles of beads, and so is
 * its way back; the threads meet after each loop.  A thread sums over the pairs of its rows into a buffer of its own, and
 * buffers are added in the order of the threads, so results depend on nothing but the number of threads.
 */
class CpuSchNet {
public:
    CpuSchNet(const SchNetForce& force, InstructionSet set);
    /**
     * Evaluate the energies and forces.  Sums are fastest if beads are numbered so that neighbours have similar numbers.
     *
     * @param types          of the beads
     * @param rowStart       how much work the pairs of beads before each bead are, in any unit; one more than there are beads
     * @param findPairs      adds the pairs in the row of a bead, without ending the row; each pair of beads is in the row of
     *                       one of them.  It is called by all threads.
     * @param temperature    T in U = A - T B; any number if there is one readout
     * @param A, B           of each bead
     * @param forces         on each bead, unless null
     */
    void evaluate(CpuParallel& parallel, const std::vector<int>& types, const std::vector<int>& rowStart,
            const std::function<void(int, CpuPairs&)>& findPairs, double temperature, std::vector<double>& A, std::vector<double>& B,
            std::vector<OpenMM::Vec3>* forces);
private:
    struct Block {
        CpuDenseLayer lin1, lin2, lin3, filter[2];
        AlignedVector<float> table;
    };
    /** What one thread owns. */
    struct Workspace {
        CpuPairs pairs;
        std::vector<int> halo, slot;
        AlignedVector<float> buffer, scratch;
        std::vector<double> forces;
    };
    void readBlocks(const SchNetForce& force);
    void readOutput(const SchNetForce& force);
    void readRadialBasis(const SchNetForce& force);
    void preparePairs(int thread, const std::function<void(int, CpuPairs&)>& findPairs);
    void findTargets(int thread);
    void allocate(int numBeads, int numThreads);
    template <class Meet>
    void run(int thread, Meet meet);
    const SchNetKernels& kernels;
    const double cutoff;
    const int intervals;                           // of the tables; 0 for exact filters
    std::vector<double> typeEnergies, lastWeights; // of the last layer, [output][input]
    std::vector<Block> blocks;
    std::vector<CpuDenseLayer> outputLayers;
    AlignedVector<float> embedding, firstFeatures, readout, readoutGradient, centers, widths;
    std::vector<SchNetBlock> blockViews;
    std::vector<DenseLayer> outputViews;
    SchNetModel model;
    // Of one evaluation:
    SchNetState state;
    std::vector<Workspace> workspaces;
    std::vector<SchNetThread> threads;
    AlignedVector<float> y, g, energies;
    std::vector<AlignedVector<float> > h, slopes;
    std::vector<float*> hViews, slopeViews;
    std::vector<double> forces;
};

}
