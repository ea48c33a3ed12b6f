# SPDX-License-Identifier: MIT
"""From positions and velocities to a memory kernel with error bars: the mean force, correlations, the inversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from .streaming import CorrelationStream, CrossCorrelation
from .volterra import Method, TabulatedKernel, volterra_kernel

Array = NDArray[np.float64]
ForceFunction = Callable[[Array], ArrayLike]

_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
#: Blocks of the jackknife.
_BLOCKS = 10


@dataclass(frozen=True)
class PolynomialForce:
    """A mean force sum_p c_p (x - center)^p of each coordinate by itself, as `fit_mean_force` returns it.

    Attributes
    ----------
    powers : tuple of int
        p.
    coefficients : numpy.ndarray, shape (P,)
        c_p, in kJ/mol/nm^(p+1).
    center : float
        In nm.
    """

    powers: tuple[int, ...]
    coefficients: Array
    center: float = 0.0

    def __call__(self, x: ArrayLike) -> Array:
        """Return the force, in kJ/mol/nm, for coordinates of any shape, in nm."""
        y = np.asarray(x, dtype=np.float64) - self.center
        dense = np.zeros(max(self.powers) + 1)
        dense[list(self.powers)] = self.coefficients
        return np.asarray(np.polynomial.polynomial.polyval(y, dense))


def fit_mean_force(
    positions: ArrayLike, temperature: Any, powers: Sequence[int] = (1, 3, 5), center: float = 0.0
) -> PolynomialForce:
    """Return the mean force of a coordinate from where it is found alone: no derivative of data, no histogram.

    With p(x) ~ exp(-U/kT), <phi(x) F(x)> = -kT <phi'(x)> for every function phi; for the powers of x these are linear
    equations for the coefficients.

    Parameters
    ----------
    positions : array_like
        Values of one coordinate, or of coordinates that all have the same mean force, in nm; of any shape.
    temperature : float or Quantity
        In K.
    powers : sequence of int
        (1,) is a spring; odd powers for a force that is symmetric about `center`.
    center : float
        In nm.

    Raises
    ------
    ValueError
        If there are fewer positions than powers, or they do not tell the powers apart.
    """
    x = np.asarray(strip_units(positions, unit.nanometer), dtype=np.float64).ravel() - center
    kt = _R * float(strip_units(temperature, unit.kelvin))
    p = np.array([int(power) for power in powers])
    if len(p) == 0 or np.any(p < 0) or len(set(p.tolist())) < len(p):
        raise ValueError(f"`powers` must be different whole numbers >= 0, got {list(powers)}")
    if len(x) < len(p) or not np.all(np.isfinite(x)) or not kt > 0.0:
        raise ValueError(f"`positions` must be at least {len(p)} finite values, `temperature` > 0, got {len(x)} values")
    scale = float(np.sqrt(np.mean(x**2)))
    y = x / scale if scale > 0.0 else x
    moments, power = np.empty(2 * int(p.max()) + 1), np.ones_like(y)
    for k in range(len(moments)):
        moments[k] = power.mean()
        power *= y
    gram = moments[p[:, None] + p]
    if np.linalg.cond(gram) > 1e12:
        raise ValueError(f"`positions` do not tell the powers {list(powers)} apart: fewer powers, or more data")
    slope = np.where(p > 0, p * moments[np.maximum(p - 1, 0)], 0.0)
    c = np.linalg.solve(gram, -kt / scale * slope)
    return PolynomialForce(tuple(p.tolist()), c / scale**p, center)


class ModelForce:
    """The forces of an OpenMM System as a mean force: those of a coarse-grained potential, for example.

    Parameters
    ----------
    system : openmm.System
        As `CGPotential.createSystem` returns it.
    platform : str
        Name of the OpenMM platform.
    """

    def __init__(self, system: openmm.System, platform: str = "CPU") -> None:
        self._integrator = openmm.VerletIntegrator(0.001)
        self._context = openmm.Context(system, self._integrator, openmm.Platform.getPlatformByName(platform))
        self._beads = system.getNumParticles()

    def __call__(self, positions: ArrayLike, box: ArrayLike | None = None) -> Array:
        """Return the forces of each frame.

        Parameters
        ----------
        positions : array_like, shape (F, N, 3)
            In nm.
        box : array_like, shape (F, 3) or (3,), optional
            Edges of a rectangular box, in nm. Default: that of the system.

        Returns
        -------
        numpy.ndarray, shape (F, N, 3)
            In kJ/mol/nm.
        """
        x = np.asarray(positions, dtype=np.float64)
        if x.ndim != 3 or x.shape[1:] != (self._beads, 3):
            raise ValueError(f"`positions` must have shape (F, {self._beads}, 3), got {x.shape}")
        edges = None if box is None else np.broadcast_to(np.asarray(box, dtype=np.float64), (len(x), 3))
        forces = np.empty_like(x)
        for i, frame in enumerate(x):
            if edges is not None:
                self._context.setPeriodicBoxVectors(*np.diag(edges[i]))
            self._context.setPositions(frame)
            forces[i] = self._context.getState(forces=True).getForces(asNumpy=True)._value
        return forces


@dataclass(frozen=True)
class Extraction:
    """A memory kernel found in a trajectory.

    Attributes
    ----------
    table : TabulatedKernel
        k(t) and G(t).
    kernel_error, integrated_error : numpy.ndarray, shape (T,) or (T, d, d)
        Their standard errors, by a jackknife over blocks of time origins.
    velocity : CrossCorrelation
        <v(0) v(t)>, mass-weighted, in nm^2/ps^2.
    force : CrossCorrelation or None
        <v(0) F(t)>/m of the mean force, in nm^2/ps^3.
    """

    table: TabulatedKernel
    kernel_error: Array
    integrated_error: Array
    velocity: CrossCorrelation
    force: CrossCorrelation | None


def extract_kernel(
    positions: ArrayLike | None,
    velocities: ArrayLike,
    dt: float,
    *,
    max_time: float,
    temperature: Any = None,
    masses: ArrayLike | None = None,
    mean_force: Literal["none", "linear"] | Sequence[int] | ForceFunction | ArrayLike = "none",
    method: Method = "G",
    refine: int = 4,
    matrix: bool = False,
    velocity_time_offset: float = 0.0,
    forces: ArrayLike | None = None,
) -> Extraction:
    """Return the memory kernel of beads in their mean force, with standard errors.

    Parameters
    ----------
    positions : array_like, shape (F, N, d) or None
        In nm, not wrapped into a box if the mean force is fitted. None without mean force.
    velocities : array_like, shape (F, N, d)
        In nm/ps, at the times of the positions.
    dt : float
        Time between frames, in ps.
    max_time : float
        Longest lag, in ps.
    temperature : float or Quantity, optional
        In K; for a fitted mean force.
    masses : array_like, shape (N,), optional
        In dalton; 1 by default.
    mean_force : str, sequence of int, callable or array_like of shape (F, N, d)
        ``"none"``: free particles, or the effective kernel of their velocities. ``"linear"``: a spring. Powers of x: a
        polynomial, see `fit_mean_force`. A function of the positions, as of a coarse-grained model (`ModelForce`), or
        its values, in kJ/mol/nm. A wrong mean force spoils the kernel more than anything else.
    method, refine
        See `volterra_kernel`.
    matrix : bool
        Return the d x d matrix kernel.
    velocity_time_offset : float
        Time of the velocities minus time of the positions, in ps: -h/2 for OpenMM's leapfrog-type integrators, see
        `meanforce.data.Trajectory`. They are taken to the time of the positions by `forces`.
    forces : array_like, shape (F, N, d), optional
        All forces on the beads, as recorded, in kJ/mol/nm, for `velocity_time_offset`. Default: the mean force, which
        is all there is in a coarse-grained run.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or there are too few frames for the lags.
    """
    v = np.asarray(strip_units(velocities, unit.nanometer / unit.picosecond))
    if v.ndim != 3:
        raise ValueError(f"`velocities` must have shape (F, N, d), got {v.shape}")
    m = np.ones(v.shape[1]) if masses is None else np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
    if m.shape != (v.shape[1],) or not np.all(m > 0.0):
        raise ValueError(f"`masses` must be {v.shape[1]} values > 0 (dalton), got shape {m.shape}")
    force = _force_values(mean_force, positions, v, temperature)
    offset = float(strip_units(velocity_time_offset, unit.picosecond))
    if not -dt <= offset <= dt:
        raise ValueError(f"`velocity_time_offset` must be between -dt and dt = {dt:.6g} ps, got {offset:.6g}")
    kick = force if forces is None else strip_units(forces, unit.kilojoule_per_mole / unit.nanometer)
    if offset != 0.0 and kick is not None:
        kick = np.asarray(kick, dtype=np.float64)
        if kick.shape != v.shape:
            raise ValueError(f"`forces` must have the shape of `velocities`, {v.shape}, got {kick.shape}")
        v = v - offset * kick / m[:, None]
    pushed: CrossCorrelation | None = None
    if force is not None:
        force_sum = CorrelationStream(dt, max_time, m, matrix=matrix)
        force_sum.add(v, force / m[:, None])
        found = force_sum.result()
        assert isinstance(found, CrossCorrelation)
        pushed = found
    velocity_sum = CorrelationStream(dt, max_time, m, matrix=matrix)
    velocity_sum.add(v)
    velocity = velocity_sum.result()
    assert isinstance(velocity, CrossCorrelation)
    return invert(velocity, pushed, method, refine)


def invert(
    velocity: CrossCorrelation, force: CrossCorrelation | None = None, method: Method = "G", refine: int = 4
) -> Extraction:
    """Return the kernel of given correlations; see `extract_kernel` and, for their accumulation, `CorrelationStream`.

    Parameters
    ----------
    velocity, force : CrossCorrelation
        <v(0) v(t)>, and <v(0) F(t)>/m of the mean force if there is one.
    method, refine
        See `volterra_kernel`.
    """
    t = velocity.t

    def kernel_of(c: Array, f: Array | None) -> TabulatedKernel:
        return volterra_kernel(t, c, method, refine, f)

    table = kernel_of(velocity.value, None if force is None else force.value)
    groups = np.array_split(np.arange(len(velocity.blocks)), min(_BLOCKS, len(velocity.blocks)))
    others = []
    for group in groups:
        kept = np.setdiff1d(np.arange(len(velocity.blocks)), group)
        c = _without(velocity, kept)
        others.append(kernel_of(c, None if force is None else _without(force, kept)))
    return Extraction(
        table,
        _jackknife(np.array([o.kernel for o in others])),
        _jackknife(np.array([o.integrated for o in others])),
        velocity,
        force,
    )


def _without(correlation: CrossCorrelation, kept: NDArray[np.int64]) -> Array:
    share = correlation.weights[kept]
    share = share / share.sum(axis=0)
    return np.asarray(np.einsum("bt,bt...->t...", share, correlation.blocks[kept]))


def _jackknife(values: Array) -> Array:
    count = len(values)
    return np.asarray(np.sqrt((count - 1.0) / count * ((values - values.mean(axis=0)) ** 2).sum(axis=0)))


def _force_values(mean_force: Any, positions: ArrayLike | None, v: NDArray[Any], temperature: Any) -> Array | None:
    """Return the mean force at each frame, shape of `v`, or None."""
    if isinstance(mean_force, str) and mean_force == "none":
        return None
    if isinstance(mean_force, str) and mean_force != "linear":
        raise ValueError(f'`mean_force` must be "none", "linear", powers, a function or an array, got "{mean_force}"')
    array = None if isinstance(mean_force, str) or callable(mean_force) else np.asarray(mean_force)
    if array is not None and array.ndim == 3:
        force = np.asarray(strip_units(mean_force, unit.kilojoule_per_mole / unit.nanometer), dtype=np.float64)
    else:
        if positions is None:
            raise ValueError("`positions` are needed for a mean force")
        x = np.asarray(strip_units(positions, unit.nanometer), dtype=np.float64)
        if x.shape != v.shape:
            raise ValueError(f"`positions` must have the shape of `velocities`, {v.shape}, got {x.shape}")
        if callable(mean_force):
            force = np.asarray(mean_force(x), dtype=np.float64)
        else:
            if temperature is None:
                raise ValueError("`temperature` (K) is needed to fit a mean force")
            center = float(x.mean()) if array is None else 0.0
            force = fit_mean_force(x, temperature, (1,) if array is None else tuple(mean_force), center)(x)
    if force.shape != v.shape or not np.all(np.isfinite(force)):
        raise ValueError(f"the mean force must be finite, with the shape of `velocities` {v.shape}, got {force.shape}")
    return force
