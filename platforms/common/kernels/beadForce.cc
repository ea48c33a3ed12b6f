// SPDX-License-Identifier: MIT
// What all forces on beads share.

/** Add the energy of each bead that takes part, A_i - T B_i, to OpenMM's buffer, and -B_i to that of the derivatives by T. */
KERNEL void sumEnergies(int numAtoms, GLOBAL const int* RESTRICT types, GLOBAL const real* RESTRICT beadEnergies, GLOBAL mixed* RESTRICT energyBuffer
#ifdef NUM_READOUTS_2
        , mixed temperature
#endif
#ifdef DERIVATIVE_INDEX
        , GLOBAL mixed* RESTRICT energyParamDerivs
#endif
        ) {
    mixed energy = 0, entropy = 0;
    for (int i = GLOBAL_ID; i < numAtoms; i += GLOBAL_SIZE)
        if (types[i] >= 0) {
            energy += beadEnergies[i];
#ifdef NUM_READOUTS_2
            energy -= temperature*beadEnergies[numAtoms+i];
            entropy += beadEnergies[numAtoms+i];
#endif
        }
    energyBuffer[GLOBAL_ID] += energy;
#ifdef DERIVATIVE_INDEX
    energyParamDerivs[GLOBAL_ID*NUM_DERIVATIVES+DERIVATIVE_INDEX] -= entropy;
#endif
}
