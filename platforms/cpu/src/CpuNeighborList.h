// SPDX-License-Identifier: MIT
#pragma once
#include "CpuParallel.h"
#include "openmm/Vec3.h"
#include <cstdint>
#include <vector>

namespace meanforce {

/**
 * A Verlet list over a cell list: for each bead every image of another bead that may come within the cutoff before any
 * bead has moved by half the skin.  It is rebuilt when one has, or when the box changes in any way.
 *
 * Beads that are near each other should be near each other in memory.  Every build therefore gives each bead a place: places
 * are sorted by type, then by replica, then along a curve that fills space.  Rows and neighbours are numbered by place, and
 * everything that is read of a neighbour should be stored by place; getOrder() says which bead is where.  The types at
 * places 0, 1, ... are the same after every build.
 *
 * Each row is sorted by bead, so that a sum over it does not depend on when the list was built; neither must other sums:
 * add over beads, not over places.
 */
class CpuNeighborList {
public:
    /** The place of a neighbour and which of its 27 nearest images is meant, in 4 bytes. */
    class Neighbor {
    public:
        /** The place times 32, plus the image. */
        explicit Neighbor(std::uint32_t packed) : packed(packed) {
        }
        int place() const {
            return (int) (packed>>5);
        }
        int image() const {
            return (int) (packed&31);
        }
    private:
        std::uint32_t packed;
    };
    /** More beads have no place in a Neighbor. */
    static constexpr int MaxBeads = 1<<27;
    /**
     * @param types      of all beads, to sort their places by; if empty, they have one type
     * @param replicas   of all beads, 0, 1, ...; beads of different replicas do not see each other.  If empty, there is one
     */
    CpuNeighborList(double cutoff, double skin, bool periodic, std::vector<int> types = {}, std::vector<int> replicas = {}) :
            cutoff(cutoff), skin(skin), periodic(periodic), types(std::move(types)), replicas(std::move(replicas)) {
    }
    /**
     * A larger coordinate than this many times the box's shortest width is too large for a periodic list: the images of two
     * beads, and their difference, must fit into an int.
     */
    static constexpr double MaxImage = 1e8;
    /**
     * Make the list valid for these positions, which are numbered by bead, and box.  Positions must be finite, and within
     * MaxImage if it is periodic.  Returns true if beads now have other places than before.
     */
    bool update(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors, CpuParallel& parallel);
    /** The bead at each place. */
    const std::vector<int>& getOrder() const {
        return order;
    }
    /** The neighbours of the bead at a place. */
    const Neighbor* begin(int place) const {
        return rows[place].first;
    }
    const Neighbor* end(int place) const {
        return rows[place].last;
    }
    /**
     * The vector from the bead at a place to a neighbour, at the positions of the last update.  Exact to the last bit: it does
     * not depend on when the list was built.
     */
    OpenMM::Vec3 getDelta(int place, Neighbor neighbor) const {
        const Bead& from = beads[place];
        const Bead& to = beads[neighbor.place()];
        OpenMM::Vec3 delta = to.position-from.position;
        if (periodic) {
            const int* shift = SHIFTS[neighbor.image()];
            delta += box[0]*(to.image[0]+shift[0]-from.image[0])+box[1]*(to.image[1]+shift[1]-from.image[1])+box[2]*(to.image[2]+shift[2]-from.image[2]);
        }
        return delta;
    }
private:
    /** What neighbours need to know of the bead at a place; its position plus the box times image was in the box. */
    struct Bead {
        OpenMM::Vec3 position;
        int image[3];
    };
    struct Row {
        const Neighbor *first, *last;
    };
    class Search;
    /** Image 9z+3y+x is shifted by (x-1, y-1, z-1) boxes. */
    static const int SHIFTS[27][3];
    bool isValid(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* boxVectors) const;
    void chooseCells(const std::vector<OpenMM::Vec3>& positions);
    void sortCells();
    void assignCells(const std::vector<OpenMM::Vec3>& positions, CpuParallel& parallel);
    void choosePlaces();
    void findNeighbors(CpuParallel& parallel);
    const double cutoff, skin;
    const bool periodic;
    const std::vector<int> types, replicas;
    OpenMM::Vec3 box[3];
    std::vector<OpenMM::Vec3> builtAt;
    std::vector<int> order;                       // the bead at each place
    std::vector<Bead> beads;                      // by place
    // Cells.  They are numbered along the curve, and follow each other replica by replica.
    double range = 0.0;
    int numCells[3] = {0, 0, 0}, numReplicas = 1;
    std::vector<int> rankOfCell, cellOfRank;      // for one replica
    std::vector<int> cell, image;                 // of each bead
    std::vector<int> cellStart, cellPlaces;       // the places in each cell
    std::vector<Row> rows;                        // by place
    std::vector<std::vector<Neighbor> > found;    // by each thread: what rows point to
};

}
