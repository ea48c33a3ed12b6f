// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ComputeEvent.h"
#include <functional>

namespace meanforce {

/**
 * The neighbours of every bead at the exact cutoff, rebuilt from a cell list at each evaluation.  Row i starts at element
 * i*getCapacity() of getRows() and getDeltas() and has getCounts()[i] entries, but never use more than the capacity: if a row
 * did not fit, finish() makes OpenMM repeat the evaluation.  Use:
 *
 *     list.build();
 *     ... kernels that read the rows ...
 *     list.finish();
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
    /** Choose the beads that take part, those whose type is not negative.  The array is indexed by OpenMM's present order. */
    void initialize(OpenMM::ArrayInterface& types);
    /** Build the rows for the present positions and box. */
    void build();
    /** Wait for the rows.  Throws if a position was not finite; enlarges the rows and invalidates the forces if one did not fit. */
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
    void compile();
    void chooseCells(int numCells[3]) const;
    void setBoxArguments(OpenMM::ComputeKernel& kernel, int index, bool isDouble) const;
    OpenMM::ComputeContext& cc;
    const double cutoff;
    const bool periodic, isOpenCL;
    std::function<void (int)> positionError;
    bool compiled = false;
    int capacity, maxCells, scanSize, sortBox;
    // Not OpenMM's pinned buffer: other forces' threads may use that before finish() reads the results.
    int results[2];
    OpenMM::ArrayInterface* types = nullptr;
    OpenMM::ComputeArray cellCount, cellStart, cellBeads, cellOfBead, placeInCell, rowCount, unsortedRows, rows, rowDeltas, flags;
    OpenMM::ComputeKernel assignKernel, startsKernel, fillKernel, findKernel, sortKernel;
    OpenMM::ComputeEvent event;
};

}
