# SPDX-License-Identifier: MIT
"""What data determine of a model's parameters: null space, Fisher information, stiff and sloppy directions, bars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .noise import NoiseLike, WhiteNoise
from .parameters import Parameters, sparse_basis

ON_RIDGE = 1e-4
"""Parameters with a smaller share in the null space are not on a ridge: it is roundoff of nearly null directions."""

Model = Callable[[dict[str, Tensor]], Tensor]
"""Parameters by name to the noise-free observations, shape (m,), written in torch, in float64."""

RANK_TOLERANCE = 1e-10
"""Singular values of the noise-free Jacobian below this share of the largest count as zero."""

POINTS = 3
"""Further points in parameter space at which the rank is computed: accidental zeros at one point are no ridge."""

STEP = 0.1
"""How far away they are, in coordinates of order one."""


@dataclass(frozen=True)
class Identifiability:
    """What data with their noise say about the parameters of a model.

    Directions are columns in the dimensionless coordinates of `parameters`, from stiff to sloppy.

    Attributes
    ----------
    parameters : Parameters
    information : (n, n)
        Fisher information.
    eigenvalues : (n,)
        Of the information, descending; 0 for the null space. 1/sqrt is the standard error along a direction.
    directions : (n, n)
    null_space : (n, d)
        Directions that no observation changes with, in a basis with few parameters in each vector.
    ridges_straight : tuple of bool
        Whether each null direction leaves the observations unchanged over a step of one as well.
    tolerance : float
        Largest standard error, in coordinates of order one, of what counts as determined.
    jacobian : (m, n) or None
        Noise-free sensitivities in the coordinates.
    """

    parameters: Parameters
    information: np.ndarray
    eigenvalues: np.ndarray
    directions: np.ndarray
    null_space: np.ndarray
    ridges_straight: tuple[bool, ...]
    tolerance: float
    jacobian: np.ndarray | None = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        """Number of directions that the noise-free observations determine."""
        return len(self.eigenvalues) - int(self.null_space.shape[1])

    @property
    def covariance(self) -> np.ndarray:
        """Cramer-Rao bound on the covariance of the coordinates within the determined directions, (n, n)."""
        v = self.directions[:, : self.rank]
        return np.asarray((v / self.eigenvalues[: self.rank]) @ v.T)

    @property
    def standard_errors(self) -> dict[str, float]:
        """Cramer-Rao bars of the coordinates by name in the parameters' own units; inf on a ridge."""
        bars = np.sqrt(np.diag(self.covariance)) * self.parameters.units
        on_ridge = np.linalg.norm(np.linalg.qr(self.null_space)[0], axis=1) > ON_RIDGE
        return dict(zip(self.parameters.names, np.where(on_ridge, np.inf, bars).tolist(), strict=True))

    @property
    def status(self) -> dict[str, str]:
        """``"determined"``, ``"sloppy"`` or ``"not identifiable"`` for each coordinate by name."""
        bars = np.array(list(self.standard_errors.values())) / np.abs(self.parameters.units)
        words = ["not identifiable" if np.isinf(b) else "sloppy" if b > self.tolerance else "determined" for b in bars]
        return dict(zip(self.parameters.names, words, strict=True))

    @property
    def ridges(self) -> list[str]:
        """How parameters change together without changing any observation."""
        return [self.parameters.ridge(v) for v in self.null_space.T]

    @property
    def determined(self) -> list[str]:
        """A smallest set of combinations of the parameters that fixes all that the observations depend on."""
        basis = sparse_basis(self.directions[:, : self.rank])
        return [self.parameters.combination(v) for v in basis.T]

    def spectrum(self) -> list[tuple[str, float, float]]:
        """Return name, eigenvalue and standard error of each direction that is not null, from stiff to sloppy."""
        return [
            (self.parameters.combination(v), float(e), float(e**-0.5))
            for e, v in zip(self.eigenvalues[: self.rank], self.directions.T[: self.rank], strict=True)
        ]

    def standard_error_of(self, direction: np.ndarray) -> float:
        """Return the standard error of a combination direction . z of the coordinates; inf if it has a null part."""
        d = np.asarray(direction, dtype=float)
        if self.null_space.shape[1]:
            q, _ = np.linalg.qr(self.null_space)
            if np.linalg.norm(q.T @ d) > 1e-6 * np.linalg.norm(d):
                return float("inf")
        return float(np.sqrt(d @ self.covariance @ d))

    def __str__(self) -> str:
        n, d = len(self.eigenvalues), self.null_space.shape[1]
        lines = [f"{n} parameters, of which {n - d} combinations can be determined."]
        for ridge, straight in zip(self.ridges, self.ridges_straight, strict=True):
            kind = "for any c" if straight else "for small ln c; the ridge is curved"
            lines.append(f"  ridge: {ridge} changes no observation ({kind})")
        if d:
            lines.append(f"  the data determine: {', '.join(self.determined)}")
        lines.append("  parameter            value     standard error  status")
        values = np.concatenate([v.reshape(-1).numpy() for v in self.parameters.values.values()])
        for (name, bar), value in zip(self.standard_errors.items(), values, strict=True):
            lines.append(f"  {name:16s} {value:10.4g}     {bar:10.3g}      {self.status[name]}")
        lines.append("  direction (stiff to sloppy): eigenvalue, standard error")
        for name, value, bar in self.spectrum():
            lines.append(f"  {name}: {value:.3g}, {bar:.3g}{'  SLOPPY' if bar > self.tolerance else ''}")
        return "\n".join(lines)


def analyse(
    model: Model,
    parameters: Mapping[str, Any],
    noise: NoiseLike,
    *,
    logarithmic: bool | Collection[str] = False,
    scales: Mapping[str, float] | None = None,
    tolerance: float = 1.0,
) -> Identifiability:
    """Analyse any model that is a differentiable function of its parameters.

    Parameters
    ----------
    model : callable
        Takes the parameters, a dict of float64 tensors, and returns the noise-free observations, shape (m,), in torch.
    parameters
        The point of the analysis, by name: the best fit, or a guess before there are data.
    noise : WhiteNoise or CorrelatedNoise, or a number
        Of the observations; a number is the standard error of each.
    logarithmic, scales
        See `Parameters.of`.
    tolerance
        Standard error in those coordinates above which a direction or parameter is called sloppy.

    Raises
    ------
    ValueError
        If parameters are not finite, or the model's values or derivatives are not finite or of the wrong shape.

    Notes
    -----
    Fisher information J^T C^-1 J of Gaussian noise with covariance C; sloppiness: doi:10.1371/journal.pcbi.0030189.
    """
    p = Parameters.of(parameters, logarithmic, scales)
    noise = WhiteNoise(noise) if np.ndim(noise) == 0 and not hasattr(noise, "whiten") else noise

    def observe(z: Tensor) -> Tensor:
        return model(p.at(z))

    origin = torch.zeros(p.size, dtype=torch.float64)
    jacobian = sensitivities(observe, origin)
    rank = numerical_rank(jacobian)
    generator = torch.Generator().manual_seed(1)
    for _ in range(POINTS):
        near = STEP * torch.randn(p.size, dtype=torch.float64, generator=generator)
        rank = max(rank, numerical_rank(sensitivities(observe, near)))
    null = sparse_basis(_right_null_space(jacobian, rank))
    whitened = noise.whiten(jacobian)
    result = from_information(whitened.T @ whitened, p, null, tolerance, factor=whitened)
    straight = tuple(_unchanged(observe, origin, torch.from_numpy(v.copy())) for v in null.T)
    return Identifiability(**{**vars(result), "ridges_straight": straight, "jacobian": jacobian})


def from_information(
    information: np.ndarray,
    parameters: Parameters,
    null_space: np.ndarray | None = None,
    tolerance: float = 1.0,
    factor: np.ndarray | None = None,
) -> Identifiability:
    """Return the analysis of a Fisher information matrix (n, n) in the coordinates of `parameters`.

    Parameters
    ----------
    information : (n, n)
    parameters
    null_space : (n, d), optional
        Directions known to be null; by default those with an eigenvalue below roundoff.
    tolerance
        See `analyse`.
    factor : (m, n), optional
        J with J^T J the information: its singular values keep twice the digits.
    """
    n = len(information)
    if information.shape != (n, n) or n != parameters.size or not np.all(np.isfinite(information)):
        raise ValueError(f"the information must be a finite matrix of {parameters.size} rows, got {information.shape}")
    if factor is None:
        values, vectors = np.linalg.eigh(information)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    else:
        _, singular, vh = np.linalg.svd(factor, full_matrices=len(factor) < n)
        values, vectors = np.pad(singular**2, (0, n - len(singular))), vh.T
    if null_space is None:
        d = int(np.sum(values <= n * np.finfo(float).eps * max(values[0], 1e-300)))
        null_space = sparse_basis(vectors[:, n - d :])
    d = null_space.shape[1]
    values = np.where(np.arange(n) < n - d, values, 0.0)
    return Identifiability(
        parameters, information, values, vectors, null_space, (True,) * d if d == 0 else (False,) * d, tolerance
    )


def sensitivities(observe: Callable[[Tensor], Tensor], z: Tensor) -> np.ndarray:
    """Return the Jacobian (m, n) of observations at coordinates z."""
    value = observe(z)
    if value.dim() != 1:
        raise ValueError(f"the model must return observations of shape (m,), got {tuple(value.shape)}")
    transform = torch.func.jacrev if len(value) < len(z) else torch.func.jacfwd
    jacobian = transform(observe)(z).detach().double().numpy()
    if not (bool(torch.isfinite(value).all()) and np.all(np.isfinite(jacobian))):
        raise ValueError("the model's observations or their derivatives are not finite at these parameters")
    return np.asarray(jacobian)


def numerical_rank(jacobian: np.ndarray) -> int:
    """Return the number of singular values above `RANK_TOLERANCE` of the largest."""
    singular = np.linalg.svd(jacobian, compute_uv=False)
    return int(np.sum(singular > RANK_TOLERANCE * singular[0])) if singular[0] > 0 else 0


def _right_null_space(jacobian: np.ndarray, rank: int) -> np.ndarray:
    _, _, vh = np.linalg.svd(jacobian, full_matrices=True)
    return np.asarray(vh[rank:].T)


def _unchanged(observe: Callable[[Tensor], Tensor], origin: Tensor, direction: Tensor) -> bool:
    with torch.no_grad():
        start = observe(origin)
        moved = [observe(origin + sign * direction) for sign in (-1.0, 1.0)]
    scale = float(start.abs().max()) + 1e-300
    return all(float((m - start).abs().max()) < 1e-8 * scale for m in moved)
