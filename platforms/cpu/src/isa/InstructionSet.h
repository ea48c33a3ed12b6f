// SPDX-License-Identifier: MIT
#pragma once

// Files in this folder that end in Kernels.cpp are compiled once per instruction set, with MEANFORCE_INSTRUCTION_SET naming
// it.  Each defines, in a namespace of that name, one table of functions on plain arrays; selectKernels() picks the best
// table for this processor.

namespace meanforce {

struct MomentTensorKernels;
struct SchNetKernels;

enum class InstructionSet {
    Baseline, AVX2, AVX512
};

/**
 * The best instruction set of this processor that was compiled, unless the environment variable MEANFORCE_INSTRUCTION_SET
 * names a lesser one (Baseline, AVX2, AVX512), which is for tests.  Throws if it names one that is not there.
 */
InstructionSet detectInstructionSet();

const MomentTensorKernels& getMomentTensorKernels(InstructionSet set);
const SchNetKernels& getSchNetKernels(InstructionSet set);

}
