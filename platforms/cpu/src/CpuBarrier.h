// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace meanforce {

/**
 * Lets the threads of one parallel section wait for each other.  Waking a thread takes as long as many phases do, so a
 * thread first watches for the others; but not for long, because they may be waiting for its core.
 */
class CpuBarrier {
public:
    explicit CpuBarrier(int numThreads) : numThreads(numThreads) {
    }
    void wait() {
        const int current = generation.load();
        if (arrived.fetch_add(1)+1 == numThreads) {
            arrived.store(0);
            {
                std::lock_guard<std::mutex> guard(lock);
                generation.store(current+1);
            }
            wake.notify_all();
            return;
        }
        const auto start = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now()-start < std::chrono::microseconds(50))
            if (generation.load() != current)
                return;
        std::unique_lock<std::mutex> guard(lock);
        wake.wait(guard, [&] { return generation.load() != current; });
    }
private:
    const int numThreads;
    std::atomic<int> arrived{0}, generation{0};
    std::mutex lock;
    std::condition_variable wake;
};

}
