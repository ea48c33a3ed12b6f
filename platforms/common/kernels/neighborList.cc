// SPDX-License-Identifier: MIT
// A cell list, and from it one row of neighbours for each bead at the exact cutoff, sorted by original index so that sums
// over a row do not depend on the order in which threads ran.  Beads of type -1 are in no cell.
// flags[0]: the longest row, if one did not fit; flags[1]: numAtoms minus the first particle whose position is not finite.

#ifdef USE_PERIODIC
#define PERIODIC_DELTA(delta) APPLY_PERIODIC_TO_DELTA(delta)
#else
#define PERIODIC_DELTA(delta)
#endif

/** The cell, 0..n-1, of a fraction of the box, which rounding may have made 1. */
DEVICE int cellAlongAxis(real fraction, int n) {
    int cell = (int) (fraction*n);
    return (cell < 0 ? 0 : (cell >= n ? n-1 : cell));
}

KERNEL void assignCells(int numAtoms, GLOBAL const real4* RESTRICT posq, real4 periodicBoxSize, real4 invPeriodicBoxSize, real4 periodicBoxVecX, real4 periodicBoxVecY,
        real4 periodicBoxVecZ, int cellsX, int cellsY, int cellsZ, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT atomIndex,
        GLOBAL int* RESTRICT cellCount, GLOBAL int* RESTRICT cellOfBead, GLOBAL int* RESTRICT placeInCell, GLOBAL int* RESTRICT rowCount,
        GLOBAL int* RESTRICT flags) {
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE) {
        real4 pos = posq[i];
        int cell = -1;
        rowCount[i] = 0;
        if (types[i] >= 0) {
            // A comparison with NaN is false, whatever the compiler assumes about finite numbers.
            if (!(FABS(pos.x) < LARGEST_POSITION && FABS(pos.y) < LARGEST_POSITION && FABS(pos.z) < LARGEST_POSITION))
                ATOMIC_MAX_INT(&flags[1], numAtoms-atomIndex[i]);
            else {
#ifdef USE_PERIODIC
                real fractionZ = pos.z*invPeriodicBoxSize.z;
                real fractionY = (pos.y-fractionZ*periodicBoxVecZ.y)*invPeriodicBoxSize.y;
                real fractionX = (pos.x-fractionZ*periodicBoxVecZ.x-fractionY*periodicBoxVecY.x)*invPeriodicBoxSize.x;
#else
                // Space is an endless repetition of a block of cells as wide as the cutoff; at least three in each
                // direction, so that a bead and its neighbours never share a cell through the repetition alone.
                real fractionX = pos.x*INV_CUTOFF/cellsX;
                real fractionY = pos.y*INV_CUTOFF/cellsY;
                real fractionZ = pos.z*INV_CUTOFF/cellsZ;
#endif
                int x = cellAlongAxis(fractionX-floor(fractionX), cellsX);
                int y = cellAlongAxis(fractionY-floor(fractionY), cellsY);
                int z = cellAlongAxis(fractionZ-floor(fractionZ), cellsZ);
                cell = (z*cellsY+y)*cellsX+x;
                placeInCell[i] = ATOMIC_ADD(&cellCount[cell], 1);
            }
        }
        cellOfBead[i] = cell;
    }
}

/** The exclusive prefix sum of cellCount, by one work group. */
KERNEL void findCellStarts(GLOBAL const int* RESTRICT cellCount, GLOBAL int* RESTRICT cellStart, int numCells) {
    LOCAL int partial[SCAN_SIZE];
    int base = 0;
    for (int first = 0; first < numCells; first += SCAN_SIZE) {
        int index = first+LOCAL_ID;
        int count = (index < numCells ? cellCount[index] : 0);
        partial[LOCAL_ID] = count;
        SYNC_THREADS
        for (int step = 1; step < SCAN_SIZE; step *= 2) {
            int before = (LOCAL_ID >= step ? partial[LOCAL_ID-step] : 0);
            SYNC_THREADS
            partial[LOCAL_ID] += before;
            SYNC_THREADS
        }
        if (index < numCells)
            cellStart[index] = base+partial[LOCAL_ID]-count;
        base += partial[SCAN_SIZE-1];
        SYNC_THREADS
    }
    if (LOCAL_ID == 0)
        cellStart[numCells] = base;
}

KERNEL void fillCells(int numAtoms, GLOBAL const int* RESTRICT cellStart, GLOBAL const int* RESTRICT cellOfBead, GLOBAL const int* RESTRICT placeInCell,
        GLOBAL int* RESTRICT cellBeads) {
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE)
        if (cellOfBead[i] >= 0)
            cellBeads[cellStart[cellOfBead[i]]+placeInCell[i]] = i;
}

/** One work item for each bead, in the order of cells; the rows that it writes are not sorted. */
KERNEL void findNeighbors(GLOBAL const real4* RESTRICT posq, real4 periodicBoxSize, real4 invPeriodicBoxSize, real4 periodicBoxVecX, real4 periodicBoxVecY,
        real4 periodicBoxVecZ, int cellsX, int cellsY, int cellsZ, GLOBAL const int* RESTRICT cellStart, GLOBAL const int* RESTRICT cellBeads,
        GLOBAL const int* RESTRICT cellOfBead, GLOBAL int* RESTRICT rowCount, GLOBAL int* RESTRICT unsortedRows, int capacity, GLOBAL int* RESTRICT flags) {
    int numBeads = cellStart[cellsX*cellsY*cellsZ];
    for (int index = GLOBAL_ID; index < numBeads; index += GLOBAL_SIZE) {
        int i = cellBeads[index];
        real4 posi = posq[i];
        int cell = cellOfBead[i];
        int x = cell%cellsX, y = (cell/cellsX)%cellsY, z = cell/(cellsX*cellsY);
        int count = 0;
        // With one or two cells in a direction each is visited once; distances are those to the nearest image.
        for (int dz = (cellsZ > 2 ? -1 : 0); dz <= (cellsZ > 1 ? 1 : 0); dz++)
            for (int dy = (cellsY > 2 ? -1 : 0); dy <= (cellsY > 1 ? 1 : 0); dy++)
                for (int dx = (cellsX > 2 ? -1 : 0); dx <= (cellsX > 1 ? 1 : 0); dx++) {
                    int other = (((z+dz+cellsZ)%cellsZ)*cellsY+(y+dy+cellsY)%cellsY)*cellsX+(x+dx+cellsX)%cellsX;
                    int end = cellStart[other+1];
                    for (int s = cellStart[other]; s < end; s++) {
                        int j = cellBeads[s];
                        real4 posj = posq[j];
                        real3 delta = make_real3(posj.x-posi.x, posj.y-posi.y, posj.z-posi.z);
                        PERIODIC_DELTA(delta)
                        if (j != i && delta.x*delta.x+delta.y*delta.y+delta.z*delta.z < CUTOFF_SQUARED) {
                            if (count < capacity)
                                unsortedRows[i*capacity+count] = j;
                            count++;
                        }
                    }
                }
        rowCount[i] = count;
        if (count > capacity)
            ATOMIC_MAX_INT(&flags[0], count);
    }
}

/**
 * One work item for each entry of a row: its place is the number of entries with a smaller original index.  Distances are
 * computed in mixed precision: differences of positions several boxes apart lose digits that forces would miss.
 */
KERNEL void sortRows(int numAtoms, GLOBAL const real4* RESTRICT posq,
#ifdef USE_MIXED_PRECISION
        GLOBAL const real4* RESTRICT posqCorrection,
#endif
        mixed4 periodicBoxSize, mixed4 invPeriodicBoxSize, mixed4 periodicBoxVecX, mixed4 periodicBoxVecY, mixed4 periodicBoxVecZ,
        GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT unsortedRows, int capacity,
        GLOBAL int* RESTRICT rows, GLOBAL real4* RESTRICT rowDeltas) {
    for (int index = GLOBAL_ID; index < numAtoms*capacity; index += GLOBAL_SIZE) {
        int i = index/capacity;
        int k = index-i*capacity;
        int count = min(rowCount[i], capacity);
        if (k < count) {
            int j = unsortedRows[index];
            int original = atomIndex[j];
            int place = 0;
            for (int other = 0; other < count; other++)
                place += (atomIndex[unsortedRows[i*capacity+other]] < original ? 1 : 0);
            real4 posi = posq[i];
            real4 posj = posq[j];
            mixed3 delta = make_mixed3((mixed) posj.x-posi.x, (mixed) posj.y-posi.y, (mixed) posj.z-posi.z);
#ifdef USE_MIXED_PRECISION
            delta.x += posqCorrection[j].x-posqCorrection[i].x;
            delta.y += posqCorrection[j].y-posqCorrection[i].y;
            delta.z += posqCorrection[j].z-posqCorrection[i].z;
#endif
            PERIODIC_DELTA(delta)
            mixed r2 = delta.x*delta.x+delta.y*delta.y+delta.z*delta.z;
            rows[i*capacity+place] = j;
            // At the cutoff itself rounding may go either way; the filters end there.
            rowDeltas[i*capacity+place] = make_real4(delta.x, delta.y, delta.z, min((real) sqrt(r2), (real) CUTOFF));
        }
    }
}
