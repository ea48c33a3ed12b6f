// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ComputeEvent.h"
#include <functional>
#include <memory>

namespace meanforce {

/**
 * The neighbours of every bead at the exact cutoff.  Row i starts at element i*getCapacity() of getRows() and getDeltas() and
 * has getCounts()[i] entries, but never use more than the capacity: if a row did not fit, finish() makes OpenMM repeat the
 * evaluation.  Use:
 *
 *     list.build();
 *     ... kernels that read the rows ...
 *     list.finish();
 *
 * Each evaluation finds the rows anew, by one kernel, among candidates within the cutoff and a skin.  These are found anew
 * when the box has changed, when atoms were reordered, and when a bead is about to have moved further than half the skin.
 * The last is foretold from how fast beads moved so far, so that no evaluation has to wait for an answer from the device
 * before it begins; whether it was so is known at its end, and if the candidates were stale OpenMM repeats the evaluation.
 *
 * It belongs to one force, because force groups make sharing unsafe.
 */
class NeighborList {
public:
    /**
     * @param isOpenCL        the one difference between the kernel languages that OpenMM's macros do not cover
     * @param positionError   called with a particle whose position is not finite; must throw
     */
    NeighborList(OpenMM::ComputeContext& cc, double cutoff, bool periodic, bool isOpenCL, std::function<void (int)> positionError);
    /**
     * Choose the beads that take part, those whose type is not negative, and the replica of each, 0, 1, ...  Beads of
     * different replicas do not see each other.  The arrays are indexed by OpenMM's present order; their contents may change.
     */
    void initialize(OpenMM::ArrayInterface& types, OpenMM::ArrayInterface* replicas = nullptr);
    /** Build the rows for the present positions and box. */
    void build();
    /**
     * Wait for the rows.  Throws if a position was not finite.  Invalidates the forces if the candidates were not all that they
     * should have been, or if a row did not fit; there will be room for it the next time.
     */
    void finish();
    OpenMM::ArrayInterface& getCounts() {
        return rowCount;
    }
    /** The neighbours, sorted by original index, as indices in OpenMM's present order. */
    OpenMM::ArrayInterface& getRows() {
        return rows;
    }
    /** Vectors from the bead to its neighbours (x, y, z) and their lengths (w). */
    OpenMM::ArrayInterface& getDeltas() {
        return rowDeltas;
    }
    int getCapacity() const {
        return capacity;
    }
private:
    class Listener;
    /** What kernels tell the host about an evaluation; see neighborList.cc. */
    struct Results {
        int longestRow, longestCandidates, badPosition, largestMove;
    };
    void compile();
    void findCandidates();
    void chooseRange(const OpenMM::Vec3* box);
    void chooseCells(const OpenMM::Vec3* box, int numCells[3]) const;
    void setBoxArguments(OpenMM::ComputeKernel& kernel, int index, const OpenMM::Vec3* box, bool isDouble) const;
    void setRowsBox(const OpenMM::Vec3* box);
    Results downloadResults();
    int enlarge(int longest) const;
    OpenMM::ComputeContext& cc;
    const double cutoff;
    const bool periodic, isOpenCL;
    std::function<void (int)> positionError;
    bool compiled = false;
    int capacity, candidateCapacity, maxCells, scanSize, numReplicas, rowsBox, width, blockSize;
    // The state of the candidates.  Distances are in units of what is allowed.
    std::shared_ptr<bool> reordered;
    bool stale = true, everBuilt = false, builtNow = false;
    OpenMM::Vec3 builtBox[3];
    double range = 0.0, allowed = 1.0, moved = 0.0, movedPerEvaluation = 0.0;
    int evaluations = 0, resultSet = 0;
    OpenMM::ArrayInterface *types = nullptr, *replicas = nullptr;
    OpenMM::ComputeArray noReplicas, cellCount, cellStart, cellBeads, cellOfBead, placeInCell, slotOfAtom, builtAt, candidateCount, unsorted, candidates;
    OpenMM::ComputeArray rowCount, rows, rowDeltas, results;
    OpenMM::ComputeKernel assignKernel, startsKernel, fillKernel, candidatesKernel, sortKernel, rowsKernel;
    OpenMM::ComputeQueue downloadQueue;
    OpenMM::ComputeEvent rowsFound, downloaded;
};

}
