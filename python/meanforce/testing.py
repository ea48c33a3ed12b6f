# SPDX-License-Identifier: MIT
"""Checks of the laws that every coarse-grained potential and memory kernel must obey, for anyone's models."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit

from ._openmm import strip_units
from .cgpotential import CGPotential
from .structure import GAS_CONSTANT

if TYPE_CHECKING:
    from .memorykernel import MemoryKernel

#: positions (n, 3) in nm, types (n,), box (3, 3) or None -> energy in kJ/mol, forces (n, 3) in kJ/mol/nm
EnergyAndForces = Callable[[np.ndarray, np.ndarray, Any], tuple[float, np.ndarray]]

SYMMETRY = 1e-6
"""Largest violation of an exact symmetry, relative to the forces (and forces times 0.1 nm for energies)."""

DERIVATIVE = 1e-4
"""Largest relative error of forces against differences of the energy, and of the work around closed loops."""

JUMP = 1e-3
"""Largest jump of energy or force, relative as above."""

BARRIER = 20.0
"""A hole behind a barrier of this many kT is out of reach."""

CLOSEST = 0.35
"""Distance, in units of the cutoff, at which configurations made here are closest, where none are given."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check: `passed` is None where it is only a remark."""

    name: str
    passed: bool | None
    message: str


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks.

    Attributes
    ----------
    checks : tuple of Check
    step_size : float or None
        Largest stable step of a leapfrog integrator in ps, estimated; None for kernels.
    """

    checks: tuple[Check, ...]
    step_size: float | None = None

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if check.passed is False]

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def __str__(self) -> str:
        words = {True: "ok", False: "FAILED", None: "note"}
        return "\n".join(f"{words[check.passed]:6s} {check.name}: {check.message}" for check in self.checks)


def check_potential(
    model: Any,
    positions: Any = None,
    types: Any = None,
    *,
    cutoff: float | None = None,
    masses: Any = None,
    temperature: Any = 300.0,
    chiral: bool = False,
    seed: int = 1,
) -> Report:
    """Check a potential: symmetries, conservation, smoothness, short distances, stable step size.

    Parameters
    ----------
    model : path, CGPotential, torch module or callable
        A ``model.pt`` or CGPotential runs in OpenMM on the Reference platform. A module is called as
        ``model(positions, types, box, temperature)`` (those that depend on temperature) or without the last, in
        float64. A callable takes positions, types and box as arrays and returns energy and forces, which may be wrong
        in every way that is checked here.
    positions : (n, 3), optional
        Of beads in a typical configuration, in nm; by default a random cluster, no two beads nearer than `CLOSEST` of
        the cutoff. The smallest distance in it is the least that the short-distance check takes for sampled.
    types : (n,), optional
        Type of each bead; by default all of the model's in turn.
    cutoff : float, optional
        In nm; the model's own by default.
    masses : (num_types,), optional
        In dalton, for the step size; by default the model's table of types, or else 1.
    temperature
        In K: of a temperature-dependent potential, and the unit of energy for the short-distance check.
    chiral
        Whether the model must tell mirror images apart; else it is only remarked whether it does.
    seed
        Of random configurations, rotations and paths.

    Returns
    -------
    Report
        Its text names what failed and by how much.

    Raises
    ------
    ValueError
        If the cutoff is not known, or shapes disagree.
    """
    T = float(strip_units(temperature, unit.kelvin))
    if isinstance(model, str | os.PathLike):
        model = CGPotential(model)
    if cutoff is None:
        cutoff = getattr(model, "cutoff", None)
    if cutoff is None or not 0 < cutoff < np.inf:
        raise ValueError("the model's cutoff is not known: give it in nm")
    num_types = int(getattr(model, "num_types", getattr(model, "numTypes", 1)))
    rng = np.random.default_rng(seed)
    if positions is None:
        n = max(12, 2 * num_types) if types is None else len(types)
        x = _cluster(n, CLOSEST * cutoff, rng)
    else:
        x = np.array(strip_units(positions, unit.nanometer), dtype=float)
    t = np.arange(len(x)) % num_types if types is None else np.asarray(types, dtype=int)
    if x.ndim != 2 or x.shape[1] != 3 or t.shape != x.shape[:1] or len(x) < 3:
        raise ValueError(f"positions must have shape (n, 3) with n >= 3 and types (n,), got {x.shape} and {t.shape}")
    checker = _Potential(_evaluator(model, T), x, t, float(cutoff), GAS_CONSTANT * T, rng)
    if not checker.finite:
        return Report((Check("finite", False, "energy or forces of an ordinary configuration are not finite"),))
    m = _masses(model, masses, num_types)
    step, step_check = checker.step_size(m[t], known=masses is not None or bool(_bead_types(model)))
    return Report(
        (
            Check("finite", True, f"root mean square force {checker.scale:.4g} kJ/mol/nm"),
            checker.translation(),
            checker.rotation(),
            checker.permutation(),
            checker.net_force(),
            checker.net_torque(),
            checker.gradient(),
            checker.loops(),
            checker.smoothness(),
            checker.short_distance(),
            checker.mirror(chiral),
            step_check,
        ),
        step,
    )


class _Potential:
    """The checks of one potential at one configuration."""

    def __init__(
        self,
        evaluate: EnergyAndForces,
        x: np.ndarray,
        types: np.ndarray,
        cutoff: float,
        kT: float,
        rng: np.random.Generator,
    ) -> None:
        self._evaluate, self.x, self.types, self.cutoff, self.kT, self.rng = evaluate, x, types, cutoff, kT, rng
        self.energy, self.forces = self(x)
        self.finite = bool(np.isfinite(self.energy) and np.all(np.isfinite(self.forces)))
        self.scale = float(np.sqrt(np.mean(self.forces**2))) or 1.0

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        energy, forces = self._evaluate(x, self.types, None)
        return float(energy), np.asarray(forces, dtype=float)

    def _symmetry(self, name: str, x: np.ndarray, expected: np.ndarray) -> Check:
        energy, forces = self(x)
        error = max(abs(energy - self.energy) / (0.1 * self.scale), np.abs(forces - expected).max() / self.scale)
        return Check(name, bool(error < SYMMETRY), f"changes by {error:.1e} of the forces")

    def translation(self) -> Check:
        return self._symmetry("translation", self.x + self.rng.normal(size=3), self.forces)

    def rotation(self) -> Check:
        q, _ = np.linalg.qr(self.rng.normal(size=(3, 3)))
        q *= np.sign(np.linalg.det(q))
        return self._symmetry("rotation", self.x @ q.T, self.forces @ q.T)

    def permutation(self) -> Check:
        order = np.arange(len(self.x))
        for kind in np.unique(self.types):
            same = np.flatnonzero(self.types == kind)
            order[same] = np.roll(same, 1)
        return self._symmetry("permutation", self.x[order], self.forces[order])

    def net_force(self) -> Check:
        error = np.abs(self.forces.sum(axis=0)).max() / self.scale
        return Check("net force", bool(error < SYMMETRY), f"{error:.1e} of the forces")

    def net_torque(self) -> Check:
        arms = self.x - self.x.mean(axis=0)
        torque = np.cross(arms, self.forces).sum(axis=0)
        error = np.abs(torque).max() / (self.scale * np.abs(arms).max())
        return Check("net torque", bool(error < SYMMETRY), f"{error:.1e} of forces times arms")

    def gradient(self) -> Check:
        """Compare forces with differences of the energy along random directions, in Richardson's extrapolation."""
        worst = 0.0
        for _ in range(8):
            d = self.rng.normal(size=self.x.shape)
            d /= np.linalg.norm(d)
            slopes = [(self(self.x + h * d)[0] - self(self.x - h * d)[0]) / (2 * h) for h in (2e-4, 1e-4)]
            error = abs((4 * slopes[1] - slopes[0]) / 3 + np.sum(self.forces * d))
            worst = max(worst, error / (self.scale * np.sqrt(self.x.size)))
        return Check("forces are the gradient", bool(worst < DERIVATIVE), f"differ by {worst:.1e} from -dU/dx")

    def loops(self) -> Check:
        """Return the work around closed loops, in which no energy is needed."""
        worst, points = 0.0, 60
        radius = 0.02 * self.cutoff
        angles = 2 * np.pi * np.arange(points) / points
        for _ in range(2):
            a, b = (v / np.abs(v).max() for v in self.rng.normal(size=(2, *self.x.shape)))
            work = total = 0.0
            for angle in angles:
                velocity = radius * (np.cos(angle) * b - np.sin(angle) * a)
                forces = self(self.x + radius * (np.cos(angle) * a + np.sin(angle) * b))[1]
                work += float(np.sum(forces * velocity))
                total += float(np.linalg.norm(forces) * np.linalg.norm(velocity))
            worst = max(worst, abs(work) / max(total, 1e-300))
        return Check("conservative", bool(worst < DERIVATIVE), f"work around closed loops {worst:.1e} of |F| |dx|")

    def smoothness(self) -> Check:
        """Move a bead away along a line through the cutoff of another and look for jumps, by bisection."""
        found: list[tuple[float, float, str]] = []
        for i, j in self._one_pair_of_each_kind():
            start, line = self._line(i, j)

            def at(r: float, i: int = i, j: int = j, line: np.ndarray = line) -> tuple[float, np.ndarray]:
                x = self.x.copy()
                x[j] = x[i] + r * line
                return self(x)

            grid = np.linspace(max(start, CLOSEST * self.cutoff), 1.1 * self.cutoff, 160)
            values = [at(r) for r in grid]
            energies, forces = np.array([v[0] for v in values]), np.array([v[1] for v in values])
            # What is smooth changes about as much in neighbouring intervals.
            bends = np.abs(np.diff(energies, 3)) / (0.1 * self.scale) + np.abs(np.diff(forces, 3, axis=0)).max(
                (1, 2)
            ) / (self.scale)
            edges = np.argsort(-bends)[:3]
            brackets = [(grid[k + shift], grid[k + shift + 1]) for k in edges for shift in range(3)]
            for low, high in [(self.cutoff * (1 - 1e-4), self.cutoff * (1 + 1e-4)), *brackets]:
                energy, force, place = _bisect(at, low, high, 0.01 * JUMP * self.scale)
                found += [(energy / (0.1 * self.scale), place, "energy"), (force / self.scale, place, "force")]
                if max(found)[0] > JUMP:
                    break
        jump, place, what = max(found)
        if jump < JUMP:
            return Check("smooth at the cutoff", True, f"no jump above {jump:.1e} of the forces on the way to it")
        message = f"the {what} jumps by {jump:.1e} of the forces at {place:.5g} nm (cutoff {self.cutoff:.5g} nm)"
        return Check("smooth at the cutoff", False, message)

    def short_distance(self) -> Check:
        """Press pairs together, alone and among the others, and look for a way down below what was sampled."""
        lowest: tuple[float, float, float] | None = None
        soft = np.inf
        for alone in (True, False):
            for i, j in self._one_pair_of_each_kind():
                closest, line = self._line(i, j)
                r = np.concatenate([np.linspace(self.cutoff, closest, 40), np.linspace(closest, 0.01 * closest, 80)])
                x = self.x + (1e3 * np.arange(len(self.x)) * self.cutoff)[:, None] if alone else self.x.copy()
                energies = []
                for distance in r:
                    x[j] = x[i] + distance * line
                    energies.append(self(x)[0])
                u = np.array(energies) / self.kT
                ground, inside = u[:40].min(), u[40:]
                barrier = np.maximum.accumulate(np.where(np.isfinite(inside), inside, np.inf)) - ground
                soft = min(soft, float(barrier[-1]))
                holes = np.flatnonzero((inside < ground - 1.0) & (barrier < BARRIER))
                if len(holes):
                    k = holes[np.argmin(inside[holes])]
                    depth = (float(ground - inside[k]), float(r[40 + k]), float(barrier[k]))
                    lowest = depth if lowest is None else max(lowest, depth)
        if lowest is not None:
            depth_kT, place, height = lowest
            message = f"{depth_kT:.3g} kT below anything sampled at {place:.3g} nm, behind a barrier of {height:.2g} kT"
            return Check("no hole at short distance", False, message)
        more = "" if soft > BARRIER else "; beads can pass through one another"
        return Check("no hole at short distance", True, f"lowest barrier on the way in {min(soft, 1e6):.3g} kT{more}")

    def mirror(self, required: bool) -> Check:
        mirrored = self.x * np.array([-1.0, 1.0, 1.0])
        energy, forces = self(mirrored)
        change = max(
            abs(energy - self.energy) / (0.1 * self.scale),
            np.abs(forces - self.forces * np.array([-1.0, 1.0, 1.0])).max() / self.scale,
        )
        blind = change < SYMMETRY
        message = "the potential cannot tell mirror images apart" if blind else f"mirror images differ by {change:.1e}"
        return Check("mirror images", (not blind) if required else None, message)

    def step_size(self, masses: np.ndarray, known: bool) -> tuple[float, Check]:
        """Estimate the largest stable step 2/omega from the stiffest mode of the mass-weighted Hessian."""
        weights = np.repeat(masses, 3) ** -0.5
        h = 1e-5 * self.cutoff

        def product(v: np.ndarray) -> np.ndarray:
            d = (weights * v).reshape(-1, 3)
            rise = self(self.x - h * d)[1] - self(self.x + h * d)[1]
            return np.asarray(weights * rise.reshape(-1) / (2 * h))

        v = self.rng.normal(size=len(weights))
        stiffest = 0.0
        for _ in range(60):  # Power iteration; shifted so that negative curvatures do not win.
            v /= np.linalg.norm(v)
            w = product(v)
            stiffest, before = float(v @ w), stiffest
            v = w + max(stiffest, float(np.linalg.norm(w))) * v
            if abs(stiffest - before) < 1e-4 * abs(stiffest):
                break
        step = 2 / np.sqrt(stiffest) if stiffest > 0 else float("inf")
        text = f"leapfrog is stable up to about {1e3 * step:.3g} fs here; use a fifth of that"
        return step, Check("step size", None, text + ("" if known else " (all masses taken as 1 dalton)"))

    def _one_pair_of_each_kind(self) -> list[tuple[int, int]]:
        distances = np.linalg.norm(self.x[:, None] - self.x[None], axis=-1)
        chosen: dict[tuple[int, int], tuple[int, int]] = {}
        i, j = np.triu_indices(len(self.x), 1)
        for k in np.argsort(distances[i, j]):
            a, b = sorted((self.types[i[k]], self.types[j[k]]))
            chosen.setdefault((a, b), (int(i[k]), int(j[k])))
        return list(chosen.values())

    def _line(self, i: int, j: int) -> tuple[float, np.ndarray]:
        """Return the distance of a pair and its direction, turned slightly so that no third bead is hit."""
        d = self.x[j] - self.x[i]
        r = float(np.linalg.norm(d))
        return min(r, 0.9 * self.cutoff), d / r


def _bisect(
    at: Callable[[float], tuple[float, np.ndarray]], low: float, high: float, enough: float
) -> tuple[float, float, float]:
    """Return the jumps of energy and force that are left when an interval is halved where it changes most.

    It ends when the changes are below `enough` (force, and energy over 0.1 nm).
    """
    left, right = at(low), at(high)
    for _ in range(26):
        if abs(left[0] - right[0]) < 0.1 * enough and np.abs(left[1] - right[1]).max() < enough:
            break
        middle = 0.5 * (low + high)
        here = at(middle)
        changes = [abs(left[0] - here[0]) + np.abs(left[1] - here[1]).max() * 0.1]
        changes.append(abs(right[0] - here[0]) + np.abs(right[1] - here[1]).max() * 0.1)
        if changes[0] > changes[1]:
            high, right = middle, here
        else:
            low, left = middle, here
    return abs(left[0] - right[0]), float(np.abs(left[1] - right[1]).max()), 0.5 * (low + high)


def _cluster(n: int, closest: float, rng: np.random.Generator) -> np.ndarray:
    """Return n points, each near another one and no two nearer than `closest`."""
    points = [np.zeros(3)]
    while len(points) < n:
        direction = rng.normal(size=3)
        new = points[rng.integers(len(points))] + direction / np.linalg.norm(direction) * closest * rng.uniform(
            1.0, 1.4
        )
        if min(np.linalg.norm(new - p) for p in points) >= closest:
            points.append(new)
    return np.array(points)


def _bead_types(model: Any) -> list[Any]:
    """Return the table of bead types of a module or a CGPotential, empty if there is none."""
    return list(getattr(model, "bead_types", None) or getattr(model, "beadTypes", None) or [])


def _masses(model: Any, masses: Any, num_types: int) -> np.ndarray:
    if masses is None:
        masses = [bead.mass or 1.0 for bead in _bead_types(model)] or np.ones(num_types)
    m = np.asarray(strip_units(masses, unit.dalton), dtype=float)
    if m.shape != (num_types,) or not np.all(m > 0):
        raise ValueError(f"masses must be positive, one for each of {num_types} types, got {masses!r}")
    return m


def _evaluator(model: Any, temperature: float) -> EnergyAndForces:
    if isinstance(model, CGPotential):
        return _openmm_evaluator(model, temperature)
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is not None and isinstance(model, torch.nn.Module):
        return _torch_evaluator(model, temperature)
    if callable(model):
        return model  # type: ignore[no-any-return]
    raise TypeError(f"model must be a path, CGPotential, torch module or callable, got {type(model).__name__}")


def _torch_evaluator(model: Any, temperature: float) -> EnergyAndForces:
    import torch

    double = copy.deepcopy(model).double().requires_grad_(False)
    more = (temperature,) if getattr(model, "temperature_dependent", False) else ()

    def evaluate(x: np.ndarray, types: np.ndarray, box: Any) -> tuple[float, np.ndarray]:
        positions = torch.from_numpy(np.array(x)).requires_grad_(True)
        energy = double(positions, torch.as_tensor(types, dtype=torch.long), None, *more)
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        return float(energy.sum().detach()), -gradient.numpy()

    return evaluate


def _openmm_evaluator(potential: CGPotential, temperature: float) -> EnergyAndForces:
    contexts: dict[tuple[int, ...], openmm.Context] = {}

    def evaluate(x: np.ndarray, types: np.ndarray, box: Any) -> tuple[float, np.ndarray]:
        key = tuple(int(t) for t in types)
        if key not in contexts:
            system = openmm.System()
            for _ in key:
                system.addParticle(1.0)
            for force in potential.createForces(key, temperature if potential.isTemperatureDependent else None):
                system.addForce(force)
            platform = openmm.Platform.getPlatformByName("Reference")
            contexts[key] = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        contexts[key].setPositions(x)
        state = contexts[key].getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), forces

    return evaluate


def check_kernel(kernel: MemoryKernel, times: Sequence[float] | None = None) -> Report:
    """Check a memory kernel: passive, decaying, symmetric, and its functions of time and frequency consistent.

    Parameters
    ----------
    kernel
        A MemoryKernel, or any object with its public ``kernel(t)``, ``integrated(t)``, ``spectrum(omega)``,
        ``friction`` and ``white_friction``.
    times : sequence of float, optional
        In ps, at which to look; by default spread over six decades about the kernel's own time scale.

    Returns
    -------
    Report
    """
    white, friction = (np.atleast_2d(np.asarray(v, dtype=float)) for v in (kernel.white_friction, kernel.friction))
    first = np.atleast_2d(np.asarray(kernel.kernel(np.zeros(1))[0], dtype=float))
    if not np.all(np.isfinite(friction)):
        return Report((Check("decays", False, "the friction is not finite: the memory never fades"),))
    size = float(np.abs(friction).max()) or 1.0
    slow = float(np.abs(friction - white).max() / (np.abs(first).max() or 1.0)) or 1.0
    t = slow * np.geomspace(1e-3, 1e3, 61) if times is None else np.asarray(times, dtype=float)
    values, integral = (
        np.asarray(f(t), dtype=float).reshape(len(t), *first.shape) for f in (kernel.kernel, kernel.integrated)
    )
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(integral))):
        return Report((Check("finite", False, "k(t) or its integral is not finite"),))
    checks = [Check("finite", True, f"k(0) = {np.abs(first).max():.4g} / ps^2, friction {size:.4g} / ps")]
    tail = float(np.abs(values[-1]).max() / (np.abs(first).max() or 1.0))
    checks.append(Check("decays", tail < 1e-3, f"k({t[-1]:.3g} ps) is {tail:.1e} of k(0)"))

    omega = np.concatenate([[0.0], 1 / t[::-1], 1e3 / t[:1]])
    spectrum = np.asarray(kernel.spectrum(omega)).reshape(len(omega), *first.shape)
    hermitian = 0.5 * (spectrum + spectrum.conj().swapaxes(-1, -2))
    lowest = np.linalg.eigvalsh(hermitian)[:, 0]
    k = int(np.argmin(lowest))
    bad = lowest[k] < -1e-9 * np.abs(hermitian).max()
    message = (
        f"smallest spectrum {lowest[k]:.3g} / ps at {omega[k]:.3g} / ps: no heat bath is like that"
        if bad
        else "at all frequencies"
    )
    checks.append(Check("passive", not bad, message))

    # The running integral must be that of k(t), and end in the friction, which is the spectrum at zero frequency.
    grid = np.linspace(0.0, 5 * slow, 4001)
    fine = np.asarray(kernel.kernel(grid), dtype=float).reshape(len(grid), *first.shape)
    simpson = (grid[1] / 3) * (fine[0] + fine[-1] + 4 * fine[1:-1:2].sum(0) + 2 * fine[2:-1:2].sum(0))
    claimed = np.asarray(kernel.integrated(grid[-1:]), dtype=float).reshape(first.shape)
    error = float(np.abs(simpson + white - claimed).max() / size)
    checks.append(Check("integral", error < 1e-4, f"differs by {error:.1e} of the friction from that of k(t)"))
    end = float(np.abs(integral[-1] - friction).max() / size)
    checks.append(Check("friction", end < 1e-2, f"differs by {end:.1e} from the integral at {t[-1]:.3g} ps"))
    zero = float(np.abs(hermitian[0].real - friction).max() / size)
    checks.append(Check("spectrum", zero < 1e-6, f"differs by {zero:.1e} of the friction from it at zero frequency"))
    turned = float(np.abs(first - first.T).max() / (np.abs(first).max() or 1.0))
    checks.append(Check("symmetric at t = 0", turned < 1e-9, f"k(0) differs by {turned:.1e} from its transpose"))
    return Report(tuple(checks))
