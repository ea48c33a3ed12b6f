# SPDX-License-Identifier: MIT
"""Correlations of any two quantities of many beads, frame by frame in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from .._openmm import strip_units
from .correlations import Correlation, lagged_products

Array = NDArray[np.float64]

#: Pieces of a trajectory that are kept apart for the standard error; twice as many are merged in pairs.
_PIECES = 32


@dataclass(frozen=True)
class CrossCorrelation:
    """<a(0) b(t)>, averaged over beads, time origins and, unless it is a matrix, components.

    Attributes
    ----------
    t : numpy.ndarray, shape (T,)
        Lags, in ps; t[0] = 0.
    value : numpy.ndarray, shape (T,) or (T, d, d)
        In the unit of a b. Of a matrix, [i, j] is <b_i(t) a_j(0)>.
    standard_error : numpy.ndarray
        Of `value`, from blocks of time origins.
    blocks : numpy.ndarray, shape (B, ...)
        The same from the time origins of each block alone.
    weights : numpy.ndarray, shape (B, T)
        The share of each block in `value`; sums to 1 for each lag.
    """

    t: Array
    value: Array
    standard_error: Array
    blocks: Array
    weights: Array

    def normalised(self) -> Correlation:
        """Return a velocity autocorrelation in the form of `velocity_autocorrelation`."""
        if self.value.ndim != 1 or not self.value[0] > 0.0:
            raise ValueError("only a scalar correlation that starts above zero can be normalised")
        zero = float(self.value[0])
        return Correlation(
            self.t, self.value / zero, self.standard_error / zero, zero, self.blocks / zero, self.weights
        )


class CorrelationStream:
    """Accumulate correlations from a trajectory that is read or made piece by piece.

    Memory is bounded by two longest lags of frames, whatever the length of the trajectory::

        stream = CorrelationStream(dt, max_time=2.0, types=types)
        for frames in pieces:                    # (f, N, d) or (f, replicas, N, d)
            stream.add(velocities)               # or stream.add(velocities, forces)
        correlations = stream.result()           # one for each type

    Parameters
    ----------
    dt : float
        Time between frames, in ps.
    max_time : float
        Longest lag, in ps.
    masses : array_like, shape (N,), optional
        Beads count in proportion to their mass. Default: equally.
    types : array_like of int, shape (N,), optional
        Beads of each type are averaged apart. Default: all together.
    matrix : bool
        Keep all pairs of components, for example of beads in a film.
    """

    def __init__(
        self,
        dt: float,
        max_time: float,
        masses: ArrayLike | None = None,
        types: ArrayLike | None = None,
        matrix: bool = False,
    ) -> None:
        self.dt = float(strip_units(dt, unit.picosecond))
        longest = float(strip_units(max_time, unit.picosecond))
        if not (np.isfinite(self.dt) and self.dt > 0.0):
            raise ValueError(f"`dt` must be > 0 (ps), got {self.dt}")
        self.lags = round(longest / self.dt)
        if self.lags < 1:
            raise ValueError(f"`max_time` must be at least `dt` = {self.dt} ps, got {longest}")
        self.matrix = matrix
        self._masses = None if masses is None else np.asarray(strip_units(masses, unit.dalton), dtype=np.float64)
        self._types = None if types is None else np.asarray(types)
        self._held: list[tuple[NDArray[Any], NDArray[Any] | None]] = []
        self._frames = 0
        self._sums: list[Array] = []
        self._counts: list[Array] = []
        self._merged = 1
        self._weights: Array | None = None

    def add(self, a: ArrayLike, b: ArrayLike | None = None) -> None:
        """Append frames.

        Parameters
        ----------
        a, b : array_like, shape (f, N, d) or (f, replicas, N, d)
            The quantity at the time origin, and the one a lag later. `b` None: the same.

        Raises
        ------
        ValueError
            If a shape is wrong or changes, or a value is not finite.
        """
        first = self._frames_of(a, "a")
        second = None if b is None else self._frames_of(b, "b")
        if second is not None and second.shape != first.shape:
            raise ValueError(f"`b` must have the shape of `a`, {first.shape}, got {second.shape}")
        if self._held and (self._held[0][1] is None) != (second is None):
            raise ValueError("`b` must be given always or never")
        if self._held and self._held[0][0].shape[1:] != first.shape[1:]:
            raise ValueError(f"`a` must have {self._held[0][0].shape[1]} beads as before, got {first.shape[1]}")
        self._held.append((first, second))
        self._frames += len(first)
        if self._frames >= 2 * self.lags + 1:
            self._consume(self._frames - self.lags)

    def result(self) -> CrossCorrelation | list[CrossCorrelation]:
        """Return the correlation so far, or a list with one for each type.

        Raises
        ------
        ValueError
            If there are too few frames for the lags.
        """
        sums, counts = list(self._sums), list(self._counts)
        if self._frames > 0:  # the last time origins, which see fewer lags
            a, b = self._joined()
            sums.append(self._products(a, b, self._frames))
            counts.append(np.maximum(self._frames - np.arange(self.lags + 1.0), 0.0))
        if len(sums) < 3:
            raise ValueError(
                f"{self.lags} lags need at least {4 * self.lags} frames for a standard error, got too few: record a "
                "longer run or ask for a shorter longest lag"
            )
        if len(sums) > 2:  # the remainder is no block of its own
            last_sum, last_count = sums.pop(), counts.pop()
            sums[-1] = sums[-1] + last_sum
            counts[-1] = counts[-1] + last_count
        number = np.array(counts)
        parts = [self._correlation(np.array([piece[g] for piece in sums]), number) for g in range(len(sums[0]))]
        return parts if self._types is not None else parts[0]

    # ------------------------------------------------------------------------------------------ helpers

    def _frames_of(self, values: ArrayLike, name: str) -> NDArray[Any]:
        array = np.asarray(values)
        if array.ndim == 4:
            array = array.reshape(len(array), -1, array.shape[3])
        if array.ndim != 3 or min(array.shape[1:]) < 1:
            raise ValueError(f"`{name}` must have shape (f, N, d) or (f, replicas, N, d), got {array.shape}")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"`{name}` must be finite")
        if self._weights is None:
            self._weights = self._group_weights(array.shape[1])
        return array

    def _group_weights(self, beads: int) -> Array:
        """Return the weight of each bead in each type, shape (types, beads); replicas repeat the list of beads."""

        def repeated(values: NDArray[Any], name: str) -> NDArray[Any]:
            if values.ndim != 1 or beads % max(len(values), 1):
                raise ValueError(f"`{name}` must have one entry for each of the {beads} beads, got {values.shape}")
            return np.tile(values, beads // len(values))

        mass = np.ones(beads) if self._masses is None else repeated(self._masses, "masses")
        if np.any(mass < 0.0):
            raise ValueError(f"`masses` must be >= 0 (dalton), got {mass.min()}")
        kinds = np.zeros(beads, dtype=int) if self._types is None else repeated(self._types, "types")
        weights = np.array([np.where(kinds == kind, mass, 0.0) for kind in np.unique(kinds)])
        total = weights.sum(axis=1, keepdims=True)
        if np.any(total == 0.0):
            raise ValueError("`masses` must not be all zero for beads of one type")
        return np.asarray(weights / total)

    def _joined(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if len(self._held) > 1:
            first = np.concatenate([a for a, _ in self._held])
            later = [b for _, b in self._held if b is not None]
            self._held = [(first, np.concatenate(later) if later else None)]
        return self._held[0]

    def _products(self, a: NDArray[Any], b: NDArray[Any] | None, origins: int) -> Array:
        assert self._weights is not None
        found = []
        for weights in self._weights:
            kept = np.flatnonzero(weights)
            whole = len(kept) == len(weights)
            x = a if whole else a[:, kept]
            y = b if whole or b is None else b[:, kept]
            found.append(lagged_products(x, y, weights[kept], origins, self.lags, self.matrix))
        return np.array(found)

    def _consume(self, origins: int) -> None:
        """Take the first frames as time origins, all of whose lags are there, and forget them."""
        a, b = self._joined()
        for begin in range(0, origins, self.lags):
            count = min(self.lags, origins - begin)
            piece = slice(begin, begin + count + self.lags)
            self._store(self._products(a[piece], None if b is None else b[piece], count), count)
        self._held = [(a[origins:].copy(), None if b is None else b[origins:].copy())]
        self._frames -= origins

    def _store(self, sums: Array, count: int) -> None:
        number = np.full(self.lags + 1, float(count))
        if self._counts and self._counts[-1][0] < self._merged * self.lags:
            self._sums[-1] = self._sums[-1] + sums
            self._counts[-1] = self._counts[-1] + number
        else:
            self._sums.append(sums)
            self._counts.append(number)
        if len(self._sums) >= 2 * _PIECES:
            self._sums = [x + y for x, y in zip(self._sums[::2], self._sums[1::2], strict=True)]
            self._counts = [x + y for x, y in zip(self._counts[::2], self._counts[1::2], strict=True)]
            self._merged *= 2

    def _correlation(self, sums: Array, counts: Array) -> CrossCorrelation:
        share = counts / counts.sum(axis=0)
        wide = (slice(None), slice(None)) + (None,) * (sums.ndim - 2)
        parts = sums / counts[wide]
        value = sums.sum(axis=0) / counts.sum(axis=0)[wide[1:]]
        b = len(parts)
        error = np.sqrt(b / (b - 1.0) * (share[wide] ** 2 * (parts - value) ** 2).sum(axis=0))
        return CrossCorrelation(self.dt * np.arange(self.lags + 1.0), value, np.asarray(error), parts, share)


def correlate(
    a: ArrayLike | Iterable[ArrayLike],
    b: ArrayLike | None = None,
    *,
    dt: float,
    max_time: float,
    masses: ArrayLike | None = None,
    types: ArrayLike | None = None,
    matrix: bool = False,
) -> CrossCorrelation | list[CrossCorrelation]:
    """Return <a(0) b(t)> of two trajectories: forces and velocities, positions, or velocities by type or direction.

    Parameters
    ----------
    a, b : array_like, shape (F, N, d) or (F, replicas, N, d)
        `b` None: the same as `a`.
    dt, max_time, masses, types, matrix
        See `CorrelationStream`, which takes the trajectory in pieces.
    """
    stream = CorrelationStream(dt, max_time, masses, types, matrix)
    stream.add(np.asarray(a), b)
    return stream.result()
