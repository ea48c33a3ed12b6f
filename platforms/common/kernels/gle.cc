// SPDX-License-Identifier: MIT
// One step of the generalized Langevin equation.  Symbols as in docs/theory/gle.md:
//     u = sqrt(m) v, auxiliary variables s, y = (u, s); decay = T-1, noise = sqrt(kT) S, xi = independent normal deviates.
// Defined by the host: BLOCK_SIZE, CONSTRAINED, LARGEST_POSITION, MAX_MODES, NUM_MODES(bath), NOISE_STREAM, REFILL, REFILL_STREAM.

/**
 * Philox4x32-10: 128 random bits as a function of a counter and a key.  See internal/Philox.h.
 */
DEVICE uint4 philox(uint4 counter, unsigned int key0, unsigned int key1) {
    for (int round = 0; round < 10; round++) {
        mm_ulong product0 = (mm_ulong) 0xD2511F53u*counter.x;
        mm_ulong product1 = (mm_ulong) 0xCD9E8D57u*counter.z;
        uint4 next;
        next.x = ((unsigned int) (product1 >> 32))^counter.y^key0;
        next.y = (unsigned int) product1;
        next.z = ((unsigned int) (product0 >> 32))^counter.w^key1;
        next.w = (unsigned int) product0;
        counter = next;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/**
 * sqrt(-2 log u) with u = (word+1/2)/2^32.  Near u = 1 it is computed from 1-u, of which a float keeps all digits.
 */
DEVICE real boxMullerRadius(unsigned int word) {
    const real unit = 2.3283064365386963e-10f;
    real minusLog;
    if (word < 0x80000000u)
        minusLog = -log(unit*(word+(real) 0.5f));
    else
        minusLog = -log1p(-unit*((~word)+(real) 0.5f));
    return sqrt(2*minusLog);
}

/**
 * One normal deviate for each of the directions x, y and z.  They end at 6.8 standard deviations; in single and mixed
 * precision they are floats, good to 1e-6.
 */
DEVICE real3 normalDeviates(unsigned int stream, unsigned int seed, unsigned int stepLow, unsigned int stepHigh, int particle, int component) {
    uint4 counter;
    counter.x = stepLow;
    counter.y = stepHigh;
    counter.z = particle;
    counter.w = component;
    uint4 bits = philox(counter, seed, stream);
    const real unit = 4.656612873077393e-10f; // 2^-31: angles are in units of pi
    real radius1 = boxMullerRadius(bits.x);
    real radius2 = boxMullerRadius(bits.z);
    real angle1 = unit*((int) bits.y);
    real angle2 = unit*((int) bits.w);
    return make_real3(radius1*cospi(angle1), radius1*sinpi(angle1), radius2*cospi(angle2));
}

/**
 * A block of a matrix times a component of y: a number, or a 3 x 3 matrix that mixes its directions.
 */
#if BLOCK_SIZE == 1
#define BLOCK_PRODUCT(MAKE3, BLOCK, Y) ((BLOCK)[0]*(Y))
#else
#define BLOCK_PRODUCT(MAKE3, BLOCK, Y) MAKE3((BLOCK)[0]*(Y).x+(BLOCK)[1]*(Y).y+(BLOCK)[2]*(Y).z, \
        (BLOCK)[3]*(Y).x+(BLOCK)[4]*(Y).y+(BLOCK)[5]*(Y).z, (BLOCK)[6]*(Y).x+(BLOCK)[7]*(Y).y+(BLOCK)[8]*(Y).z)
#endif
#define BLOCK_ELEMENTS (BLOCK_SIZE*BLOCK_SIZE)

/**
 * The part of row a of (T-1) y that stays within u, component 0, and within s.
 */
DEVICE mixed3 propagateBath(GLOBAL const mixed* RESTRICT decayRow, const mixed3* y, int a, int n) {
    if (a == 0)
        return BLOCK_PRODUCT(make_mixed3, decayRow, y[0]);
    mixed3 change = make_mixed3(0, 0, 0);
    for (int b = 1; b <= n; b++)
        change += BLOCK_PRODUCT(make_mixed3, &decayRow[b*BLOCK_ELEMENTS], y[b]);
    return change;
}

/**
 * The part of row a of (T-1) y that goes from s to u, and from u to s.
 */
DEVICE mixed3 couple(GLOBAL const mixed* RESTRICT decayRow, const mixed3* y, int a, int n) {
    if (a > 0)
        return BLOCK_PRODUCT(make_mixed3, decayRow, y[0]);
    mixed3 change = make_mixed3(0, 0, 0);
    for (int b = 1; b <= n; b++)
        change += BLOCK_PRODUCT(make_mixed3, &decayRow[b*BLOCK_ELEMENTS], y[b]);
    return change;
}

/**
 * Row a of sqrt(kT) S xi.
 */
DEVICE real3 randomImpulse(GLOBAL const real* RESTRICT noiseRow, const real3* xi, int n) {
    real3 impulse = make_real3(0, 0, 0);
    for (int b = 0; b <= n; b++)
        impulse += BLOCK_PRODUCT(make_real3, &noiseRow[b*BLOCK_ELEMENTS], xi[b]);
    return impulse;
}

/**
 * v += h F/m.  Notes a particle that is at NaN or infinity while there is still a position to blame: its index plus one.
 */
KERNEL void kick(int numAtoms, int paddedNumAtoms, GLOBAL mixed4* RESTRICT velm, GLOBAL const mm_long* RESTRICT force,
        GLOBAL const mixed2* RESTRICT stepSize, GLOBAL const real4* RESTRICT posq, GLOBAL const int* RESTRICT atomIndex,
        GLOBAL int* RESTRICT badParticle) {
    mixed scale = stepSize[0].y/(mixed) 0x100000000;
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index];
        if (v.w != 0) {
            v.x += scale*v.w*force[index];
            v.y += scale*v.w*force[index+paddedNumAtoms];
            v.z += scale*v.w*force[index+paddedNumAtoms*2];
            velm[index] = v;
            real4 pos = posq[index];
            if (!(fabs(pos.x)+fabs(pos.y)+fabs(pos.z) < LARGEST_POSITION) && badParticle[0] == 0)
                badParticle[0] = atomIndex[index]+1;
        }
    }
}

/**
 * delta = (h/2) v;   (u, s) <- T (u, s) + sqrt(kT) S xi;   delta += (h/2) v.  With constraints, only the middle part
 * counts: halfDrift() or wholeDrift(), and countHeat(), do the rest.  Auxiliary variables and random numbers go with
 * a particle's original index, heat with its present place, as only the sum over all particles is of use.
 */
KERNEL void exchangeWithBath(int numAtoms, GLOBAL mixed4* RESTRICT velm, GLOBAL mixed4* RESTRICT posDelta,
        GLOBAL mixed4* RESTRICT oldDelta, GLOBAL mixed* RESTRICT auxiliary, GLOBAL mixed* RESTRICT heat,
        GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT particleKernel, GLOBAL const int* RESTRICT kernelModes,
        GLOBAL const mixed* RESTRICT decay, GLOBAL const real* RESTRICT noise, GLOBAL const mixed2* RESTRICT stepSize,
        unsigned int seed, unsigned int stepLow, unsigned int stepHigh) {
    mixed halfStep = 0.5f*stepSize[0].y;
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index];
        if (v.w != 0) {
            mixed4 delta = make_mixed4(halfStep*v.x, halfStep*v.y, halfStep*v.z, 0);
            int particle = atomIndex[index];
            int bath = particleKernel[particle];
            if (bath >= 0) {
                int n = NUM_MODES(bath);
                GLOBAL mixed* s = &auxiliary[3*MAX_MODES*particle];
                mixed inverseSqrtMass = sqrt(v.w);
                mixed sqrtMass = 1/inverseSqrtMass;
                mixed3 y[MAX_MODES+1];
                real3 xi[MAX_MODES+1];
                y[0] = make_mixed3(sqrtMass*v.x, sqrtMass*v.y, sqrtMass*v.z);
                for (int a = 1; a <= n; a++)
                    y[a] = make_mixed3(s[a-1], s[MAX_MODES+a-1], s[2*MAX_MODES+a-1]);
                for (int a = 0; a <= n; a++)
                    xi[a] = normalDeviates(NOISE_STREAM, seed, stepLow, stepHigh, particle, a);
                for (int a = 0; a <= n; a++) {
                    int row = (bath*(MAX_MODES+1)+a)*(MAX_MODES+1)*BLOCK_ELEMENTS;
                    mixed3 change = propagateBath(&decay[row], y, a, n);
                    change += couple(&decay[row], y, a, n);
                    real3 impulse = randomImpulse(&noise[row], xi, n);
                    change += make_mixed3(impulse.x, impulse.y, impulse.z);
                    if (a == 0) {
                        v.x += inverseSqrtMass*change.x;
                        v.y += inverseSqrtMass*change.y;
                        v.z += inverseSqrtMass*change.z;
#if !CONSTRAINED
                        heat[index] -= change.x*(y[0].x+0.5f*change.x) + change.y*(y[0].y+0.5f*change.y) + change.z*(y[0].z+0.5f*change.z);
#endif
                    }
                    else {
                        s[a-1] = y[a].x+change.x;
                        s[MAX_MODES+a-1] = y[a].y+change.y;
                        s[2*MAX_MODES+a-1] = y[a].z+change.z;
                    }
                }
                velm[index] = v;
            }
            delta += make_mixed4(halfStep*v.x, halfStep*v.y, halfStep*v.z, 0);
            posDelta[index] = delta;
            oldDelta[index] = delta;
        }
    }
}

/**
 * x += delta, after constraints have changed delta; v changes accordingly.
 */
KERNEL void move(int numAtoms, GLOBAL real4* RESTRICT posq, GLOBAL mixed4* RESTRICT velm, GLOBAL const mixed4* RESTRICT posDelta,
        GLOBAL const mixed4* RESTRICT oldDelta, GLOBAL const mixed2* RESTRICT stepSize
#ifdef USE_MIXED_PRECISION
        , GLOBAL real4* RESTRICT posqCorrection
#endif
        ) {
    mixed inverseStep = (REFILL ? 2 : 1)/stepSize[0].y;
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index];
        if (v.w != 0) {
            mixed4 delta = posDelta[index];
            v.x += (delta.x-oldDelta[index].x)*inverseStep;
            v.y += (delta.y-oldDelta[index].y)*inverseStep;
            v.z += (delta.z-oldDelta[index].z)*inverseStep;
            velm[index] = v;
            real4 pos = posq[index];
#ifdef USE_MIXED_PRECISION
            real4 correction = posqCorrection[index];
            mixed3 x = make_mixed3(pos.x+(mixed) correction.x+delta.x, pos.y+(mixed) correction.y+delta.y, pos.z+(mixed) correction.z+delta.z);
            posq[index] = make_real4((real) x.x, (real) x.y, (real) x.z, pos.w);
            posqCorrection[index] = make_real4(x.x-(real) x.x, x.y-(real) x.y, x.z-(real) x.z, 0);
#else
            posq[index] = make_real4(pos.x+delta.x, pos.y+delta.y, pos.z+delta.z, pos.w);
#endif
        }
    }
}

#if CONSTRAINED
/**
 * delta = (h/2) (v + v'), with the velocities v before and v' after the bath.
 */
KERNEL void wholeDrift(int numAtoms, GLOBAL const mixed4* RESTRICT velm, GLOBAL const mixed4* RESTRICT savedVelocity,
        GLOBAL mixed4* RESTRICT posDelta, GLOBAL mixed4* RESTRICT oldDelta, GLOBAL const mixed2* RESTRICT stepSize) {
    mixed halfStep = 0.5f*stepSize[0].y;
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index], old = savedVelocity[index];
        if (v.w != 0) {
            mixed4 delta = make_mixed4(halfStep*(old.x+v.x), halfStep*(old.y+v.y), halfStep*(old.z+v.z), 0);
            posDelta[index] = delta;
            oldDelta[index] = delta;
        }
    }
}

/**
 * delta = (h/2) v
 */
KERNEL void halfDrift(int numAtoms, GLOBAL const mixed4* RESTRICT velm, GLOBAL mixed4* RESTRICT posDelta, GLOBAL mixed4* RESTRICT oldDelta,
        GLOBAL const mixed2* RESTRICT stepSize) {
    mixed halfStep = 0.5f*stepSize[0].y;
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index];
        if (v.w != 0) {
            mixed4 delta = make_mixed4(halfStep*v.x, halfStep*v.y, halfStep*v.z, 0);
            posDelta[index] = delta;
            oldDelta[index] = delta;
        }
    }
}

/**
 * The equilibrium velocities w of a particle that has constraints.
 */
DEVICE mixed3 equilibriumVelocity(real sqrtkT, mixed inverseMass, unsigned int seed, unsigned int stepLow, unsigned int stepHigh, int particle) {
    real3 xi = normalDeviates(REFILL_STREAM, seed, stepLow, stepHigh, particle, 0);
    mixed width = sqrtkT*sqrt(inverseMass);
    return make_mixed3(width*xi.x, width*xi.y, width*xi.z);
}

/**
 * Keeps v aside and puts w in its place, for the constraints to act on.
 */
KERNEL void drawConstrainedVelocities(int numAtoms, GLOBAL mixed4* RESTRICT velm, GLOBAL mixed4* RESTRICT savedVelocity,
        GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT isConstrained, real sqrtkT, unsigned int seed,
        unsigned int stepLow, unsigned int stepHigh) {
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index];
        savedVelocity[index] = v;
        int particle = atomIndex[index];
        if (v.w != 0 && isConstrained[particle]) {
            mixed3 w = equilibriumVelocity(sqrtkT, v.w, seed, stepLow, stepHigh, particle);
            velm[index] = make_mixed4(w.x, w.y, w.z, v.w);
        }
    }
}

/**
 * v += (1-P) w, given P w in the place of v.
 */
KERNEL void refill(int numAtoms, GLOBAL mixed4* RESTRICT velm, GLOBAL const mixed4* RESTRICT savedVelocity,
        GLOBAL const int* RESTRICT atomIndex, GLOBAL const int* RESTRICT isConstrained, real sqrtkT, unsigned int seed,
        unsigned int stepLow, unsigned int stepHigh) {
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = savedVelocity[index];
        int particle = atomIndex[index];
        if (v.w != 0 && isConstrained[particle]) {
            mixed4 allowed = velm[index];
            mixed3 w = equilibriumVelocity(sqrtkT, v.w, seed, stepLow, stepHigh, particle);
            velm[index] = make_mixed4(v.x+w.x-allowed.x, v.y+w.y-allowed.y, v.z+w.z-allowed.z, v.w);
        }
    }
}

/**
 * What bath and constraints together, and refill if any, have taken from the particles.
 */
KERNEL void countHeat(int numAtoms, GLOBAL const mixed4* RESTRICT velm, GLOBAL const mixed4* RESTRICT savedVelocity, GLOBAL mixed* RESTRICT heat) {
    for (int index = GLOBAL_ID; index < numAtoms; index += GLOBAL_SIZE) {
        mixed4 v = velm[index], old = savedVelocity[index];
        if (v.w != 0)
            heat[index] -= ((v.x-old.x)*(v.x+old.x) + (v.y-old.y)*(v.y+old.y) + (v.z-old.z)*(v.z+old.z))*0.5f/v.w;
    }
}
#endif
