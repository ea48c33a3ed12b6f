// SPDX-License-Identifier: MIT
// Runs kernel text as plain C++20 on the host, for sanitizers and debuggers: one thread for each work item of two work groups.
//
// A driver includes this file, defines what the host code would pass to the compiler, and then
//     namespace group0 {
//     #include "x.cc"
//     }
//     namespace group1 {
//     #include "x.cc"
//     }
// so that each group has LOCAL memory of its own; LAUNCH(kernel, blockSize, arguments...) runs it.  Compile with
// -DPRECISION=1, 2 or 3 for single, mixed or double; global memory is Array, whose bounds the address sanitizer knows.
#pragma once
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

template <class T> struct Vector3 {
    T x, y, z;
};
template <class T> struct alignas(4*sizeof(T)) Vector4 {
    T x, y, z, w;
};
typedef long long mm_long;
typedef unsigned long long mm_ulong;
#if PRECISION == 3
#define USE_DOUBLE_PRECISION 1
typedef double real;
#else
typedef float real;
#endif
#if PRECISION == 1
typedef float mixed;
#else
typedef double mixed;
#endif
#if PRECISION == 2
#define USE_MIXED_PRECISION 1
#endif
typedef Vector3<real> real3;
typedef Vector4<real> real4;
typedef Vector3<mixed> mixed3;
typedef Vector4<mixed> mixed4;
#define make_real3(a, b, c) real3{(real) (a), (real) (b), (real) (c)}
#define make_real4(a, b, c, d) real4{(real) (a), (real) (b), (real) (c), (real) (d)}
#define make_mixed3(a, b, c) mixed3{(mixed) (a), (mixed) (b), (mixed) (c)}
#define make_mixed4(a, b, c, d) mixed4{(mixed) (a), (mixed) (b), (mixed) (c), (mixed) (d)}

/** Where a thread is; what is not a work item has no barrier. */
struct WorkItem {
    int local, localSize, group;
    std::barrier<>* barrier;
};
inline thread_local WorkItem workItem;
constexpr int NUM_WORK_GROUPS = 2;

#define KERNEL inline
#define DEVICE inline
#define GLOBAL
#define LOCAL static
#define LOCAL_ARG
#define RESTRICT __restrict__
#define LOCAL_ID workItem.local
#define LOCAL_SIZE workItem.localSize
#define GROUP_ID workItem.group
#define NUM_GROUPS NUM_WORK_GROUPS
#define GLOBAL_ID (workItem.group*workItem.localSize+workItem.local)
#define GLOBAL_SIZE (NUM_WORK_GROUPS*workItem.localSize)
#ifdef WITHOUT_BARRIERS
#define SYNC_THREADS
#else
#define SYNC_THREADS workItem.barrier->arrive_and_wait();
#endif
#define MEM_FENCE std::atomic_thread_fence(std::memory_order_seq_cst);
#define SQRT std::sqrt
#define RSQRT(x) (1/std::sqrt(x))
#define RECIP(x) (1/(x))
#define EXP std::exp
#define LOG std::log
#define POW std::pow
#define SIN std::sin
#define COS std::cos
#define FABS std::fabs
#define FMA std::fma
using std::max;
using std::min;

// As OpenMM's, for a box of any shape.
#define APPLY_PERIODIC_TO_DELTA(delta) { \
    real scale3 = std::floor(delta.z*invPeriodicBoxSize.z+0.5f); \
    delta.x -= scale3*periodicBoxVecZ.x; delta.y -= scale3*periodicBoxVecZ.y; delta.z -= scale3*periodicBoxVecZ.z; \
    real scale2 = std::floor(delta.y*invPeriodicBoxSize.y+0.5f); \
    delta.x -= scale2*periodicBoxVecY.x; delta.y -= scale2*periodicBoxVecY.y; \
    real scale1 = std::floor(delta.x*invPeriodicBoxSize.x+0.5f); \
    delta.x -= scale1*periodicBoxVecX.x; }

template <class T> T atomicAdd(T* target, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*target).fetch_add(value);
}
template <class T> void atomicMax(T* target, std::type_identity_t<T> value) {
    std::atomic_ref<T> reference(*target);
    for (T old = reference.load(); old < value && !reference.compare_exchange_weak(old, value); );
}
#define ATOMIC_ADD(target, value) atomicAdd(target, value)
#define ATOMIC_MAX_INT(target, value) atomicMax(target, value)
inline mm_long realToFixedPoint(real x) {
    return (mm_long) (x*0x100000000);
}

/** Global memory.  Converts to the pointer that kernels take. */
template <class T> class Array {
public:
    explicit Array(size_t size, T value = T()) : data(size, value) {
    }
    explicit Array(const std::vector<T>& values) : data(values) {
    }
    operator T*() {
        return data.data();
    }
    T& operator[](size_t i) {
        return data.at(i);
    }
    size_t size() const {
        return data.size();
    }
private:
    std::vector<T> data;
};

/** Run one function for each work group, both at the same time. */
template <class F0, class F1> void launch(int blockSize, F0 group0, F1 group1) {
    std::barrier<> barriers[NUM_WORK_GROUPS] = {std::barrier<>(blockSize), std::barrier<>(blockSize)};
    std::vector<std::thread> threads;
    for (int group = 0; group < NUM_WORK_GROUPS; group++)
        for (int local = 0; local < blockSize; local++)
            threads.emplace_back([&, group, local] {
                workItem = {local, blockSize, group, &barriers[group]};
                group == 0 ? group0() : group1();
                barriers[group].arrive_and_drop();
            });
    for (std::thread& thread : threads)
        thread.join();
}
#define LAUNCH(kernel, blockSize, ...) launch(blockSize, [&] { group0::kernel(__VA_ARGS__); }, [&] { group1::kernel(__VA_ARGS__); })

/** End the program with status 1 unless the condition holds. */
#define CHECK(condition) \
    if (!(condition)) { \
        std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
        std::exit(1); \
    }

/** Fill a model's rows with the neighbours nearer than `range` of its beads that take part. */
template <class Model> void findRows(Model& model, int numBeads, int capacity, double range) {
    const auto& x = model.x;
    for (int i = 0; i < numBeads; i++) {
        model.rowCount[i] = 0;
        for (int j = 0; j < numBeads; j++) {
            const double d[3] = {x[j][0]-x[i][0], x[j][1]-x[i][1], x[j][2]-x[i][2]}, r = std::sqrt(d[0]*d[0]+d[1]*d[1]+d[2]*d[2]);
            if (i != j && model.types[i] >= 0 && model.types[j] >= 0 && r < range) {
                model.rows[i*capacity+model.rowCount[i]] = j;
                model.deltas[i*capacity+model.rowCount[i]++] = make_real4(d[0], d[1], d[2], r);
            }
        }
    }
}

/** The sum of the energies of the beads that take part. */
template <class Model> double sumEnergies(Model& model, int numBeads) {
    double energy = 0;
    for (int i = 0; i < numBeads; i++)
        energy += (model.types[i] >= 0 ? model.energies[i] : 0);
    return energy;
}

/** Forces are the gradient of the energy, for these pairs of a bead and a direction. */
template <class Model> void checkForces(Model& model, int numBeads, int paddedNumBeads, const std::vector<std::pair<int, int> >& components) {
    model.evaluate();
    std::vector<double> found;
    double largest = 0;
    for (int i = 0; i < numBeads; i++)
        for (int k = 0; k < 3; k++) {
            found.push_back((mm_long) model.forces[i+k*paddedNumBeads]/(double) 0x100000000);
            largest = std::max(largest, std::fabs(found.back()));
        }
    CHECK(largest > 1);
    const double h = 1e-5;
    for (auto [i, k] : components) {
        const double before = model.x[i][k];
        model.x[i][k] = before+h;
        const double plus = model.evaluate();
        model.x[i][k] = before-h;
        const double minus = model.evaluate();
        model.x[i][k] = before;
        CHECK(std::fabs((minus-plus)/(2*h)-found[3*i+k]) < 1e-6*largest);
    }
}
