# SPDX-License-Identifier: MIT
"""The memory kernel of a generalized Langevin equation, stored as a passive drift matrix."""

from __future__ import annotations

import io
import itertools
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.integrate
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from . import kernelformats
from ._files import write_text
from ._openmm import strip_units
from .passivity import (
    ROUNDING,
    canonical_drift,
    hermitian_part,
    is_dissipative,
    laplace,
    negative_frequency,
    smallest_dissipation,
)

if TYPE_CHECKING:
    import openmm

Array = NDArray[np.float64]

#: Name and version of the file format that `MemoryKernel.save` writes. Version 1 had no `dimension`.
FORMAT = "meanforce-kernel"
VERSION = 2

#: Above this condition number of the eigenvectors (nearly critical damping) the exponential is taken without them.
_MAX_CONDITION = 1e6

_PER_PS = unit.picosecond**-1
_PER_PS2 = unit.picosecond**-2
_DALTON_PER_PS2 = unit.dalton / unit.picosecond**2
_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
_RADIAN_PER_PS = unit.radian / unit.picosecond

#: A memory that changes the friction by less than this fraction counts as none.
_SHORT = 0.1


@dataclass(frozen=True)
class MarkovianLimit:
    """The memoryless kernel of the same integrated friction, and where it may stand for the one with memory.

    Attributes
    ----------
    kernel : MemoryKernel
        2 gamma delta(t), with gamma the integral of k(t).
    memory_time : float
        int t |k| dt / (gamma0 + int |k| dt), in ps: the mean age of what the friction remembers.
    shortest_time : float
        In ps. From this time on, the friction that has built up, int_0^t k, is within 10 % of gamma: motion on
        shorter time scales is not that of Langevin dynamics.
    highest_frequency : float
        In rad/ps. Up to this angular frequency, the Laplace transform of k(t) is within 10 % of gamma: vibrations in
        wells and barriers with higher frequencies feel another friction. inf without memory.
    ratio : float
        gamma times memory_time. A free particle's velocity correlation is that of Langevin dynamics where it is small;
        with forces, `meanforce.memory.markovian_report` compares with the velocity's own relaxation.
    """

    kernel: MemoryKernel
    memory_time: float
    shortest_time: float
    highest_frequency: float
    ratio: float

    @property
    def langevin_is_enough(self) -> bool:
        """Whether the ratio is below 0.1."""
        return self.ratio < _SHORT

    def __str__(self) -> str:
        verdict = "Langevin dynamics will do for free particles" if self.langevin_is_enough else "memory matters"
        return (
            f"white friction holds for times above {self.shortest_time:.3g} ps and frequencies below "
            f"{self.highest_frequency:.3g} rad/ps; memory {self.memory_time:.3g} ps, ratio {self.ratio:.3g}: {verdict}"
        )


class MemoryKernel:
    r"""A mass-scaled memory kernel k(t) = K(t)/m, in 1/ps^2, that obeys fluctuation-dissipation by construction.

    The kernel is the response of n auxiliary variables s that are coupled to the mass-weighted velocity u = sqrt(m) v::

        d(u, s) = (F/sqrt(m), 0) dt - A (u, s) dt + noise,      noise covariance kT (A + A^T) dt
        k(t) = 2 gamma0 delta(t) - A[0,1:] exp(-A[1:,1:] t) A[1:,0],      gamma0 = A[0,0]

    Such a bath keeps (u, s) at the temperature T whatever the force F is, provided that it is passive, A + A^T >= 0.
    The same kernel acts on each Cartesian component of each particle that uses it (dimension 1), or the kernel is a
    3 x 3 matrix in the laboratory frame (dimension 3): the first three rows and columns of A are then those of the
    velocity, and the n auxiliary variables are shared by its components.

    Kernels can be added. Parts of a sum may be not passive, for example a damped cosine with a large sine; the sum must
    be when `drift` is asked for, as integrators do.

    Parameters
    ----------
    drift : array_like, shape (d+n, d+n)
        The drift matrix A, in 1/ps, with A + A^T >= 0. The first d rows and columns belong to the velocity. See
        `from_drift` for a matrix in another basis.
    dimension : int
        d, 1 or 3.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite or not passive.

    Notes
    -----
    M. Ceriotti, G. Bussi, M. Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), doi 10.1021/ct900563s.
    """

    def __init__(self, drift: ArrayLike, dimension: int = 1) -> None:
        matrix = _checked_matrix(drift, dimension)
        if not is_dissipative(matrix):
            raise ValueError(
                "`drift` must be passive, A + A^T >= 0, but its symmetric part (A + A^T)/2 has the negative eigenvalue "
                f"{smallest_dissipation(matrix):.6g} 1/ps: such a bath would create energy, or its auxiliary variables "
                "are in another basis, see MemoryKernel.from_drift"
            )
        self._set(matrix, dimension)

    def _set(self, matrix: Array, dimension: int, fit_error: float | None = None) -> None:
        matrix.setflags(write=False)
        #: Any realisation of the kernel; `drift` is the canonical one.
        self._matrix: Array = matrix
        self._dimension = dimension
        self._fit_error = fit_error

    @classmethod
    def _realisation(cls, matrix: ArrayLike, dimension: int = 1) -> MemoryKernel:
        """Return the kernel of any realisation, passive or not."""
        kernel = cls.__new__(cls)
        kernel._set(np.array(matrix, dtype=np.float64), dimension)
        return kernel

    # ---------------------------------------------------------------------------------------------- constructors

    @classmethod
    def prony(cls, amplitudes: ArrayLike, times: ArrayLike) -> MemoryKernel:
        """Return the kernel sum_i a_i exp(-t/tau_i).

        Parameters
        ----------
        amplitudes : array_like, shape (n,)
            a_i, in 1/ps^2. Negative ones are for sums that are passive as a whole.
        times : array_like, shape (n,)
            tau_i > 0, in ps.

        Raises
        ------
        ValueError
            If the lengths differ, an amplitude is not finite or a time is not positive.
        """
        a = np.atleast_1d(np.asarray(strip_units(amplitudes, _PER_PS2), dtype=np.float64))
        tau = np.atleast_1d(np.asarray(strip_units(times, unit.picosecond), dtype=np.float64))
        if a.ndim != 1 or a.shape != tau.shape:
            raise ValueError(
                f"`amplitudes` and `times` must be lists of the same length, got shapes {a.shape}, {tau.shape}"
            )
        for value in a:
            if not np.isfinite(value):
                raise ValueError(f"`amplitudes` must be finite (1/ps^2), got {value}")
        for value in tau:
            if not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"`times` must be > 0 (ps), got {value}")
        n = len(a)
        drift = np.zeros((n + 1, n + 1))
        drift[1:, 1:] = np.diag(1.0 / tau)
        drift[1:, 0] = np.sqrt(np.abs(a))
        drift[0, 1:] = -np.sign(a) * np.sqrt(np.abs(a))
        return cls._realisation(drift)

    @classmethod
    def damped_cosine(cls, p: float, q: float, rate: float, frequency: float) -> MemoryKernel:
        """Return the kernel exp(-rate t) (p cos(frequency t) + q sin(frequency t)).

        Alone it is passive exactly if p rate >= |q| frequency; beyond that it may be part of a sum that is.

        Parameters
        ----------
        p, q : float
            Amplitudes, in 1/ps^2.
        rate : float
            Damping rate, in 1/ps.
        frequency : float
            Angular frequency, in rad/ps.

        Raises
        ------
        ValueError
            If rate or frequency is not positive, or an argument is not finite.
        """
        values = {
            "p": float(strip_units(p, _PER_PS2)),
            "q": float(strip_units(q, _PER_PS2)),
            "rate": float(strip_units(rate, _PER_PS)),
            "frequency": float(_frequency(frequency)),
        }
        for name, value in values.items():
            if not np.isfinite(value):
                raise ValueError(f"`{name}` must be finite, got {value}")
        for name, item in (("rate", "1/ps"), ("frequency", "rad/ps")):
            if values[name] <= 0.0:
                raise ValueError(f"`{name}` must be > 0 ({item}), got {values[name]}")
        p, q, rate, frequency = values.values()
        if p < 0.0 or p * rate < abs(q) * frequency * (1.0 - ROUNDING):
            g = np.sqrt(np.hypot(p, q))
            return cls._realisation([[0.0, -p / g, q / g], [g, rate, -frequency], [0.0, frequency, rate]])
        # The 2x2 block [[alpha, -w], [w, beta]] seen through its first variable.
        skew = 0.0 if p == 0.0 else float(np.clip(q * frequency / p, -rate, rate))
        return cls.block(np.sqrt(p), rate - skew, rate + skew, np.hypot(frequency, skew))

    @classmethod
    def block(cls, coupling: float, alpha: float, beta: float, w: float) -> MemoryKernel:
        """Return the kernel coupling^2 [exp(-t [[alpha, -w], [w, beta]])]_00, passive for all alpha, beta >= 0.

        Parameters
        ----------
        coupling, alpha, beta, w : float or Quantity
            In 1/ps.

        Raises
        ------
        ValueError
            If alpha or beta is negative, or an argument is not finite.
        """
        coupling, alpha, beta, w = (float(strip_units(value, _PER_PS)) for value in (coupling, alpha, beta, w))
        return cls([[0.0, -coupling, 0.0], [coupling, alpha, -w], [0.0, w, beta]])

    @classmethod
    def white(cls, friction: float) -> MemoryKernel:
        """Return the memoryless kernel 2 friction delta(t): ordinary Langevin dynamics.

        Parameters
        ----------
        friction : float or array_like, shape (3, 3)
            In 1/ps. A matrix, for a friction that depends on the direction, makes a kernel of dimension 3.

        Raises
        ------
        ValueError
            If the friction is negative or not finite.
        """
        value = np.asarray(strip_units(friction, _PER_PS), dtype=np.float64)
        if value.shape == (3, 3):
            return cls(value, 3)
        if value.shape != ():
            raise ValueError(f"`friction` must be a number or a matrix of shape (3, 3), got shape {value.shape}")
        if not (np.isfinite(value) and value >= 0.0):
            raise ValueError(f"`friction` must be >= 0 (1/ps), got {value}")
        return cls([[float(value)]])

    @classmethod
    def matrix(cls, kernel: MemoryKernel, weight: ArrayLike) -> MemoryKernel:
        """Return the matrix-valued kernel k(t) W: for example for a film, the sum of one for the plane and one across.

        Parameters
        ----------
        kernel : MemoryKernel
            k(t), of dimension 1.
        weight : array_like, shape (3, 3)
            W, symmetric and positive semidefinite: diag(1, 1, 0) for the plane z = 0, the outer product of a unit
            vector with itself for its direction. Each eigenvalue that is not zero costs `kernel.modes` auxiliary
            variables.

        Raises
        ------
        ValueError
            If the kernel is not scalar, or the weight is not symmetric and positive semidefinite.
        """
        w = np.asarray(strip_units(weight, unit.dimensionless), dtype=np.float64)
        if kernel.dimension != 1:
            raise ValueError(f"`kernel` must have the dimension 1, got {kernel.dimension}")
        if w.shape != (3, 3) or not np.all(np.isfinite(w)):
            raise ValueError(f"`weight` must be a finite matrix of shape (3, 3), got shape {w.shape}")
        size = np.abs(w).max()
        values, axes = np.linalg.eigh(0.5 * (w + w.T))
        if np.abs(w - w.T).max() > ROUNDING * size or values[0] < -ROUNDING * size:
            raise ValueError(
                "`weight` must be symmetric and positive semidefinite, got a matrix with the asymmetry "
                f"{np.abs(w - w.T).max():.6g} and the smallest eigenvalue {values[0]:.6g}"
            )
        kept = values > ROUNDING * size
        arms = (axes[:, kept] * np.sqrt(values[kept])).T
        part, n = kernel._matrix, kernel.modes
        drift = np.zeros((3 + n * len(arms),) * 2)
        drift[:3, :3] = part[0, 0] * w
        for i, arm in enumerate(arms):
            own = slice(3 + i * n, 3 + (i + 1) * n)
            drift[:3, own] = np.outer(arm, part[0, 1:])
            drift[own, :3] = np.outer(part[1:, 0], arm)
            drift[own, own] = part[1:, 1:]
        return cls._realisation(drift, 3)

    @classmethod
    def from_drift(cls, drift: ArrayLike, dimension: int = 1) -> MemoryKernel:
        """Return the kernel of a drift matrix in the convention of GLE4MD, i-PI and LAMMPS's fix gle.

        The auxiliary variables may be in any basis. If A + A^T is not positive semidefinite as it stands, they are
        transformed by P^1/2, with the P > 0 that the positive-real lemma promises for every passive kernel, so that
        their covariance in equilibrium is kT times the unit matrix.

        Parameters
        ----------
        drift : array_like, shape (d+n, d+n)
            A, in 1/ps.
        dimension : int
            d, 1 or 3: the number of velocity components in A.

        Raises
        ------
        ValueError
            If the kernel is not passive: no bath has it. The offending frequency is named.
        """
        matrix = _checked_matrix(drift, dimension)
        return cls(canonical_drift(matrix, dimension), dimension)

    @classmethod
    def fit(cls, t: ArrayLike, k: ArrayLike, modes: int | tuple[int, int] = (2, 3)) -> MemoryKernel:
        """Return a passive kernel fitted to tabulated values; its `fit_error` says how well that went.

        `meanforce.memory.fit_kernel` has more options, and the error of the integrated kernel.

        Parameters
        ----------
        t : array_like, shape (T,)
            Times from 0 on, in ps.
        k : array_like, shape (T,)
            The kernel without white part, in 1/ps^2.
        modes : int or (int, int)
            Auxiliary variables, or numbers of exponentials and of damped cosines (two variables each).
        """
        from .memory.fit import fit_kernel

        found = fit_kernel(strip_units(t, unit.picosecond), strip_units(k, _PER_PS2), modes)
        kernel = cls._realisation(found.kernel._matrix)
        kernel._fit_error = found.error
        return kernel

    @classmethod
    def from_absolute(
        cls, t: ArrayLike, K: ArrayLike, mass: Any, modes: int | tuple[int, int] = (2, 3)
    ) -> MemoryKernel:
        """Return a passive kernel fitted to a table of the absolute kernel K(t) = m k(t).

        Parameters
        ----------
        t : array_like, shape (T,)
            Times from 0 on, in ps.
        K : array_like, shape (T,)
            The kernel without white part, in dalton/ps^2, which is the same as kJ/mol/nm^2.
        mass : float or Quantity
            m, in dalton.
        modes : int or (int, int)
            See `fit`.

        Raises
        ------
        ValueError
            If the mass is not positive, or the table is not one that `fit` takes.
        """
        m = _positive(mass, unit.dalton, "mass", "dalton")
        return cls.fit(t, np.asarray(strip_units(K, _DALTON_PER_PS2), dtype=np.float64) / m, modes)

    def __add__(self, other: MemoryKernel) -> MemoryKernel:
        """Return the kernel of two independent baths that act together; one of dimension 1 acts on all three axes."""
        if not isinstance(other, MemoryKernel):
            return NotImplemented
        d = max(self._dimension, other._dimension)
        first, second = self._in_dimension(d), other._in_dimension(d)
        n = len(first)
        total = np.zeros((n + len(second) - d,) * 2)
        total[:n, :n] = first
        total[n:, n:] = second[d:, d:]
        total[:d, n:] = second[:d, d:]
        total[n:, :d] = second[d:, :d]
        total[:d, :d] += second[:d, :d]
        return MemoryKernel._realisation(total, d)

    def __radd__(self, other: int) -> MemoryKernel:
        """Let `sum` begin with 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def _in_dimension(self, d: int) -> Array:
        return self._matrix if d == self._dimension else MemoryKernel.matrix(self, np.eye(3))._matrix

    # ---------------------------------------------------------------------------------------------- what it is

    @property
    def dimension(self) -> int:
        """1 for a kernel that acts on each component, 3 for a matrix-valued one."""
        return self._dimension

    @property
    def drift(self) -> Array:
        """The canonical drift matrix A, A + A^T >= 0, shape (d+n, d+n), in 1/ps (a copy).

        Raises
        ------
        ValueError
            If the kernel is not passive: no bath has it. The offending frequency is named.
        """
        return canonical_drift(self._matrix, self._dimension).copy()

    @property
    def modes(self) -> int:
        """The number n of auxiliary variables: for each degree of freedom, or for all three (dimension 3)."""
        return len(self._matrix) - self._dimension

    @property
    def fit_error(self) -> float | None:
        """The relative L2 error of the fit that this kernel is the result of; None if it is not one."""
        return self._fit_error

    @property
    def white_friction(self) -> Any:
        """The friction gamma0 of the memoryless part 2 gamma0 delta(t), in 1/ps; shape (3, 3) in dimension 3."""
        return self._shaped(self._matrix[: self._dimension, : self._dimension].copy())

    @property
    def friction(self) -> Any:
        """The integral of k(t) over t > 0, white part included, in 1/ps; inf for a memory that never decays.

        A matrix of shape (3, 3) in dimension 3.
        """
        d = self._dimension
        return self._shaped(self._matrix[:d, :d] + self._integral(np.array([np.inf]))[0])

    def is_passive(self) -> bool:
        """Return whether the spectrum is nowhere negative, so that a bath with this kernel exists."""
        return is_dissipative(self._matrix) or negative_frequency(self._matrix, self._dimension) is None

    def _shaped(self, values: Any) -> Any:
        """Return values of shape (..., d, d) as they are, or of shape (...) in dimension 1; single ones as float."""
        if self._dimension == 3:
            return values
        return values[..., 0, 0] if values.ndim > 2 else float(values[0, 0])

    @property
    def _parts(self) -> tuple[Array, Array, Array]:
        """Row, memory and column of k(t) = row exp(-memory t) column: shapes (d, n), (n, n), (n, d)."""
        d = self._dimension
        return -self._matrix[:d, d:], self._matrix[d:, d:], self._matrix[d:, :d]

    def kernel(self, t: ArrayLike) -> Array:
        """Return the smooth part of k(t), without 2 gamma0 delta(t).

        Parameters
        ----------
        t : array_like
            Times >= 0, in ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps^2, of the shape of `t`; of shape (*t.shape, 3, 3) in dimension 3.

        Raises
        ------
        ValueError
            If a time is negative.
        """
        times = _times(t)
        return self._array(_response(*self._parts, times))

    def __call__(self, t: ArrayLike) -> Array:
        """Return `kernel(t)`."""
        return self.kernel(t)

    def integrated(self, t: ArrayLike) -> Array:
        """Return G(t) = int_0^t k(t') dt', white part included.

        Parameters
        ----------
        t : array_like
            Times >= 0, in ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps, of the shape of `t`; of shape (*t.shape, 3, 3) in dimension 3.

        Raises
        ------
        ValueError
            If a time is negative.
        """
        times = _times(t)
        d = self._dimension
        return self._array(self._matrix[:d, :d] + self._integral(times))

    def spectrum(self, omega: ArrayLike) -> NDArray[Any]:
        """Return the real part of int_0^inf k(t) exp(-i omega t) dt, which is >= 0 for a passive kernel.

        Parameters
        ----------
        omega : array_like
            Angular frequencies, in rad/ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps, of the shape of `omega`. In dimension 3 the Hermitian part of the complex matrix, of shape
            (*omega.shape, 3, 3), which is positive semidefinite for a passive kernel.
        """
        frequencies = np.asarray(_frequency(omega), dtype=np.float64)
        values = hermitian_part(laplace(self._matrix, self._dimension, frequencies))
        return self._array(values if self._dimension == 3 else values.real)

    def vacf(self, n: ArrayLike, step: float) -> Array:
        """Return the normalised velocity autocorrelation [T^n]_00, T = exp(-step A), of a free particle.

        This is what `meanforce.GLEIntegrator` gives for a free particle after n steps, without any step-size error.

        Parameters
        ----------
        n : array_like of int
            Numbers of steps.
        step : float
            Step size, in ps.

        Returns
        -------
        numpy.ndarray
            Of the shape of `n`; of shape (*n.shape, 3, 3) in dimension 3, with <v_i(t) v_j(0)> m / kT at [i, j].

        Raises
        ------
        ValueError
            If a number of steps or the step size is negative.
        """
        times = _times(np.asarray(n, dtype=np.float64)) * _times(step, "step")
        first = np.eye(len(self._matrix))[:, : self._dimension]
        return self._array(_response(first.T, self._matrix, first, times))

    def diffusion(self, temperature: Any, mass: Any, step: Any = 0.0) -> Any:
        """Return the diffusion coefficient of a free particle, kT/(m friction), or of its discrete dynamics.

        In steps of h it is (kT/m) h [(1 - T)^-1 - 1/2]_00, T = exp(-h A).

        Parameters
        ----------
        temperature : float or Quantity
            In K.
        mass : float or Quantity
            In dalton.
        step : float or Quantity
            h, in ps; 0 for continuous time.

        Returns
        -------
        float or numpy.ndarray
            In nm^2/ps; of shape (3, 3) in dimension 3.

        Raises
        ------
        ValueError
            If the temperature or the step size is negative, the mass is not positive, or there is no friction in some
            direction: such particles do not diffuse, they fly.
        """
        kelvin = float(strip_units(temperature, unit.kelvin))
        if not (np.isfinite(kelvin) and kelvin >= 0.0):
            raise ValueError(f"`temperature` must be >= 0 (K), got {kelvin}")
        kt = kelvin * _R
        m, h = _positive(mass, unit.dalton, "mass", "dalton"), float(_times(step, "step"))
        d = self._dimension
        friction = np.atleast_2d(self.friction)
        if np.all(np.isfinite(friction)):
            values = np.linalg.eigvalsh(0.5 * (friction + friction.T))
            if values[0] <= 1e-12 * values[-1]:
                raise ValueError(f"`diffusion` needs a friction > 0 (1/ps) in all directions, got {values[0]:.6g}")
        if h == 0.0:
            return self._shaped(kt / m * np.linalg.inv(friction))
        lost = -scipy.linalg.expm(-h * self._matrix) + np.eye(len(self._matrix))
        return self._shaped(kt / m * h * (np.linalg.inv(lost)[:d, :d] - 0.5 * np.eye(d)))

    def _array(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of shape (..., d, d) as they are, or of shape (...) in dimension 1."""
        return values if self._dimension == 3 else np.asarray(values[..., 0, 0])

    def _integral(self, t: Array) -> Array:
        """Return the integral of the smooth part from 0 to each t, shape (*t.shape, d, d), in 1/ps; t may be inf."""
        n, d = self.modes, self._dimension
        finite = np.where(np.isinf(t), 0.0, t)
        if n == 0:
            return np.zeros((*t.shape, d, d))
        row, memory, column = self._parts
        # [[memory, -column], [0, 0]] carries the integral of exp(-memory t) column in its last columns: no inverse of
        # `memory` is needed, which may be singular.
        augmented = np.zeros((n + d, n + d))
        augmented[:n, :n] = memory
        augmented[:n, n:] = -column
        values = _response(np.pad(row, ((0, 0), (0, d))), augmented, np.eye(n + d)[:, n:], finite)
        if np.isinf(t).any():
            try:
                limit = row @ np.linalg.solve(memory, column)
            except np.linalg.LinAlgError:
                limit = np.full((d, d), np.inf)
            values = np.where(np.isinf(t)[..., None, None], limit, values)
        return values

    # ---------------------------------------------------------------------------------------------- without memory

    def markovian(self) -> MarkovianLimit:
        """Return the memoryless kernel of the same integrated friction, with its range of validity.

        Raises
        ------
        ValueError
            If there is no friction at all, or a memory that never decays.
        """
        friction = np.atleast_2d(self.friction)
        gamma = float(np.abs(np.linalg.eigvals(friction)).max()) if np.all(np.isfinite(friction)) else np.inf
        scale = np.abs(self._matrix).max()
        if not (np.isfinite(gamma) and gamma > 1e-12 * scale):
            raise ValueError(f"a limit without memory needs a finite friction > 0, but that of {self!r} is {gamma}")
        white = MemoryKernel(friction, self._dimension)
        if self.modes == 0:
            return MarkovianLimit(white, 0.0, 0.0, np.inf, 0.0)
        rates = np.linalg.eigvals(self._parts[1])
        if rates.real.min() <= 1e-12 * np.abs(rates).max():
            raise ValueError(f"the memory of {self!r} never decays: no kernel without memory comes close")
        t = np.concatenate([[0.0], np.geomspace(1e-3 / np.abs(rates).max(), 30.0 / rates.real.min(), 4000)])
        size = np.linalg.norm(_response(*self._parts, t), ord=2, axis=(-1, -2))
        d = self._dimension
        whole = float(np.linalg.norm(self._matrix[:d, :d], 2) + scipy.integrate.trapezoid(size, t))
        memory_time = float(scipy.integrate.trapezoid(t * size, t)) / whole
        missing = np.linalg.norm(self._matrix[:d, :d] + self._integral(t) - friction, ord=2, axis=(-1, -2))
        late = np.flatnonzero(missing > _SHORT * gamma)
        shortest = 0.0 if len(late) == 0 else float(t[late[-1]])
        omega = np.geomspace(1e-4 * np.abs(rates).min(), 1e3 * np.abs(rates).max(), 4000)
        changed = np.linalg.norm(laplace(self._matrix, d, omega) - friction, ord=2, axis=(-1, -2))
        high = np.flatnonzero(changed > _SHORT * gamma)
        highest = np.inf if len(high) == 0 else float(omega[high[0]])
        return MarkovianLimit(white, memory_time, shortest, highest, gamma * memory_time)

    def langevin(self, temperature: Any, stepSize: Any) -> openmm.LangevinMiddleIntegrator:
        """Return OpenMM's Langevin integrator at the integrated friction of this kernel.

        Parameters
        ----------
        temperature : float or Quantity
            In K.
        stepSize : float or Quantity
            In ps.

        Raises
        ------
        ValueError
            If the friction is infinite, or depends on the direction.
        """
        from openmm import LangevinMiddleIntegrator

        return LangevinMiddleIntegrator(temperature, self._scalar_friction("langevin"), stepSize)

    def brownian(self, temperature: Any, stepSize: Any) -> openmm.BrownianIntegrator:
        """Return OpenMM's Brownian integrator at the integrated friction of this kernel: motion without inertia.

        Free particles diffuse with kT/(m friction). It is for times much longer than 1/friction and than the memory,
        where steps of the size friction * h >> 1 are wanted; inertia and memory leave no other trace there.

        Parameters
        ----------
        temperature : float or Quantity
            In K.
        stepSize : float or Quantity
            In ps.

        Raises
        ------
        ValueError
            If the friction is zero or infinite, or depends on the direction.
        """
        from openmm import BrownianIntegrator

        friction = self._scalar_friction("brownian")
        if friction == 0.0:
            raise ValueError("`brownian` needs a friction > 0 (1/ps), got 0: such particles do not diffuse, they fly")
        return BrownianIntegrator(temperature, friction, stepSize)

    def _scalar_friction(self, name: str) -> float:
        friction = np.atleast_2d(self.friction)
        mean = float(np.trace(friction)) / len(friction)
        if not np.isfinite(mean):
            raise ValueError(f"`{name}` needs a finite friction, but the memory of this kernel never decays")
        if np.abs(friction - mean * np.eye(len(friction))).max() > 1e-9 * abs(mean):
            raise ValueError(
                f"`{name}` needs a friction that is the same in all directions, got the diagonal {np.diag(friction)}/ps"
            )
        return mean

    # ---------------------------------------------------------------------------------------------- other programs

    def to_lammps_gld(self, mass: Any, temperature: Any = 300.0, units: str = "metal", seed: int = 1) -> str:
        """Return the command of LAMMPS that runs this kernel: ``fix bath all gld T T n seed pprony c_1 tau_1 ...``.

        LAMMPS scales no kernel by the mass: c_k = m a_k tau_k, in mass per time, is for particles of one mass.

        Parameters
        ----------
        mass : float or Quantity
            In dalton.
        temperature : float or Quantity
            In K.
        units : str
            LAMMPS's unit style: "metal" (ps) or "real" (fs).
        seed : int
            LAMMPS's seed, > 0.

        Raises
        ------
        ValueError
            If the kernel is not a sum of positive exponentials: fix gld knows nothing else; or if the seed or the mass
            is not positive, or the temperature is negative.
        """
        self._require_scalar("fix gld")
        amplitudes, times = kernelformats.prony_terms(self.drift)
        m, kelvin = _positive(mass, unit.dalton, "mass", "dalton"), float(strip_units(temperature, unit.kelvin))
        if not (np.isfinite(kelvin) and kelvin >= 0.0):
            raise ValueError(f"`temperature` must be >= 0 (K), got {kelvin}")
        if seed < 1:
            raise ValueError(f"`seed` must be > 0, got {seed}")
        return kernelformats.gld_command(amplitudes, times, m, kernelformats.lammps_time(units), kelvin, seed)

    @classmethod
    def from_lammps_gld(cls, command: str, mass: Any, units: str = "metal") -> MemoryKernel:
        """Return the kernel of a `fix gld` command of LAMMPS for particles of one mass.

        Parameters
        ----------
        command : str
            The command, or only its numbers c_1 tau_1 c_2 tau_2 ...
        mass : float or Quantity
            In dalton.
        units : str
            LAMMPS's unit style: "metal" (ps) or "real" (fs).
        """
        m = _positive(mass, unit.dalton, "mass", "dalton")
        return cls.prony(*kernelformats.parse_gld(command, m, kernelformats.lammps_time(units)))

    def to_lammps_gle(self, path: str | os.PathLike[str], units: str = "metal") -> None:
        """Write the drift matrix for LAMMPS's ``fix ID group gle n T T seed path``, in 1/ps (metal) or 1/fs (real)."""
        self._require_scalar("fix gle")
        scale = kernelformats.lammps_time(units)
        title = [
            f"LAMMPS fix gle, {self.modes} additional momenta, units {units}",
            f"A MATRIX: ({kernelformats.lammps_rate(units)})",
        ]
        Path(path).write_text(kernelformats.matrix_text(title, scale * self.drift), encoding="utf-8")

    @classmethod
    def from_lammps_gle(
        cls, path: str | os.PathLike[str], units: str = "metal", covariance: str | os.PathLike[str] | None = None
    ) -> MemoryKernel:
        """Return the kernel of the A matrix file, and C matrix file if any, of LAMMPS's fix gle.

        Parameters
        ----------
        path : path
            A, in 1/ps ("metal") or 1/fs ("real").
        units : str
            LAMMPS's unit style.
        covariance : path, optional
            C, if the command has `noneq`. It must be that of canonical sampling.
        """
        return cls.from_gle4md(path, covariance, kernelformats.lammps_rate(units))

    def to_gle4md(self, path: str | os.PathLike[str]) -> None:
        """Write the drift matrix as GLE4MD does, in 1/ps; its header says so."""
        self._require_scalar("GLE4MD")
        title = [f"canonical sampling, C = kT 1, {self.modes} auxiliary variables", "A MATRIX: (picoseconds^-1)"]
        Path(path).write_text(kernelformats.matrix_text(title, self.drift), encoding="utf-8")

    @classmethod
    def from_gle4md(
        cls,
        path: str | os.PathLike[str],
        covariance: str | os.PathLike[str] | None = None,
        units: str | None = None,
    ) -> MemoryKernel:
        """Return the kernel of matrices from GLE4MD or i-PI, in files of plain numbers with comments.

        The unit comes from the header ``# A MATRIX: (picoseconds^-1)``. A matrix C, in the same file or in one of its
        own, must be that of canonical sampling, where the velocity is not correlated with the auxiliary variables. The
        temperature that it has for the velocity is left to the integrator.

        Parameters
        ----------
        path : path
            A, and C if it is in the same file.
        covariance : path, optional
            C.
        units : str, optional
            Unit of A if the file does not say: "ps^-1", "fs^-1", "s^-1" or "atomic time units^-1".

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file has no or several matrices A, no unit, or a C out of equilibrium; or if the kernel is not
            passive.
        """
        a, c = kernelformats.read_matrices(Path(path), units, None if covariance is None else Path(covariance))
        return cls.from_drift(a if c is None else kernelformats.equilibrium_drift(a, c))

    def _require_scalar(self, program: str) -> None:
        if self._dimension != 1:
            raise ValueError(f"{program} knows kernels of dimension 1 only, this one has dimension {self._dimension}")

    # ---------------------------------------------------------------------------------------------- files

    def to_json(self) -> str:
        """Return the text of a `kernel.json` file; numbers survive the round trip exactly."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "dimension": self._dimension,
                "units": {"drift": "1/ps"},
                "drift": self.drift.tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> MemoryKernel:
        """Return the kernel that `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not complete JSON, is not a kernel, or was written in a newer version of the format.
        """
        return cls._from_text(text, "the text given")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `kernel.json` file.

        Raises
        ------
        ValueError
            If the kernel is not passive; a file that exists is then left as it is.
        """
        write_text(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MemoryKernel:
        """Return the kernel stored in a `kernel.json`, or in the extra file kernel.json of a `model.pt`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no kernel, is truncated or damaged, or was written in a newer version of the format.
        """
        where = f"'{os.fspath(path)}'"
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no kernel file {where}")
        with open(path, "rb") as file:
            content = file.read()
        if zipfile.is_zipfile(io.BytesIO(content)):
            try:
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    members = [archive.read(name) for name in archive.namelist() if name.endswith("/extra/kernel.json")]
            except Exception as error:  # of a damaged archive zipfile says so in six types of exception
                raise ValueError(f"{where} is truncated or damaged: {error}") from None
            if not members:
                raise ValueError(f"{where} carries no memory kernel (no extra file kernel.json)")
            content = members[0]
        return cls._from_text(content.decode("utf-8", errors="replace"), where)

    @classmethod
    def _from_text(cls, text: str, where: str) -> MemoryKernel:
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where} is not a memory kernel, or is truncated: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"{where} is not a memory kernel: its format must be '{FORMAT}'")
        version = data.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ValueError(f"{where} has the format version {version!r}; it must be a whole number >= 1")
        if version > VERSION:
            raise ValueError(
                f"{where} has the format version {version}, but this meanforce reads up to {VERSION}: upgrade meanforce"
            )
        if data.get("units") != {"drift": "1/ps"} or "drift" not in data:
            raise ValueError(f"{where} must hold `drift` with the unit 1/ps, got units {data.get('units')!r}")
        drift = data["drift"]
        if not isinstance(drift, list) or not all(isinstance(row, list) and len(row) == len(drift) for row in drift):
            raise ValueError(f"`drift` in {where} must be a square matrix, a list of d+n lists of d+n numbers")
        for value in itertools.chain.from_iterable(drift):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"`drift` in {where} must consist of numbers, got {value!r}")
        dimension = data.get("dimension") if version > 1 else 1
        if dimension not in (1, 3) or isinstance(dimension, bool):
            raise ValueError(f"`dimension` in {where} must be 1 or 3, got {dimension!r}")
        try:
            return cls(drift, dimension)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{where} holds no memory kernel that can be used: {error}") from None

    # ---------------------------------------------------------------------------------------------- Python

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryKernel):
            return NotImplemented
        return self._dimension == other._dimension and np.array_equal(self._matrix, other._matrix)

    def __hash__(self) -> int:
        return hash((self._dimension, self._matrix.shape, self._matrix.tobytes()))

    def __repr__(self) -> str:
        parts = [f"modes={self.modes}"]
        if self._dimension == 1:
            parts += [f"friction={self.friction:.6g}/ps", f"white={self.white_friction:.6g}/ps"]
        else:
            diagonal = ", ".join(f"{value:.6g}" for value in np.diag(self.friction))
            parts += ["dimension=3", f"friction=diag({diagonal})/ps"]
        if self._fit_error is not None:
            parts.append(f"fit_error={self._fit_error:.3g}")
        return f"MemoryKernel({', '.join(parts)})"


def _checked_matrix(drift: ArrayLike, dimension: int) -> Array:
    """Return a copy of a realisation in 1/ps."""
    if dimension not in (1, 3):
        raise ValueError(f"`dimension` must be 1 or 3, got {dimension!r}")
    matrix = np.array(strip_units(drift, _PER_PS), dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < dimension:
        wanted = f"(n+{dimension}, n+{dimension})"
        raise ValueError(f"`drift` must be a square matrix of shape {wanted}, got shape {matrix.shape}")
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f"`drift` must be finite, got {matrix[~np.isfinite(matrix)][0]} in it")
    return matrix


def _positive(value: Any, to: Any, name: str, unit_name: str) -> float:
    number = float(strip_units(value, to))
    if not (np.isfinite(number) and number > 0.0):
        raise ValueError(f"`{name}` must be > 0 ({unit_name}), got {number}")
    return number


def _times(value: Any, name: str = "t") -> Array:
    """Return times in ps, or numbers of steps."""
    times = np.asarray(strip_units(value, unit.picosecond), dtype=np.float64)
    if np.any(times < 0.0):
        raise ValueError(f"`{name}` must be >= 0, got {times.min()}")
    return times


def _frequency(value: Any) -> Any:
    """Return an angular frequency in rad/ps; OpenMM takes both 1/ps and rad/ps for one."""
    if unit.is_quantity(value) and value.unit.is_compatible(_RADIAN_PER_PS):
        return value.value_in_unit(_RADIAN_PER_PS)
    return strip_units(value, _PER_PS)


def _response(row: Array, matrix: Array, column: Array, t: Array) -> Array:
    """Return row exp(-matrix t) column for each t, shape (*t.shape, rows, columns)."""
    if len(matrix) == 0:
        return np.zeros((*t.shape, len(row), column.shape[1]))
    rates, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) < _MAX_CONDITION:
        left, right = row @ vectors, np.linalg.solve(vectors, column.astype(complex))
        weights = left.T[:, :, None] * right[:, None, :]
        decays = np.exp(-np.multiply.outer(t, rates))
        return np.asarray(np.tensordot(decays, weights, axes=1).real)
    flat = scipy.linalg.expm(-t.reshape(-1, 1, 1) * matrix)
    return np.asarray((row @ flat @ column).reshape(*t.shape, len(row), column.shape[1]))
