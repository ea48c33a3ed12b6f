# SPDX-License-Identifier: MIT
"""The mean square displacement."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frames import checked_positions


def mean_square_displacement(positions: Any, max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean square displacement over all time origins, by FFT.

    Parameters
    ----------
    positions : (n_frames, n, 3)
        Unwrapped positions in nm, equally spaced in time.
    max_lag
        Largest lag in frames.

    Returns
    -------
    msd, standard_error : (max_lag + 1,)
        In nm^2. The error takes the particles as independent.

    Raises
    ------
    ValueError
        If there are not more than `max_lag` frames.
    """
    x = checked_positions(positions)
    frames = len(x)
    if not 0 <= max_lag < frames:
        raise ValueError(f"`max_lag` must lie in 0 .. {frames - 1} for {frames} frames, got {max_lag}")
    x = x - x.mean(axis=0)
    # <|x(t+s) - x(t)|^2> = <x(t+s)^2 + x(t)^2> - 2 <x(t+s) x(t)>; the last term is a correlation.
    size = 1 << (2 * frames - 1).bit_length()
    spectrum = np.fft.rfft(x, size, axis=0)
    correlation = np.fft.irfft((spectrum * spectrum.conj()).sum(-1), size, axis=0)[: max_lag + 1]
    cumulative = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum((x**2).sum(-1), axis=0)])
    lags = np.arange(max_lag + 1)
    early, late = cumulative[frames - lags], cumulative[frames] - cumulative[lags]
    msd = (early + late - 2 * correlation) / (frames - lags)[:, None]
    particles = x.shape[1]
    error = msd.std(axis=1, ddof=1) / np.sqrt(particles) if particles > 1 else np.full(len(lags), np.nan)
    return msd.mean(axis=1), error
