# SPDX-License-Identifier: MIT
"""Whole paths from atomistic input to a running coarse-grained simulation, as the command ``meanforce demo`` runs them."""
