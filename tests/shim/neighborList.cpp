// SPDX-License-Identifier: MIT
// The neighbour list's kernels against all pairs: first build, moved beads, overflow, bad positions.
#include "shim.h"
#include <array>
#include <random>

#define CUTOFF 0.5
#define CUTOFF_SQUARED 0.25
#define LARGEST_POSITION 1e18f
#define SCAN_SIZE 16
#define BLOCK_SIZE 16
namespace group0 {
#include "neighborList.cc"
}
namespace group1 {
#include "neighborList.cc"
}

#ifdef USE_MIXED_PRECISION
#define CORRECTION posqCorrection,
#else
#define CORRECTION
#endif

static const int N = 70, NUM_REPLICAS = 2;
static const float RANGE = 0.6f, ALLOWED = 0.049f;
static const double BOX[3][3] = {{2.0123, 0.0, 0.0}, {0.5234, 2.2567, 0.0}, {-0.5345, 0.7456, 1.8789}};
/** Of displacements within the cutoff, whose components are rounded to 3e-8 in single precision. */
static const double ROUNDING = (PRECISION == 1 ? 1e-7 : 4e-8);
#ifdef USE_PERIODIC
static const int CELLS[3] = {3, 3, 3};
#else
static const int CELLS[3] = {4, 4, 4};
#endif

struct List {
    int capacity, candidateCapacity, resultSet = 0;
    Array<real4> posq{N}, posqCorrection{N}, builtAt{N};
    Array<int> types{N}, replicas{N}, atomIndex{N};
    Array<int> cellCount{1000}, cellStart{1001}, cellBeads{N}, cellOfBead{N}, placeInCell{N}, slotOfAtom{N}, candidateCount{N}, unsorted, candidates;
    Array<int> rowCount{N}, rows, results{8};
    Array<real4> rowDeltas;

    List(int capacity, int candidateCapacity) : capacity(capacity), candidateCapacity(candidateCapacity), unsorted(N*candidateCapacity),
            candidates(N*candidateCapacity), rows(N*capacity), rowDeltas(N*capacity) {
        std::mt19937 random(1);
        std::uniform_real_distribution<double> uniform;
        for (int i = 0; i < N; i++) {
            double s[3] = {uniform(random), uniform(random), uniform(random)}, x[3] = {0, 0, 0};
            for (int k = 0; k < 3; k++)
                for (int m = 0; m < 3; m++)
                    x[k] += s[m]*BOX[m][k];
            posq[i] = make_real4(x[0], x[1], x[2], 0);
            posqCorrection[i] = make_real4(1e-8*s[0], 1e-8*s[1], 1e-8*s[2], 0);
            types[i] = (i%7 == 0 ? -1 : 0);
            replicas[i] = i%NUM_REPLICAS;
            atomIndex[i] = (i*11)%N;
        }
    }
    template <class T> struct Box {
        Vector4<T> size{(T) BOX[0][0], (T) BOX[1][1], (T) BOX[2][2], 0}, inverse{(T) (1/BOX[0][0]), (T) (1/BOX[1][1]), (T) (1/BOX[2][2]), 0};
        Vector4<T> a{(T) BOX[0][0], 0, 0, 0}, b{(T) BOX[1][0], (T) BOX[1][1], 0, 0}, c{(T) BOX[2][0], (T) BOX[2][1], (T) BOX[2][2], 0};
    };
    void build() {
        const float invAllowedSquared = 1/(ALLOWED*ALLOWED);
        const int numCells = NUM_REPLICAS*CELLS[0]*CELLS[1]*CELLS[2];
        Box<real> box;
        LAUNCH(assignCells, 16, N, posq, box.size, box.inverse, box.a, box.b, box.c, CELLS[0], CELLS[1], CELLS[2], 1/RANGE, NUM_REPLICAS, invAllowedSquared,
                resultSet, types, replicas, atomIndex, cellCount, cellOfBead, placeInCell, slotOfAtom, candidateCount, builtAt, results);
        // One work group only, as the host does.
        launch(SCAN_SIZE, [&] { group0::findCellStarts(cellCount, cellStart, numCells); }, [] {});
        LAUNCH(fillCells, 16, N, cellStart, cellOfBead, placeInCell, cellBeads);
        LAUNCH(findCandidates, 16, posq, box.size, box.inverse, box.a, box.b, box.c, CELLS[0], CELLS[1], CELLS[2], RANGE*RANGE, NUM_REPLICAS, resultSet,
                candidateCapacity, replicas, atomIndex, cellStart, cellBeads, cellOfBead, candidateCount, unsorted, results);
        LAUNCH(sortCandidates, 16, N, candidateCapacity, slotOfAtom, candidateCount, unsorted, candidates);
    }
    void findRows() {
        Box<mixed> box;
        real4 sizeRest = make_real4(0, 0, 0, 0), tiltRest = sizeRest;
#if PRECISION == 1
        // As the host divides box vectors: multiples of 1/4096 nm, and the rest.
        auto divide = [](double value, real& coarse, real& rest) {
            coarse = (real) (std::round(4096*value)/4096);
            rest = (real) (value-coarse);
        };
        divide(BOX[0][0], box.a.x, sizeRest.x);
        divide(BOX[1][1], box.b.y, sizeRest.y);
        divide(BOX[2][2], box.c.z, sizeRest.z);
        divide(BOX[1][0], box.b.x, tiltRest.x);
        divide(BOX[2][0], box.c.x, tiltRest.y);
        divide(BOX[2][1], box.c.y, tiltRest.z);
#endif
        LAUNCH(findRows, BLOCK_SIZE, N, posq, CORRECTION box.size, box.inverse, box.a, box.b, box.c, sizeRest, tiltRest, 1/(ALLOWED*ALLOWED), resultSet, candidateCapacity, capacity, types, replicas, atomIndex, builtAt,
                candidateCount, candidates, rowCount, rows, rowDeltas, results);
    }
    /** The results of this evaluation: longest row, longest candidates, bad position, largest move. */
    int result(int k) {
        return results[4*resultSet+k];
    }
    /** Compare with all pairs. */
    void check() {
        for (int i = 0; i < N; i++) {
            struct Neighbor {
                int original, slot;
                std::array<double, 3> delta;
                bool operator<(const Neighbor& other) const {
                    return original < other.original;
                }
            };
            std::vector<Neighbor> expected;
            for (int j = 0; j < N; j++) {
                std::array<double, 3> d = {(double) posq[j].x-posq[i].x, (double) posq[j].y-posq[i].y, (double) posq[j].z-posq[i].z}, delta = d;
#if PRECISION == 2
                d[0] += (double) posqCorrection[j].x-posqCorrection[i].x;
                d[1] += (double) posqCorrection[j].y-posqCorrection[i].y;
                d[2] += (double) posqCorrection[j].z-posqCorrection[i].z;
                delta = d;
#endif
                double nearest = d[0]*d[0]+d[1]*d[1]+d[2]*d[2];
#ifdef USE_PERIODIC
                for (int image = 0; image < 343; image++) {
                    std::array<double, 3> x;
                    double r2 = 0;
                    for (int k = 0; k < 3; k++) {
                        x[k] = d[k]+(image%7-3)*BOX[0][k]+(image/7%7-3)*BOX[1][k]+(image/49-3)*BOX[2][k];
                        r2 += x[k]*x[k];
                    }
                    if (r2 < nearest) {
                        nearest = r2;
                        delta = x;
                    }
                }
#endif
                if (i != j && types[i] >= 0 && types[j] >= 0 && replicas[i] == replicas[j] && nearest < CUTOFF_SQUARED)
                    expected.push_back({atomIndex[j], j, delta});
            }
            std::sort(expected.begin(), expected.end());
            CHECK(rowCount[i] == (int) expected.size());
            for (size_t k = 0; k < expected.size(); k++) {
                CHECK(rows[i*capacity+k] == expected[k].slot);
                real4 delta = rowDeltas[i*capacity+k];
                const std::array<double, 3>& exact = expected[k].delta;
                CHECK(std::max({std::fabs(delta.x-exact[0]), std::fabs(delta.y-exact[1]), std::fabs(delta.z-exact[2])}) < ROUNDING);
                CHECK(delta.w <= (real) CUTOFF);
                CHECK(std::fabs(std::sqrt(delta.x*delta.x+delta.y*delta.y+delta.z*delta.z)-delta.w) < 1e-6);
            }
        }
    }
};

int main() {
    List list(20, 40);
    list.build();
    list.findRows();
    CHECK(list.result(0) == 0 && list.result(1) == 0 && list.result(2) == 0);
    list.check();

    // Moved by less than allowed: the same candidates hold.
    list.resultSet = 1;
    for (int i = 0; i < N; i++)
        list.posq[i].x += (i%2 == 0 ? 0.04 : -0.04);
    list.findRows();
    CHECK(list.result(3) > 500000 && list.result(3) < 1000000);
    list.check();

    // Moved too far: known, and right once built again.
    list.resultSet = 0;
    list.posq[8].y += 0.8;
    list.findRows();
    CHECK(list.result(3) >= 1000000);
    list.resultSet = 1;
    list.build();
    list.findRows();
    list.check();

    // A bead that ceases to take part has moved too far, one that never did has not.
    list.resultSet = 0;
    list.posq[7].x += 5;
    list.findRows();
    CHECK(list.result(3) < 1000000);
    list.resultSet = 1;
    list.types[8] = -1;
    list.findRows();
    CHECK(list.result(3) >= 1000000);

    // The first original index of two bad positions.
    list.resultSet = 0;
    list.posq[9].z = NAN;
    list.posq[10].x = INFINITY;
    list.build();
    list.findRows();
    CHECK(list.result(2) == N-std::min(list.atomIndex[9], list.atomIndex[10]));

    // Rows and candidates without enough room.
    List small(1, 2);
    small.build();
    small.findRows();
    CHECK(small.result(0) == 0 || small.result(0) > 1);
    CHECK(small.result(1) > 2);
    List narrow(1, 40);
    narrow.build();
    narrow.findRows();
    CHECK(narrow.result(0) > 1);
    CHECK(narrow.result(1) == 0);
#ifdef OUT_OF_BOUNDS
    narrow.capacity = 20;
    narrow.findRows();
#endif
    return 0;
}
