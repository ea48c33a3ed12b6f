# SPDX-License-Identifier: MIT
"""Potentials of mean force by integrating mean forces in one or two dimensions, and the test that they have no curl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import spsolve

from .blocks import BLOCKS, ZeroTest, jackknife, zero_test


@dataclass(frozen=True)
class MeanForce:
    """Conditional mean of a generalized force in bins of d = 1 or 2 coordinates.

    Attributes
    ----------
    edges : tuple of (bins + 1,)
        Equally spaced bin edges of each coordinate.
    force : (bins, .., d)
        Mean force along each coordinate, in kJ/mol per its unit; NaN in empty bins.
    counts : (bins, ..)
        Samples in each bin.
    blocks : (n_blocks, bins, .., d)
        The mean in consecutive blocks of the run, NaN where a block has no sample.
    """

    edges: tuple[np.ndarray, ...]
    force: np.ndarray
    counts: np.ndarray
    blocks: np.ndarray

    @classmethod
    def measure(cls, samples: Any, forces: Any, edges: Any, blocks: int = BLOCKS) -> MeanForce:
        """Average instantaneous forces in bins.

        Parameters
        ----------
        samples : (n_frames,) or (n_frames, d)
            Coordinates.
        forces : (n_frames,) or (n_frames, d)
            Generalized forces along them: -dA/dx is their conditional mean. For the distance of two beads it is half
            the difference of the beads' forces along the line between them if w(r) is wanted, and 2 kT/r more for
            A(r) = -kT ln p(r).
        edges : (bins + 1,), or a sequence of d of these
            Equally spaced.

        Raises
        ------
        ValueError
            If shapes disagree, or edges are not equally spaced.
        """
        axes = tuple(np.asarray(e, dtype=float) for e in ([edges] if np.ndim(edges[0]) == 0 else edges))
        d = len(axes)
        x, f = (np.asarray(v, dtype=float).reshape(len(v), -1) for v in (samples, forces))
        if d > 2 or x.shape[1] != d or f.shape != x.shape:
            raise ValueError(f"samples and forces must have shape (n_frames, {d}), got {x.shape} and {f.shape}")
        for e in axes:
            if len(e) < 3 or not np.allclose(np.diff(e), e[1] - e[0]) or e[1] <= e[0]:
                raise ValueError("mean forces need two or more bins with equally spaced edges")
        parts = np.array_split(np.arange(len(x)), min(blocks, len(x)))
        counts, sums = (np.array(a) for a in zip(*(_binned(x[p], f[p], axes) for p in parts), strict=True))
        with np.errstate(invalid="ignore"):
            return cls(
                axes, sums.sum(0) / counts.sum(0)[..., None], counts.sum(0).astype(int), sums / counts[..., None]
            )

    @property
    def spacing(self) -> tuple[float, ...]:
        """Width of the bins of each coordinate."""
        return tuple(float(e[1] - e[0]) for e in self.edges)

    @property
    def centers(self) -> tuple[np.ndarray, ...]:
        """The middle of each bin, for each coordinate."""
        return tuple(0.5 * (e[1:] + e[:-1]) for e in self.edges)

    @property
    def complete_blocks(self) -> np.ndarray:
        """The blocks with empty bins filled by the mean of the run, so that they add nothing there."""
        return np.where(np.isnan(self.blocks), self.force, self.blocks)


@dataclass(frozen=True)
class IntegratedPMF:
    """-kT ln p along one or two coordinates, from mean forces; zero at its minimum.

    Attributes
    ----------
    coordinates : tuple of (bins,)
    energy, standard_error : (bins, ..)
        In kJ/mol, NaN in bins that were not sampled or not joined to the largest sampled region. The error is that of
        the difference from the mean over all bins.
    residual : float
        Root mean square of what no potential explains, along the joins between bins, in kJ/mol; the closure error of a
        periodic coordinate is part of it.
    """

    coordinates: tuple[np.ndarray, ...]
    energy: np.ndarray
    standard_error: np.ndarray
    residual: float


def integrate_mean_force(field: MeanForce, periodic: bool | tuple[bool, bool] = False) -> IntegratedPMF:
    """Return the potential whose negative gradient is the mean force.

    In one dimension this is the trapezoidal rule. In two it is the weighted least-squares solution of
    W_b - W_a = -(f_a + f_b) h/2 over all neighbouring bins a, b, a discrete Poisson equation; the weight of a join is
    the harmonic mean of the samples in its two bins.

    Parameters
    ----------
    field
    periodic
        Whether the last bin of each coordinate is next to the first.

    Raises
    ------
    ValueError
        If fewer than two neighbouring bins were sampled.
    """
    around = (periodic,) * len(field.edges) if isinstance(periodic, bool) else periodic
    joins = _Joins.of(field, around)

    def energies(force: np.ndarray) -> np.ndarray:
        return joins.solve(force)

    energy, error = jackknife(field.complete_blocks, energies)
    energy = energies(field.force)
    rises = joins.rises(field.force)
    residual = joins.difference(energy) - rises
    shown = energy - np.nanmin(energy)
    rms = float(np.sqrt(np.average(residual**2, weights=joins.weights)))
    return IntegratedPMF(field.centers, shown, np.where(np.isnan(shown), np.nan, error), rms)


def curl_test(field: MeanForce, periodic: tuple[bool, bool] = (False, False)) -> ZeroTest:
    """Test a two-dimensional mean-force field for zero curl.

    The numbers tested are the line integrals, in kJ/mol, around each square of four neighbouring bins that every block
    sampled, by the trapezoidal rule, whose error is of fourth order in the width of the bins. See `zero_test`.

    Raises
    ------
    ValueError
        If the field is one-dimensional or has fewer than 8 blocks, or no block sampled four neighbouring bins.
    """
    if len(field.edges) != 2:
        raise ValueError("a curl needs two coordinates")
    loops = np.array([_circulation(block, field.spacing, periodic).reshape(-1) for block in field.blocks])
    loops = loops[:, np.all(np.isfinite(loops), axis=0)]
    if loops.shape[1] == 0:
        raise ValueError(
            "no square of four neighbouring bins was sampled in every block: use wider bins or more frames"
        )
    return zero_test(loops)


@dataclass(frozen=True)
class _Joins:
    """Pairs of neighbouring sampled bins in the largest connected region."""

    first: np.ndarray
    second: np.ndarray
    axis: np.ndarray
    weights: np.ndarray
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @classmethod
    def of(cls, field: MeanForce, periodic: tuple[bool, ...]) -> _Joins:
        shape = field.counts.shape
        index = np.arange(field.counts.size).reshape(shape)
        first, second, axis = [], [], []
        for direction in range(len(shape)):
            a, b = index, np.roll(index, -1, axis=direction)
            if not periodic[direction]:
                a, b = (np.delete(m, -1, axis=direction) for m in (a, b))
            first.append(a.reshape(-1))
            second.append(b.reshape(-1))
            axis.append(np.full(a.size, direction))
        i, j, k = (np.concatenate(v) for v in (first, second, axis))
        counts = field.counts.reshape(-1).astype(float)
        keep = (counts[i] > 0) & (counts[j] > 0)
        graph = sparse.coo_array((np.ones(keep.sum()), (i[keep], j[keep])), shape=(counts.size, counts.size))
        _, label = csgraph.connected_components(graph, directed=False)
        sizes = np.bincount(label, weights=counts > 0)
        keep &= label[i] == np.argmax(sizes)
        if not keep.any():
            raise ValueError("fewer than two neighbouring bins hold samples: use wider bins or more frames")
        i, j, k = i[keep], j[keep], k[keep]
        return cls(i, j, k, 2 / (1 / counts[i] + 1 / counts[j]), shape, field.spacing)

    def rises(self, force: np.ndarray) -> np.ndarray:
        """Return the energy differences second - first that the force asks for."""
        f = force.reshape(-1, force.shape[-1])
        mean = 0.5 * (f[self.first, self.axis] + f[self.second, self.axis])
        return np.asarray(-mean * np.asarray(self.spacing)[self.axis])

    def difference(self, energy: np.ndarray) -> np.ndarray:
        w = energy.reshape(-1)
        return np.asarray(w[self.second] - w[self.first])

    def solve(self, force: np.ndarray) -> np.ndarray:
        bins = np.unique(np.concatenate([self.first, self.second]))
        place = np.full(int(np.prod(self.shape)), -1)
        place[bins] = np.arange(len(bins))
        rows = np.arange(len(self.first))
        gradient = sparse.csr_array(
            (
                np.concatenate([-np.ones(len(rows)), np.ones(len(rows))]),
                (np.concatenate([rows, rows]), place[np.concatenate([self.first, self.second])]),
            ),
            shape=(len(rows), len(bins)),
        )
        weighted = gradient.T @ sparse.diags_array(self.weights)
        # The first bin is held at zero: a potential is known up to a constant.
        matrix, right = (weighted @ gradient).tocsc()[1:, 1:], (weighted @ self.rises(force))[1:]
        values = np.concatenate([[0.0], np.atleast_1d(spsolve(matrix, right))])
        energy = np.full(int(np.prod(self.shape)), np.nan)
        energy[bins] = values - values.mean()
        return energy.reshape(self.shape)


def _binned(x: np.ndarray, f: np.ndarray, edges: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (bins, ..) and sums of forces (bins, .., d)."""
    counts = np.histogramdd(x, bins=edges)[0]
    sums = [np.histogramdd(x, bins=edges, weights=f[:, k])[0] for k in range(f.shape[1])]
    return counts, np.stack(sums, axis=-1)


def _circulation(force: np.ndarray, spacing: tuple[float, ...], periodic: tuple[bool, bool]) -> np.ndarray:
    """Return the line integral of the force around each square of four neighbouring bin centres."""
    hx, hy = spacing
    fx, fy = force[..., 0], force[..., 1]
    along_x = 0.5 * hx * (fx + np.roll(fx, -1, axis=0))
    along_y = 0.5 * hy * (fy + np.roll(fy, -1, axis=1))
    loops = along_x + np.roll(along_y, -1, axis=0) - np.roll(along_x, -1, axis=1) - along_y
    if not periodic[0]:
        loops = loops[:-1]
    if not periodic[1]:
        loops = loops[:, :-1]
    return np.asarray(loops)
