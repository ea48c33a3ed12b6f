# SPDX-License-Identifier: MIT
"""What forces on frames determine of a potential: dense for few parameters, by products with vectors for networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap

from ..data import Frames, Trajectory
from ..potentials import Potential
from ..structure import pairs_within
from .fisher import Identifiability, from_information
from .noise import ForceNoise
from .parameters import Parameters

DENSE_PARAMETERS = 2000
"""Up to this many parameters the information matrix is made."""

FRAMES_AT_ONCE = 200
"""Frames joined into one evaluation; with `VECTORS_AT_ONCE` it bounds the memory."""

VECTORS_AT_ONCE = 5
"""Vectors multiplied in one evaluation."""


class ForceSensitivity:
    """The Jacobian J of whitened forces on frames with respect to a potential's scaled parameters, never formed.

    Parameters
    ----------
    model : Potential
        Its parameters that require gradients are those analysed.
    frames
        Positions, box and types; forces are not needed.
    noise : ForceNoise or float
        Of the forces; a number is the variance of every component, in (kJ/mol/nm)^2.
    scales : dict of str to float, optional
        What counts as a change of order one, by parameter name; by default each tensor's root mean square.

    Attributes
    ----------
    size : int
        Number P of parameters.
    observations : int
        Force components, divided by the inefficiency of the noise they count as independent frames.
    rank_bound : int
        No more combinations than this can be determined: forces on a frame sum to zero and, without a box, have no
        torque.
    """

    def __init__(
        self,
        model: Potential,
        frames: Trajectory | Frames,
        noise: ForceNoise | float,
        scales: dict[str, float] | None = None,
    ) -> None:
        self._model = model
        self._parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        self._fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
        self._fixed.update(dict(model.named_buffers()))
        if not self._parameters:
            raise ValueError("the potential has no parameters that require gradients")
        if model.temperature_dependent:
            raise ValueError(
                "the forces of a temperature-dependent potential need a temperature: analyse A - T B at one"
            )
        self.noise = noise if isinstance(noise, ForceNoise) else ForceNoise(noise)
        self.coordinates = Parameters.of({n: p.double().numpy() for n, p in self._parameters.items()}, False, scales)
        dtype = next(iter(self._parameters.values())).dtype
        self._scale = torch.from_numpy(self.coordinates.units).to(dtype)
        self._dtype = dtype
        self.size = self.coordinates.size
        self._beads = frames.positions.shape[1]
        self._chunks = [
            _Chunk.join(frames[k : k + FRAMES_AT_ONCE], model.cutoff, dtype)
            for k in range(0, len(frames), FRAMES_AT_ONCE)
        ]
        self.observations = 3 * self._beads * len(frames)
        dead = 3 if frames.box is not None else min(6, 3 * self._beads - 1)
        self.rank_bound = min(self.size, len(frames) * (3 * self._beads - dead))

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Return J V, (observations, k), for V (P, k)."""
        columns = [
            np.concatenate([self._forward(chunk, v).numpy().reshape(len(v), -1) for chunk in self._chunks], axis=1)
            for v in self._split(vectors)
        ]
        return np.concatenate(columns).T.astype(float)

    def squared_times(self, vectors: np.ndarray) -> np.ndarray:
        """Return J^T J V, (P, k), for V (P, k); memory does not grow with the number of frames."""
        columns = []
        for v in self._split(vectors):
            total = torch.zeros(len(v), self.size, dtype=torch.float64)
            for chunk in self._chunks:
                total += self._backward(chunk, self._forward(chunk, v)).double()
            columns.append(total.numpy())
        return np.concatenate(columns).T

    def dense(self) -> np.ndarray:
        """Return the information J^T J, (P, P)."""
        return self.squared_times(np.eye(self.size))

    def _split(self, vectors: np.ndarray) -> Iterator[Tensor]:
        rows = torch.from_numpy(np.ascontiguousarray(np.asarray(vectors, dtype=float).T)).to(self._dtype)
        return iter(torch.split(rows, VECTORS_AT_ONCE))

    def _tangent(self, row: Tensor) -> dict[str, Tensor]:
        parts = torch.split(row * self._scale, [p.numel() for p in self._parameters.values()])
        return {name: part.reshape(p.shape) for (name, p), part in zip(self._parameters.items(), parts, strict=True)}

    def _energy(self, chunk: _Chunk, parameters: dict[str, Tensor], displacements: Tensor) -> Tensor:
        arguments = (displacements, chunk.first, chunk.second, chunk.types)
        energy: Tensor = functional_call(
            _BeadEnergies(self._model), _prefixed({**parameters, **self._fixed}), arguments
        )
        return energy

    def _forward(self, chunk: _Chunk, rows: Tensor) -> Tensor:
        """Return whitened force changes (k, frames, 3 n) for parameter changes (k, P)."""

        def slope(displacements: Tensor, row: Tensor) -> Tensor:
            change: Tensor = jvp(
                lambda p: self._energy(chunk, p, displacements), (self._parameters,), (self._tangent(row),)
            )[1]
            return change

        pulls = vmap(grad(slope), in_dims=(None, 0))(chunk.displacements, rows)
        forces = torch.zeros(len(rows), len(chunk.types), 3, dtype=pulls.dtype)
        # The force on the first bead of a pair is +dU/d(displacement), on the second its opposite.
        forces = forces.index_add(1, chunk.first, pulls).index_add(1, chunk.second, -pulls)
        return self._whitened(forces.reshape(len(rows), -1, 3 * self._beads), transpose=False)

    def _backward(self, chunk: _Chunk, changes: Tensor) -> Tensor:
        """Return J^T u, (k, P), of the chunk for u (k, frames, 3 n)."""
        u = self._whitened(changes, transpose=True).reshape(len(changes), -1, 3)
        pulls = u.index_select(1, chunk.first) - u.index_select(1, chunk.second)

        def slope(parameters: dict[str, Tensor], pull: Tensor) -> Tensor:
            change: Tensor = jvp(lambda d: self._energy(chunk, parameters, d), (chunk.displacements,), (pull,))[1]
            return change

        found = vmap(grad(slope), in_dims=(None, 0))(self._parameters, pulls)
        flat = torch.cat([found[name].reshape(len(changes), -1) for name in self._parameters], dim=1)
        return flat * self._scale

    def _whitened(self, forces: Tensor, transpose: bool) -> Tensor:
        w = torch.from_numpy(np.asarray(self.noise.whitener)).to(forces.dtype) / self.noise.inefficiency**0.5
        if w.dim() < 2:
            scaled: Tensor = forces * w
            return scaled
        whitened: Tensor = forces @ (w if transpose else w.T)
        return whitened


class _BeadEnergies(torch.nn.Module):
    """Sum of a potential's bead energies, as a module so that functional_call can replace its parameters."""

    def __init__(self, model: Potential) -> None:
        super().__init__()
        self.model = model

    def forward(self, displacements: Tensor, first: Tensor, second: Tensor, types: Tensor) -> Tensor:
        return self.model.bead_energies(displacements, first, second, types).sum()


@dataclass(frozen=True)
class _Chunk:
    """Several frames joined: their beads one after another, their pairs shifted."""

    first: Tensor
    second: Tensor
    types: Tensor
    displacements: Tensor

    @classmethod
    def join(cls, frames: Frames, cutoff: float, dtype: torch.dtype) -> _Chunk:
        n = frames.positions.shape[1]
        parts = []
        for k in range(len(frames)):
            box = None if frames.box is None else np.asarray(frames.box[k], dtype=float)
            i, j, d = pairs_within(np.asarray(frames.positions[k], dtype=float), box, cutoff)
            parts.append((i + k * n, j + k * n, d))
        i, j, d = (np.concatenate(p) for p in zip(*parts, strict=True))
        types = torch.as_tensor(np.tile(np.asarray(frames.types), len(frames)), dtype=torch.long)
        return cls(torch.from_numpy(i), torch.from_numpy(j), types, torch.from_numpy(d).to(dtype))


def _prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{name}": t for name, t in tensors.items()}


def analyse_forces(
    model: Potential,
    frames: Trajectory | Frames,
    noise: ForceNoise | float,
    scales: dict[str, float] | None = None,
    tolerance: float = 1.0,
) -> Identifiability:
    """Analyse what forces on frames determine of a potential with few parameters, such as a spline.

    Parameters
    ----------
    model, frames, noise, scales
        As for `ForceSensitivity`.
    tolerance
        See `analyse`.

    Raises
    ------
    ValueError
        If there are more than `DENSE_PARAMETERS` parameters; `network_spectrum` is for those.
    """
    sensitivity = ForceSensitivity(model, frames, noise, scales)
    if sensitivity.size > DENSE_PARAMETERS:
        raise ValueError(
            f"{sensitivity.size} parameters are too many for a dense matrix ({DENSE_PARAMETERS}): use network_spectrum"
        )
    return from_information(sensitivity.dense(), sensitivity.coordinates, tolerance=tolerance)


@dataclass(frozen=True)
class NetworkSpectrum:
    """Both ends of a network's Fisher spectrum.

    Attributes
    ----------
    parameters : Parameters
        The network's tensors and their scales.
    observations, rank_bound : int
        See `ForceSensitivity`. At least `parameters.size - rank_bound` eigenvalues are exactly 0.
    top : (k,)
        Largest eigenvalues, descending.
    top_error : (k,)
        Bound on the error of each (the residual of its Ritz vector).
    top_directions : (P, k)
    bottom : (l,)
        Ascending. By the minimax theorem the l-th smallest eigenvalue is at most the l-th of these; with more
        parameters than `rank_bound` the true ones are zero and these say how closely the directions attain it.
    bottom_directions : (P, l)
        Where the true eigenvalues are zero, any basis of the null space is as good: these are random members.
    products : int
        Products of J^T J with a vector that it took.
    """

    parameters: Parameters
    observations: int
    rank_bound: int
    top: np.ndarray
    top_error: np.ndarray
    top_directions: np.ndarray
    bottom: np.ndarray
    bottom_directions: np.ndarray
    products: int

    @property
    def null_dimension(self) -> int:
        """Directions that these data cannot determine, however good the forces: a lower bound."""
        return self.parameters.size - self.rank_bound

    @property
    def determined(self) -> int:
        """Directions certain to be determined better than their scale (eigenvalue above 1): a lower bound."""
        return int(np.sum(self.top - self.top_error > 1.0))

    @property
    def undetermined(self) -> int:
        """Directions certain not to be (eigenvalue below 1): a lower bound."""
        return max(int(np.sum(self.bottom < 1.0)), self.null_dimension)

    def shares(self, direction: np.ndarray) -> dict[str, float]:
        """Return the share of each tensor of the network in a direction (P,), largest first."""
        sizes = [v.numel() for v in self.parameters.values.values()]
        parts = np.split(np.asarray(direction) ** 2, np.cumsum(sizes)[:-1])
        total = float(np.sum(np.asarray(direction) ** 2))
        found = {name: float(p.sum()) / total for name, p in zip(self.parameters.values, parts, strict=True)}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        def named(direction: np.ndarray) -> str:
            return ", ".join(f"{name} {share:.0%}" for name, share in list(self.shares(direction).items())[:3])

        lines = [
            f"{self.parameters.size} parameters, {self.observations} force components, rank at most {self.rank_bound}.",
            f"  at least {self.determined} directions are determined better than their scale,",
            f"  at least {self.undetermined} are not, {self.null_dimension} of them whatever the noise.",
            f"  stiffest: eigenvalue {self.top[0]:.3g}, in {named(self.top_directions[:, 0])}",
            f"  number {len(self.top)}: eigenvalue {self.top[-1]:.3g} +- {self.top_error[-1]:.1g}",
            f"  bottom {len(self.bottom)}: at most {self.bottom[0]:.2g} .. {self.bottom[-1]:.2g},"
            f" in {named(self.bottom_directions[:, 0])}",
        ]
        return "\n".join(lines)


def network_spectrum(
    model: Potential,
    frames: Trajectory | Frames,
    noise: ForceNoise | float,
    *,
    top: int = 50,
    bottom: int = 50,
    steps: int | None = None,
    sweeps: int = 1,
    scales: dict[str, float] | None = None,
    seed: int = 1,
) -> NetworkSpectrum:
    """Return both ends of the Fisher spectrum of a network, by products with vectors only.

    The top comes from Lanczos iteration with full orthogonalisation from a random start, with its own error bounds. The
    bottom comes from a random block of vectors, orthogonal to what Lanczos found, filtered by Chebyshev polynomials and
    combined by Rayleigh-Ritz. Shift-and-invert would need solves with a matrix whose spectrum falls over more decades
    than floating point has; the block's values are upper bounds instead, which is what can be certified.

    Parameters
    ----------
    model, frames, noise, scales
        As for `ForceSensitivity`. Eigenvalues are resolved to 1e-28 of the largest in float64, 1e-13 in float32.
    top, bottom
        Number of directions.
    steps
        Lanczos steps, 2.2 `top` + 10 by default.
    sweeps
        Chebyshev filters of degree 4 applied to the block.
    seed
        Of the random vectors.

    Notes
    -----
    Memory: 8 P (steps + 3 bottom) bytes and one chunk of frames. doi:10.1137/090771806 reviews the randomised methods.
    """
    sensitivity = ForceSensitivity(model, frames, noise, scales)
    size = sensitivity.size
    if min(top, bottom) < 1 or top + bottom > size:
        raise ValueError(f"cannot find {top} + {bottom} directions of {size} parameters")
    rng = np.random.default_rng(seed)
    steps = min(size, int(2.2 * top) + 10 if steps is None else steps)
    values, errors, vectors = _lanczos(sensitivity, steps, rng)
    found = min(top, len(values))
    # What is orthogonal to the Ritz vectors that converged has eigenvalues below the first that did not.
    good = int(np.sum(np.cumprod(errors < 1e-3 * values))) if len(values) < size else len(values) - bottom
    good = max(0, min(good, size - bottom))
    ceiling = float(values[min(good, len(values) - 1)] * 1.1)
    deflated = vectors[:, :good]
    width = min(bottom + 10, size - good)
    block = _orthonormal(rng.standard_normal((size, width)), deflated)
    for _ in range(sweeps):
        block = _orthonormal(_chebyshev(sensitivity, block, deflated, ceiling), deflated)
    _, singular, vh = np.linalg.svd(sensitivity.times(block), full_matrices=True)
    low = np.pad(singular**2, (0, width - len(singular)))[::-1][:bottom]
    directions = (block @ vh.T)[:, ::-1][:, :bottom]
    return NetworkSpectrum(
        sensitivity.coordinates,
        sensitivity.observations,
        sensitivity.rank_bound,
        values[:found],
        errors[:found],
        vectors[:, :found],
        low,
        directions,
        steps + width * (sweeps * DEGREE + 1),
    )


DEGREE = 4
"""Of the Chebyshev filter."""

CUT = 1e-2
"""The filter damps eigenvalues from this share of the largest one left upwards."""


def _lanczos(s: ForceSensitivity, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Ritz values (descending), error bounds and Ritz vectors (P, steps)."""
    basis = np.empty((s.size, steps))
    alpha, beta = np.zeros(steps), np.zeros(steps)
    v = rng.standard_normal(s.size)
    v /= np.linalg.norm(v)
    last = steps
    for k in range(steps):
        basis[:, k] = v
        w = s.squared_times(v[:, None])[:, 0]
        alpha[k] = v @ w
        for _ in range(2):  # twice is enough
            w -= basis[:, : k + 1] @ (basis[:, : k + 1].T @ w)
        beta[k] = np.linalg.norm(w)
        if beta[k] < 1e-14 * abs(alpha[0]):
            last = k + 1
            break
        v = w / beta[k]
    values, vectors = linalg.eigh_tridiagonal(alpha[:last], beta[: last - 1])
    errors = np.abs(beta[last - 1] * vectors[-1])
    return np.maximum(values[::-1], 0.0), errors[::-1], basis[:, :last] @ vectors[:, ::-1]


def _orthonormal(block: np.ndarray, deflated: np.ndarray) -> np.ndarray:
    for _ in range(2):
        block = block - deflated @ (deflated.T @ block)
        block, _ = np.linalg.qr(block)
    return np.asarray(block)


def _chebyshev(s: ForceSensitivity, block: np.ndarray, deflated: np.ndarray, ceiling: float) -> np.ndarray:
    """Return the block times a Chebyshev polynomial of J^T J that is small between CUT ceiling and ceiling."""
    center, half = 0.5 * ceiling * (1 + CUT), 0.5 * ceiling * (1 - CUT)

    def shifted(b: np.ndarray) -> np.ndarray:
        product = s.squared_times(b) - center * b
        return np.asarray((product - deflated @ (deflated.T @ product)) / half)

    before, now = block, shifted(block)
    for _ in range(DEGREE - 1):
        before, now = now, 2 * shifted(now) - before
    return now
