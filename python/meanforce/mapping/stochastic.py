# SPDX-License-Identifier: MIT
r"""Stochastic maps: beads x' drawn from a Markov kernel p(x'|x) around the beads x of a linear map.

The density of x' is rho'(x') = Int p(x'|x) rho(x) dx, so that kT grad ln p(x'|x) has the mean force of x' as its
conditional mean (denoising score matching, doi:10.1162/NECO_a_00142). For noise that does not depend on x, as Gaussian
noise, the mapped force of x is another such estimate and so is every mixture of the two: forces and noise.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from openmm import unit

from .._openmm import strip_units
from ..modelfile import BeadType
from .linear import Mapping, Projected

KB = float(unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin))


class Kernel(Protocol):
    """A Markov kernel p(x'|x) of bead positions."""

    @property
    def translational(self) -> bool:
        """Whether p depends on x' - x alone, so that mapped forces may be mixed in."""

    def sample(self, positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw x' (n_beads, 3) for one frame x, in nm."""

    def score(self, noised: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the gradient of ln p(x'|x) with respect to x', (..., n_beads, 3), in 1/nm."""


@dataclass(frozen=True)
class GaussianKernel:
    """Independent Gaussian noise on every coordinate.

    Attributes
    ----------
    width : float or (n_beads,)
        Standard deviation per coordinate in nm.
    """

    width: Any

    @property
    def translational(self) -> bool:
        """Whether p depends on x' - x alone: it does."""
        return True

    def __post_init__(self) -> None:
        width = np.asarray(strip_units(self.width, unit.nanometer), dtype=float)
        if width.ndim > 1 or not np.all(np.isfinite(width)) or np.any(width <= 0):
            raise ValueError(f"`width` must be positive, one number or one for each bead, got {self.width}")
        object.__setattr__(self, "width", width)

    def sample(self, positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw x' (n_beads, 3) for one frame x, in nm."""
        return np.asarray(positions + self._columns * random.standard_normal(positions.shape))

    def score(self, noised: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return (x - x') / width^2, (..., n_beads, 3), in 1/nm."""
        return np.asarray((positions - noised) / self._columns**2)

    @property
    def _columns(self) -> np.ndarray:
        return np.asarray(self.width).reshape(-1, 1)


class StochasticMapping:
    r"""Beads with noise: a linear map followed by a Markov kernel, and the force that goes with it.

    The force on x' is a F(x) + (1 - a) kT grad' ln p(x'|x) with F the mapped force and a the `mixing` of each bead.
    Every a gives the same mean force; `fit_mixing` finds that of the least noise. Noise broadens the distribution: the
    potential learned is that of x', not of x.

    The noise of a frame depends on the seed and the frame's number alone, so that neither blocks nor a restart
    change it.

    Parameters
    ----------
    mapping
        The linear map, with its force map.
    kernel : Kernel or float
        p(x'|x); a number is the width in nm of a `GaussianKernel`.
    temperature
        In K.
    seed
        Of the map's own random stream; a fresh one by default, kept in `seed`.
    mixing : float or (n_beads,)
        a, from 0 (noise only, which needs no atomic forces) to 1 (forces only).

    Raises
    ------
    ValueError
        If a number is out of range, or mapped forces are to be mixed in with a kernel that is not translational.
    """

    def __init__(
        self, mapping: Mapping, kernel: Any, temperature: Any, seed: int | None = None, mixing: Any = 0.0
    ) -> None:
        self._mapping = mapping
        number = np.isscalar(kernel) or isinstance(kernel, np.ndarray) or unit.is_quantity(kernel)
        self._kernel: Kernel = GaussianKernel(kernel) if number else kernel
        if isinstance(self._kernel, GaussianKernel) and np.size(self._kernel.width) not in (1, mapping.num_beads):
            raise ValueError(f"`width` must be one number or {mapping.num_beads}, got {np.size(self._kernel.width)}")
        self._kT = KB * float(strip_units(temperature, unit.kelvin))
        if not self._kT > 0:
            raise ValueError(f"`temperature` must be positive, got {temperature}")
        self.seed = secrets.randbits(63) if seed is None else int(seed)
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {seed}")
        self.mixing = mixing

    @property
    def mixing(self) -> np.ndarray:
        """The share a of the mapped force, (n_beads,)."""
        return self._mixing

    @mixing.setter
    def mixing(self, mixing: Any) -> None:
        values = np.broadcast_to(np.asarray(mixing, dtype=float), (self.num_beads,))
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"`mixing` must lie between 0 (noise only) and 1 (forces only), got {mixing}")
        if np.any(values > 0) and not self._kernel.translational:
            raise ValueError("mapped forces can be mixed in only with a kernel p(x'|x) that depends on x' - x alone")
        self._mixing: np.ndarray = values

    @property
    def num_beads(self) -> int:
        """Number of beads."""
        return self._mapping.num_beads

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return self._mapping.num_atoms

    @property
    def masses(self) -> np.ndarray:
        """Bead masses in dalton, (n_beads,)."""
        return self._mapping.masses

    @property
    def bead_types(self) -> list[BeadType]:
        """The distinct bead types."""
        return self._mapping.bead_types

    @property
    def types(self) -> np.ndarray:
        """Index of each bead's type in `bead_types`, (n_beads,)."""
        return self._mapping.types

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Pairs of bonded beads."""
        return self._mapping.bonds

    @property
    def linear(self) -> Mapping:
        """The linear map below the noise."""
        return self._mapping

    def fit_mixing(self, forces: Any) -> np.ndarray:
        """Set and return the `mixing` (n_beads,) of the least noise for a Gaussian kernel.

        Forces and noise are independent at given x, so that a = v / (v + <F^2>) with v = (kT/width)^2 the variance of
        the noise force.

        Parameters
        ----------
        forces : (n_frames, n_atoms, 3) or iterable of such blocks
            Atomic forces in kJ/mol/nm of the training frames.
        """
        if not isinstance(self._kernel, GaussianKernel):
            raise ValueError("the best mixing is known for a Gaussian kernel only; set `mixing` yourself")
        noise = (self._kT / np.broadcast_to(self._kernel.width, (self.num_beads,))) ** 2
        self.mixing = noise / (noise + self._mapping.force_map.mean_square(forces))
        return self._mixing

    def require_forces(self) -> None:
        """Check that the beads have unbiased forces, before anything long is started."""
        if np.any(self._mixing > 0):
            self._mapping.require_forces()

    def project(
        self, positions: Any, box: Any = None, velocities: Any = None, forces: Any = None, frames: Any = None
    ) -> Projected:
        """Return noised positions, and forces on them, of some frames.

        Parameters
        ----------
        positions, forces : (n_frames, n_atoms, 3)
            Of the atoms, in nm and kJ/mol/nm. Forces are needed only where `mixing` is above 0.
        box : (n_frames, 3, 3), optional
            Periodic box vectors in nm.
        velocities
            Refused: x' has none.
        frames : (n_frames,)
            The frames' numbers, which their noise depends on.

        Raises
        ------
        ValueError
            If velocities are given, or forces or frame numbers are missing.
        """
        if velocities is not None:
            raise ValueError("beads with noise have no velocities; map positions and forces only")
        if np.any(self._mixing > 0) and forces is None:
            raise ValueError("this stochastic map mixes in mapped forces (mixing > 0), but the frames have no forces")
        x = self._mapping.map_positions(positions, box)
        numbers = None if frames is None else np.asarray(frames, dtype=np.int64).reshape(-1)
        if numbers is None or x.ndim != 3 or len(numbers) != len(x):
            raise ValueError("`positions` must have shape (n_frames, n_atoms, 3) and `frames` give each frame's number")
        noised = np.stack([self._kernel.sample(x[k], self._random(int(n))) for k, n in enumerate(numbers)])
        a = self._mixing[:, None]
        force = (1 - a) * self._kT * self._kernel.score(noised, x)
        if np.any(self._mixing > 0):
            force = force + a * self._mapping.map_forces(forces)
        return Projected(noised, None, force)

    def topology(self, box: Any = None) -> Any:
        """Return the coarse-grained topology, that of the linear map."""
        return self._mapping.topology(box)

    def _random(self, frame: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, frame], dtype=np.uint64)))
