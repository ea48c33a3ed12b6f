# SPDX-License-Identifier: MIT
"""Distributions of one or two coordinates, measured in blocks, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .blocks import BLOCKS

REPEATS = 200
"""Bootstrap samples behind a sampling floor."""


@dataclass(frozen=True)
class Distribution:
    """A normalised histogram in one or more coordinates, kept block by block.

    Attributes
    ----------
    edges : tuple of (bins + 1,)
        Bin edges of each coordinate.
    blocks : (n_blocks, bins, ...)
        Counts in consecutive blocks of the run.
    """

    edges: tuple[np.ndarray, ...]
    blocks: np.ndarray

    @classmethod
    def measure(cls, samples: Any, edges: Any, blocks: int = BLOCKS) -> Distribution:
        """Count samples.

        Parameters
        ----------
        samples : (n_frames,) or (n_frames, m), or a sequence of d of these
            Values of each of d coordinates, in time order; m equivalent ones in a frame are pooled.
        edges : (bins + 1,), or a sequence of d of these
            Increasing. Samples outside are left out.
        blocks
            Number of consecutive blocks of frames.

        Raises
        ------
        ValueError
            If shapes disagree, edges do not increase, or no sample lies within.
        """
        several = isinstance(edges, list | tuple) and np.ndim(edges[0]) == 1
        axes = tuple(np.asarray(e, dtype=float) for e in (edges if several else [edges]))
        values = [np.asarray(s, dtype=float) for s in (samples if several else [samples])]
        if len(values) != len(axes) or any(v.shape != values[0].shape for v in values):
            raise ValueError(f"{len(axes)} coordinates need as many samples of one shape, got {len(values)}")
        if any(len(e) < 2 or np.any(np.diff(e) <= 0) for e in axes):
            raise ValueError("bin edges must increase")
        parts = [np.array_split(v, min(blocks, len(v))) for v in values]
        counts = np.array(
            [
                np.histogramdd(np.stack([p.reshape(-1) for p in part], axis=1), bins=axes)[0]
                for part in zip(*parts, strict=True)
            ]
        )
        if counts.sum() == 0:
            raise ValueError(f"no sample lies within the edges {[(e[0], e[-1]) for e in axes]}")
        return cls(axes, counts)

    @property
    def centers(self) -> tuple[np.ndarray, ...]:
        """The middle of each bin, for each coordinate."""
        return tuple(0.5 * (e[1:] + e[:-1]) for e in self.edges)

    @property
    def volumes(self) -> np.ndarray:
        """The volume of each bin, of the shape of one block."""
        volume = np.ones(())
        for e in self.edges:
            volume = np.multiply.outer(volume, np.diff(e))
        return np.asarray(volume)

    @property
    def probabilities(self) -> np.ndarray:
        """The share of the samples in each bin."""
        return np.asarray(self.blocks.sum(axis=0) / self.blocks.sum())

    @property
    def density(self) -> np.ndarray:
        """Probability per unit of the coordinates, normalised to one."""
        return np.asarray(self.probabilities / self.volumes)

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of `density` from the blocks; NaN for one block."""
        n = len(self.blocks)
        if n < 2:
            return np.full(self.blocks.shape[1:], np.nan)
        weights = self.blocks * (n / self.blocks.sum()) / self.volumes
        return np.asarray(weights.std(axis=0, ddof=1) / np.sqrt(n))

    def resampled(self, rng: np.random.Generator) -> np.ndarray:
        """Return the probabilities of a run made of as many blocks, drawn with replacement."""
        chosen = self.blocks[rng.integers(len(self.blocks), size=len(self.blocks))].sum(axis=0)
        return np.asarray(chosen / max(chosen.sum(), 1.0))


@dataclass(frozen=True)
class Divergence:
    """How far two measured distributions are apart, and how much of that is noise.

    Attributes
    ----------
    value : float
        Jensen-Shannon divergence in nats, 0 .. ln 2.
    floor : float
        What it would be on average if both runs sampled the same distribution; the value is biased upwards by it.
    standard_error : float
        Of the value, from the bootstrap.
    """

    value: float
    floor: float
    standard_error: float


def jensen_shannon(p: Any, q: Any) -> float:
    """Return the Jensen-Shannon divergence of two histograms in nats, between 0 and ln 2.

    Its square root is a distance. doi:10.1109/18.61115

    Parameters
    ----------
    p, q : (bins, ...)
        Counts or probabilities on the same bins; each is normalised to one.

    Raises
    ------
    ValueError
        If shapes differ, or values are negative or all zero.
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.shape != q.shape:
        raise ValueError(f"the two distributions have {p.shape} and {q.shape} bins")
    if not (np.all(p >= 0) and np.all(q >= 0) and p.sum() > 0 and q.sum() > 0):
        raise ValueError("distributions must be nonnegative and not all zero")
    p, q = p / p.sum(), q / q.sum()
    m = 0.5 * (p + q)
    half = [np.sum(x[x > 0] * np.log(x[x > 0] / m[x > 0])) for x in (p, q)]
    return float(max(0.0, 0.5 * sum(half)))


def divergence(reference: Distribution, model: Distribution, seed: int = 1) -> Divergence:
    """Return the Jensen-Shannon divergence of two runs with its sampling floor, by bootstrap over their blocks.

    The divergence is quadratic in small differences, so that the noise of the two runs adds: the floor is the mean
    divergence of a resampled reference from itself plus that of a resampled model from itself. Blocks must be longer
    than the correlation time.

    Raises
    ------
    ValueError
        If the bins differ or a run has fewer than two blocks.
    """
    if len(reference.edges) != len(model.edges) or any(
        a.shape != b.shape or not np.allclose(a, b) for a, b in zip(reference.edges, model.edges, strict=True)
    ):
        raise ValueError("the two distributions are on different bins")
    if min(len(reference.blocks), len(model.blocks)) < 2:
        raise ValueError("the sampling floor needs at least two blocks of each run")
    rng = np.random.default_rng(seed)
    p, q = reference.probabilities, model.probabilities
    floor, values = [], []
    for _ in range(REPEATS):
        p_again, q_again = reference.resampled(rng), model.resampled(rng)
        floor.append(jensen_shannon(p, p_again) + jensen_shannon(q, q_again))
        values.append(jensen_shannon(p_again, q_again))
    # Resampling n blocks gives (n - 1)/n of the variance between independent runs.
    blocks = np.mean([len(reference.blocks), len(model.blocks)])
    return Divergence(jensen_shannon(p, q), float(np.mean(floor) * blocks / (blocks - 1)), float(np.std(values)))


def uniform_edges(low: float, high: float, bins: int) -> np.ndarray:
    """Return `bins` + 1 equally spaced edges."""
    if not low < high or bins < 1:
        raise ValueError(f"need low < high and at least one bin, got {low}, {high}, {bins}")
    return np.linspace(low, high, bins + 1)


def common_edges(runs: Sequence[Any], bins: int) -> np.ndarray:
    """Return edges that hold all samples of several runs, for distributions that are to be compared."""
    low, high = min(float(np.min(r)) for r in runs), max(float(np.max(r)) for r in runs)
    margin = 1e-9 * max(abs(low), abs(high)) + 1e-12
    return uniform_edges(low - margin, high + margin, bins)
