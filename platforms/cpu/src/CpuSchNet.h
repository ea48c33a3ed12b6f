// SPDX-License-Identifier: MIT
#pragma once
#include "AlignedVector.h"
#include "CpuDenseLayer.h"
#include "CpuParallel.h"
#include "isa/InstructionSet.h"
#include "isa/SchNetKernels.h"
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/** A dense layer: weights [output][input], biases or none. */
struct SchNetLayerParameters {
    int outputs, inputs;
    std::vector<double> weights, biases;
};

struct SchNetBlockParameters {
    SchNetLayerParameters lin1, lin2, lin3;
    std::vector<double> table;               // [row][filter] for tabulated filters, from the cutoff inwards
    SchNetLayerParameters filter[2];         // for exact filters
};

/** Everything that defines a SchNet; see SchNetForce for the equations. */
struct SchNetParameters {
    int numTypes, hidden, filters;
    Activation activation;
    double cutoff;
    std::vector<double> embedding;           // [type][hidden]
    std::vector<SchNetBlockParameters> blocks;
    std::vector<SchNetLayerParameters> output;    // the last layer has one or two outputs
    std::vector<double> typeEnergies;
    int degree, intervals;                   // of the tables; intervals = 0 for exact filters
    bool expNormal;
    int cutoffFunction;
    double lowerCutoff, alpha;
    std::vector<double> centers, widths;
};

/**
 * The pairs of beads within the cutoff, each once, in the row of either of them.  Sums are fastest if beads are numbered so
 * that neighbours have similar numbers.
 */
class CpuPairs {
public:
    /** Make room for rows that start at these pairs; the last number is that of all pairs. */
    void resize(const std::vector<int>& rowStart);
    /** Set a pair; direction is from the bead of the row to the other. */
    void set(int pair, int other, double r, const OpenMM::Vec3& direction) {
        bead[pair] = other;
        this->r[pair] = r;
        for (int k = 0; k < 3; k++)
            this->direction[k][pair] = (float) direction[k];
    }
    int getNumBeads() const {
        return (int) rowStart.size()-1;
    }
    std::vector<int> rowStart, bead;
    std::vector<double> r;
    std::vector<float> direction[3];
};

/**
 * SchNet on the CPU.  Filters lie on vector lanes.  Each block is a loop over pairs and one over tiles of beads, and so is
 * its way back; the threads meet after each loop.  A thread sums over the pairs of its rows into a buffer of its own, and
 * buffers are added in the order of the threads, so results depend on nothing but the number of threads.
 */
class CpuSchNet {
public:
    CpuSchNet(const SchNetParameters& parameters, InstructionSet set);
    /**
     * @param types            of the beads
     * @param temperature      T in U = A - T B; any number if there is one readout
     * @param energies         A and B of each bead
     * @param forces           on each bead, unless null
     */
    void evaluate(CpuParallel& parallel, const CpuPairs& pairs, const std::vector<int>& types, double temperature,
            std::vector<double>& energyA, std::vector<double>& energyB, std::vector<OpenMM::Vec3>* forces);
private:
    struct Block {
        CpuDenseLayer lin1, lin2, lin3, filter[2];
        AlignedVector<float> table;
    };
    /** What one thread owns. */
    struct Workspace {
        std::vector<int> halo, slot;
        AlignedVector<float> buffer, scratch;
        std::vector<double> forces;
    };
    void prepareThread(int thread, const CpuPairs& pairs);
    template <class Meet>
    void run(int thread, Meet meet);
    const SchNetKernels& kernels;
    SchNetParameters parameters;
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
    std::vector<int> target, interval;
    AlignedVector<float> f, r, slope, y, g, energies;
    std::vector<AlignedVector<float> > h, slopes;
    std::vector<float*> hViews, slopeViews;
    std::vector<double> forces;
};

}
