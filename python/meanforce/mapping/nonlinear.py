# SPDX-License-Identifier: MIT
r"""Nonlinear maps: any differentiable function of the atoms, with the mean force that goes with it.

For coordinates xi(q) with Jacobian J, and w = (J M^-1 J^T)^-1 J M^-1, which fulfils w J^T = 1,

    F = w f + kT div w,          -dA/dxi = < F >_xi

where A = -kT ln p(xi) is the potential of mean force of xi itself (doi:10.1063/1.1410978, doi:10.1063/1.2829861). For a
distance r the divergence is 2 kT / r, the force of -2 kT ln r, which a linear map does not have. With constraints
sigma(q) = 0 the same holds with J of (xi, sigma) together, the rows of xi, and one more term,
kT/2 w . grad ln det(grad sigma M^-1 grad sigma^T), from the measure of constrained motion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from openmm import unit

from .._openmm import strip_units
from .constraints import Pairs
from .stochastic import KB

FRAMES_AT_ONCE = 128
"""Frames that are differentiated together."""


class NonlinearMapping:
    """Collective coordinates that are any differentiable function of atomic positions.

    Parameters
    ----------
    function
        Takes positions (n_used, 3) in nm, a float64 tensor, and returns a tensor of any shape: the coordinates. It must
        be written with torch operations that torch.func can differentiate twice
        and vectorise over frames.
    masses : (n_atoms,)
        Atomic masses in dalton. They choose the metric M of the pseudo-inverse; the mean force does not depend on it.
    temperature
        In K.
    atoms
        The atoms that the function takes, in its order; all by default. Cost grows with the square of their number.
    constraints
        Pairs of atoms whose distance is constrained.

    Raises
    ------
    ValueError
        If an atom is massless, or the indices do not fit.
    """

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        masses: Any,
        temperature: Any,
        atoms: Sequence[int] | None = None,
        constraints: Pairs = (),
    ) -> None:
        self._function = function
        all_masses = np.asarray(strip_units(masses, unit.dalton), dtype=float)
        self._num_atoms = len(all_masses)
        wanted = range(self._num_atoms) if atoms is None else [int(i) for i in atoms]
        # Constraints push atoms that the function does not take, too.
        self._num_used = len(wanted)
        chain = [i for pair in _touching(wanted, constraints) for i in pair]
        self._atoms = np.array(list(dict.fromkeys([*wanted, *chain])), dtype=int)
        if len(self._atoms) == 0 or self._atoms.min() < 0 or self._atoms.max() >= self._num_atoms:
            raise ValueError(f"`atoms` must be indices in 0 .. {self._num_atoms - 1}, got {list(wanted)}")
        if np.any(all_masses[self._atoms] <= 0):
            massless = self._atoms[np.argmin(all_masses[self._atoms])]
            raise ValueError(f"atom {massless} has no mass; a nonlinear map is a function of atoms with mass")
        place = {int(atom): k for k, atom in enumerate(self._atoms)}
        pairs = [(place[i], place[j]) for i, j in _touching(wanted, constraints)]
        self._pairs = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        self._inverse_masses = torch.as_tensor(1.0 / np.repeat(all_masses[self._atoms], 3))
        self._kT = KB * float(strip_units(temperature, unit.kelvin))
        if not self._kT > 0:
            raise ValueError(f"`temperature` must be positive, got {temperature}")

    def map_positions(self, positions: Any) -> np.ndarray:
        """Return the coordinates ([n_frames,] ...) of positions ([n_frames,] n_atoms, 3) in nm."""
        q, single = self._frames(positions, "positions", unit.nanometer)
        with torch.no_grad():
            values = np.stack([self._function(frame[: self._num_used]).numpy() for frame in q])
        return values[0] if single else values

    def map_forces(self, forces: Any, positions: Any, divergence: bool = True) -> np.ndarray:
        """Return the instantaneous mean force on the coordinates, of the shape of `map_positions`.

        Its mean over frames with the same coordinates is minus the gradient of their potential of mean force, in
        kJ/mol per unit of the coordinate.

        Parameters
        ----------
        forces, positions : ([n_frames,] n_atoms, 3)
            Of the atoms, in kJ/mol/nm and nm.
        divergence
            Whether to add kT div w. Without it the force is biased; the option is there to see by how much.

        Raises
        ------
        ValueError
            If the shapes do not fit, or the Jacobian is singular in a frame, which is named.
        """
        q, single = self._frames(positions, "positions", unit.nanometer)
        f, _ = self._frames(forces, "forces", unit.kilojoule_per_mole / unit.nanometer)
        if q.shape != f.shape:
            raise ValueError(f"`forces` and `positions` must have the same shape, got {f.shape} and {q.shape}")
        parts = [
            self._forces(q[start : start + FRAMES_AT_ONCE], f[start : start + FRAMES_AT_ONCE], start, divergence)
            for start in range(0, len(q), FRAMES_AT_ONCE)
        ]
        values = np.concatenate(parts)
        return values[0] if single else values

    def _frames(self, values: Any, what: str, of_unit: unit.Unit) -> tuple[torch.Tensor, bool]:
        array = np.asarray(strip_units(values, of_unit), dtype=float)
        if array.ndim not in (2, 3) or array.shape[-2:] != (self._num_atoms, 3):
            raise ValueError(f"`{what}` must have shape ([n_frames,] {self._num_atoms}, 3), got {array.shape}")
        single = array.ndim == 2
        return torch.as_tensor((array[None] if single else array)[:, self._atoms]), single

    def _forces(self, x: torch.Tensor, forces: torch.Tensor, first: int, divergence: bool) -> np.ndarray:
        """Return the forces (n_frames, ...) of some frames, of which the first has that number."""
        q = x.reshape(len(x), -1)
        jacobians = torch.func.vmap(self._jacobian)(q)
        ranks = torch.linalg.matrix_rank(jacobians)
        if torch.any(ranks < jacobians.shape[1]):
            frame = first + int(torch.argmax((ranks < jacobians.shape[1]).to(torch.int8)))
            raise ValueError(
                f"the Jacobian of the map is singular in frame {frame}: its coordinates depend on one another there, or"
                " a constraint fixes one"
            )
        values = self._mean_forces(q, jacobians, forces.reshape(len(x), -1), divergence).detach()
        return np.asarray(values.reshape(len(x), *self._function(x[0, : self._num_used]).shape).numpy())

    def _mean_forces(
        self, q: torch.Tensor, jacobians: torch.Tensor, forces: torch.Tensor, divergence: bool
    ) -> torch.Tensor:
        """Return w f + kT div w, and the gradient of the measure where there are constraints.

        In indices, f frames, a, b coordinates and then constraints, i, j atoms' components. With G = J M^-1 J^T and
        w = G^-1 J M^-1, div w = G^-1 (sum_i d_i J_i / m_i - sum_i (d_i G) w_i).
        """
        weighted = jacobians * self._inverse_masses
        metric = weighted @ jacobians.transpose(1, 2)
        inverse = torch.linalg.inv(metric)
        w = inverse @ weighted
        values = torch.einsum("fai,fi->fa", w, forces)
        if divergence:
            hessians = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(self._coordinates)))(q)
            half = torch.einsum("faji,fbj->fiab", hessians, weighted)
            of_metric = half + half.transpose(2, 3)
            laplacians = torch.einsum("faii,i->fa", hessians, self._inverse_masses)
            turned = torch.einsum("fiab,fbi->fa", of_metric, w)
            values = values + self._kT * torch.einsum("fab,fb->fa", inverse, laplacians - turned)
            if len(self._pairs):
                first = metric.shape[1] - len(self._pairs)
                constrained = torch.linalg.inv(metric[:, first:, first:])
                of_log_det = torch.einsum("fab,fiba->fi", constrained, of_metric[:, :, first:, first:])
                values = values + 0.5 * self._kT * torch.einsum("fai,fi->fa", w, of_log_det)
        return values[:, : metric.shape[1] - len(self._pairs)]

    def _coordinates(self, q: torch.Tensor) -> torch.Tensor:
        """Return the coordinates and the constrained distances, flat."""
        x = q.reshape(-1, 3)
        distances = torch.linalg.vector_norm(x[self._pairs[:, 0]] - x[self._pairs[:, 1]], dim=1)
        return torch.cat([self._function(x[: self._num_used]).reshape(-1), distances])

    def _jacobian(self, q: torch.Tensor) -> torch.Tensor:
        jacobian: torch.Tensor = torch.func.jacrev(self._coordinates)(q)
        return jacobian


def _touching(atoms: Iterable[int], constraints: Pairs) -> list[tuple[int, int]]:
    """Return the constraints that are connected to the atoms, directly or through others."""
    reached: set[int] = set(atoms)
    found: list[tuple[int, int]] = []
    remaining = [(int(i), int(j)) for i, j in constraints]
    while True:
        hit = [pair for pair in remaining if pair[0] in reached or pair[1] in reached]
        if not hit:
            return found
        found += hit
        remaining = [pair for pair in remaining if pair not in hit]
        reached |= {i for pair in hit for i in pair}
