// SPDX-License-Identifier: MIT
#include "CpuCalcPairSplineForceKernel.h"
#include "CpuVector.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/SplinePieces.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The shortest loop over beads that is worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 400;

// ---- vector code: plain static functions on plain arrays ----

namespace {

MEANFORCE_CLONES void findNeighborsOfRow(int bead, const CpuNeighborList::Neighbor* begin, const CpuNeighborList::Neighbor* end, const Vec3* positions,
        bool periodic, const Vec3* box, double cutoff2, CpuPairRow::View& row) {
    findPairRow(bead, begin, end, positions, periodic, box, cutoff2, row);
}

/** Returns the energy of all pairs of the row; adds to the force on its bead. */
MEANFORCE_CLONES double evaluateRow(const CpuSplinePieces& s, CpuPairRow::View& row, double* force) {
    double *f = row.a, *inverseR = row.b;
    for (int e = 0; e < row.count; e++) {
        const double r = sqrt(row.r2[e]);
        const double u = (s.cutoff-r)*s.inverseSpacing;
        const int n = (int) u;
        row.interval[e] = n < s.numFunctions ? n : s.numFunctions-1;
        f[e] = u-row.interval[e];
        // Two beads at the same point have no direction.
        inverseR[e] = r > 0 ? 1/r : 0.0;
    }
    double energy = 0.0, fx = 0.0, fy = 0.0, fz = 0.0;
    for (int e = 0; e < row.count; e++) {
        const double* a = s.pieces+4*(s.start[s.types[row.bead[e]]]+row.interval[e]);
        energy += a[0]+f[e]*(a[1]+f[e]*(a[2]+f[e]*a[3]));
        const double scale = inverseR[e]*(a[1]+f[e]*(2*a[2]+f[e]*3*a[3]));
        fx += scale*row.x[e];
        fy += scale*row.y[e];
        fz += scale*row.z[e];
    }
    force[0] = -s.inverseSpacing*fx;
    force[1] = -s.inverseSpacing*fy;
    force[2] = -s.inverseSpacing*fz;
    return energy;
}

}

// ---- the kernel ----

void CpuCalcPairSplineForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const PairSplineForce&>(beadForce);
    numTypes = force.getNumTypes();
    numFunctions = force.getNumFunctions();
    pieces = splinePieces(force.getCoefficients(), numFunctions);
    start.clear();
    for (int type1 = 0; type1 < numTypes; type1++)
        for (int type2 = 0; type2 < numTypes; type2++)
            start.push_back(PairSplineForce::getPair(type1, type2)*numFunctions);
    exclusions = force.listExclusions();
    rows.resize(parallel.getNumThreads());
}

void CpuCalcPairSplineForceKernel::compute(const Vec3* box, double temperature, vector<Vec3>* forces) {
    parallel.run((int) particles.size(), MIN_BEADS_PER_THREAD, [&](int thread, int begin, int end) {
        for (int bead = begin; bead < end; bead++) {
            CpuPairRow::View row = rows[thread].reserve(list->end(bead)-list->begin(bead));
            findNeighborsOfRow(bead, list->begin(bead), list->end(bead), positions.data(), periodic, box, cutoff*cutoff, row);
            if (!exclusions[particles[bead]].empty())
                removeExclusions(bead, row);
            Vec3 force;
            A[bead] = (float) (0.5*evaluateRow({numFunctions, cutoff, numFunctions/cutoff, pieces.data(), &start[types[bead]*numTypes], types.data()},
                    row, &force[0]));
            if (forces != nullptr)
                (*forces)[particles[bead]] += force;
        }
    });
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
