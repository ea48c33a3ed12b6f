// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/internal/ThreadPool.h"
#include <exception>
#include <mutex>

namespace meanforce {

/**
 * Runs loops on the platform's thread pool.  Waking the pool costs about 50 us, so a loop that is too short to gain, or
 * has only one thread to run on, runs on the calling thread.
 */
class CpuParallel {
public:
    explicit CpuParallel(OpenMM::ThreadPool& pool) : pool(pool) {
    }
    int getNumThreads() const {
        return pool.getNumThreads();
    }
    /** Call body(thread, begin, end) for consecutive parts of 0..count-1; minimum is the shortest loop worth a thread. */
    template <class Body>
    void run(int count, int minimum, Body body) {
        const int numThreads = pool.getNumThreads();
        if (numThreads == 1 || count < 2*minimum) {
            body(0, 0, count);
            return;
        }
        // An exception that leaves a worker thread would end the process.
        std::exception_ptr failure;
        std::mutex lock;
        pool.execute([&](OpenMM::ThreadPool&, int thread) {
            try {
                body(thread, (int) ((long long) count*thread/numThreads), (int) ((long long) count*(thread+1)/numThreads));
            }
            catch (...) {
                std::lock_guard<std::mutex> guard(lock);
                failure = std::current_exception();
            }
        });
        pool.waitForThreads();
        if (failure)
            std::rethrow_exception(failure);
    }
private:
    OpenMM::ThreadPool& pool;
};

}
