// SPDX-License-Identifier: MIT
#include "CpuCalcPairSplineForceKernel.h"
#include "CpuClones.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/SplinePieces.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest beads that are worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 500;

// ---- vector code: plain static functions on plain arrays ----

namespace {

/** Add to the sums (force, energy) of the row's bead and of its neighbours. */
MEANFORCE_CLONES void evaluateRow(int bead, const CpuSplinePieces& s, CpuPairRow::View& row, double* sums) {
    double *f = row.a, *inverseR = row.b;
    const int count = row.count, lastInterval = s.numFunctions-1;
    MEANFORCE_INDEPENDENT
    for (int e = 0; e < count; e++) {
        const double r = sqrt(row.r2[e]);
        const double u = (s.cutoff-r)*s.inverseSpacing;
        int n = (int) u;
        n = n < lastInterval ? n : lastInterval;
        row.interval[e] = n;
        f[e] = u-n;
        // Two beads at the same point have no direction.
        inverseR[e] = r > 0 ? 1/r : 0.0;
    }
    double fx = 0.0, fy = 0.0, fz = 0.0, energy = 0.0;
    for (int e = 0; e < count; e++) {
        const double* a = s.pieces+4*(s.start[s.types[row.bead[e]]]+row.interval[e]);
        const double scale = s.inverseSpacing*inverseR[e]*(a[1]+f[e]*(2*a[2]+f[e]*3*a[3]));
        const double x = scale*row.x[e], y = scale*row.y[e], z = scale*row.z[e];
        const double half = 0.5*(a[0]+f[e]*(a[1]+f[e]*(a[2]+f[e]*a[3])));
        fx -= x;
        fy -= y;
        fz -= z;
        energy += half;
        double* neighbor = sums+4*row.bead[e];
        neighbor[0] += x;
        neighbor[1] += y;
        neighbor[2] += z;
        neighbor[3] += half;
    }
    double* own = sums+4*bead;
    own[0] += fx;
    own[1] += fy;
    own[2] += fz;
    own[3] += energy;
}

}

// ---- the kernel ----

void CpuCalcPairSplineForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const PairSplineForce&>(beadForce);
    numTypes = force.getNumTypes();
    numFunctions = force.getNumFunctions();
    pieces = splinePieces(force.getCoefficients(), numFunctions, numFunctions);
    start.clear();
    for (int type1 = 0; type1 < numTypes; type1++)
        for (int type2 = 0; type2 < numTypes; type2++)
            start.push_back(PairSplineForce::getPair(type1, type2)*numFunctions);
    exclusions = force.listExclusions();
    rows.resize(parallel.getNumThreads());
}

void CpuCalcPairSplineForceKernel::compute(double temperature, vector<Vec3>* forces) {
    const int numBeads = (int) particles.size();
    const int parts = max(1, min(parallel.getNumThreads(), numBeads/MIN_BEADS_PER_THREAD));
    const vector<int> first = divideWork(parts);
    sums.initialize(parts, numBeads);
    parallel.run(parts, 1, [&](int thread, int begin, int end) {
        for (int part = begin; part < end; part++)
            computeBeads(first[part], first[part+1], rows[part], sums.getPart(part));
    });
    sums.addUp(particles, A, forces);
}

const CpuNeighborList::Neighbor* CpuCalcPairSplineForceKernel::firstLater(int bead) const {
    // Rows are sorted by bead.  Two images of one neighbour stand in the rows of both beads.
    const int place = placeOf[bead];
    return lower_bound(list->begin(place), list->end(place), bead, [&](const CpuNeighborList::Neighbor& n, int bead) {
        return list->getOrder()[n.place()] < bead;
    });
}

/** Where the beads of each part start, so that all parts have about the same number of pairs. */
vector<int> CpuCalcPairSplineForceKernel::divideWork(int parts) const {
    const int numBeads = (int) particles.size();
    if (parts == 1)
        return {0, numBeads};
    vector<long long> before = {0};
    for (int bead = 0; bead < numBeads; bead++)
        before.push_back(before[bead]+(list->end(placeOf[bead])-firstLater(bead)));
    vector<int> first;
    for (int part = 0; part < parts; part++)
        first.push_back((int) (lower_bound(before.begin(), before.end()-1, before[numBeads]*part/parts)-before.begin()));
    first.push_back(numBeads);
    return first;
}

void CpuCalcPairSplineForceKernel::computeBeads(int begin, int end, CpuPairRow& memory, double* sums) const {
    for (int bead = begin; bead < end; bead++) {
        const CpuNeighborList::Neighbor *first = firstLater(bead), *last = list->end(placeOf[bead]);
        CpuPairRow::View row = memory.reserve(last-first);
        findPairRow(*list, placeOf[bead], first, last, cutoff*cutoff, row);
        if (!exclusions[particles[bead]].empty())
            removeExclusions(bead, row);
        evaluateRow(bead, {numFunctions, cutoff, numFunctions/cutoff, pieces.data(), &start[types[bead]*numTypes], types.data()}, row, sums);
    }
}

void CpuCalcPairSplineForceKernel::removeExclusions(int bead, CpuPairRow::View& row) const {
    const vector<int>& excluded = exclusions[particles[bead]];
    int count = 0;
    for (int e = 0; e < row.count; e++) {
        if (binary_search(excluded.begin(), excluded.end(), particles[row.bead[e]]))
            continue;
        row.bead[count] = row.bead[e];
        row.x[count] = row.x[e];
        row.y[count] = row.y[e];
        row.z[count] = row.z[e];
        row.r2[count] = row.r2[e];
        count++;
    }
    row.count = count;
}

}
