// SPDX-License-Identifier: MIT
// StillingerWeberForce: U = sum_i sum_{j<k} (c_0 + c_1 cos + c_2 cos^2) g_ij g_ik.
//
// The sum over pairs of neighbours is one over pairs of types s, t of moments of the neighbours of each type,
//     U_i = 1/2 sum_st (c_0 rho_s rho_t + c_1 v_s.v_t + c_2 Q_s:Q_t) - 1/2 sum_j (c_0+c_1+c_2) g_ij^2,
// rho = sum_j g_ij, v = sum_j g_ij n_ij, Q = sum_j g_ij n_ij n_ij.  A set of moments is an array of 10 numbers: rho, v, and
// Q as xx, yy, zz, yz, xz, xy.

/** g of a neighbour, and its derivative. */
DEVICE real fade(real r, real range, real gamma, real* derivative) {
    real gap = r-range;
    real inverse = (gap < 0 ? RECIP(gap) : (real) 0);
    real g = (gap < 0 ? EXP(gamma*inverse) : (real) 0);
    *derivative = -g*gamma*inverse*inverse;
    return g;
}

/**
 * One work item for each bead: the energy of the triples with this bead in the centre, and their forces.
 * pairs: range and gamma as [centre][type]; triplets: c_0, c_1, c_2 as [centre][type][type].
 */
KERNEL void computeTriples(int numAtoms, int paddedNumAtoms, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas,
        int capacity, GLOBAL const int* RESTRICT types, GLOBAL const real2* RESTRICT pairs, GLOBAL const real4* RESTRICT triplets,
        GLOBAL real* RESTRICT beadEnergies, GLOBAL mm_ulong* RESTRICT forceBuffers, int includeForces) {
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE) {
        int count = min(rowCount[i], capacity);
        int center = max(types[i], 0);
        real M[10*NUM_TYPES];
        for (int m = 0; m < 10*NUM_TYPES; m++)
            M[m] = 0;
        for (int k = 0; k < count; k++) {
            int type = (NUM_TYPES == 1 ? 0 : types[rows[i*capacity+k]]);
            real4 delta = rowDeltas[i*capacity+k];
            real2 pair = pairs[center*NUM_TYPES+type];
            real dg, g = fade(delta.w, pair.x, pair.y, &dg);
            // Two beads at the same point have no direction.
            real inverseR = (delta.w > 0 ? RECIP(delta.w) : (real) 0);
            real x = delta.x*inverseR, y = delta.y*inverseR, z = delta.z*inverseR;
            M[10*type] += g;
            M[10*type+1] += g*x;
            M[10*type+2] += g*y;
            M[10*type+3] += g*z;
            M[10*type+4] += g*x*x;
            M[10*type+5] += g*y*y;
            M[10*type+6] += g*z*z;
            M[10*type+7] += g*y*z;
            M[10*type+8] += g*x*z;
            M[10*type+9] += g*x*y;
        }
        real energy = 0, ownX = 0, ownY = 0, ownZ = 0;
        for (int s = 0; s < NUM_TYPES && count > 0; s++) {
            // The derivatives of the first sum with respect to the moments of the neighbours of type s.
            real G[10];
            for (int m = 0; m < 10; m++)
                G[m] = 0;
            for (int t = 0; t < NUM_TYPES; t++) {
                real4 c = triplets[(center*NUM_TYPES+s)*NUM_TYPES+t];
                G[0] += c.x*M[10*t];
                for (int m = 1; m < 4; m++)
                    G[m] += c.y*M[10*t+m];
                for (int m = 4; m < 10; m++)
                    G[m] += c.z*M[10*t+m];
            }
            for (int m = 0; m < 10; m++)
                energy += (m < 7 ? (real) 0.5f : (real) 1)*G[m]*M[10*s+m];
            real4 c = triplets[(center*NUM_TYPES+s)*NUM_TYPES+s];
            real2 pair = pairs[center*NUM_TYPES+s];
            for (int k = 0; k < count; k++) {
                int j = rows[i*capacity+k];
                real4 delta = rowDeltas[i*capacity+k];
                if ((NUM_TYPES == 1 || types[j] == s) && delta.w < pair.x) {
                    real dg, g = fade(delta.w, pair.x, pair.y, &dg);
                    real inverseR = (delta.w > 0 ? RECIP(delta.w) : (real) 0);
                    real x = delta.x*inverseR, y = delta.y*inverseR, z = delta.z*inverseR;
                    real self = g*(c.x+(delta.w > 0 ? c.y+c.z : (real) 0));
                    energy -= 0.5f*g*self;
                    // The gradient with respect to the vector from i to j: half of that of n.Q.n goes through n.
                    real qx = G[4]*x+G[9]*y+G[8]*z, qy = G[9]*x+G[5]*y+G[7]*z, qz = G[8]*x+G[7]*y+G[6]*z;
                    real vn = G[1]*x+G[2]*y+G[3]*z, qn = qx*x+qy*y+qz*z;
                    real w = g*inverseR;
                    real radial = dg*(G[0]+vn+qn-self)-w*(vn+2*qn);
                    real gradientX = radial*x+w*(G[1]+2*qx), gradientY = radial*y+w*(G[2]+2*qy), gradientZ = radial*z+w*(G[3]+2*qz);
                    ownX += gradientX;
                    ownY += gradientY;
                    ownZ += gradientZ;
                    if (includeForces) {
                        ATOMIC_ADD(&forceBuffers[j], (mm_ulong) realToFixedPoint(-gradientX));
                        ATOMIC_ADD(&forceBuffers[j+paddedNumAtoms], (mm_ulong) realToFixedPoint(-gradientY));
                        ATOMIC_ADD(&forceBuffers[j+2*paddedNumAtoms], (mm_ulong) realToFixedPoint(-gradientZ));
                    }
                }
            }
        }
        beadEnergies[i] = energy;
        if (includeForces && count > 0) {
            ATOMIC_ADD(&forceBuffers[i], (mm_ulong) realToFixedPoint(ownX));
            ATOMIC_ADD(&forceBuffers[i+paddedNumAtoms], (mm_ulong) realToFixedPoint(ownY));
            ATOMIC_ADD(&forceBuffers[i+2*paddedNumAtoms], (mm_ulong) realToFixedPoint(ownZ));
        }
    }
}
