// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/Edge.h"
#include "meanforce/internal/FilterNetwork.h"
#include "meanforce/internal/SchNetEvaluator.h"
#include <map>

namespace meanforce {

/** Finds the coarsest grid for the filters of a SchNetForce whose measured error is small enough; see tabulateFilters(). */
class MEANFORCE_EXPORT FilterGridSearch {
public:
    struct Result {
        int degree, intervals;
        double error;
    };
    FilterGridSearch(const SchNetForce& force, const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& types);
    /** Returns the first grid with an error below the tolerance, or the finest if there is none. */
    Result run(double tolerance);
    /** The error of one grid. */
    double measure(int degree, int intervals);
private:
    /** A configuration, and its energy and forces with the filter network. */
    struct Frame {
        std::vector<int> types;
        std::vector<Edge> edges;
        double energy;
        std::vector<OpenMM::Vec3> forces;
    };
    /** Evaluate the model as it is. */
    void evaluate(const Frame& frame, double& energy, std::vector<OpenMM::Vec3>& forces) const;
    void addFrame(const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& types, double side);
    /** A packing in a cubic box whose side is twice the cutoff: random points, but none closer than `distance` to another. */
    void addRandomFrame(int numBeads, double distance);
    double compare(const Frame& frame) const;
    /** Distances between two limits, and the filters' derivatives there. */
    void addSamples(int count, double from, double to);
    /** The error of the filters' derivatives at these distances, as common as they are in three dimensions. */
    double compareSlopes(const std::vector<FilterTable>& tables) const;
    const double cutoff;
    const int numTypes, numFilters, numBlocks;
    double temperature;
    SchNetEvaluator model;
    FilterNetwork network;
    std::vector<Frame> frames;
    std::vector<double> sampleDistances, sampleSlopes;    // dW/dr of all blocks at each distance
    // Grids share knots: the filters of all blocks at each fraction of the cutoff are kept.
    std::map<double, std::vector<double> > values, slopes;
};

}
