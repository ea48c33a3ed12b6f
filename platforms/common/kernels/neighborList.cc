// SPDX-License-Identifier: MIT
// A Verlet list.  Candidates, the neighbours within the cutoff and a skin, come from a cell list and live as long as no bead
// has moved further than allowed.  From them every evaluation makes one row for each bead at the exact cutoff, sorted by
// original index, so that neither the order in which threads ran nor the time of the build can be seen in a sum over a row.
// Beads of type -1 are in no cell; beads of different replicas are in different cells and never see each other.

// Results of an evaluation, of which each is the largest found: the longest row and the longest row of candidates that did not
// fit; numAtoms minus the first particle whose position is not finite; the largest distance that a bead has moved since the
// build, as the square of its ratio to what is allowed, in millionths.
#define LONGEST_ROW 0
#define LONGEST_CANDIDATES 1
#define BAD_POSITION 2
#define LARGEST_MOVE 3
#define NUM_RESULTS 4

#ifdef USE_PERIODIC
#define PERIODIC_DELTA(delta) APPLY_PERIODIC_TO_DELTA(delta)
#else
#define PERIODIC_DELTA(delta)
#endif

#if !defined(USE_DOUBLE_PRECISION) && !defined(USE_MIXED_PRECISION)
#define USE_SINGLE_PRECISION
#endif

#if defined(USE_PERIODIC) && defined(USE_SINGLE_PRECISION)
/** What rounding took from a-b. */
DEVICE real differenceError(real a, real b, real difference) {
    real minusB = difference-a;
    return (a-(difference-minusB))-(b+minusB);
}

/**
 * The vector to the nearest image, to the last digits of single precision although positions and box vectors are far larger:
 * box vectors are sums of a part with so few digits that small multiples of it are exact, and of a rest (rest of the sizes;
 * of b_x, c_x, c_y), and what their own difference lost is added to that of positions.
 */
DEVICE real3 findNearestImage(real4 from, real4 to, real4 inverseSize, real4 vecX, real4 vecY, real4 vecZ, real4 sizeRest, real4 tiltRest) {
    real3 delta = make_real3(to.x-from.x, to.y-from.y, to.z-from.z);
    real errorX = differenceError(to.x, from.x, delta.x), errorY = differenceError(to.y, from.y, delta.y), errorZ = differenceError(to.z, from.z, delta.z);
    real c = floor(delta.z*inverseSize.z+0.5f);
    real b = floor((delta.y-c*vecZ.y)*inverseSize.y+0.5f);
    real a = floor((delta.x-(c*vecZ.x+b*vecY.x))*inverseSize.x+0.5f);
    delta.x = (delta.x-(c*vecZ.x+b*vecY.x+a*vecX.x))+(errorX-(c*tiltRest.y+b*tiltRest.x+a*sizeRest.x));
    delta.y = (delta.y-(c*vecZ.y+b*vecY.y))+(errorY-(c*tiltRest.z+b*sizeRest.y));
    delta.z = (delta.z-c*vecZ.z)+(errorZ-c*sizeRest.z);
    return delta;
}
#endif

/** The cell, 0..n-1, of a fraction of the box, which rounding may have made 1. */
DEVICE int cellAlongAxis(real fraction, int n) {
    int cell = (int) (fraction*n);
    return (cell < 0 ? 0 : (cell >= n ? n-1 : cell));
}

// A comparison with NaN is false, whatever the compiler assumes about finite numbers.
DEVICE int isFinite(real4 pos) {
    return (FABS(pos.x) < LARGEST_POSITION && FABS(pos.y) < LARGEST_POSITION && FABS(pos.z) < LARGEST_POSITION ? 1 : 0);
}

/** LARGEST_MOVE of one bead; a bead that has changed its replica, or begun or ceased to take part, has moved too far. */
DEVICE int findMove(real4 pos, int group, real4 built, float invAllowedSquared) {
    if (group < 0 && built.w == group)
        return 0;
    real x = pos.x-built.x, y = pos.y-built.y, z = pos.z-built.z;
    real ratio = (x*x+y*y+z*z)*invAllowedSquared;
    return (ratio < 1000 && built.w == group ? (int) (1000000*ratio) : 1000000000);
}

KERNEL void assignCells(int numAtoms, GLOBAL const real4* RESTRICT posq, real4 periodicBoxSize, real4 invPeriodicBoxSize, real4 periodicBoxVecX, real4 periodicBoxVecY,
        real4 periodicBoxVecZ, int cellsX, int cellsY, int cellsZ, float invRange, int numReplicas, float invAllowedSquared, int resultSet,
        GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT replicas, GLOBAL const int* RESTRICT atomIndex, GLOBAL int* RESTRICT cellCount,
        GLOBAL int* RESTRICT cellOfBead, GLOBAL int* RESTRICT placeInCell, GLOBAL int* RESTRICT slotOfAtom, GLOBAL int* RESTRICT candidateCount,
        GLOBAL real4* RESTRICT builtAt, GLOBAL int* RESTRICT results) {
    int largestMove = 0;
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE) {
        real4 pos = posq[i];
        int group = (types[i] >= 0 ? replicas[i] : -1);
        int cell = -1;
        candidateCount[i] = 0;
        slotOfAtom[atomIndex[i]] = i;
        if (group >= 0 && isFinite(pos)) {
#ifdef USE_PERIODIC
            real fractionZ = pos.z*invPeriodicBoxSize.z;
            real fractionY = (pos.y-fractionZ*periodicBoxVecZ.y)*invPeriodicBoxSize.y;
            real fractionX = (pos.x-fractionZ*periodicBoxVecZ.x-fractionY*periodicBoxVecY.x)*invPeriodicBoxSize.x;
#else
            // Space is an endless repetition of a block of cells as wide as the range; at least three in each
            // direction, so that a bead and its neighbours never share a cell through the repetition alone.
            real fractionX = pos.x*invRange/cellsX;
            real fractionY = pos.y*invRange/cellsY;
            real fractionZ = pos.z*invRange/cellsZ;
#endif
            int x = cellAlongAxis(fractionX-floor(fractionX), cellsX);
            int y = cellAlongAxis(fractionY-floor(fractionY), cellsY);
            int z = cellAlongAxis(fractionZ-floor(fractionZ), cellsZ);
            cell = (((group%numReplicas)*cellsZ+z)*cellsY+y)*cellsX+x;
            placeInCell[i] = ATOMIC_ADD(&cellCount[cell], 1);
        }
        cellOfBead[i] = cell;
        // How far beads come between two builds tells the host when the next one is due.
        largestMove = max(largestMove, findMove(pos, group, builtAt[i], invAllowedSquared));
        builtAt[i] = make_real4(pos.x, pos.y, pos.z, group);
    }
    if (largestMove > 0)
        ATOMIC_MAX_INT(&results[resultSet*NUM_RESULTS+LARGEST_MOVE], largestMove);
}

/** The exclusive prefix sum of cellCount, by one work group.  Leaves the counts zero for the next build. */
KERNEL void findCellStarts(GLOBAL int* RESTRICT cellCount, GLOBAL int* RESTRICT cellStart, int numCells) {
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
        if (index < numCells) {
            cellStart[index] = base+partial[LOCAL_ID]-count;
            cellCount[index] = 0;
        }
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

/** One work item for each bead, in the order of cells; the rows of original indices that it writes are not sorted. */
KERNEL void findCandidates(GLOBAL const real4* RESTRICT posq, real4 periodicBoxSize, real4 invPeriodicBoxSize, real4 periodicBoxVecX, real4 periodicBoxVecY,
        real4 periodicBoxVecZ, int cellsX, int cellsY, int cellsZ, float rangeSquared, int numReplicas, int resultSet, int candidateCapacity,
        GLOBAL const int* RESTRICT replicas, GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT cellStart, GLOBAL const int* RESTRICT cellBeads,
        GLOBAL const int* RESTRICT cellOfBead, GLOBAL int* RESTRICT candidateCount, GLOBAL int* RESTRICT unsorted, GLOBAL int* RESTRICT results) {
    int cellsPerReplica = cellsX*cellsY*cellsZ;
    int numBeads = cellStart[cellsPerReplica*numReplicas];
    for (int index = GLOBAL_ID; index < numBeads; index += GLOBAL_SIZE) {
        int i = cellBeads[index];
        real4 posi = posq[i];
        int replica = replicas[i];
        int block = cellOfBead[i]/cellsPerReplica;
        int cell = cellOfBead[i]-block*cellsPerReplica;
        int x = cell%cellsX, y = (cell/cellsX)%cellsY, z = cell/(cellsX*cellsY);
        int count = 0;
        // With one or two cells in a direction each is visited once; distances are those to the nearest image.
        for (int dz = (cellsZ > 2 ? -1 : 0); dz <= (cellsZ > 1 ? 1 : 0); dz++)
            for (int dy = (cellsY > 2 ? -1 : 0); dy <= (cellsY > 1 ? 1 : 0); dy++)
                for (int dx = (cellsX > 2 ? -1 : 0); dx <= (cellsX > 1 ? 1 : 0); dx++) {
                    int other = block*cellsPerReplica+(((z+dz+cellsZ)%cellsZ)*cellsY+(y+dy+cellsY)%cellsY)*cellsX+(x+dx+cellsX)%cellsX;
                    int end = cellStart[other+1];
                    for (int s = cellStart[other]; s < end; s++) {
                        int j = cellBeads[s];
                        real4 posj = posq[j];
                        real3 delta = make_real3(posj.x-posi.x, posj.y-posi.y, posj.z-posi.z);
                        PERIODIC_DELTA(delta)
                        if (j != i && delta.x*delta.x+delta.y*delta.y+delta.z*delta.z < rangeSquared && replicas[j] == replica) {
                            if (count < candidateCapacity)
                                unsorted[i*candidateCapacity+count] = atomIndex[j];
                            count++;
                        }
                    }
                }
        candidateCount[i] = count;
        if (count > candidateCapacity)
            ATOMIC_MAX_INT(&results[resultSet*NUM_RESULTS+LONGEST_CANDIDATES], count);
    }
}

/** One work item for each candidate: its place is the number of candidates in its row with a smaller original index. */
KERNEL void sortCandidates(int numAtoms, int candidateCapacity, GLOBAL const int* RESTRICT slotOfAtom, GLOBAL const int* RESTRICT candidateCount,
        GLOBAL const int* RESTRICT unsorted, GLOBAL int* RESTRICT candidates) {
    for (int index = GLOBAL_ID; index < numAtoms*candidateCapacity; index += GLOBAL_SIZE) {
        int i = index/candidateCapacity;
        int row = i*candidateCapacity;
        int count = min(candidateCount[i], candidateCapacity);
        if (index-row < count) {
            int original = unsorted[index];
            int place = 0;
            for (int other = row; other < row+count; other++)
                place += (unsorted[other] < original ? 1 : 0);
            candidates[row+place] = slotOfAtom[original];
        }
    }
}

/**
 * The rows at the exact cutoff, from the candidates, by WIDTH work items for each bead.  Also finds out whether the
 * candidates were still valid.  Distances are computed in mixed precision, or with the same result in single: differences of
 * positions several boxes apart lose digits that forces would miss.
 */
KERNEL void findRows(int numAtoms, GLOBAL const real4* RESTRICT posq,
#ifdef USE_MIXED_PRECISION
        GLOBAL const real4* RESTRICT posqCorrection,
#endif
        mixed4 periodicBoxSize, mixed4 invPeriodicBoxSize, mixed4 periodicBoxVecX, mixed4 periodicBoxVecY, mixed4 periodicBoxVecZ,
        real4 boxSizeRest, real4 boxTiltRest, float invAllowedSquared, int resultSet, int candidateCapacity, int capacity, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT replicas,
        GLOBAL const int* RESTRICT atomIndex, GLOBAL const real4* RESTRICT builtAt, GLOBAL const int* RESTRICT candidateCount,
        GLOBAL const int* RESTRICT candidates, GLOBAL int* RESTRICT rowCount, GLOBAL int* RESTRICT rows, GLOBAL real4* RESTRICT rowDeltas,
        GLOBAL int* RESTRICT results) {
#if WIDTH > 1
    LOCAL int isInside[BLOCK_SIZE];
#endif
    int lane = LOCAL_ID%WIDTH;
    int largestMove = 0;
    // Every work item makes the same number of turns, because of the barriers.
    for (int first = 0; first < numAtoms; first += GLOBAL_SIZE/WIDTH) {
        int i = first+GLOBAL_ID/WIDTH;
        int numCandidates = 0, count = 0;
        real4 pos = make_real4(0, 0, 0, 0);
        if (i < numAtoms) {
            pos = posq[i];
            int group = (types[i] >= 0 ? replicas[i] : -1);
            if (lane == 0) {
                largestMove = max(largestMove, findMove(pos, group, builtAt[i], invAllowedSquared));
                if (group >= 0 && !isFinite(pos))
                    ATOMIC_MAX_INT(&results[resultSet*NUM_RESULTS+BAD_POSITION], numAtoms-atomIndex[i]);
            }
            numCandidates = min(candidateCount[i], candidateCapacity);
        }
#if WIDTH > 1
        for (int start = 0; start < candidateCapacity; start += WIDTH) {
#else
        for (int start = 0; start < numCandidates; start++) {
#endif
            int inside = 0, j = 0;
            mixed3 delta = make_mixed3(0, 0, 0);
            mixed r2 = 0;
            if (start+lane < numCandidates) {
                j = candidates[i*candidateCapacity+start+lane];
                real4 other = posq[j];
#if defined(USE_PERIODIC) && defined(USE_SINGLE_PRECISION)
                delta = findNearestImage(pos, other, invPeriodicBoxSize, periodicBoxVecX, periodicBoxVecY, periodicBoxVecZ, boxSizeRest, boxTiltRest);
#else
                delta = make_mixed3((mixed) other.x-pos.x, (mixed) other.y-pos.y, (mixed) other.z-pos.z);
#ifdef USE_MIXED_PRECISION
                delta.x += posqCorrection[j].x-posqCorrection[i].x;
                delta.y += posqCorrection[j].y-posqCorrection[i].y;
                delta.z += posqCorrection[j].z-posqCorrection[i].z;
#endif
                PERIODIC_DELTA(delta)
#endif
                r2 = delta.x*delta.x+delta.y*delta.y+delta.z*delta.z;
                inside = (r2 < CUTOFF_SQUARED ? 1 : 0);
            }
            int place = count;
#if WIDTH > 1
            isInside[LOCAL_ID] = inside;
            SYNC_THREADS
            for (int item = 0; item < WIDTH; item++) {
                int present = isInside[LOCAL_ID-lane+item];
                place += (item < lane ? present : 0);
                count += present;
            }
            SYNC_THREADS
#else
            count += inside;
#endif
            if (inside == 1 && place < capacity) {
                rows[i*capacity+place] = j;
                // In single precision the root of a number just below the cutoff's square may lie above the cutoff.
                rowDeltas[i*capacity+place] = make_real4(delta.x, delta.y, delta.z, min((real) sqrt(r2), (real) CUTOFF));
            }
        }
        if (i < numAtoms && lane == 0) {
            rowCount[i] = count;
            if (count > capacity)
                ATOMIC_MAX_INT(&results[resultSet*NUM_RESULTS+LONGEST_ROW], count);
        }
    }
    if (largestMove > 0)
        ATOMIC_MAX_INT(&results[resultSet*NUM_RESULTS+LARGEST_MOVE], largestMove);
    // The next evaluation writes the other set.
    if (GLOBAL_ID == 0)
        for (int k = 0; k < NUM_RESULTS; k++)
            results[(1-resultSet)*NUM_RESULTS+k] = 0;
}
