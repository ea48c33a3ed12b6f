# SPDX-License-Identifier: MIT
"""Memory kernels from trajectories: correlation functions, Volterra inversion, passive fits, the iterative correction."""
