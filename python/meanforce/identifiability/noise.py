# SPDX-License-Identifier: MIT
"""The noise of data: it decides what a sensitivity is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

#: Anything that divides sensitivities (m, ...) by the noise: rows become independent with unit variance.
NoiseLike = Any


class WhiteNoise:
    """Independent Gaussian noise.

    Parameters
    ----------
    standard_error : float or (m,)
        Of each observation.

    Raises
    ------
    ValueError
        If it is not positive.
    """

    def __init__(self, standard_error: Any) -> None:
        self.standard_error = np.asarray(standard_error, dtype=float)
        if self.standard_error.ndim > 1 or not np.all((self.standard_error > 0) & np.isfinite(self.standard_error)):
            raise ValueError(f"standard errors must be positive, one or one for each datum, got {standard_error!r}")

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Return values (m, ...) divided by the standard error of their row."""
        s = self.standard_error
        if s.ndim and len(s) != len(values):
            raise ValueError(f"there are {len(values)} observations and {len(s)} standard errors")
        return np.asarray(values / (s.reshape(-1, *[1] * (values.ndim - 1)) if s.ndim else s))


class CorrelatedNoise:
    """Gaussian noise with a covariance between observations.

    Parameters
    ----------
    covariance : (m, m)

    Raises
    ------
    ValueError
        If it is not symmetric and positive definite.
    """

    def __init__(self, covariance: Any) -> None:
        matrix = np.asarray(covariance, dtype=float)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
            raise ValueError(f"a covariance must be a symmetric matrix, got shape {matrix.shape}")
        try:
            self._factor = linalg.cholesky(matrix, lower=True)
        except linalg.LinAlgError:
            raise ValueError("the covariance is not positive definite") from None

    @classmethod
    def from_blocks(cls, blocks: Any) -> CorrelatedNoise:
        """Estimate the covariance of a mean from blocks (n_blocks, m), such as `Correlation.blocks`.

        The empirical matrix is shrunk towards its diagonal by the weight of least expected error
        (doi:10.2202/1544-6115.1175), which makes it positive definite with fewer blocks than data.

        Raises
        ------
        ValueError
            With fewer than three blocks, or if an observation never varies.
        """
        x = np.asarray(blocks, dtype=float)
        if x.ndim != 2 or len(x) < 3:
            raise ValueError(f"blocks must have shape (n_blocks, m) with at least three blocks, got {x.shape}")
        n = len(x)
        spread = x.std(axis=0, ddof=1)
        if np.any(spread == 0):
            raise ValueError(f"observation {int(np.argmin(spread))} is the same in all blocks: leave it out")
        scaled = (x - x.mean(axis=0)) / spread
        products = scaled[:, :, None] * scaled[:, None, :]
        correlation = products.sum(axis=0) / (n - 1)
        variance = n / (n - 1) ** 3 * np.sum((products - products.mean(axis=0)) ** 2, axis=0)
        off = ~np.eye(x.shape[1], dtype=bool)
        total = np.sum(correlation[off] ** 2)
        shrinkage = float(np.clip(variance[off].sum() / total, 0.0, 1.0)) if total > 0 else 1.0
        correlation = np.where(off, (1 - shrinkage) * correlation, 1.0)
        return cls(correlation * np.outer(spread, spread) / n)

    @classmethod
    def stationary(cls, autocovariance: Any, observations: int | None = None) -> CorrelatedNoise:
        """Return noise that is stationary in the index of the observation.

        Parameters
        ----------
        autocovariance : (lags,)
            At lags 0, 1, ...; zero beyond.
        observations
            m, by default the number of lags.
        """
        c = np.asarray(autocovariance, dtype=float)
        m = len(c) if observations is None else observations
        return cls(linalg.toeplitz(np.pad(c, (0, max(0, m - len(c))))[:m]))

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Return L^-1 values for values (m, ...), with L L^T the covariance."""
        if len(values) != len(self._factor):
            raise ValueError(f"there are {len(values)} observations and a covariance of {len(self._factor)}")
        flat = linalg.solve_triangular(self._factor, np.asarray(values).reshape(len(values), -1), lower=True)
        return np.asarray(flat.reshape(np.shape(values)))


class ForceNoise:
    """Noise of the forces of one frame, the same in every frame, with correlation between frames.

    Parameters
    ----------
    covariance : float, (d,) or (d, d)
        Variance of every component, of each of the d = 3 n components, or their covariance, in (kJ/mol/nm)^2.
    inefficiency : float
        Number of frames worth one independent frame, at least 1.

    Raises
    ------
    ValueError
        If the covariance is not positive or the inefficiency below 1.
    """

    def __init__(self, covariance: Any, inefficiency: float = 1.0) -> None:
        c = np.asarray(covariance, dtype=float)
        if not inefficiency >= 1:
            raise ValueError(f"`inefficiency` must be at least 1, got {inefficiency}")
        if c.ndim == 2:
            try:
                factor = linalg.cholesky(c, lower=True)
            except linalg.LinAlgError:
                raise ValueError("the covariance of the forces is not positive definite") from None
            self.whitener = np.asarray(linalg.solve_triangular(factor, np.eye(len(c)), lower=True))
        elif c.ndim <= 1 and np.all(c > 0):
            self.whitener = np.asarray(1 / np.sqrt(c))
        else:
            raise ValueError(f"variances must be positive, got {covariance!r}")
        self.inefficiency = float(inefficiency)

    @classmethod
    def from_residuals(cls, residuals: Any) -> ForceNoise:
        """Estimate from what a fitted model leaves, (n_frames, n, 3), in time order.

        Each bead gets one variance; the inefficiency is 1 + 2 sum of the residuals' autocorrelation up to its first
        negative value, averaged over components.
        """
        x = np.asarray(residuals, dtype=float)
        if x.ndim != 3 or len(x) < 10:
            raise ValueError(f"residuals must have shape (n_frames, n, 3) with at least 10 frames, got {x.shape}")
        variance = np.repeat(np.mean(x**2, axis=(0, 2)), 3)
        flat = x.reshape(len(x), -1) / np.sqrt(variance)
        size = 1 << (2 * len(flat) - 1).bit_length()
        spectrum = np.mean(np.abs(np.fft.rfft(flat, size, axis=0)) ** 2, axis=1)
        correlation = np.fft.irfft(spectrum, size)[: len(flat) // 2]
        correlation = correlation / correlation[0]
        negative = np.flatnonzero(correlation < 0)
        last = int(negative[0]) if len(negative) else len(correlation)
        return cls(variance, max(1.0, float(1 + 2 * correlation[1:last].sum())))
