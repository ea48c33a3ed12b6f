# SPDX-License-Identifier: MIT
"""What iterative Boltzmann inversion, inverse Monte Carlo and relative entropy share: sample, compare, correct."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from openmm import unit

from .._openmm import strip_units
from ..data import Frames
from ..potentials import PairSpline, Potential, Sum
from ..structure import GAS_CONSTANT, RDF, rdf, rdf_error
from .checkpoints import save_atomically
from .sampler import PRESSURE_UNIT, Sample, Sampler
from .splinebasis import with_coefficients

SAMPLED_G = 0.02
"""Below this value of g(r) its logarithm is mostly noise: corrections are extrapolated."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Iteration:
    """One iteration.

    Attributes
    ----------
    potential : Potential
        The potential that was sampled.
    distributions : dict of (int, int) to RDF
        Its g(r), per pair of types.
    error : float
        Mean absolute error of these g(r).
    pressure : float or None
        In bar, where it was asked for.
    details : dict
        What else a method reports.
    """

    potential: Potential
    distributions: dict[Pair, RDF]
    error: float
    pressure: float | None = None
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class IterationResult:
    """What an iterative method found.

    Attributes
    ----------
    potential : Potential
        After the last correction; it has not been sampled yet.
    history : list of Iteration
        One for each sample.
    """

    potential: Potential
    history: list[Iteration]

    @property
    def best(self) -> Iteration:
        """The sampled iteration with the smallest error of g(r)."""
        return min(self.history, key=lambda iteration: iteration.error)


@dataclass(frozen=True)
class Seen:
    """What a method corrects a potential by.

    Attributes
    ----------
    model : Potential
        The whole model that was sampled.
    sample : Sample
    distributions : dict of (int, int) to RDF
        The sample's g(r), per pair of types.
    pressure : float or None
        In bar.
    memory : dict
        What the method kept from the iteration before.
    """

    model: Potential
    sample: Sample
    distributions: dict[Pair, RDF]
    pressure: float | None = None
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Correction:
    """A corrected potential, numbers to report, and tensors and numbers to keep for the next iteration."""

    potential: Potential
    details: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)


Progress = Callable[[int, int, Iteration], None]


def target_distributions(frames: Frames, r_max: float = 0.9, bins: int = 180) -> dict[Pair, RDF]:
    """Return g(r) of each pair of types that occurs in frames: the target of an iterative method."""
    types = np.asarray(frames.types)
    kinds, counts = np.unique(types, return_counts=True)
    several = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    return {
        (s, t): rdf(frames.positions, frames.box, r_max, bins, types, (s, t))
        for t in several
        for s in several
        if s < t or (s == t and several[t] > 1)
    }


class StructureIteration(ABC):
    """Base of the methods that correct a model until its g(r) are those of a target.

    Parameters
    ----------
    target : RDF or dict of (int, int) to RDF
        Target g(r); for several bead types one for each pair of types to be corrected.
    temperature
        In K.
    types : (n,), optional
        Type of each bead, needed with several types where g(r) is measured without a `Sampler`.
    """

    def __init__(self, target: RDF | Mapping[Pair, RDF], temperature: Any, types: Any = None) -> None:
        self._targets: dict[Pair, RDF] = {(0, 0): target} if isinstance(target, RDF) else dict(target)
        if not self._targets:
            raise ValueError("there is no target g(r)")
        self._temperature = float(strip_units(temperature, unit.kelvin))
        self._kT = GAS_CONSTANT * self._temperature
        self._types = types

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what a continued run must agree in, JSON types only."""

    @abstractmethod
    def correct(self, potential: Potential, seen: Seen) -> Correction:
        """Return the potential after one correction for what its sample showed."""

    def fit(
        self,
        potential: Potential,
        sampler: Sampler,
        *,
        fixed: Potential | None = None,
        iterations: int = 10,
        tolerance: float = 0.0,
        state: str | Path | None = None,
        progress: Progress | None = None,
    ) -> IterationResult:
        """Sample and correct, until the error of g(r) is small or a number of iterations is reached.

        Parameters
        ----------
        potential
            The potential to start from; it is not changed.
        sampler
            Samples the whole model, this potential and the fixed part.
        fixed
            The rest of the model, for instance a network or bonded terms, kept as it is.
        iterations
            Number of samples in all, counting those of a run that is continued.
        tolerance
            Mean absolute error of g(r) that is good enough; the potential that has it is not corrected any more.
        state
            Folder in which the run is kept, created if absent. A run that was stopped goes on from its last finished
            iteration as if it had not been stopped.
        progress
            Called after each iteration with the number done, the number asked for, and the iteration.

        Raises
        ------
        ValueError
            If the folder holds a run with other settings, or the temperatures of method and sampler differ.
        """
        if abs(sampler.temperature - self._temperature) > 1e-6 * self._temperature:
            raise ValueError(f"the sampler runs at {sampler.temperature} K, the method at {self._temperature} K")
        run = _Run(Path(state), self.settings()) if state is not None else None
        history: list[Iteration] = []
        memory: dict[str, Any] = {}
        if run is not None:
            potential, history, memory = run.load(potential, sampler)
        while len(history) < iterations and not (history and history[-1].error <= tolerance):
            model = potential if fixed is None else Sum(potential, fixed)
            sample = sampler.sample(model)
            found = self.measure(sample)
            error = float(np.mean([rdf_error(found[pair], g, g.r[-1]) for pair, g in self._targets.items()]))
            seen = Seen(model, sample, found, self.pressure_of(model, sample), memory)
            correction = Correction(potential)
            if error > tolerance:
                correction = self.correct(potential, seen)
            history.append(Iteration(potential, found, error, seen.pressure, correction.details))
            potential, memory = correction.potential, correction.memory
            if run is not None:
                run.save(potential, history, memory, sampler)
            if progress is not None:
                progress(len(history), iterations, history[-1])
        return IterationResult(potential, history)

    def measure(self, sample: Sample) -> dict[Pair, RDF]:
        """Return the g(r) of a sample on the bins of the targets."""
        return {
            pair: self._rdf_like(target, sample.positions, sample.box, sample.types, pair)
            for pair, target in self._targets.items()
        }

    def pressure_of(self, model: Potential, sample: Sample) -> float | None:
        """Return the pressure in bar, for methods that look at it."""
        return None

    @staticmethod
    def _rdf_like(target: RDF, positions: Any, box: Any, types: Any, pair: Pair) -> RDF:
        width = target.r[1] - target.r[0]
        selection = {} if types is None else {"types": types, "pair": pair}
        return rdf(positions, box, r_max=target.r[-1] + width / 2, bins=len(target.r), **selection)


def pressure_ramp(
    potential: PairSpline, excess: float, distributions: Mapping[Pair, RDF], sample: Sample, kT: float
) -> np.ndarray:
    r"""Return the change of the coefficients that takes the pressure back by an excess, by the virial of a ramp.

    To each pair A (1 - r / rc) is added, with A = -\Delta P 3 rc / (2 pi rho^2 Int_0^rc r^3 g dr) of all pairs
    (doi:10.1021/ct8004083), at most 0.1 kT, smoothed at the cutoff by the spline.

    Parameters
    ----------
    potential
    excess
        Pressure less what it should be, in bar.
    distributions, sample
        Of the model.
    kT
        In kJ/mol.
    """
    assert sample.box is not None
    rc = potential.cutoff
    volume = float(np.linalg.det(sample.box))
    counts = np.bincount(sample.types, minlength=potential.num_types)
    integral = 0.0
    for (s, t), g in distributions.items():
        pairs = counts[s] * (counts[s] - 1) / 2 if s == t else counts[s] * counts[t]
        within = g.r < rc
        width = g.r[1] - g.r[0]
        # Virial of one pair potential: dP = -(1 / 3V) <sum r du/dr> = (pairs / V^2) (A / 3 rc) Int 4 pi r^3 g dr.
        integral += pairs * float(np.sum(4 * np.pi * g.r[within] ** 3 * g.g[within]) * width)
    amplitude = -excess / PRESSURE_UNIT * 3 * rc * volume**2 / integral
    amplitude = float(np.clip(amplitude, -0.1 * kT, 0.1 * kT))
    r = np.linspace(0, rc, 20 * potential.functions)
    with torch.no_grad():
        values = potential.basis(torch.from_numpy(r)).numpy()
    ramp = np.linalg.lstsq(values, amplitude * (1 - r / rc), rcond=1e-8)[0]
    change = np.zeros(tuple(potential.coefficients.shape))
    for pair in distributions:
        change[potential.pair_index(*pair)] = ramp
    return change


class _Run:
    """A folder that holds a run: settings.json, and state.pt, which is replaced in one go after each iteration."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / "state.pt"
        text = json.dumps(settings, indent=1, sort_keys=True)
        file = folder / "settings.json"
        if self._state.exists() and file.read_text(encoding="utf-8") != text:
            raise ValueError(f"{folder} holds a run with other settings; choose another folder, or remove that one")
        file.write_text(text, encoding="utf-8")

    def save(self, potential: Potential, history: list[Iteration], memory: dict[str, Any], sampler: Sampler) -> None:
        state = {
            "potential": potential.state_dict(),
            "history": [_packed(iteration) for iteration in history],
            "memory": memory,
            "sampler": {key: torch.from_numpy(np.asarray(value)) for key, value in sampler.state().items()},
        }
        save_atomically(state, self._state)

    def load(self, start: Potential, sampler: Sampler) -> tuple[Potential, list[Iteration], dict[str, Any]]:
        if not self._state.exists():
            return start, [], {}
        state = torch.load(self._state, weights_only=True)
        sampler.restore({key: value.numpy() for key, value in state["sampler"].items()})
        history = [_unpacked(packed, start) for packed in state["history"]]
        return _with_state(start, state["potential"]), history, state["memory"]


def _packed(iteration: Iteration) -> dict[str, Any]:
    return {
        "potential": iteration.potential.state_dict(),
        "distributions": [
            (pair, *(torch.from_numpy(np.asarray(part)) for part in (g.r, g.g, g.standard_error)))
            for pair, g in iteration.distributions.items()
        ],
        "error": iteration.error,
        "pressure": iteration.pressure,
        "details": iteration.details,
    }


def _unpacked(packed: dict[str, Any], start: Potential) -> Iteration:
    distributions = {tuple(pair): RDF(r.numpy(), g.numpy(), e.numpy()) for pair, r, g, e in packed["distributions"]}
    potential = _with_state(start, packed["potential"])
    return Iteration(potential, distributions, packed["error"], packed["pressure"], packed["details"])


def _with_state(template: Potential, state: dict[str, Any]) -> Potential:
    if isinstance(template, PairSpline):
        return with_coefficients(template, state["coefficients"].double().numpy())
    potential = copy.deepcopy(template)
    potential.load_state_dict(state)
    return potential
