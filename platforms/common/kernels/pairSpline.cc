// SPDX-License-Identifier: MIT
// PairSplineForce: U = sum_{i<j} u_p(r_ij), a spline for each pair of types.

/**
 * One work item for each bead: half the energy of its pairs, and the force that they exert on it.
 * pieces: [pair][interval counted from the cutoff inwards], the energy as a polynomial of the position f in the interval.
 * exclusions: for each particle, from exclusionStart on, the original indices of those that it does not see.
 */
KERNEL void computePairs(int numAtoms, int paddedNumAtoms, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas,
        int capacity, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT exclusionStart,
        GLOBAL const int* RESTRICT exclusions, GLOBAL const real4* RESTRICT pieces, GLOBAL real* RESTRICT beadEnergies, GLOBAL mm_ulong* RESTRICT forceBuffers,
        int includeForces) {
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE) {
        int count = min(rowCount[i], capacity);
        int typei = types[i];
        int firstExclusion = exclusionStart[atomIndex[i]], lastExclusion = exclusionStart[atomIndex[i]+1];
        real energy = 0, forceX = 0, forceY = 0, forceZ = 0;
        for (int k = 0; k < count; k++) {
            int j = rows[i*capacity+k];
            int excluded = 0;
            for (int e = firstExclusion; e < lastExclusion; e++)
                excluded |= (exclusions[e] == atomIndex[j] ? 1 : 0);
            if (excluded == 0) {
                real4 delta = rowDeltas[i*capacity+k];
                int typej = types[j];
                int low = min(typei, typej), high = max(typei, typej);
                real u = (CUTOFF-delta.w)*INV_SPACING;
                int interval = min((int) u, NUM_FUNCTIONS-1);
                real f = u-interval;
                real4 a = pieces[(high*(high+1)/2+low)*NUM_FUNCTIONS+interval];
                energy += a.x+f*(a.y+f*(a.z+f*a.w));
                real dUdr = -INV_SPACING*(a.y+f*(2*a.z+f*3*a.w));
                // Two beads at the same point have no direction.
                real scale = (delta.w > 0 ? dUdr*RECIP(delta.w) : (real) 0);
                forceX += scale*delta.x;
                forceY += scale*delta.y;
                forceZ += scale*delta.z;
            }
        }
        beadEnergies[i] = 0.5f*energy;
        if (includeForces && count > 0) {
            ATOMIC_ADD(&forceBuffers[i], (mm_ulong) realToFixedPoint(forceX));
            ATOMIC_ADD(&forceBuffers[i+paddedNumAtoms], (mm_ulong) realToFixedPoint(forceY));
            ATOMIC_ADD(&forceBuffers[i+2*paddedNumAtoms], (mm_ulong) realToFixedPoint(forceZ));
        }
    }
}
