# SPDX-License-Identifier: MIT
"""Whole paths from atomistic input to a running coarse-grained simulation, as ``meanforce demo`` runs them."""
