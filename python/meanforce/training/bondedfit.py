# SPDX-License-Identifier: MIT
"""Bonded potentials from the distributions of bond lengths, angles and dihedrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from openmm import unit

from .._openmm import strip_units
from ..bonds import BondGraph
from ..data import Frames
from ..mapping import minimum_image
from ..potentials import Dihedrals, HarmonicAngles, HarmonicBonds, Impropers, Potential, Sum
from ..potentials.bonded import torsion_cosine_and_sine
from ..structure import GAS_CONSTANT

GRID = 2000
"""Points of the grid on which distributions are integrated."""

RIDGE = 1e-4
"""Penalty on the squared coefficients of a dihedral, in units of kT, that keeps what was never sampled finite."""


def fit_bonded(
    frames: Frames,
    bonds: Sequence[Sequence[int]],
    temperature: object,
    num_types: int | None = None,
    angles: bool = True,
    dihedral_order: int = 3,
    improper_order: int = 0,
) -> Sum:
    r"""Return bonded potentials whose distributions are those of the frames: Boltzmann inversion.

    For each tuple of bead types the parameters are those of maximum likelihood if that degree of freedom were alone,
    p(r) ~ r^2 exp(-u(r)/kT), p(theta) ~ sin(theta) exp(-u(theta)/kT) and p(phi) ~ exp(-u(phi)/kT). The potentials are
    linear in their parameters (those of a harmonic term: in k and k r0), so the likelihood has one maximum, at which
    the means of the corresponding functions are those of the frames. Correlations between degrees of freedom, and what
    other parts of the model add, are for the network or for later iterations.

    Parameters
    ----------
    frames : Frames
    bonds : sequence of (int, int)
        The bonded beads.
    temperature : float or Quantity
        In K.
    num_types : int, optional
        Number of bead types of the model; by default one more than the largest in the frames.
    angles : bool
        Whether there are terms of angles.
    dihedral_order, improper_order : int
        Order of their Fourier series; 0 for no such terms.

    Returns
    -------
    Sum
        HarmonicBonds, then those of HarmonicAngles, Dihedrals and Impropers that are wanted and exist; `set_bonds` has
        been called.

    Raises
    ------
    ValueError
        If there are no bonds, or a bond length does not vary.
    """
    kT = GAS_CONSTANT * float(strip_units(temperature, unit.kelvin))
    graph = BondGraph.create(np.asarray(frames.types).tolist(), bonds)
    if not graph.bonds:
        raise ValueError("there are no bonds to fit")
    count = int(max(graph.types)) + 1 if num_types is None else num_types
    terms: list[Potential] = []
    groups = _grouped(graph, "bonds")
    fits = [_fit_bond(_lengths(frames, beads), kT, kinds) for kinds, beads in groups.items()]
    terms.append(HarmonicBonds(count, list(groups), [k for k, _ in fits], [r for _, r in fits]))
    groups = _grouped(graph, "angles")
    if angles and groups:
        fits = [_fit_angle(_angles(frames, beads), kT) for beads in groups.values()]
        terms.append(HarmonicAngles(count, list(groups), [k for k, _ in fits], [t for _, t in fits]))
    series: tuple[tuple[str, int, Callable[..., Potential]], ...] = (
        ("dihedrals", dihedral_order, Dihedrals),
        ("impropers", improper_order, Impropers),
    )
    for name, order, potential in series:
        groups = _grouped(graph, name)
        if order > 0 and groups:
            rows = [_fit_torsion(_torsions(frames, beads), order, kT) for beads in groups.values()]
            terms.append(potential(count, list(groups), np.array(rows)))
    model = Sum(*terms)
    model.set_bonds(graph.types, graph.bonds)
    return model


def maximum_likelihood(
    features: np.ndarray, weights: np.ndarray, means: np.ndarray, ridge: float = 0.0, steps: int = 100
) -> np.ndarray:
    r"""Return c such that p(x) ~ w(x) exp(-sum_k c_k f_k(x)) has given means of the f_k.

    Parameters
    ----------
    features : (points, K)
        f_k on a uniform grid of x.
    weights : (points,)
        w.
    means : (K,)
        The means wanted.
    ridge
        Penalty on \|c\|^2, per sample.
    steps
        Largest number of Newton steps.
    """
    c = np.zeros(features.shape[1])

    def objective(c: np.ndarray) -> float:
        exponent = -features @ c
        top = exponent.max()
        return float(top + np.log(weights @ np.exp(exponent - top)) + c @ means + 0.5 * ridge * c @ c)

    value = objective(c)
    for _ in range(steps):
        exponent = -features @ c
        p = weights * np.exp(exponent - exponent.max())
        p /= p.sum()
        mean = p @ features
        gradient = means - mean + ridge * c
        centred = features - mean
        hessian = centred.T @ (p[:, None] * centred) + (ridge + 1e-14) * np.eye(len(c))
        step = -np.linalg.solve(hessian, gradient)
        slope = float(gradient @ step)
        if -slope < 1e-20:
            break
        size = 1.0
        while (new := objective(c + size * step)) > value + 1e-4 * size * slope and size > 1e-10:
            size *= 0.5
        if size <= 1e-10:
            break
        c, value = c + size * step, new
    return c


def _grouped(graph: BondGraph, name: str) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """Return all bonds, angles, dihedrals or impropers by their types, in one order for each tuple of types."""
    groups: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for beads in getattr(graph, name):
        kinds = tuple(graph.types[i] for i in beads)
        if name == "impropers":
            order = (beads[0], *sorted(beads[1:], key=lambda i: (graph.types[i], i)))
        else:
            order = beads if kinds <= kinds[::-1] else beads[::-1]
        groups.setdefault(tuple(graph.types[i] for i in order), []).append(order)
    return groups


def _steps(frames: Frames, beads: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the displacements along the tuples, shape (frames, tuples, 3) each."""
    index = np.array(beads)
    x = np.asarray(frames.positions, dtype=float)
    steps = [x[:, index[:, k]] - x[:, index[:, k - 1]] for k in range(1, index.shape[1])]
    if frames.box is not None:
        boxes = np.asarray(frames.box)
        steps = [np.stack([minimum_image(d, box) for d, box in zip(step, boxes, strict=True)]) for step in steps]
    return steps


def _lengths(frames: Frames, beads: list[tuple[int, ...]]) -> np.ndarray:
    return np.asarray(np.linalg.norm(_steps(frames, beads)[0], axis=-1)).reshape(-1)


def _angles(frames: Frames, beads: list[tuple[int, ...]]) -> np.ndarray:
    a, b = _steps(frames, beads)
    return np.asarray(np.arctan2(np.linalg.norm(np.cross(-a, b), axis=-1), np.sum(-a * b, axis=-1))).reshape(-1)


def _torsions(frames: Frames, beads: list[tuple[int, ...]]) -> np.ndarray:
    a, b, c = (torch.from_numpy(step.reshape(-1, 3)) for step in _steps(frames, beads))
    cosine, sine = torsion_cosine_and_sine(a, b, c)
    return torch.atan2(sine, cosine).numpy()


def _fit_bond(r: np.ndarray, kT: float, kinds: tuple[int, ...]) -> tuple[float, float]:
    mean, spread = float(r.mean()), float(r.std())
    if spread < 1e-6 * mean:
        raise ValueError(f"the bond of types {kinds} has the length {mean:.6g} nm in every frame: constrain it instead")
    grid = np.linspace(max(0.0, mean - 12 * spread), mean + 12 * spread, GRID)
    return _fit_harmonic(r, grid, grid**2, mean, spread, kT)


def _fit_angle(theta: np.ndarray, kT: float) -> tuple[float, float]:
    grid = (np.arange(GRID) + 0.5) * np.pi / GRID
    return _fit_harmonic(theta, grid, np.sin(grid), float(theta.mean()), float(theta.std()), kT)


def _fit_harmonic(
    x: np.ndarray, grid: np.ndarray, weights: np.ndarray, mean: float, spread: float, kT: float
) -> tuple[float, float]:
    """Return k and x0 of kT (c0 z + c1 z^2) with z = (x - mean) / spread."""
    z = (grid - mean) / spread
    moments = np.array([0.0, float(np.mean(((x - mean) / spread) ** 2))])
    c = maximum_likelihood(np.stack([z, z * z], axis=1), weights, moments)
    if c[1] <= 0:  # broader than no potential at all
        return 0.0, mean
    return 2 * kT * float(c[1]) / spread**2, mean - spread * float(c[0]) / (2 * float(c[1]))


def _fit_torsion(phi: np.ndarray, order: int, kT: float) -> np.ndarray:
    """Return A_n and B_n, shape (order, 2)."""

    def features(x: np.ndarray) -> np.ndarray:
        n = np.arange(1, order + 1)
        return np.stack([np.cos(np.outer(x, n)), np.sin(np.outer(x, n))], axis=2).reshape(len(x), -1)

    grid = np.arange(GRID) * 2 * np.pi / GRID
    c = maximum_likelihood(features(grid), np.ones(GRID), features(phi).mean(axis=0), RIDGE)
    return kT * c.reshape(order, 2)
