// SPDX-License-Identifier: MIT
// MomentTensorForce: U = sum_i NN(x_i), x_i the rotational invariants of
//     M_{i,lm,c} = sum_j a_c(type_j) W_lc(r_ij) Y_lm(rhat_ij).
// Moments, and later G = dU/dM in their place, are stored as [bead][lm][channel].  A `vec` is VECTOR_WIDTH neighbouring channels,
// which share the harmonics of a pair: one real number on a GPU, a vector on a CPU.

#define NUM_MOMENTS ((MAX_L+1)*(MAX_L+1))
#define VECTORS (CHANNELS/VECTOR_WIDTH)

/** Real spherical harmonics of a unit vector, as in SphericalHarmonics.h. */
DEVICE void sphericalHarmonics(real x, real y, real z, real* Y) {
    Y[0] = 1;
#if MAX_L >= 1
    Y[1] = y;
    Y[2] = z;
    Y[3] = x;
#endif
#if MAX_L >= 2
    real x2 = x*x, y2 = y*y, z2 = z*z;
    Y[4] = ROOT_3*x*y;
    Y[5] = ROOT_3*y*z;
    Y[6] = 1.5f*z2-0.5f;
    Y[7] = ROOT_3*x*z;
    Y[8] = 0.5f*ROOT_3*(x2-y2);
#endif
#if MAX_L >= 3
    Y[9] = ROOT_5_8*y*(3*x2-y2);
    Y[10] = ROOT_15*x*y*z;
    Y[11] = ROOT_3_8*y*(5*z2-1);
    Y[12] = z*(2.5f*z2-1.5f);
    Y[13] = ROOT_3_8*x*(5*z2-1);
    Y[14] = 0.5f*ROOT_15*z*(x2-y2);
    Y[15] = ROOT_5_8*x*(x2-3*y2);
#endif
#if MAX_L >= 4
    Y[16] = 0.5f*ROOT_35*x*y*(x2-y2);
    Y[17] = 0.25f*ROOT_70*y*z*(3*x2-y2);
    Y[18] = 0.5f*ROOT_5*x*y*(7*z2-1);
    Y[19] = ROOT_5_8*y*z*(7*z2-3);
    Y[20] = z2*(4.375f*z2-3.75f)+0.375f;
    Y[21] = ROOT_5_8*x*z*(7*z2-3);
    Y[22] = 0.25f*ROOT_5*(x2-y2)*(7*z2-1);
    Y[23] = 0.25f*ROOT_70*x*z*(x2-3*y2);
    Y[24] = 0.125f*ROOT_35*(x2*(x2-6*y2)+y2*y2);
#endif
}

/** The partial derivatives of these polynomials. */
DEVICE void sphericalHarmonicGradients(real x, real y, real z, real* Yx, real* Yy, real* Yz) {
#define SET_GRADIENT(i, dx, dy, dz) Yx[i] = dx; Yy[i] = dy; Yz[i] = dz;
    SET_GRADIENT(0, 0, 0, 0)
#if MAX_L >= 1
    SET_GRADIENT(1, 0, 1, 0)
    SET_GRADIENT(2, 0, 0, 1)
    SET_GRADIENT(3, 1, 0, 0)
#endif
#if MAX_L >= 2
    real x2 = x*x, y2 = y*y, z2 = z*z;
    SET_GRADIENT(4, ROOT_3*y, ROOT_3*x, 0)
    SET_GRADIENT(5, 0, ROOT_3*z, ROOT_3*y)
    SET_GRADIENT(6, 0, 0, 3*z)
    SET_GRADIENT(7, ROOT_3*z, 0, ROOT_3*x)
    SET_GRADIENT(8, ROOT_3*x, -ROOT_3*y, 0)
#endif
#if MAX_L >= 3
    SET_GRADIENT(9, 6*ROOT_5_8*x*y, 3*ROOT_5_8*(x2-y2), 0)
    SET_GRADIENT(10, ROOT_15*y*z, ROOT_15*x*z, ROOT_15*x*y)
    SET_GRADIENT(11, 0, ROOT_3_8*(5*z2-1), 10*ROOT_3_8*y*z)
    SET_GRADIENT(12, 0, 0, 7.5f*z2-1.5f)
    SET_GRADIENT(13, ROOT_3_8*(5*z2-1), 0, 10*ROOT_3_8*x*z)
    SET_GRADIENT(14, ROOT_15*x*z, -ROOT_15*y*z, 0.5f*ROOT_15*(x2-y2))
    SET_GRADIENT(15, 3*ROOT_5_8*(x2-y2), -6*ROOT_5_8*x*y, 0)
#endif
#if MAX_L >= 4
    SET_GRADIENT(16, 0.5f*ROOT_35*y*(3*x2-y2), 0.5f*ROOT_35*x*(x2-3*y2), 0)
    SET_GRADIENT(17, 1.5f*ROOT_70*x*y*z, 0.75f*ROOT_70*z*(x2-y2), 0.25f*ROOT_70*y*(3*x2-y2))
    SET_GRADIENT(18, 0.5f*ROOT_5*y*(7*z2-1), 0.5f*ROOT_5*x*(7*z2-1), 7*ROOT_5*x*y*z)
    SET_GRADIENT(19, 0, ROOT_5_8*z*(7*z2-3), ROOT_5_8*y*(21*z2-3))
    SET_GRADIENT(20, 0, 0, z*(17.5f*z2-7.5f))
    SET_GRADIENT(21, ROOT_5_8*z*(7*z2-3), 0, ROOT_5_8*x*(21*z2-3))
    SET_GRADIENT(22, 0.5f*ROOT_5*x*(7*z2-1), -0.5f*ROOT_5*y*(7*z2-1), 3.5f*ROOT_5*z*(x2-y2))
    SET_GRADIENT(23, 0.75f*ROOT_70*z*(x2-y2), -1.5f*ROOT_70*x*y*z, 0.25f*ROOT_70*x*(x2-3*y2))
    SET_GRADIENT(24, 0.5f*ROOT_35*x*(x2-3*y2), 0.5f*ROOT_35*y*(y2-3*x2), 0)
#endif
}

/** The interval of the filters' grid, counted from the cutoff inwards, that r falls in, and the position in it, 0 to 1. */
DEVICE int findInterval(real r, real* f) {
    real u = (CUTOFF-r)*INV_SPACING;
    u = (u < NUM_FUNCTIONS+3 ? u : (real) (NUM_FUNCTIONS+3));
    int interval = (int) u;
    *f = u-interval;
    return interval;
}

/** One work item for each bead and vec of channels. */
KERNEL void computeMoments(int numAtoms, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas, int capacity,
        GLOBAL const int* RESTRICT types, GLOBAL const real* RESTRICT filters, GLOBAL const real* RESTRICT typeWeights, GLOBAL real* RESTRICT moments) {
    for (int index = GLOBAL_ID; index < numAtoms*VECTORS; index += GLOBAL_SIZE) {
        int i = index/VECTORS;
        int c = (index-i*VECTORS)*VECTOR_WIDTH;
        vec sum[NUM_MOMENTS];
        for (int lm = 0; lm < NUM_MOMENTS; lm++)
            sum[lm] = 0;
        int count = min(rowCount[i], capacity);
        for (int k = 0; k < count; k++) {
            int j = rows[i*capacity+k];
            real4 delta = rowDeltas[i*capacity+k];
            // Two beads at the same point have no direction.
            real inverseR = (delta.w > 0 ? RECIP(delta.w) : (real) 0);
            real Y[NUM_MOMENTS], f;
            sphericalHarmonics(delta.x*inverseR, delta.y*inverseR, delta.z*inverseR, Y);
            int interval = findInterval(delta.w, &f);
            real g = 1-f;
            real B0 = ONE_SIXTH*g*g*g, B1 = 4*ONE_SIXTH-f*f*(1-0.5f*f), B2 = 4*ONE_SIXTH-g*g*(1-0.5f*g), B3 = ONE_SIXTH*f*f*f;
            vec a = VLOAD(typeWeights+types[j]*CHANNELS+c);
            for (int l = 0; l <= MAX_L; l++) {
                int t = (interval*(MAX_L+1)+l)*CHANNELS+c;
                vec W = a*(B0*VLOAD(filters+t)+B1*VLOAD(filters+t+FILTER_STRIDE)+B2*VLOAD(filters+t+2*FILTER_STRIDE)+B3*VLOAD(filters+t+3*FILTER_STRIDE));
                for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                    sum[lm] += W*Y[lm];
            }
        }
        for (int lm = 0; lm < NUM_MOMENTS; lm++)
            VSTORE(sum[lm], moments+(i*NUM_MOMENTS+lm)*CHANNELS+c);
    }
}

#ifdef NUM_PRODUCTS
// Products and their derivatives are sums of value times two or three numbers of shifted channels: entries of six integers,
// place of channel 0 and shift of each.  The first is a moment, or dU/dx for a derivative, the others are moments; a place of
// -1 stands for the number 1.  Entries of product p start at productStart[p], of dU/dM_lm at productStart[NUM_PRODUCTS+lm].
#define PRODUCT_ENTRY 6

/** The channel s beyond c. */
DEVICE int shiftChannel(int c, int s) {
    return (c+s < CHANNELS ? c+s : c+s-CHANNELS);
}

/** The sum of the entries from productStart[sum] on, for channel c. */
DEVICE real sumProducts(int sum, int c, GLOBAL const int* RESTRICT productStart, GLOBAL const int* RESTRICT productEntries,
        GLOBAL const real* RESTRICT productValues, LOCAL_ARG const real* first, LOCAL_ARG const real* M) {
    real result = 0;
    for (int t = productStart[sum]; t < productStart[sum+1]; t++) {
        GLOBAL const int* entry = productEntries+t*PRODUCT_ENTRY;
        real product = productValues[t]*first[entry[0]+shiftChannel(c, entry[1])]*M[entry[2]+shiftChannel(c, entry[3])];
        result += (entry[4] < 0 ? product : product*M[entry[4]+shiftChannel(c, entry[5])]);
    }
    return result;
}
#endif

/**
 * y = W^T x for a matrix of rows of y's length, each work item some vecs of y: on a GPU numbers LOCAL_ID, LOCAL_ID+LOCAL_SIZE, ...,
 * with which it can go on without a barrier.  On a CPU there is one work item, and numbers beyond the last whole vec are
 * computed alone.
 */
DEVICE void multiply(int inputs, int outputs, GLOBAL const real* RESTRICT matrix, LOCAL_ARG const real* x, LOCAL_ARG real* y) {
    for (int o = LOCAL_ID*VECTOR_WIDTH; o < outputs; o += LOCAL_SIZE*VECTOR_WIDTH) {
        if (o+VECTOR_WIDTH <= outputs) {
            vec sum = 0;
            for (int in = 0; in < inputs; in++)
                sum += VLOAD(matrix+in*outputs+o)*x[in];
            VSTORE(sum, y+o);
        }
        else
            for (int k = o; k < outputs; k++) {
                real sum = 0;
                for (int in = 0; in < inputs; in++)
                    sum += matrix[in*outputs+k]*x[in];
                y[k] = sum;
            }
    }
}

/**
 * One work group for each bead: features, the network forwards and backwards, G.  Parameters of all layers follow each other,
 * weights as [type][input][output], transposed as [type][output][input], so that both directions read consecutive numbers.
 */
KERNEL void evaluateNetwork(int numAtoms, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT layerSizes, GLOBAL const real* RESTRICT weights,
        GLOBAL const real* RESTRICT transposed, GLOBAL const real* RESTRICT biases, GLOBAL real* RESTRICT moments, GLOBAL real* RESTRICT beadEnergies
#ifdef NUM_READOUTS_2
        , real temperature
#endif
#ifdef NUM_PRODUCTS
        , GLOBAL const int* RESTRICT productStart, GLOBAL const int* RESTRICT productEntries, GLOBAL const real* RESTRICT productValues
#endif
        ) {
    LOCAL real value[NUM_UNITS];
    LOCAL real gradient[NUM_UNITS];
#ifdef NUM_PRODUCTS
    LOCAL real M[NUM_MOMENTS*CHANNELS];
#endif
    for (int i = GROUP_ID; i < numAtoms; i += NUM_GROUPS) {
        // A bead that takes no part is computed like one of type 0, so that all barriers are reached, and not counted.
        int type = max(types[i], 0);
        for (int c = LOCAL_ID; c < CHANNELS; c += LOCAL_SIZE) {
            value[c] = moments[i*NUM_MOMENTS*CHANNELS+c];
            gradient[c] = 1;
            for (int l = 0; l <= MAX_L; l++) {
                real sum = 0;
                for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                    real m = moments[(i*NUM_MOMENTS+lm)*CHANNELS+c];
                    sum += m*m;
                }
                value[(l+1)*CHANNELS+c] = sum;
                gradient[(l+1)*CHANNELS+c] = 1;
            }
        }
#ifdef NUM_PRODUCTS
        for (int k = LOCAL_ID; k < NUM_MOMENTS*CHANNELS; k += LOCAL_SIZE)
            M[k] = moments[i*NUM_MOMENTS*CHANNELS+k];
        for (int k = LOCAL_ID; k < NUM_PRODUCTS*CHANNELS; k += LOCAL_SIZE)
            gradient[(MAX_L+2)*CHANNELS+k] = 1;
        SYNC_THREADS
        for (int k = LOCAL_ID; k < NUM_PRODUCTS*CHANNELS; k += LOCAL_SIZE)
            value[(MAX_L+2)*CHANNELS+k] = sumProducts(k/CHANNELS, k%CHANNELS, productStart, productEntries, productValues, M, M);
#endif
        SYNC_THREADS
        int start = 0, weightStart = 0, biasStart = 0;
        for (int layer = 0; layer < NUM_LAYERS; layer++) {
            int inputs = layerSizes[layer], outputs = layerSizes[layer+1];
            int next = start+inputs;
            multiply(inputs, outputs, weights+weightStart+type*inputs*outputs, value+start, value+next);
            for (int o = LOCAL_ID; o < outputs; o += LOCAL_SIZE) {
                real sum = value[next+o]+biases[biasStart+type*outputs+o];
                real slope = 1;
                if (layer < NUM_LAYERS-1) {
                    // Through exp(): some compilers replace tanh() by an approximation of very low accuracy.
#ifdef SILU
                    real sigmoid = 1/(1+EXP(-max(sum, (real) -LARGEST_EXPONENT)));
                    slope = sigmoid*(1+sum*(1-sigmoid));
                    sum *= sigmoid;
#else
                    sum = 1-2/(1+EXP(min(2*sum, (real) LARGEST_EXPONENT)));
                    slope = 1-sum*sum;
#endif
                }
                value[next+o] = sum;
                gradient[next+o] = slope;
            }
            SYNC_THREADS
            start = next;
            weightStart += NUM_TYPES*inputs*outputs;
            biasStart += NUM_TYPES*outputs;
        }
        if (LOCAL_ID == 0) {
            // U_i = A_i - T B_i
#ifdef NUM_READOUTS_2
            beadEnergies[i] = value[NUM_UNITS-2];
            beadEnergies[numAtoms+i] = value[NUM_UNITS-1];
            gradient[NUM_UNITS-1] = -temperature;
#else
            beadEnergies[i] = value[NUM_UNITS-1];
#endif
        }
        SYNC_THREADS
        // Until now gradient[] held the slope of each unit; backwards it becomes dU/d(its input).
        for (int layer = NUM_LAYERS-1; layer >= 0; layer--) {
            int inputs = layerSizes[layer], outputs = layerSizes[layer+1];
            int next = start;
            start -= inputs;
            weightStart -= NUM_TYPES*inputs*outputs;
            // The values of units are no longer needed.
            multiply(outputs, inputs, transposed+weightStart+type*outputs*inputs, gradient+next, value+start);
            for (int in = LOCAL_ID; in < inputs; in += LOCAL_SIZE)
                gradient[start+in] *= value[start+in];
            SYNC_THREADS
        }
        for (int c = LOCAL_ID; c < CHANNELS; c += LOCAL_SIZE) {
            for (int l = 0; l <= MAX_L; l++)
                for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                    moments[(i*NUM_MOMENTS+lm)*CHANNELS+c] *= 2*gradient[(l+1)*CHANNELS+c];
            moments[i*NUM_MOMENTS*CHANNELS+c] += gradient[c];
#ifdef NUM_PRODUCTS
            for (int lm = 0; lm < NUM_MOMENTS; lm++)
                moments[(i*NUM_MOMENTS+lm)*CHANNELS+c] += sumProducts(NUM_PRODUCTS+lm, c, productStart, productEntries, productValues, gradient, M);
#endif
        }
        SYNC_THREADS
    }
}

/**
 * One work item for each bead and vec of channels: the force on the bead from all its neighbours.  G_i pulls on them through M_i, and
 * G_j on the bead through M_j; Y_lm(-n) = (-1)^l Y_lm(n).
 */
KERNEL void computeForces(int numAtoms, int paddedNumAtoms, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas, int capacity,
        GLOBAL const int* RESTRICT types, GLOBAL const real* RESTRICT filters, GLOBAL const real* RESTRICT typeWeights, GLOBAL const real* RESTRICT G,
        GLOBAL mm_ulong* RESTRICT forceBuffers) {
    for (int index = GLOBAL_ID; index < numAtoms*VECTORS; index += GLOBAL_SIZE) {
        int i = index/VECTORS;
        int c = (index-i*VECTORS)*VECTOR_WIDTH;
        int count = min(rowCount[i], capacity);
        if (count > 0) {
            vec Gi[NUM_MOMENTS];
            for (int lm = 0; lm < NUM_MOMENTS; lm++)
                Gi[lm] = VLOAD(G+(i*NUM_MOMENTS+lm)*CHANNELS+c);
            vec ai = VLOAD(typeWeights+types[i]*CHANNELS+c);
            vec forceX = 0, forceY = 0, forceZ = 0;
            for (int k = 0; k < count; k++) {
                int j = rows[i*capacity+k];
                real4 delta = rowDeltas[i*capacity+k];
                real inverseR = (delta.w > 0 ? RECIP(delta.w) : (real) 0);
                real x = delta.x*inverseR, y = delta.y*inverseR, z = delta.z*inverseR;
                real Y[NUM_MOMENTS], Yx[NUM_MOMENTS], Yy[NUM_MOMENTS], Yz[NUM_MOMENTS], f;
                sphericalHarmonics(x, y, z, Y);
                sphericalHarmonicGradients(x, y, z, Yx, Yy, Yz);
                int interval = findInterval(delta.w, &f);
                real g = 1-f;
                real B0 = ONE_SIXTH*g*g*g, B1 = 4*ONE_SIXTH-f*f*(1-0.5f*f), B2 = 4*ONE_SIXTH-g*g*(1-0.5f*g), B3 = ONE_SIXTH*f*f*f;
                real dB0 = -0.5f*g*g, dB1 = f*(1.5f*f-2), dB2 = -g*(1.5f*g-2), dB3 = 0.5f*f*f;
                vec aj = VLOAD(typeWeights+types[j]*CHANNELS+c);
                vec radial = 0, gradientX = 0, gradientY = 0, gradientZ = 0;
                for (int l = 0; l <= MAX_L; l++) {
                    int t = (interval*(MAX_L+1)+l)*CHANNELS+c;
                    vec C0 = VLOAD(filters+t), C1 = VLOAD(filters+t+FILTER_STRIDE), C2 = VLOAD(filters+t+2*FILTER_STRIDE), C3 = VLOAD(filters+t+3*FILTER_STRIDE);
                    vec W = B0*C0+B1*C1+B2*C2+B3*C3;
                    vec dWdr = -INV_SPACING*(dB0*C0+dB1*C1+dB2*C2+dB3*C3);
                    vec sign = (l%2 == 0 ? 1 : -1)*ai;
                    for (int lm = l*l; lm < (l+1)*(l+1); lm++) {
                        vec h = aj*Gi[lm]+sign*VLOAD(G+(j*NUM_MOMENTS+lm)*CHANNELS+c);
                        radial += dWdr*h*Y[lm];
                        gradientX += W*h*Yx[lm];
                        gradientY += W*h*Yy[lm];
                        gradientZ += W*h*Yz[lm];
                    }
                }
                // Only the part of the polynomials' gradient that is perpendicular to rhat turns with it.
                radial -= (gradientX*x+gradientY*y+gradientZ*z)*inverseR;
                forceX += gradientX*inverseR+radial*x;
                forceY += gradientY*inverseR+radial*y;
                forceZ += gradientZ*inverseR+radial*z;
            }
            ATOMIC_ADD(&forceBuffers[i], (mm_ulong) realToFixedPoint(VSUM(forceX)));
            ATOMIC_ADD(&forceBuffers[i+paddedNumAtoms], (mm_ulong) realToFixedPoint(VSUM(forceY)));
            ATOMIC_ADD(&forceBuffers[i+2*paddedNumAtoms], (mm_ulong) realToFixedPoint(VSUM(forceZ)));
        }
    }
}
