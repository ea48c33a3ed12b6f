# SPDX-License-Identifier: MIT
"""Every native force with random parameters, for the laws that hold for all of them."""

from __future__ import annotations

from beads import Maker
from test_momenttensor import Model as MomentTensor
from test_pairspline import make_mixture as make_pair_splines
from test_schnet import Model as SchNet
from test_stillingerweber import make_mixture as make_stillinger_weber

#: Two types of beads or more, forces of the order of 100 kJ/mol/nm.
FAMILIES: dict[str, Maker] = {
    "MomentTensorForce": MomentTensor(max_l=4, num_types=2, channels=4).force,
    "MomentTensorForce with products": MomentTensor(
        max_l=3, num_types=2, channels=4, products=(((2, 2), (0, 1)), ((1, 1, 2), (0, 1, 2)), ((1, 1, 1), (0, 1, 2)))
    ).force,
    "PairSplineForce": make_pair_splines,
    "SchNetForce, tabulated": SchNet(grid=(5, 64)),
    "SchNetForce, exact": SchNet(),
    "StillingerWeberForce": make_stillinger_weber,
}
