// SPDX-License-Identifier: MIT
#include "InstructionSet.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

namespace meanforce {

namespace Baseline {
extern const MomentTensorKernels momentTensorKernels;
extern const SchNetKernels schNetKernels;
}

#ifdef MEANFORCE_HAS_X86_64_LEVELS

namespace AVX2 {
extern const MomentTensorKernels momentTensorKernels;
extern const SchNetKernels schNetKernels;
}
namespace AVX512 {
extern const MomentTensorKernels momentTensorKernels;
extern const SchNetKernels schNetKernels;
}

static InstructionSet findBest() {
    // The features of the x86-64-v4 and v3 levels that compilers make use of.
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return v4 ? InstructionSet::AVX512 : (v3 ? InstructionSet::AVX2 : InstructionSet::Baseline);
}

#else

namespace AVX2 = Baseline;
namespace AVX512 = Baseline;

static InstructionSet findBest() {
    return InstructionSet::Baseline;
}

#endif

InstructionSet detectInstructionSet() {
    const InstructionSet best = findBest();
    const char* wanted = std::getenv("MEANFORCE_INSTRUCTION_SET");
    if (wanted == nullptr)
        return best;
    const std::string names[] = {"Baseline", "AVX2", "AVX512"};
    const int set = (int) (std::find(std::begin(names), std::end(names), wanted)-std::begin(names));
    if (set == (int) std::size(names))
        throw OpenMM::OpenMMException("MEANFORCE_INSTRUCTION_SET must be Baseline, AVX2 or AVX512, found '"+std::string(wanted)+"'");
    if (set > (int) best)
        throw OpenMM::OpenMMException("MEANFORCE_INSTRUCTION_SET is "+names[set]+", but this processor or build has at most "+names[(int) best]);
    return (InstructionSet) set;
}

template <class Kernels>
static const Kernels& select(InstructionSet set, const Kernels& baseline, const Kernels& avx2, const Kernels& avx512) {
    switch (set) {
        case InstructionSet::AVX512: return avx512;
        case InstructionSet::AVX2: return avx2;
        default: return baseline;
    }
}

const MomentTensorKernels& getMomentTensorKernels(InstructionSet set) {
    return select(set, Baseline::momentTensorKernels, AVX2::momentTensorKernels, AVX512::momentTensorKernels);
}

const SchNetKernels& getSchNetKernels(InstructionSet set) {
    return select(set, Baseline::schNetKernels, AVX2::schNetKernels, AVX512::schNetKernels);
}

}
