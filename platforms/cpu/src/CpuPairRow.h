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

/**
 * Fill a row with neighbours of the bead at a place that are nearer than the cutoff.
 *
 * @param begin, end    part of the place's row in the list; row.bead will hold beads, not places
 */
inline void findPairRow(const CpuNeighborList& list, int place, const CpuNeighborList::Neighbor* begin, const CpuNeighborList::Neighbor* end,
        double cutoff2, CpuPairRow::View& row) {
    const int* order = list.getOrder().data();
    int count = 0;
    // Every candidate is written, and kept by moving on: no branch is there to be mispredicted.
    for (const CpuNeighborList::Neighbor* n = begin; n != end; n++) {
        const OpenMM::Vec3 delta = list.getDelta(place, *n);
        const double r2 = delta.dot(delta);
        row.bead[count] = order[n->place()];
        row.x[count] = delta[0];
        row.y[count] = delta[1];
        row.z[count] = delta[2];
        row.r2[count] = r2;
        count += (r2 < cutoff2);
    }
    row.count = count;
}

}
