// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <new>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace meanforce {

/**
 * Memory that starts at a cache line, so that a row of whole vectors crosses none.  A large array starts at a huge page and
 * asks for them: rows of many neighbours are far apart, and looking up each one's page takes time.
 */
template <class T>
struct CacheLineAllocator {
    typedef T value_type;
    static constexpr std::size_t CacheLine = 64, HugePage = 1 << 21;
    CacheLineAllocator() = default;
    template <class U>
    CacheLineAllocator(const CacheLineAllocator<U>&) {
    }
    T* allocate(std::size_t n) {
        void* result = ::operator new(n*sizeof(T), getAlignment(n));
#ifdef __linux__
        if (getAlignment(n) == std::align_val_t(HugePage))
            madvise(result, n*sizeof(T)/HugePage*HugePage, MADV_HUGEPAGE);
#endif
        return static_cast<T*>(result);
    }
    void deallocate(T* p, std::size_t n) {
        ::operator delete(p, getAlignment(n));
    }
    static std::align_val_t getAlignment(std::size_t n) {
        return std::align_val_t(n*sizeof(T) < 4*HugePage ? CacheLine : HugePage);
    }
    template <class U>
    bool operator==(const CacheLineAllocator<U>&) const {
        return true;
    }
    template <class U>
    bool operator!=(const CacheLineAllocator<U>&) const {
        return false;
    }
};

template <class T>
using AlignedVector = std::vector<T, CacheLineAllocator<T> >;

}
