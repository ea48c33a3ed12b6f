// SPDX-License-Identifier: MIT
#include "CpuCalcStillingerWeberForceKernel.h"
#include "CpuClones.h"
#include "meanforce/StillingerWeberForce.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest beads that are worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 400;
/** The density, the vector, and the tensor as xx, yy, zz, yz, xz, xy. */
static constexpr int MOMENTS = 10;

// ---- vector code: plain static functions on plain arrays, whose loops over neighbours the compiler turns into vectors ----

namespace {

/** exp(x) to a relative error of 1e-15 for x <= 0, without branches; below -700 it is 0. */
__attribute__((always_inline)) inline double expOfNegative(double argument) {
    const double x = argument > -700.0 ? argument : -700.0;
    // exp(x) = 2^n exp(r), |r| < ln(2)/2.  Adding 1.5*2^52 rounds to an integer and leaves it in the lowest bits.
    const double shift = 6755399441055744.0;
    const double shifted = x*1.4426950408889634+shift;
    const double n = shifted-shift;
    const double r = (x-n*6.93147180369123816490e-01)-n*1.90821492927058770002e-10;
    double series = 1.0/6227020800;
    const double inverseFactorials[] = {1.0/479001600, 1.0/39916800, 1.0/3628800, 1.0/362880, 1.0/40320, 1.0/5040, 1.0/720, 1.0/120,
            1.0/24, 1.0/6, 1.0/2, 1.0, 1.0};
    MEANFORCE_UNROLL
    for (int i = 0; i < 13; i++)
        series = series*r+inverseFactorials[i];
    int64_t bits, exponent;
    memcpy(&bits, &series, sizeof(bits));
    memcpy(&exponent, &shifted, sizeof(exponent));
    bits += (int64_t) ((uint64_t) exponent << 52);
    memcpy(&series, &bits, sizeof(bits));
    return argument > -700.0 ? series : 0.0;
}

/** Replace x, y, z by the unit vector and r2 by 1/r; set a to g and b to its derivative. */
inline void fadeNeighbors(const CpuTriplets& p, CpuPairRow::View& row) {
    for (int e = 0; e < row.count; e++) {
        const double* pair = p.pairs+2*p.types[row.bead[e]];
        row.a[e] = pair[0];
        row.b[e] = pair[1];
    }
    MEANFORCE_INDEPENDENT
    for (int e = 0; e < row.count; e++) {
        const double r = sqrt(row.r2[e]), gap = r-row.a[e], gamma = row.b[e];
        // Two beads at the same point have no direction.
        const double inverseR = r > 0 ? 1/r : 0.0;
        const double inverseGap = gap < 0 ? 1/gap : 0.0;
        const double g = gap < 0 ? expOfNegative(gamma*inverseGap) : 0.0;
        row.x[e] *= inverseR;
        row.y[e] *= inverseR;
        row.z[e] *= inverseR;
        row.r2[e] = inverseR;
        row.a[e] = g;
        row.b[e] = -g*gamma*inverseGap*inverseGap;
    }
}

/** The moments M of the neighbours of each type, and G, the derivatives of the sum over their pairs, whose value is returned. */
inline double computeMoments(const CpuTriplets& p, const CpuPairRow::View& row, double* M, double* G) {
    for (int m = 0; m < MOMENTS*p.numTypes; m++)
        M[m] = G[m] = 0.0;
    for (int e = 0; e < row.count; e++) {
        double* sum = M+MOMENTS*p.types[row.bead[e]];
        const double x = row.x[e], y = row.y[e], z = row.z[e], g = row.a[e];
        sum[0] += g;
        sum[1] += g*x;
        sum[2] += g*y;
        sum[3] += g*z;
        sum[4] += g*x*x;
        sum[5] += g*y*y;
        sum[6] += g*z*z;
        sum[7] += g*y*z;
        sum[8] += g*x*z;
        sum[9] += g*x*y;
    }
    double energy = 0.0;
    for (int s = 0; s < p.numTypes; s++) {
        double* Gs = G+MOMENTS*s;
        for (int t = 0; t < p.numTypes; t++) {
            const double *c = p.triplets+3*(s*p.numTypes+t), *Mt = M+MOMENTS*t;
            for (int m = 0; m < MOMENTS; m++)
                Gs[m] += (m == 0 ? c[0] : (m < 4 ? c[1] : c[2]))*Mt[m];
        }
        for (int m = 0; m < MOMENTS; m++)
            energy += (m < 7 ? 0.5 : 1.0)*Gs[m]*M[MOMENTS*s+m];
    }
    return energy;
}

/** Replace x, y, z by the gradient with respect to the vector to the neighbour; returns what pairs of a neighbour with itself added. */
inline double computeGradients(const CpuTriplets& p, CpuPairRow::View& row, const double* G) {
    double selfEnergy = 0.0;
    // Neighbours come in runs of one type.
    for (int first = 0, last; first < row.count; first = last) {
        const int type = p.types[row.bead[first]];
        for (last = first; last < row.count && p.types[row.bead[last]] == type; last++);
        double g[MOMENTS];
        for (int m = 0; m < MOMENTS; m++)
            g[m] = G[MOMENTS*type+m];
        const double* c = p.triplets+3*(type*p.numTypes+type);
        const double c0 = c[0], c12 = c[1]+c[2];
        MEANFORCE_INDEPENDENT
        for (int e = first; e < last; e++) {
            const double x = row.x[e], y = row.y[e], z = row.z[e], inverseR = row.r2[e], fade = row.a[e];
            const double self = fade*(c0+(inverseR > 0 ? c12 : 0.0));
            const double qx = g[4]*x+g[9]*y+g[8]*z, qy = g[9]*x+g[5]*y+g[7]*z, qz = g[8]*x+g[7]*y+g[6]*z;
            const double vn = g[1]*x+g[2]*y+g[3]*z, qn = qx*x+qy*y+qz*z;
            const double w = fade*inverseR;
            const double radial = row.b[e]*(g[0]+vn+qn-self)-w*(vn+2*qn);
            row.x[e] = radial*x+w*(g[1]+2*qx);
            row.y[e] = radial*y+w*(g[2]+2*qy);
            row.z[e] = radial*z+w*(g[3]+2*qz);
            row.a[e] = 0.5*fade*self;
        }
        for (int e = first; e < last; e++)
            selfEnergy += row.a[e];
    }
    return selfEnergy;
}

/** Add the energy and the forces of the triples with this bead in the centre to the sums (force, energy). */
MEANFORCE_CLONES void evaluateRow(int bead, const CpuTriplets& p, CpuPairRow::View& row, double* moments, double* sums) {
    fadeNeighbors(p, row);
    double *M = moments, *G = moments+MOMENTS*p.numTypes;
    double* own = sums+4*bead;
    own[3] += computeMoments(p, row, M, G);
    own[3] -= computeGradients(p, row, G);
    double fx = 0.0, fy = 0.0, fz = 0.0;
    for (int e = 0; e < row.count; e++) {
        double* neighbor = sums+4*row.bead[e];
        fx += row.x[e];
        fy += row.y[e];
        fz += row.z[e];
        neighbor[0] -= row.x[e];
        neighbor[1] -= row.y[e];
        neighbor[2] -= row.z[e];
    }
    own[0] += fx;
    own[1] += fy;
    own[2] += fz;
}

}

// ---- the kernel ----

void CpuCalcStillingerWeberForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const StillingerWeberForce&>(beadForce);
    numTypes = force.getNumTypes();
    pairParameters = force.getAllPairParameters();
    tripletParameters = force.getAllTripletParameters();
    rows.resize(parallel.getNumThreads());
    moments.assign(parallel.getNumThreads(), vector<double>(2*MOMENTS*numTypes));
}

void CpuCalcStillingerWeberForceKernel::compute(double temperature, vector<Vec3>* forces) {
    const int numBeads = (int) particles.size();
    const int parts = max(1, min(parallel.getNumThreads(), numBeads/MIN_BEADS_PER_THREAD));
    sums.initialize(parts, numBeads);
    parallel.run(parts, 1, [&](int thread, int begin, int end) {
        for (int part = begin; part < end; part++)
            for (int bead = (int) ((long long) numBeads*part/parts); bead < (long long) numBeads*(part+1)/parts; bead++) {
                const CpuTriplets parameters = {numTypes, &pairParameters[2*types[bead]*numTypes],
                        &tripletParameters[3*types[bead]*numTypes*numTypes], types.data()};
                const int place = placeOf[bead];
                CpuPairRow::View row = rows[part].reserve(list->end(place)-list->begin(place));
                findPairRow(*list, place, list->begin(place), list->end(place), cutoff*cutoff, row);
                evaluateRow(bead, parameters, row, moments[part].data(), sums.getPart(part));
            }
    });
    sums.addUp(particles, A, forces);
}

}
