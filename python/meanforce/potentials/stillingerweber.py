# SPDX-License-Identifier: MIT
"""The three-body term of the Stillinger-Weber potential."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import Potential


class StillingerWeber(Potential):
    r"""Three-body potential, linear in its coefficients and quadratic in the cosine of the angle.

        U     = sum_i sum_{j<k} (c_0 + c_1 cos theta_jik + c_2 cos^2 theta_jik) g_ij g_ik
        g_ij  = exp(gamma / (r_ij - a)) where r_ij < a, else 0

    The coefficients belong to the type of i and the unordered pair of types of j and k; a and gamma to the type of i
    and that of j. The classical form lambda eps (cos - cos theta_0)^2 has the coefficients
    lambda eps (cos^2 theta_0, -2 cos theta_0, 1). The energy of a triple is that of its centre. The potential is that
    of Stillinger and Weber, doi:10.1103/PhysRevB.31.5262.

    Parameters
    ----------
    num_types : int
        T.
    ranges : float or array_like
        a, in nm: one for all, or shape (T, T), of [centre][neighbour].
    gammas : float or array_like
        gamma, in nm, likewise.

    Attributes
    ----------
    coefficients : Parameter
        Shape (T, T (T + 1) / 2, 3), in kJ/mol, initially 0: c of [centre][pair][power of the cosine], where row
        p = t (t + 1) / 2 + s stands for neighbours of types s <= t, in the order (0,0), (0,1), (1,1), (0,2), ...
    ranges, gammas : list of list of float
        a and gamma, in nm, [centre][neighbour].
    """

    ranges: list[list[float]]
    gammas: list[list[float]]
    pair_table: Tensor

    def __init__(self, num_types: int, ranges: ArrayLike, gammas: ArrayLike) -> None:
        lengths = [_matrix("ranges", ranges, num_types), _matrix("gammas", gammas, num_types)]
        super().__init__(num_types, float(lengths[0].max()))
        # Plain numbers keep all their digits when the module is converted to float and back.
        self.ranges = lengths[0].tolist()
        self.gammas = lengths[1].tolist()
        pairs = self.num_types * (self.num_types + 1) // 2
        self.coefficients = torch.nn.Parameter(torch.zeros(self.num_types, pairs, 3))
        types = torch.arange(self.num_types)
        low, high = torch.minimum(types[:, None], types), torch.maximum(types[:, None], types)
        self.register_buffer("pair_table", high * (high + 1) // 2 + low, persistent=False)

    def bead_energies(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        """Return each bead's share of the energy, shape (N,); see Potential.bead_energies."""
        displacements = displacements.to(self.coefficients.dtype)
        distances = displacements.square().sum(1).sqrt()
        directions = displacements / distances.unsqueeze(1)

        # Both directions of each pair: a bead in the centre, and its neighbour.
        center, neighbor = torch.cat([first, second]), torch.cat([second, first])
        neighbor_type = types.index_select(0, neighbor)
        lengths = types.index_select(0, center) * self.num_types + neighbor_type
        gamma = _tensor(self.gammas, distances).index_select(0, lengths)
        gap = torch.cat([distances, distances]) - _tensor(self.ranges, distances).index_select(0, lengths)
        inside = gap < 0
        # What where() does not take must be finite too, or its derivative is not.
        faded = torch.exp(gamma / torch.where(inside, gap, -torch.ones_like(gap)))
        g = torch.where(inside, faded, torch.zeros_like(gap))

        # The sum over pairs of neighbours is one over pairs of types, of moments of the neighbours of each type.
        n = torch.cat([directions, -directions])
        x, y, z = n.unbind(1)
        products = torch.stack([torch.ones_like(x), x, y, z, x * x, y * y, z * z, y * z, x * z, x * y, g], 1)
        slots = torch.zeros(types.shape[0] * self.num_types, 11, dtype=g.dtype, device=g.device)
        slots = slots.index_add(0, center * self.num_types + neighbor_type, products * g.unsqueeze(1))
        moments = slots.view(types.shape[0], self.num_types, 11)
        tensor = moments[:, :, 4:10]
        twice = torch.cat([tensor[:, :, :3], 2.0 * tensor[:, :, 3:]], 2)
        vector = moments[:, :, 1:4]
        density = moments[:, :, :1]
        c = self.coefficients[:, self.pair_table]  # [centre][type][type][power]
        if self.num_types > 1:
            c = c.index_select(0, types)
        sums = c[..., 0] * torch.bmm(density, density.transpose(1, 2))
        sums = sums + c[..., 1] * torch.bmm(vector, vector.transpose(1, 2))
        sums = sums + c[..., 2] * torch.bmm(tensor, twice.transpose(1, 2))
        itself = torch.diagonal(c.sum(3), dim1=1, dim2=2) * moments[:, :, 10]
        return 0.5 * (sums.sum(2) - itself).sum(1)

    @torch.jit.unused
    def components(self) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Return the native description; see Potential.components."""
        description = {
            "kind": "stillinger-weber",
            "cutoff": self.cutoff,
            "ranges": self.ranges,
            "gammas": self.gammas,
        }
        return [(description, {"coefficients": self.coefficients.detach().cpu().double().numpy()})]


def _tensor(rows: list[list[float]], like: Tensor) -> Tensor:
    """Return the numbers in one row, in the dtype of another tensor.

    In TorchScript torch.tensor() and assignment to an element would round them to single precision on the way.
    """
    values = torch.empty(len(rows) * len(rows), dtype=like.dtype, device=like.device)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            values[i * len(rows) + j].fill_(value)
    return values


def _matrix(name: str, values: ArrayLike, num_types: int) -> np.ndarray:
    """Return positive lengths as an array of shape (num_types, num_types)."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (num_types, num_types)):
        raise ValueError(f"{name} must be a number or have shape ({num_types}, {num_types}), got {array.shape}")
    if not ((array > 0) & (array < np.inf)).all():
        raise ValueError(f"{name} must be positive lengths in nm, got {values!r}")
    return np.broadcast_to(array, (num_types, num_types))
