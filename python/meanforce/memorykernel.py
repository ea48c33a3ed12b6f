# SPDX-License-Identifier: MIT
"""The memory kernel of a generalized Langevin equation, stored as a passive drift matrix."""

from __future__ import annotations

import io
import itertools
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from ._openmm import strip_units

if TYPE_CHECKING:
    import openmm

Array = NDArray[np.float64]

#: Name and version of the file format that `MemoryKernel.save` writes.
FORMAT = "meanforce-kernel"
VERSION = 1

#: A drift matrix A is accepted as passive when the eigenvalues of (A + A^T)/2 are above minus this fraction of its
#: largest entry: the rounding of a matrix that is passive on paper. GLEIntegrator's rule is the same.
_ROUNDING = 1e-10
#: Above this condition number of the eigenvectors (nearly critical damping) the exponential is taken without them.
_MAX_CONDITION = 1e6

_PER_PS = unit.picosecond**-1
_PER_PS2 = unit.picosecond**-2
_RADIAN_PER_PS = unit.radian / unit.picosecond


class MemoryKernel:
    r"""A mass-scaled memory kernel k(t) = K(t)/m, in 1/ps^2, that obeys fluctuation-dissipation by construction.

    The kernel is the response of n auxiliary variables s that are coupled to the mass-weighted velocity u = sqrt(m) v::

        d(u, s) = (F/sqrt(m), 0) dt - A (u, s) dt + noise,      noise covariance kT (A + A^T) dt
        k(t) = 2 gamma0 delta(t) - A[0,1:] exp(-A[1:,1:] t) A[1:,0],      gamma0 = A[0,0]

    Such a bath keeps (u, s) at the temperature T whatever the force F is, provided that it is passive, A + A^T >= 0.
    The same kernel acts on each Cartesian component of each particle that uses it.

    Parameters
    ----------
    drift : array_like, shape (n+1, n+1)
        The drift matrix A, in 1/ps. Row and column 0 belong to the velocity.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite or not passive.

    Notes
    -----
    M. Ceriotti, G. Bussi, M. Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), doi 10.1021/ct900563s.
    """

    def __init__(self, drift: ArrayLike) -> None:
        matrix = np.array(strip_units(drift, _PER_PS), dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 1:
            raise ValueError(f"`drift` must be a square matrix of shape (n+1, n+1), got shape {matrix.shape}")
        if not np.all(np.isfinite(matrix)):
            raise ValueError(f"`drift` must be finite, got {matrix[~np.isfinite(matrix)][0]} in it")
        if not _is_passive(matrix):
            raise ValueError(
                "`drift` must be passive, A + A^T >= 0, but its symmetric part (A + A^T)/2 has the negative eigenvalue "
                f"{_smallest_dissipation(matrix):.6g} 1/ps: such a bath would create energy"
            )
        matrix.setflags(write=False)
        self._drift: Array = matrix

    # ---------------------------------------------------------------------------------------------- constructors

    @classmethod
    def prony(cls, amplitudes: ArrayLike, times: ArrayLike) -> MemoryKernel:
        """Return the kernel sum_i a_i exp(-t/tau_i).

        Parameters
        ----------
        amplitudes : array_like, shape (n,)
            a_i >= 0, in 1/ps^2.
        times : array_like, shape (n,)
            tau_i > 0, in ps.

        Raises
        ------
        ValueError
            If the lengths differ, an amplitude is negative or a time is not positive.
        """
        a = np.atleast_1d(np.asarray(strip_units(amplitudes, _PER_PS2), dtype=np.float64))
        tau = np.atleast_1d(np.asarray(strip_units(times, unit.picosecond), dtype=np.float64))
        if a.ndim != 1 or a.shape != tau.shape:
            raise ValueError(
                f"`amplitudes` and `times` must be lists of the same length, got shapes {a.shape}, {tau.shape}"
            )
        for value in a:
            if not (np.isfinite(value) and value >= 0.0):
                raise ValueError(f"`amplitudes` must be >= 0 (1/ps^2), got {value}")
        for value in tau:
            if not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"`times` must be > 0 (ps), got {value}")
        n = len(a)
        drift = np.zeros((n + 1, n + 1))
        drift[1:, 1:] = np.diag(1.0 / tau)
        drift[1:, 0] = np.sqrt(a)
        drift[0, 1:] = -np.sqrt(a)
        return cls(drift)

    @classmethod
    def damped_cosine(cls, p: float, q: float, rate: float, frequency: float) -> MemoryKernel:
        """Return the kernel exp(-rate t) (p cos(frequency t) + q sin(frequency t)).

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
            If rate or frequency is not positive, or if the kernel is not passive: p rate >= |q| frequency.
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
        if p < 0.0 or p * rate < abs(q) * frequency * (1.0 - _ROUNDING):
            raise ValueError(
                "a damped cosine is passive only if p rate >= |q| frequency, "
                f"got p rate = {p * rate:.6g} and |q| frequency = {abs(q) * frequency:.6g} 1/ps^3"
            )
        # The 2x2 block [[alpha, -w], [w, beta]] seen through its first variable.
        skew = 0.0 if p == 0.0 else float(np.clip(q * frequency / p, -rate, rate))
        return cls.block(np.sqrt(p), rate - skew, rate + skew, np.hypot(frequency, skew))

    @classmethod
    def block(cls, coupling: float, alpha: float, beta: float, w: float) -> MemoryKernel:
        """Return the kernel coupling^2 [exp(-t [[alpha, -w], [w, beta]])]_00, passive for all alpha, beta >= 0.

        Parameters
        ----------
        coupling, alpha, beta, w : float
            In 1/ps.
        """
        return cls([[0.0, -coupling, 0.0], [coupling, alpha, -w], [0.0, w, beta]])

    @classmethod
    def white(cls, friction: float) -> MemoryKernel:
        """Return the memoryless kernel 2 friction delta(t): ordinary Langevin dynamics.

        Parameters
        ----------
        friction : float
            In 1/ps.

        Raises
        ------
        ValueError
            If the friction is negative or not finite.
        """
        value = float(strip_units(friction, _PER_PS))
        if not (np.isfinite(value) and value >= 0.0):
            raise ValueError(f"`friction` must be >= 0 (1/ps), got {value}")
        return cls([[value]])

    @classmethod
    def fit(cls, t: ArrayLike, k: ArrayLike, modes: int | tuple[int, int] = (2, 3)) -> MemoryKernel:
        """Return a passive kernel fitted to tabulated values; `meanforce.memory.fit_kernel` also reports its error.

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

        return fit_kernel(strip_units(t, unit.picosecond), strip_units(k, _PER_PS2), modes).kernel

    def __add__(self, other: MemoryKernel) -> MemoryKernel:
        """Return the kernel of two independent baths that act together."""
        if not isinstance(other, MemoryKernel):
            return NotImplemented
        n = self.modes
        drift = np.zeros((n + other.modes + 1,) * 2)
        drift[: n + 1, : n + 1] = self._drift
        drift[n + 1 :, n + 1 :] = other._drift[1:, 1:]
        drift[0, n + 1 :] = other._drift[0, 1:]
        drift[n + 1 :, 0] = other._drift[1:, 0]
        drift[0, 0] += other._drift[0, 0]
        return MemoryKernel(drift)

    # ---------------------------------------------------------------------------------------------- what it is

    @property
    def drift(self) -> Array:
        """The drift matrix A, shape (n+1, n+1), in 1/ps (a copy)."""
        return self._drift.copy()

    @property
    def modes(self) -> int:
        """The number n of auxiliary variables for each degree of freedom."""
        return len(self._drift) - 1

    @property
    def white_friction(self) -> float:
        """The friction gamma0 of the memoryless part 2 gamma0 delta(t), in 1/ps."""
        return float(self._drift[0, 0])

    @property
    def friction(self) -> float:
        """The integral of k(t) over t > 0, white part included, in 1/ps; inf for a memory that never decays."""
        return float(self.white_friction + self._integral(np.array([np.inf]))[0])

    def is_passive(self) -> bool:
        """Return whether A + A^T >= 0; true for every kernel that could be constructed."""
        return _is_passive(self._drift)

    def kernel(self, t: ArrayLike) -> Array:
        """Return the smooth part of k(t), without 2 gamma0 delta(t).

        Parameters
        ----------
        t : array_like
            Times >= 0, in ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps^2, of the shape of `t`.
        """
        times = np.asarray(strip_units(t, unit.picosecond), dtype=np.float64)
        return _response(-self._drift[0, 1:], self._drift[1:, 1:], self._drift[1:, 0], times)

    def integrated(self, t: ArrayLike) -> Array:
        """Return G(t) = int_0^t k(t') dt', white part included.

        Parameters
        ----------
        t : array_like
            Times >= 0, in ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps, of the shape of `t`.
        """
        times = np.asarray(strip_units(t, unit.picosecond), dtype=np.float64)
        return self.white_friction + self._integral(times)

    def spectrum(self, omega: ArrayLike) -> Array:
        """Return the real part of int_0^inf k(t) exp(-i omega t) dt, which is >= 0 for a passive kernel.

        Parameters
        ----------
        omega : array_like
            Angular frequencies, in rad/ps.

        Returns
        -------
        numpy.ndarray
            In 1/ps, of the shape of `omega`.
        """
        frequencies = np.asarray(_frequency(omega), dtype=np.float64)
        n = self.modes
        if n == 0:
            return np.full(frequencies.shape, self.white_friction)
        resolvent = 1j * frequencies.reshape(-1, 1, 1) * np.eye(n) + self._drift[1:, 1:]
        column = np.broadcast_to(self._drift[1:, :1], (frequencies.size, n, 1))
        laplace = -(self._drift[0, 1:] @ np.linalg.solve(resolvent, column))[:, 0]
        return self.white_friction + laplace.real.reshape(frequencies.shape)

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
            Of the shape of `n`.
        """
        times = np.asarray(n, dtype=np.float64) * float(strip_units(step, unit.picosecond))
        first = np.eye(len(self._drift))[0]
        return _response(first, self._drift, first, times)

    def _integral(self, t: Array) -> Array:
        """Return the integral of the smooth part from 0 to each t, in 1/ps; t may be inf."""
        n = self.modes
        finite = np.where(np.isinf(t), 0.0, t)
        if n == 0:
            return np.zeros(t.shape)
        row, memory, column = -self._drift[0, 1:], self._drift[1:, 1:], self._drift[1:, 0]
        # [[memory, -column], [0, 0]] carries the integral of exp(-memory t) column as its last column: no inverse of
        # `memory` is needed, which may be singular.
        augmented = np.zeros((n + 1, n + 1))
        augmented[:n, :n] = memory
        augmented[:n, n] = -column
        values = _response(np.append(row, 0.0), augmented, np.eye(n + 1)[n], finite)
        if np.isinf(t).any():
            try:
                limit = float(row @ np.linalg.solve(memory, column))
            except np.linalg.LinAlgError:
                limit = np.inf
            values = np.where(np.isinf(t), limit, values)
        return values

    # ---------------------------------------------------------------------------------------------- without memory

    def markovian(self) -> MemoryKernel:
        """Return the memoryless kernel of the same integrated friction."""
        return MemoryKernel.white(self.friction)

    def langevin(self, temperature: Any, stepSize: Any) -> openmm.LangevinMiddleIntegrator:
        """Return OpenMM's Langevin integrator at the integrated friction of this kernel.

        Parameters
        ----------
        temperature : float or Quantity
            In K.
        stepSize : float or Quantity
            In ps.
        """
        from openmm import LangevinMiddleIntegrator

        return LangevinMiddleIntegrator(temperature, self.friction, stepSize)

    # ---------------------------------------------------------------------------------------------- files

    def to_json(self) -> str:
        """Return the text of a `kernel.json` file; numbers survive the round trip exactly."""
        return json.dumps(
            {"format": FORMAT, "version": VERSION, "units": {"drift": "1/ps"}, "drift": self._drift.tolist()}
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
        """Write a `kernel.json` file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.to_json() + "\n")

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
            raise ValueError(f"`drift` in {where} must be a square matrix, a list of n+1 lists of n+1 numbers")
        for value in itertools.chain.from_iterable(drift):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"`drift` in {where} must consist of numbers, got {value!r}")
        try:
            return cls(drift)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{where} holds no memory kernel that can be used: {error}") from None

    # ---------------------------------------------------------------------------------------------- Python

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryKernel):
            return NotImplemented
        return np.array_equal(self._drift, other._drift)

    def __hash__(self) -> int:
        return hash((self._drift.shape, self._drift.tobytes()))

    def __repr__(self) -> str:
        return f"MemoryKernel(modes={self.modes}, friction={self.friction:.6g}/ps, white={self.white_friction:.6g}/ps)"


def _smallest_dissipation(drift: Array) -> float:
    """Return the smallest eigenvalue of (A + A^T)/2, in the unit of A."""
    return float(np.linalg.eigvalsh(0.5 * drift + 0.5 * drift.T)[0])


def _is_passive(drift: Array) -> bool:
    return bool(_smallest_dissipation(drift) >= -_ROUNDING * np.abs(drift).max())


def _frequency(value: Any) -> Any:
    """Return an angular frequency in rad/ps; OpenMM takes both 1/ps and rad/ps for one."""
    if unit.is_quantity(value) and value.unit.is_compatible(_RADIAN_PER_PS):
        return value.value_in_unit(_RADIAN_PER_PS)
    return strip_units(value, _PER_PS)


def _response(row: Array, matrix: Array, column: Array, t: Array) -> Array:
    """Return row exp(-matrix t) column for each t."""
    if len(matrix) == 0:
        return np.zeros(t.shape)
    rates, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) < _MAX_CONDITION:
        weights = (row @ vectors) * np.linalg.solve(vectors, column.astype(complex))
        return np.asarray((np.exp(-np.multiply.outer(t, rates)) @ weights).real)
    flat = scipy.linalg.expm(-t.reshape(-1, 1, 1) * matrix)
    return np.asarray((row @ flat @ column).reshape(t.shape))
