// SPDX-License-Identifier: MIT
#pragma once
#include "CpuParallel.h"
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/**
 * A Verlet list over a cell list: for each bead every image of another bead that may come within the cutoff before any
 * bead has moved by half the skin.  It is rebuilt when one has, or when the box changes in any way.  Rows are sorted, so
 * that sums over them do not depend on when the list was built.
 */
class CpuNeighborList {
public:
    /** An image of a bead: its position is that of the bead plus the box vectors times these integers. */
    struct Neighbor {
        int bead, image[3];
        bool operator<(const Neighbor& other) const {
            return bead < other.bead;
        }
    };
    CpuNeighborList(double cutoff, double skin, bool periodic) : cutoff(cutoff), skin(skin), periodic(periodic) {
    }
    /**
     * A larger coordinate than this many times the box's shortest width is too large for a periodic list: the images of two
     * beads, and their difference, must fit into an int.
     */
    static constexpr double MaxImage = 1e8;
    /** Make the list valid for these positions and box.  Positions must be finite, and within MaxImage if it is periodic. */
    void update(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors, CpuParallel& parallel);
    const Neighbor* begin(int bead) const {
        return neighbors.data()+rowStart[bead];
    }
    const Neighbor* end(int bead) const {
        return neighbors.data()+rowStart[bead+1];
    }
private:
    bool isValid(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors) const;
    void sortIntoCells(const std::vector<OpenMM::Vec3>& positions);
    void findNeighbors(int bead, std::vector<Neighbor>& found) const;
    double cutoff, skin, range = 0.0;
    bool periodic;
    OpenMM::Vec3 box[3];
    std::vector<OpenMM::Vec3> builtAt, wrapped;
    int numCells[3];
    std::vector<int> image, cell, cellStart, cellBeads, rowStart;
    std::vector<Neighbor> neighbors;
};

}
