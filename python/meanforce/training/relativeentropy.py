# SPDX-License-Identifier: MIT
"""Relative entropy: the potential under which the target's configurations are most likely."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from ..data import Frames
from ..potentials import PairSpline, Potential
from ..potentials.evaluate import JoinedFrames, joined_batches
from ..structure import RDF
from .imc import LARGEST_CHANGE, SplineCoordinates
from .iteration import Correction, Pair, Seen, StructureIteration, target_distributions
from .splinesums import expected_sums, spline_sums

NEWTON_STEPS = 20
"""Largest number of steps of a pair spline on one sample."""

CONVERGED = 1e-3
"""A Newton step that changes the potential less, in kT, ends the use of a sample."""


class RelativeEntropy(StructureIteration):
    r"""Minimises S_rel = <ln p_target - ln p_model>_target by the parameters of a potential (doi:10.1063/1.2992060).

        dS/dtheta = beta ( <dU/dtheta>_target - <dU/dtheta>_model )

    The averages of the model come from a sample of U_0, reweighted by w ~ exp(-beta (U - U_0)), as long as the
    effective sample size 1 / (F sum w^2) of its F configurations is at least `minimum_ess`; then the model is sampled
    anew. For a `PairSpline` S_rel is convex: Newton steps, of which the first needs no reweighting and is an inverse
    Monte Carlo step. For other potentials, steps of Adam (doi:10.48550/arXiv.1412.6980).

    Parameters
    ----------
    target : Frames, RDF or dict of (int, int) to RDF
        Configurations of the target; for a pair spline its g(r) are enough.
    temperature
        In K.
    minimum_ess : float
        As a fraction of the sample.
    regularization : float
        Of Newton steps; see InverseMonteCarlo.
    learning_rate : float
        Of Adam.
    updates : int
        Largest number of Adam steps on one sample.
    target_batch : int
        Target frames behind the gradient of one Adam step.
    r_max, bins
        Of the g(r) that are compared, if the target is Frames.
    seed : int
        Of the division of the target's frames.
    """

    def __init__(
        self,
        target: Frames | RDF | Mapping[Pair, RDF],
        temperature: Any,
        *,
        minimum_ess: float = 0.5,
        regularization: float = 1e-3,
        learning_rate: float = 1e-3,
        updates: int = 20,
        target_batch: int = 64,
        r_max: float = 0.9,
        bins: int = 180,
        seed: int = 0,
    ) -> None:
        self._frames = target if isinstance(target, Frames) else None
        distributions = target_distributions(target, r_max, bins) if isinstance(target, Frames) else target
        super().__init__(distributions, temperature)
        if not 0 < minimum_ess < 1:
            raise ValueError(f"`minimum_ess` must lie between 0 and 1, got {minimum_ess}")
        if not (regularization >= 0 and learning_rate > 0 and updates >= 1 and target_batch >= 1):
            raise ValueError(
                "`regularization` must not be negative, `learning_rate`, `updates` and `target_batch` must be "
                f"positive, got {regularization}, {learning_rate}, {updates} and {target_batch}"
            )
        self._minimum_ess, self._regularization = float(minimum_ess), float(regularization)
        self._learning_rate, self._updates, self._target_batch = float(learning_rate), int(updates), int(target_batch)
        self._seed = int(seed)
        self._sums: dict[tuple[float, int, int], np.ndarray] = {}
        self._joined: dict[tuple[int, float], list[JoinedFrames]] = {}

    def settings(self) -> dict[str, Any]:
        """Return what a continued run must agree in."""
        return {
            "method": type(self).__name__,
            "temperature": self._temperature,
            "minimum_ess": self._minimum_ess,
            "regularization": self._regularization,
            "learning_rate": self._learning_rate,
            "updates": self._updates,
            "target_batch": self._target_batch,
            "seed": self._seed,
            "targets": [[*pair, len(g.r), float(g.g.sum())] for pair, g in self._targets.items()],
        }

    def correct(self, potential: Potential, seen: Seen) -> Correction:
        """Return the potential after the steps that one sample allows; see StructureIteration.correct."""
        if isinstance(potential, PairSpline):
            return self._correct_spline(potential, seen)
        return self._correct_network(potential, seen)

    # ---- pair splines ----

    def _correct_spline(self, potential: PairSpline, seen: Seen) -> Correction:
        sample, beta = seen.sample, 1.0 / self._kT
        coordinates = SplineCoordinates(potential, self._targets, seen.distributions)
        sums = spline_sums(potential, sample.positions, sample.types, sample.box) @ coordinates.matrix
        wanted = self._wanted(potential, seen) @ coordinates.matrix
        change, ess, steps = np.zeros(sums.shape[1]), 1.0, 0
        for _ in range(NEWTON_STEPS):
            weights = _weights(sums @ change, beta)
            mean = weights @ sums
            centred = sums - mean
            covariance = centred.T @ (weights[:, None] * centred)
            step = coordinates.solve(covariance, mean - wanted, self._regularization) * self._kT
            largest = coordinates.largest_change(step)
            if largest < CONVERGED * self._kT:
                break
            step *= min(1.0, LARGEST_CHANGE * self._kT / largest)
            reached = _effective_size(_weights(sums @ (change + step), beta))
            too_far = coordinates.largest_change(change + step) > LARGEST_CHANGE * self._kT * (1 + 1e-9)
            if steps > 0 and (reached < self._minimum_ess or too_far):
                break
            change, ess, steps = change + step, reached, steps + 1
            if ess < self._minimum_ess:  # the first step needs no reweighting, the next would
                break
        details = {"ess": ess, "updates": float(steps), "largest_change": coordinates.largest_change(change)}
        return Correction(coordinates.apply(potential, change), details)

    def _wanted(self, potential: PairSpline, seen: Seen) -> np.ndarray:
        """Return <S_k> of the target."""
        if self._frames is not None:
            basis = (potential.cutoff, potential.functions, potential.exclude_bonds)
            if basis not in self._sums:
                frames = self._frames
                sums = spline_sums(potential, np.asarray(frames.positions), np.asarray(frames.types), frames.box)
                self._sums[basis] = sums.mean(axis=0)
            return self._sums[basis]
        if seen.sample.box is None:
            raise ValueError("without a periodic box g(r) has no density: give Frames as target")
        return expected_sums(potential, self._targets, seen.sample.types, seen.sample.box)

    # ---- everything else ----

    def _correct_network(self, potential: Potential, seen: Seen) -> Correction:
        if self._frames is None:
            raise ValueError("relative entropy of anything but a pair spline needs Frames as target, not g(r)")
        beta, sample = 1.0 / self._kT, seen.sample
        model = copy.deepcopy(potential)
        optimizer = torch.optim.Adam(model.parameters(), lr=self._learning_rate)
        done = int(seen.memory.get("done", 0))
        if "optimizer" in seen.memory:
            optimizer.load_state_dict(seen.memory["optimizer"])
        own = list(joined_batches(sample.positions, sample.types, sample.box, model.cutoff))
        start = self._energies(model, own)
        energies, ess, steps = start, 1.0, 0
        for _ in range(self._updates):
            optimizer.zero_grad(set_to_none=True)
            target = self._target(done + steps, model.cutoff)
            count = sum(batch.shape[0] for batch in target)
            self._add_gradient(model, target, np.full(count, beta / count))
            self._add_gradient(model, own, -beta * _weights(energies - start, beta))
            before = {name: value.detach().clone() for name, value in model.state_dict().items()}
            optimizer.step()
            steps += 1
            energies = self._energies(model, own)
            ess = _effective_size(_weights(energies - start, beta))
            if ess < self._minimum_ess:
                if steps > 1:  # that step went farther than the sample can tell
                    model.load_state_dict(before)
                    steps -= 1
                break
        details = {"ess": ess, "updates": float(steps)}
        return Correction(model, details, {"optimizer": optimizer.state_dict(), "done": done + steps})

    def _target(self, step: int, cutoff: float) -> list[JoinedFrames]:
        """Return the target frames of one step: the parts of a random division, in turn, with pairs found only once."""
        assert self._frames is not None
        parts = max(1, len(self._frames) // self._target_batch)
        part = step % parts
        if (part, cutoff) not in self._joined:
            order = np.random.default_rng(self._seed).permutation(len(self._frames))
            chosen = self._frames[np.sort(np.array_split(order, parts)[part])]
            batches = joined_batches(chosen.positions, chosen.types, chosen.box, cutoff)
            self._joined[part, cutoff] = list(batches)
        return self._joined[part, cutoff]

    def _energies(self, model: Potential, batches: list[JoinedFrames]) -> np.ndarray:
        with torch.no_grad():
            parts = [batch.energies(model, self._temperature)[0] for batch in batches]
        return np.asarray(torch.cat(parts).double().numpy())

    def _add_gradient(self, model: Potential, batches: list[JoinedFrames], factors: np.ndarray) -> None:
        """Add the gradient of sum_f factor_f U_f to the parameters' gradients."""
        start = 0
        for batch in batches:
            energies, _ = batch.energies(model, self._temperature)
            part = torch.from_numpy(factors[start : start + len(energies)]).to(energies.dtype)
            torch.autograd.backward((energies * part).sum())
            start += len(energies)


def _weights(energy_change: np.ndarray, beta: float) -> np.ndarray:
    """Return the normalised Boltzmann weights of configurations whose energies have changed."""
    exponent = -beta * energy_change
    weights = np.exp(exponent - exponent.max())
    return np.asarray(weights / weights.sum())


def _effective_size(weights: np.ndarray) -> float:
    """Return the effective sample size as a fraction of the sample."""
    return float(1.0 / (len(weights) * np.sum(cast(Any, weights) ** 2)))
