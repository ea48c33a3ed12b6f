// SPDX-License-Identifier: MIT
#pragma once
#include "CpuNeighborList.h"
#include <vector>

// Before a loop over a row: its arrays do not overlap.
#if defined(__clang__)
#define MEANFORCE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define MEANFORCE_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace meanforce {

/** The neighbours of one bead within the cutoff, in double precision: working memory of one thread. */
class CpuPairRow {
public:
    /** What a pass over the row reads: plain arrays, so that it can be vector code. */
    struct View {
        int count;
        int *bead, *interval;
        double *x, *y, *z;     // the vector to the neighbour
        double *r2;            // the square of its length
        double *a, *b;         // for whatever is computed of it
    };
    /** Make room for so many neighbours. */
    View reserve(size_t size) {
        if (bead.size() < size) {
            bead.resize(size);
            interval.resize(size);
            for (auto* array : {&x, &y, &z, &r2, &a, &b})
                array->resize(size);
        }
        return {0, bead.data(), interval.data(), x.data(), y.data(), z.data(), r2.data(), a.data(), b.data()};
    }
private:
    std::vector<int> bead, interval;
    std::vector<double> x, y, z, r2, a, b;
};

/** Fill a row with the neighbours of a bead that are nearer than the cutoff. */
inline void findPairRow(int bead, const CpuNeighborList::Neighbor* begin, const CpuNeighborList::Neighbor* end, const OpenMM::Vec3* positions,
        bool periodic, const OpenMM::Vec3* box, double cutoff2, CpuPairRow::View& row) {
    const double x0 = positions[bead][0], y0 = positions[bead][1], z0 = positions[bead][2];
    // OpenMM's boxes are lower triangular.
    const double ax = box[0][0], bx = box[1][0], by = box[1][1], cx = box[2][0], cy = box[2][1], cz = box[2][2];
    int count = 0;
    // Every candidate is written, and kept by moving on: no branch is there to be mispredicted.
    for (const CpuNeighborList::Neighbor* n = begin; n != end; n++) {
        double x = positions[n->bead][0]-x0, y = positions[n->bead][1]-y0, z = positions[n->bead][2]-z0;
        if (periodic) {
            x += ax*n->image[0]+bx*n->image[1]+cx*n->image[2];
            y += by*n->image[1]+cy*n->image[2];
            z += cz*n->image[2];
        }
        const double r2 = x*x+y*y+z*z;
        row.bead[count] = n->bead;
        row.x[count] = x;
        row.y[count] = y;
        row.z[count] = z;
        row.r2[count] = r2;
        count += (r2 < cutoff2);
    }
    row.count = count;
}

}
