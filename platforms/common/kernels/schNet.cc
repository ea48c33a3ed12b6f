// SPDX-License-Identifier: MIT
// SchNetForce: for each block b
//     h = L1 y,  m_i = sum_j W(r_ij) * h_j,  y <- y + L3 act(L2 m + l2) + l3,
// then U = sum_i NN(y_i); and back: g = dU/dm, and dU/dr_ij = sum_b sum_c W'_c (g_ic h_jc + g_jc h_ic).
//
// A `vec` is VECTOR_WIDTH neighbouring channels, the share of a work item in a step of a loop: one real number on a GPU, a
// vector on a CPU.  Arrays have rows of FEATURE_STRIDE or FILTER_STRIDE numbers, whole vecs; what is beyond the NUM_FEATURES or
// NUM_FILTERS channels is 0.  Matrices are stored as [input][output].  Sums over neighbours run in the order of the rows, and
// each bead's by one work group, so that results do not depend on how threads run.

/** The value and the slope of the activation function. */
DEVICE vec activate(vec x, vec* slope) {
    // Through exp(): some compilers replace tanh() by an approximation of very low accuracy.
#if defined(ACTIVATION_TANH)
    vec y = 1-2/(1+EXP(min(2*x, (real) LARGEST_EXPONENT)));
    *slope = 1-y*y;
    return y;
#else
    vec sigmoid = 1/(1+EXP(min(-x, (real) LARGEST_EXPONENT)));
#if defined(ACTIVATION_SILU)
    *slope = sigmoid*(1+x*(1-sigmoid));
    return x*sigmoid;
#else
    *slope = sigmoid;
    return max(x, (real) 0)+LOG(1+EXP(-FABS(x)))-LOG_2;
#endif
#endif
}

/** Copy a tile of beads, or of neighbours, into local memory; rows beyond `count` become 0. */
DEVICE void loadTile(GLOBAL const real* RESTRICT from, int count, int stride, LOCAL_ARG real* tile) {
    for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE*stride; index += LOCAL_SIZE*VECTOR_WIDTH) {
        vec zero = 0;
        VSTORE(index/stride < count ? VLOAD(from+index) : zero, tile+index);
    }
}

DEVICE void storeTile(LOCAL_ARG const real* tile, int count, int stride, GLOBAL real* RESTRICT to) {
    for (int index = LOCAL_ID*VECTOR_WIDTH; index < count*stride; index += LOCAL_SIZE*VECTOR_WIDTH)
        VSTORE(VLOAD(tile+index), to+index);
}

/**
 * y = W x for each row of a tile.  A work item computes a vec of outputs of all rows, so that weights are read once for the
 * tile, and by neighbouring items side by side.
 */
DEVICE void multiplyTile(LOCAL_ARG const real* RESTRICT x, int inputs, int inputStride, GLOBAL const real* RESTRICT weights, int outputStride,
        LOCAL_ARG real* RESTRICT y) {
    for (int out = LOCAL_ID*VECTOR_WIDTH; out < outputStride; out += LOCAL_SIZE*VECTOR_WIDTH) {
        vec sum[TILE];
#pragma unroll
        for (int t = 0; t < TILE; t++)
            sum[t] = 0;
        for (int in = 0; in < inputs; in++) {
            vec w = VLOAD(weights+in*outputStride+out);
#pragma unroll
            for (int t = 0; t < TILE; t++)
                sum[t] += x[t*inputStride+in]*w;
        }
#pragma unroll
        for (int t = 0; t < TILE; t++)
            VSTORE(sum[t], y+t*outputStride+out);
    }
}

/** The features y of each bead before the first block, and the h that the first block sends. */
KERNEL void embed(int numAtoms, GLOBAL const int* RESTRICT types, GLOBAL const real* RESTRICT embeddings, GLOBAL const real* RESTRICT firstMessages,
        GLOBAL real* RESTRICT y, GLOBAL real* RESTRICT h) {
    for (int index = GLOBAL_ID*VECTOR_WIDTH; index < numAtoms*FEATURE_STRIDE; index += GLOBAL_SIZE*VECTOR_WIDTH) {
        int i = index/FEATURE_STRIDE, channel = index-i*FEATURE_STRIDE;
        VSTORE(VLOAD(embeddings+max(types[i], 0)*FEATURE_STRIDE+channel), y+index);
    }
    for (int index = GLOBAL_ID*VECTOR_WIDTH; index < numAtoms*FILTER_STRIDE; index += GLOBAL_SIZE*VECTOR_WIDTH) {
        int i = index/FILTER_STRIDE, channel = index-i*FILTER_STRIDE;
        VSTORE(VLOAD(firstMessages+max(types[i], 0)*FILTER_STRIDE+channel), h+index);
    }
}

/** Turn the messages m into new features y, and into the h that the next block sends. */
KERNEL void updateFeatures(int numAtoms, int block, GLOBAL const real* RESTRICT lin1, GLOBAL const real* RESTRICT lin2, GLOBAL const real* RESTRICT biases2,
        GLOBAL const real* RESTRICT lin3, GLOBAL const real* RESTRICT biases3, GLOBAL const real* RESTRICT m, GLOBAL real* RESTRICT y, GLOBAL real* RESTRICT h,
        GLOBAL real* RESTRICT slopes) {
    LOCAL real x[TILE*LARGEST_STRIDE];
    LOCAL real z[TILE*LARGEST_STRIDE];
    // Outputs of the next block's L1; after the last block they go where nobody reads them.
    int next = (block+1 < NUM_BLOCKS ? block+1 : 0);
    for (int first = GROUP_ID*TILE; first < numAtoms; first += NUM_GROUPS*TILE) {
        int count = min(TILE, numAtoms-first);
        loadTile(m+first*FILTER_STRIDE, count, FILTER_STRIDE, x);
        SYNC_THREADS
        multiplyTile(x, NUM_FILTERS, FILTER_STRIDE, lin2+block*NUM_FILTERS*FEATURE_STRIDE, FEATURE_STRIDE, z);
        SYNC_THREADS
        for (int index = LOCAL_ID*VECTOR_WIDTH; index < count*FEATURE_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
            vec slope;
            VSTORE(activate(VLOAD(z+index)+VLOAD(biases2+block*FEATURE_STRIDE+index%FEATURE_STRIDE), &slope), z+index);
            VSTORE(slope, slopes+(block*numAtoms+first)*FEATURE_STRIDE+index);
        }
        SYNC_THREADS
        multiplyTile(z, NUM_FEATURES, FEATURE_STRIDE, lin3+block*NUM_FEATURES*FEATURE_STRIDE, FEATURE_STRIDE, x);
        SYNC_THREADS
        for (int index = LOCAL_ID*VECTOR_WIDTH; index < count*FEATURE_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
            vec updated = VLOAD(y+first*FEATURE_STRIDE+index)+VLOAD(x+index)+VLOAD(biases3+block*FEATURE_STRIDE+index%FEATURE_STRIDE);
            VSTORE(updated, x+index);
            VSTORE(updated, y+first*FEATURE_STRIDE+index);
        }
        SYNC_THREADS
        multiplyTile(x, NUM_FEATURES, FEATURE_STRIDE, lin1+next*NUM_FEATURES*FILTER_STRIDE, FILTER_STRIDE, z);
        SYNC_THREADS
        if (next > 0)
            storeTile(z, count, FILTER_STRIDE, h+(next*numAtoms+first)*FILTER_STRIDE);
        SYNC_THREADS
    }
}

/** Evaluate the output network: the energies A and B of each bead, and dU/dy in place of y. */
KERNEL void evaluateOutput(int numAtoms, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT layerSizes, GLOBAL const real* RESTRICT weights,
        GLOBAL const real* RESTRICT transposed, GLOBAL const real* RESTRICT biases, GLOBAL const real* RESTRICT typeEnergies, GLOBAL real* RESTRICT y,
        GLOBAL real* RESTRICT beadEnergies
#ifdef NUM_READOUTS_2
        , real temperature
#endif
        ) {
    // Rows of each layer's units one after another: values, and their slopes, which become dU/d(input of the unit).
    LOCAL real value[TILE*NUM_UNITS];
    LOCAL real gradient[TILE*NUM_UNITS];
    for (int first = GROUP_ID*TILE; first < numAtoms; first += NUM_GROUPS*TILE) {
        int count = min(TILE, numAtoms-first);
        loadTile(y+first*FEATURE_STRIDE, count, FEATURE_STRIDE, value);
        SYNC_THREADS
        int start = 0, weightStart = 0, biasStart = 0;
        for (int layer = 0; layer < NUM_LAYERS; layer++) {
            int inputs = layerSizes[layer], stride = PADDED(inputs), outputs = PADDED(layerSizes[layer+1]);
            int next = start+TILE*stride;
            multiplyTile(value+start, inputs, stride, weights+weightStart, outputs, value+next);
            SYNC_THREADS
            for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE*outputs; index += LOCAL_SIZE*VECTOR_WIDTH) {
                vec sum = VLOAD(value+next+index)+VLOAD(biases+biasStart+index%outputs);
                vec slope = 1;
                if (layer < NUM_LAYERS-1)
                    sum = activate(sum, &slope);
                VSTORE(sum, value+next+index);
                VSTORE(slope, gradient+next+index);
            }
            SYNC_THREADS
            start = next;
            weightStart += inputs*outputs;
            biasStart += outputs;
        }
        // U_i = A_i - T B_i
        for (int index = LOCAL_ID; index < TILE*READOUT_STRIDE; index += LOCAL_SIZE) {
            int t = index/READOUT_STRIDE, readout = index-t*READOUT_STRIDE;
            real seed = (readout == 0 ? 1 : 0);
#ifdef NUM_READOUTS_2
            if (readout == 1)
                seed = -temperature;
            if (readout == 1 && t < count)
                beadEnergies[numAtoms+first+t] = value[start+index];
#endif
            if (readout == 0 && t < count)
                beadEnergies[first+t] = value[start+index]+typeEnergies[max(types[first+t], 0)];
            gradient[start+index] = seed;
        }
        SYNC_THREADS
        int transposedStart = NUM_TRANSPOSED_WEIGHTS;
        for (int layer = NUM_LAYERS-1; layer >= 0; layer--) {
            int inputs = PADDED(layerSizes[layer]), outputs = layerSizes[layer+1], stride = PADDED(outputs);
            int previous = start-TILE*inputs;
            transposedStart -= outputs*inputs;
            multiplyTile(gradient+start, outputs, stride, transposed+transposedStart, inputs, value+previous);
            SYNC_THREADS
            if (layer > 0)
                for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE*inputs; index += LOCAL_SIZE*VECTOR_WIDTH)
                    VSTORE(VLOAD(value+previous+index)*VLOAD(gradient+previous+index), gradient+previous+index);
            SYNC_THREADS
            start = previous;
        }
        storeTile(value, count, FEATURE_STRIDE, y+first*FEATURE_STRIDE);
        SYNC_THREADS
    }
}

/** Add to dU/dy what came back through the messages of the block after this one, and turn it into g = dU/dm of this block. */
KERNEL void propagateGradients(int numAtoms, int block, GLOBAL const real* RESTRICT transposed1, GLOBAL const real* RESTRICT transposed2,
        GLOBAL const real* RESTRICT transposed3, GLOBAL const real* RESTRICT dUdh, GLOBAL real* RESTRICT dUdy, GLOBAL const real* RESTRICT slopes,
        GLOBAL real* RESTRICT g) {
    LOCAL real x[TILE*LARGEST_STRIDE];
    LOCAL real z[TILE*LARGEST_STRIDE];
    int hasNext = (block+1 < NUM_BLOCKS ? 1 : 0);
    for (int first = GROUP_ID*TILE; first < numAtoms; first += NUM_GROUPS*TILE) {
        int count = min(TILE, numAtoms-first);
        loadTile(dUdh+first*FILTER_STRIDE, hasNext*count, FILTER_STRIDE, x);
        SYNC_THREADS
        multiplyTile(x, hasNext*NUM_FILTERS, FILTER_STRIDE, transposed1+(block+hasNext)*NUM_FILTERS*FEATURE_STRIDE, FEATURE_STRIDE, z);
        SYNC_THREADS
        for (int index = LOCAL_ID*VECTOR_WIDTH; index < count*FEATURE_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
            vec sum = VLOAD(z+index)+VLOAD(dUdy+first*FEATURE_STRIDE+index);
            VSTORE(sum, z+index);
            VSTORE(sum, dUdy+first*FEATURE_STRIDE+index);
        }
        SYNC_THREADS
        multiplyTile(z, NUM_FEATURES, FEATURE_STRIDE, transposed3+block*NUM_FEATURES*FEATURE_STRIDE, FEATURE_STRIDE, x);
        SYNC_THREADS
        for (int index = LOCAL_ID*VECTOR_WIDTH; index < count*FEATURE_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH)
            VSTORE(VLOAD(x+index)*VLOAD(slopes+(block*numAtoms+first)*FEATURE_STRIDE+index), x+index);
        SYNC_THREADS
        multiplyTile(x, NUM_FEATURES, FEATURE_STRIDE, transposed2+block*NUM_FEATURES*FILTER_STRIDE, FILTER_STRIDE, z);
        SYNC_THREADS
        storeTile(z, count, FILTER_STRIDE, g+first*FILTER_STRIDE);
        SYNC_THREADS
    }
}

/** Add a bead's force, whose parts the work items of a group hold, to OpenMM's buffer. */
DEVICE void addForce(real x, real y, real z, LOCAL_ARG real* parts, int bead, int paddedNumAtoms, GLOBAL mm_ulong* RESTRICT forceBuffers) {
    parts[LOCAL_ID] = x;
    parts[GROUP_SIZE+LOCAL_ID] = y;
    parts[2*GROUP_SIZE+LOCAL_ID] = z;
    SYNC_THREADS
    for (int width = GROUP_SIZE/2; width > 0; width /= 2) {
        if (LOCAL_ID < width)
            for (int k = 0; k < 3; k++)
                parts[k*GROUP_SIZE+LOCAL_ID] += parts[k*GROUP_SIZE+LOCAL_ID+width];
        SYNC_THREADS
    }
    for (int k = LOCAL_ID; k < 3; k += LOCAL_SIZE)
        ATOMIC_ADD(&forceBuffers[bead+k*paddedNumAtoms], (mm_ulong) realToFixedPoint(parts[k*GROUP_SIZE]));
    SYNC_THREADS
}

#ifdef NUM_INTERVALS

/** The interval of the filters' grid, counted from the cutoff inwards, that r falls in, and the position in it, 0 to 1. */
DEVICE int findInterval(real r, real* f) {
    real u = (CUTOFF-r)*INV_SPACING;
    int interval = min((int) u, NUM_INTERVALS-1);
    *f = u-interval;
    return interval;
}

/** The B-splines that are not zero at a position f in an interval, as in CubicBSpline.h and QuinticBSpline.h. */
DEVICE void findWeights(real f, real* B) {
    real g = 1-f;
#if DEGREE == 3
    B[0] = g*g*g*SCALE;
    B[1] = (4-f*f*(6-3*f))*SCALE;
    B[2] = (4-g*g*(6-3*g))*SCALE;
    B[3] = f*f*f*SCALE;
#else
    real f2 = f*f, g2 = g*g;
    B[0] = g2*g2*g*SCALE;
    B[1] = (1+g*(5+g*(10+g*(10+g*(5-5*g)))))*SCALE;
    B[2] = (66+f2*(-60+f2*(30-10*f)))*SCALE;
    B[3] = (66+g2*(-60+g2*(30-10*g)))*SCALE;
    B[4] = (1+f*(5+f*(10+f*(10+f*(5-5*f)))))*SCALE;
    B[5] = f2*f2*f*SCALE;
#endif
}

/** Their derivatives with respect to r. */
DEVICE void findSlopes(real f, real* dB) {
    real g = 1-f;
#if DEGREE == 3
    dB[0] = g*g*SLOPE_SCALE;
    dB[1] = -f*(3*f-4)*SLOPE_SCALE;
    dB[2] = g*(3*g-4)*SLOPE_SCALE;
    dB[3] = -f*f*SLOPE_SCALE;
#else
    real f2 = f*f, g2 = g*g;
    dB[0] = g2*g2*SLOPE_SCALE;
    dB[1] = (1+g*(4+g*(6+g*(4-5*g))))*SLOPE_SCALE;
    dB[2] = -f*(-24+f2*(24-10*f))*SLOPE_SCALE;
    dB[3] = g*(-24+g2*(24-10*g))*SLOPE_SCALE;
    dB[4] = -(1+f*(4+f*(6+f*(4-5*f))))*SLOPE_SCALE;
    dB[5] = -f2*f2*SLOPE_SCALE;
#endif
}

/** m_i = sum_j W(r_ij) * h_j: one work group for each bead. */
KERNEL void passMessages(int numAtoms, int block, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas,
        int capacity, GLOBAL const real* RESTRICT tables, GLOBAL const real* RESTRICT allH, GLOBAL real* RESTRICT m) {
    GLOBAL const real* RESTRICT table = tables+block*(NUM_INTERVALS+DEGREE)*FILTER_STRIDE;
    GLOBAL const real* RESTRICT h = allH+block*numAtoms*FILTER_STRIDE;
    for (int i = GROUP_ID; i < numAtoms; i += NUM_GROUPS) {
        int count = min(rowCount[i], capacity);
        for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH*VECTORS_PER_ITEM) {
            vec sum[VECTORS_PER_ITEM];
#pragma unroll
            for (int v = 0; v < VECTORS_PER_ITEM; v++)
                sum[v] = 0;
            for (int k = 0; k < count; k++) {
                real B[DEGREE+1], f;
                int interval = findInterval(rowDeltas[i*capacity+k].w, &f);
                findWeights(f, B);
                int hj = rows[i*capacity+k]*FILTER_STRIDE+channel;
                int row = interval*FILTER_STRIDE+channel;
#pragma unroll
                for (int v = 0; v < VECTORS_PER_ITEM; v++) {
                    int next = v*LOCAL_SIZE*VECTOR_WIDTH;
                    vec W = B[0]*VLOAD(table+row+next);
#pragma unroll
                    for (int s = 1; s <= DEGREE; s++)
                        W += B[s]*VLOAD(table+row+next+s*FILTER_STRIDE);
                    sum[v] += W*VLOAD(h+hj+next);
                }
            }
#pragma unroll
            for (int v = 0; v < VECTORS_PER_ITEM; v++)
                VSTORE(sum[v], m+i*FILTER_STRIDE+channel+v*LOCAL_SIZE*VECTOR_WIDTH);
        }
    }
}

/** dU/dh_i = sum_j W(r_ij) * g_j, and the force that this block adds: one work group for each bead. */
KERNEL void passGradients(int numAtoms, int paddedNumAtoms, int block, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows,
        GLOBAL const real4* RESTRICT rowDeltas, int capacity, GLOBAL const real* RESTRICT tables, GLOBAL const real* RESTRICT allH, GLOBAL const real* RESTRICT g,
        GLOBAL real* RESTRICT dUdh, GLOBAL mm_ulong* RESTRICT forceBuffers) {
    LOCAL real parts[3*GROUP_SIZE];
    GLOBAL const real* RESTRICT table = tables+block*(NUM_INTERVALS+DEGREE)*FILTER_STRIDE;
    GLOBAL const real* RESTRICT h = allH+block*numAtoms*FILTER_STRIDE;
    for (int i = GROUP_ID; i < numAtoms; i += NUM_GROUPS) {
        int count = min(rowCount[i], capacity);
        real forceX = 0, forceY = 0, forceZ = 0;
        for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH*VECTORS_PER_ITEM) {
            vec sum[VECTORS_PER_ITEM], gi[VECTORS_PER_ITEM], hi[VECTORS_PER_ITEM];
#pragma unroll
            for (int v = 0; v < VECTORS_PER_ITEM; v++) {
                int next = channel+v*LOCAL_SIZE*VECTOR_WIDTH;
                sum[v] = 0;
                gi[v] = VLOAD(g+i*FILTER_STRIDE+next);
                hi[v] = VLOAD(h+i*FILTER_STRIDE+next);
            }
            for (int k = 0; k < count; k++) {
                real4 delta = rowDeltas[i*capacity+k];
                real B[DEGREE+1], dB[DEGREE+1], f;
                int interval = findInterval(delta.w, &f);
                findWeights(f, B);
                findSlopes(f, dB);
                int j = rows[i*capacity+k]*FILTER_STRIDE+channel;
                int row = interval*FILTER_STRIDE+channel;
                vec slope = 0;
#pragma unroll
                for (int v = 0; v < VECTORS_PER_ITEM; v++) {
                    int next = v*LOCAL_SIZE*VECTOR_WIDTH;
                    vec C = VLOAD(table+row+next);
                    vec W = B[0]*C, dWdr = dB[0]*C;
#pragma unroll
                    for (int s = 1; s <= DEGREE; s++) {
                        C = VLOAD(table+row+next+s*FILTER_STRIDE);
                        W += B[s]*C;
                        dWdr += dB[s]*C;
                    }
                    vec gj = VLOAD(g+j+next);
                    sum[v] += W*gj;
                    slope += dWdr*(gi[v]*VLOAD(h+j+next)+gj*hi[v]);
                }
                real dUdr = VSUM(slope)*(delta.w > 0 ? RECIP(delta.w) : (real) 0);
                forceX += dUdr*delta.x;
                forceY += dUdr*delta.y;
                forceZ += dUdr*delta.z;
            }
#pragma unroll
            for (int v = 0; v < VECTORS_PER_ITEM; v++)
                VSTORE(sum[v], dUdh+i*FILTER_STRIDE+channel+v*LOCAL_SIZE*VECTOR_WIDTH);
        }
        addForce(forceX, forceY, forceZ, parts, i, paddedNumAtoms, forceBuffers);
    }
}

#else

// The first half of a tile's rows holds functions of the distances of some neighbours, the second half their derivatives.
#define TILE_NEIGHBORS (TILE/2)

/** The radial functions of some neighbours. */
DEVICE void evaluateBasis(GLOBAL const real4* RESTRICT deltas, int count, GLOBAL const real* RESTRICT centers, GLOBAL const real* RESTRICT widths,
        LOCAL_ARG real* phi) {
    LOCAL_ARG real* slope = phi+TILE_NEIGHBORS*BASIS_STRIDE;
    for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE_NEIGHBORS*BASIS_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
        int t = index/BASIS_STRIDE, k = index-t*BASIS_STRIDE;
        real r = (t < count ? deltas[t].w : (real) CUTOFF);
        vec width = VLOAD(widths+k);
#ifdef BASIS_EXPNORMAL
        real x = EXP(-EXPONENT*r);
        real envelope = 0.5f*(COS(PI_OVER_CUTOFF*r)+1), envelopeSlope = -0.5f*PI_OVER_CUTOFF*SIN(PI_OVER_CUTOFF*r);
        vec d = x-VLOAD(centers+k);
        vec value = EXP(-width*d*d);
        VSTORE(envelope*value, phi+index);
        VSTORE(value*(envelopeSlope+2*EXPONENT*envelope*x*width*d), slope+index);
#else
        vec d = r-VLOAD(centers+k);
        vec value = EXP(-width*d*d);
        VSTORE(value, phi+index);
        VSTORE(-2*width*d*value, slope+index);
#endif
    }
}

/** The cutoff function f(r), and its derivative. */
DEVICE real evaluateCutoffFunction(real r, real* slope) {
#if defined(CUTOFF_POLYNOMIAL)
    real u = r*INV_CUTOFF;
    *slope = -30*u*u*(1-u)*(1-u)*INV_CUTOFF;
    return 1-u*u*u*(10-u*(15-6*u));
#else
    // (1+cos)/2 of an angle from 0 to pi, or (1-cos)/2 of one from 0 to 2 pi.
    real angle = CUTOFF_ANGLE*max(r-LOWER_CUTOFF, (real) 0);
    *slope = -0.5f*CUTOFF_SIGN*CUTOFF_ANGLE*SIN(angle);
    return 0.5f*(1+CUTOFF_SIGN*COS(angle));
#endif
}

/** Evaluate the filters W of a block for some neighbours. */
DEVICE void evaluateFilters(int block, GLOBAL const real4* RESTRICT deltas, int count, GLOBAL const real* RESTRICT centers, GLOBAL const real* RESTRICT widths,
        GLOBAL const real* RESTRICT filter1, GLOBAL const real* RESTRICT filterBiases1, GLOBAL const real* RESTRICT filter2,
        GLOBAL const real* RESTRICT filterBiases2, LOCAL_ARG real* phi, LOCAL_ARG real* hidden, LOCAL_ARG real* W) {
    LOCAL_ARG real* hiddenSlope = hidden+TILE_NEIGHBORS*FILTER_STRIDE;
    LOCAL_ARG real* dWdr = W+TILE_NEIGHBORS*FILTER_STRIDE;
    evaluateBasis(deltas, count, centers, widths, phi);
    SYNC_THREADS
    multiplyTile(phi, NUM_RADIAL_FUNCTIONS, BASIS_STRIDE, filter1+block*NUM_RADIAL_FUNCTIONS*FILTER_STRIDE, FILTER_STRIDE, hidden);
    SYNC_THREADS
    for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE_NEIGHBORS*FILTER_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
        vec slope;
        VSTORE(activate(VLOAD(hidden+index)+VLOAD(filterBiases1+block*FILTER_STRIDE+index%FILTER_STRIDE), &slope), hidden+index);
        VSTORE(slope*VLOAD(hiddenSlope+index), hiddenSlope+index);
    }
    SYNC_THREADS
    multiplyTile(hidden, NUM_FILTERS, FILTER_STRIDE, filter2+block*NUM_FILTERS*FILTER_STRIDE, FILTER_STRIDE, W);
    SYNC_THREADS
    for (int index = LOCAL_ID*VECTOR_WIDTH; index < TILE_NEIGHBORS*FILTER_STRIDE; index += LOCAL_SIZE*VECTOR_WIDTH) {
        int t = index/FILTER_STRIDE;
        real slope, f = evaluateCutoffFunction(t < count ? deltas[t].w : (real) CUTOFF, &slope);
        vec value = VLOAD(W+index)+VLOAD(filterBiases2+block*FILTER_STRIDE+index%FILTER_STRIDE);
        VSTORE(f*value, W+index);
        VSTORE(f*VLOAD(dWdr+index)+slope*value, dWdr+index);
    }
    SYNC_THREADS
}

/** m_i = sum_j W(r_ij) * h_j: one work group for each bead. */
KERNEL void passMessages(int numAtoms, int block, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows, GLOBAL const real4* RESTRICT rowDeltas,
        int capacity, GLOBAL const real* RESTRICT centers, GLOBAL const real* RESTRICT widths, GLOBAL const real* RESTRICT filter1,
        GLOBAL const real* RESTRICT filterBiases1, GLOBAL const real* RESTRICT filter2, GLOBAL const real* RESTRICT filterBiases2, GLOBAL const real* RESTRICT allH,
        GLOBAL real* RESTRICT m) {
    LOCAL real phi[TILE*BASIS_STRIDE];
    LOCAL real hidden[TILE*FILTER_STRIDE];
    LOCAL real W[TILE*FILTER_STRIDE];
    GLOBAL const real* RESTRICT h = allH+block*numAtoms*FILTER_STRIDE;
    for (int i = GROUP_ID; i < numAtoms; i += NUM_GROUPS) {
        int count = min(rowCount[i], capacity);
        vec zero = 0;
        for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH)
            VSTORE(zero, m+i*FILTER_STRIDE+channel);
        for (int first = 0; first < count; first += TILE_NEIGHBORS) {
            int tileCount = min(TILE_NEIGHBORS, count-first);
            evaluateFilters(block, rowDeltas+i*capacity+first, tileCount, centers, widths, filter1, filterBiases1, filter2, filterBiases2, phi, hidden, W);
            for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH) {
                vec sum = VLOAD(m+i*FILTER_STRIDE+channel);
                for (int t = 0; t < tileCount; t++)
                    sum += VLOAD(W+t*FILTER_STRIDE+channel)*VLOAD(h+rows[i*capacity+first+t]*FILTER_STRIDE+channel);
                VSTORE(sum, m+i*FILTER_STRIDE+channel);
            }
            SYNC_THREADS
        }
    }
}

/** dU/dh_i = sum_j W(r_ij) * g_j, and the force that this block adds: one work group for each bead. */
KERNEL void passGradients(int numAtoms, int paddedNumAtoms, int block, GLOBAL const int* RESTRICT rowCount, GLOBAL const int* RESTRICT rows,
        GLOBAL const real4* RESTRICT rowDeltas, int capacity, GLOBAL const real* RESTRICT centers, GLOBAL const real* RESTRICT widths,
        GLOBAL const real* RESTRICT filter1, GLOBAL const real* RESTRICT filterBiases1, GLOBAL const real* RESTRICT filter2,
        GLOBAL const real* RESTRICT filterBiases2, GLOBAL const real* RESTRICT allH, GLOBAL const real* RESTRICT g, GLOBAL real* RESTRICT dUdh,
        GLOBAL mm_ulong* RESTRICT forceBuffers) {
    LOCAL real phi[TILE*BASIS_STRIDE];
    LOCAL real hidden[TILE*FILTER_STRIDE];
    LOCAL real W[TILE*FILTER_STRIDE];
    LOCAL real parts[3*GROUP_SIZE];
    GLOBAL const real* RESTRICT h = allH+block*numAtoms*FILTER_STRIDE;
    for (int i = GROUP_ID; i < numAtoms; i += NUM_GROUPS) {
        int count = min(rowCount[i], capacity);
        vec zero = 0;
        for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH)
            VSTORE(zero, dUdh+i*FILTER_STRIDE+channel);
        real forceX = 0, forceY = 0, forceZ = 0;
        for (int first = 0; first < count; first += TILE_NEIGHBORS) {
            int tileCount = min(TILE_NEIGHBORS, count-first);
            evaluateFilters(block, rowDeltas+i*capacity+first, tileCount, centers, widths, filter1, filterBiases1, filter2, filterBiases2, phi, hidden, W);
            for (int channel = LOCAL_ID*VECTOR_WIDTH; channel < FILTER_STRIDE; channel += LOCAL_SIZE*VECTOR_WIDTH) {
                vec sum = VLOAD(dUdh+i*FILTER_STRIDE+channel), gi = VLOAD(g+i*FILTER_STRIDE+channel), hi = VLOAD(h+i*FILTER_STRIDE+channel);
                for (int t = 0; t < tileCount; t++) {
                    real4 delta = rowDeltas[i*capacity+first+t];
                    int j = rows[i*capacity+first+t]*FILTER_STRIDE+channel;
                    vec gj = VLOAD(g+j);
                    sum += VLOAD(W+t*FILTER_STRIDE+channel)*gj;
                    vec slope = VLOAD(W+(TILE_NEIGHBORS+t)*FILTER_STRIDE+channel)*(gi*VLOAD(h+j)+gj*hi);
                    real dUdr = VSUM(slope)*(delta.w > 0 ? RECIP(delta.w) : (real) 0);
                    forceX += dUdr*delta.x;
                    forceY += dUdr*delta.y;
                    forceZ += dUdr*delta.z;
                }
                VSTORE(sum, dUdh+i*FILTER_STRIDE+channel);
            }
            SYNC_THREADS
        }
        addForce(forceX, forceY, forceZ, parts, i, paddedNumAtoms, forceBuffers);
    }
}

#endif
