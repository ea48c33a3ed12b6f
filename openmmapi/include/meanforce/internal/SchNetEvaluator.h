// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/DenseNetwork.h"
#include "meanforce/internal/Edge.h"
#include "meanforce/internal/FilterNetwork.h"
#include "meanforce/internal/FilterTable.h"

namespace meanforce {

/** The equations of SchNetForce's header in double precision: the specification. */
class MEANFORCE_EXPORT SchNetEvaluator {
public:
    SchNetEvaluator() = default;
    /** The model as the force says, with its grid or with the filter network. */
    explicit SchNetEvaluator(const SchNetForce& force);
    /** Take the filters from these tables, one for each block; if there are none, from the filter network. */
    void setFilterTables(const std::vector<FilterTable>& tables) {
        this->tables = tables;
    }
    /**
     * Compute the energy A_i-T B_i of each bead, and add the forces.
     *
     * @param edges     all pairs of beads within the cutoff; those with i > j may be left out, and are not used
     * @param types     of the beads, -1 for those that take no part
     * @param A, B      for each bead; set for those that take part
     * @param forces    for each bead, or null if they are not wanted
     */
    void evaluate(const std::vector<Edge>& edges, const std::vector<int>& types, double temperature, std::vector<double>& A,
            std::vector<double>& B, std::vector<OpenMM::Vec3>* forces) const;
private:
    struct Block {
        LinearMap lin1, lin2, lin3;
    };
    /** What the way back needs of a block: h = L1 y, and the slopes of the activation function. */
    struct Trace {
        std::vector<double> h, slopes;
    };
    void evaluateFilters(int block, double r, std::vector<double>& W, std::vector<double>* dWdr) const;
    /** m_i = sum_j W(r_ij) h_j. */
    std::vector<double> sumMessages(int block, const std::vector<Edge>& edges, const std::vector<double>& h) const;
    /** Add to dU/dr of each edge, and return dU/dh, both from g = dU/dm. */
    std::vector<double> sumGradients(int block, const std::vector<Edge>& edges, const std::vector<double>& h, const std::vector<double>& g,
            std::vector<double>& dUdr) const;
    void updateFeatures(int block, const std::vector<int>& types, const std::vector<double>& m, std::vector<double>& y, Trace& trace) const;
    /** Returns dU/dr of each edge, from dU/dy after the last block. */
    std::vector<double> propagateBack(const std::vector<Edge>& edges, const std::vector<int>& types, const std::vector<Trace>& traces,
            std::vector<double>& dUdy) const;
    int features, filters, numReadouts;
    std::vector<double> embeddings, typeEnergies;
    std::vector<Block> blocks;
    Activation activation;
    FilterNetwork filterNetwork;
    std::vector<FilterTable> tables;
    DenseNetwork network;
};

/** The tables of all blocks, from coefficients in the order [block][row][filter]. */
MEANFORCE_EXPORT std::vector<FilterTable> makeFilterTables(double cutoff, int degree, int intervals, int numBlocks, const std::vector<double>& coefficients);

}
