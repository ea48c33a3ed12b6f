# SPDX-License-Identifier: MIT
"""Standard errors from consecutive blocks of frames.

The frames are cut into consecutive blocks and the scatter of the blocks' means gives the error of the whole, which is
honest as long as a block is longer than the correlation time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCKS = 10
"""Number of blocks behind each standard error (fewer if there are fewer frames)."""

MOST_FLIPS = 12
"""Up to this many blocks all changes of sign are tried; more blocks are joined."""


def block_mean(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error over frames (n_frames, ...) from block averages; NaN errors for one frame."""
    blocks = np.array_split(samples, min(BLOCKS, len(samples)))
    means = np.array([block.mean(axis=0) for block in blocks])
    if len(blocks) < 2:
        return samples.mean(axis=0), np.full(samples.shape[1:], np.nan)
    return samples.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(len(blocks))


def jackknife(
    blocks: np.ndarray, quantity: Callable[[np.ndarray], float | np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a quantity of the mean over blocks, and its jackknife standard error.

    Parameters
    ----------
    blocks : (n_blocks, ...)
        The same curve measured in consecutive blocks of a run.
    quantity : callable
        Maps such a curve to a number or an array, linearly or not.

    Returns
    -------
    value, standard_error
        Of the shape of the quantity; the error is NaN for one block.
    """
    n = len(blocks)
    value = np.asarray(quantity(blocks.mean(axis=0)), dtype=float)
    if n < 2:
        return value, np.full(value.shape, np.nan)
    left_out = np.array([quantity(np.delete(blocks, b, axis=0).mean(axis=0)) for b in range(n)])
    return value, np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))


@dataclass(frozen=True)
class ZeroTest:
    """Whether several measured numbers are all compatible with zero.

    Attributes
    ----------
    value, standard_error : (m,)
    statistic : float
        Mean of (value/standard_error)^2, about 1 if they are.
    p_value : float
        Probability of so large a statistic if they are.
    """

    value: np.ndarray
    standard_error: np.ndarray
    statistic: float
    p_value: float

    @property
    def passed(self) -> bool:
        """Whether the numbers are compatible with zero at the 1 % level."""
        return self.p_value > 0.01


def zero_test(blocks: np.ndarray) -> ZeroTest:
    """Test whether the mean over blocks (n_blocks, m) is zero, by all changes of sign of the blocks.

    If it is, each block is as likely as its negative. The comparison with all changes of sign needs no assumption on
    how the m numbers are correlated; blocks must be longer than the correlation time.

    Raises
    ------
    ValueError
        With fewer than 8 blocks, which have too few changes of sign to tell anything.
    """
    if len(blocks) < 8:
        raise ValueError(f"a test of zero needs at least 8 blocks, got {len(blocks)}")
    if len(blocks) > MOST_FLIPS:
        blocks = np.array([part.mean(axis=0) for part in np.array_split(blocks, MOST_FLIPS)])
    n = len(blocks)
    # The sign of the first block can stay: changing all signs changes nothing.
    signs = np.array([(1, *s) for s in itertools.product((1, -1), repeat=n - 1)])
    means = signs @ blocks / n
    variances = (np.mean(blocks**2, axis=0) - means**2) / (n - 1)
    statistics = np.mean(means**2 / variances, axis=1)
    p = float(np.mean(statistics >= statistics[0] * (1 - 1e-12)))
    return ZeroTest(means[0], np.sqrt(variances[0]), float(statistics[0]), p)
