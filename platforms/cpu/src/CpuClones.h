// SPDX-License-Identifier: MIT
#pragma once

// A simple loop, compiled once for each instruction set; the dynamic loader picks one.  clang accepts the attribute for these
// names but never picks anything beyond the default.  "flatten" because only what is inlined is cloned.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define MEANFORCE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), flatten))
#else
#define MEANFORCE_CLONES
#endif

// Before a loop over an array that must live in registers: it only does if every index is a constant.
#if defined(__clang__)
#define MEANFORCE_UNROLL _Pragma("unroll")
#else
#define MEANFORCE_UNROLL _Pragma("GCC unroll 64")
#endif
