// SPDX-License-Identifier: MIT
#include "InstructionSet.h"

namespace meanforce {

#ifdef MEANFORCE_HAS_X86_64_LEVELS

namespace Baseline { extern const SchNetKernels schNetKernels; }
namespace AVX2 { extern const SchNetKernels schNetKernels; }
namespace AVX512 { extern const SchNetKernels schNetKernels; }

InstructionSet detectInstructionSet() {
    // The features of the x86-64-v4 and v3 levels that compilers make use of.
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return v4 ? InstructionSet::AVX512 : (v3 ? InstructionSet::AVX2 : InstructionSet::Baseline);
}

const SchNetKernels& getSchNetKernels(InstructionSet set) {
    switch (set) {
        case InstructionSet::AVX512: return AVX512::schNetKernels;
        case InstructionSet::AVX2: return AVX2::schNetKernels;
        default: return Baseline::schNetKernels;
    }
}

#else

namespace Baseline { extern const SchNetKernels schNetKernels; }

InstructionSet detectInstructionSet() {
    return InstructionSet::Baseline;
}

const SchNetKernels& getSchNetKernels(InstructionSet) {
    return Baseline::schNetKernels;
}

#endif

}
