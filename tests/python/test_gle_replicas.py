# SPDX-License-Identifier: MIT
"""GLEIntegrator where states are saved and loaded while it runs: replica exchange, and a run that is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

import meanforce

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
TEMPERATURES = (300.0, 400.0)
COUNT, MASS, STRENGTH, STEP = 8, 7.0, 500.0, 0.01
DRIFT = np.array([[0.5, -8.0, -3.0], [8.0, 6.0, 0.0], [3.0, 0.0, 1.0]])


def oscillators() -> tuple[app.Topology, openmm.System]:
    topology, system = app.Topology(), openmm.System()
    force = openmm.CustomExternalForce(f"{STRENGTH / 2}*(x^2+y^2+z^2)")
    chain = topology.addChain()
    for i in range(COUNT):
        topology.addAtom("C", app.element.carbon, topology.addResidue("CG", chain))
        system.addParticle(MASS)
        force.addParticle(i)
    system.addForce(force)
    return topology, system


def make_sampler(kind: type[app.ReplicaExchangeSampler], seed: int) -> app.ReplicaExchangeSampler:
    topology, system = oscillators()
    integrator = meanforce.GLEIntegrator(TEMPERATURES[0], DRIFT, STEP)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(np.zeros((COUNT, 3)))
    random.seed(seed)
    return kind([{"temperature": t * unit.kelvin} for t in TEMPERATURES], simulation, 15)


class Recorder(app.ReplicaExchangeSampler):
    """Records, for each replica, what its bath was when it was put away, and what it is after the next step."""

    def simulateReplica(self, index: int, steps: int | None = None) -> None:
        old = self._previousReplicaStateIndex[index]
        before = auxiliary_variables(self, index, TEMPERATURES[old]) if self.currentIteration else None
        super().simulateReplica(index, 1)
        new = self.replicaStateIndex[index]
        if before is not None and old != new:
            scale = (TEMPERATURES[new] / TEMPERATURES[old]) ** 0.5
            after = auxiliary_variables(self, index, TEMPERATURES[new])
            self.swaps.append((before * scale, after, TEMPERATURES[new], old < new))
        self.simulation.integrator.step(self.stepsPerIteration - 1)
        getter = {"positions": True, "velocities": True, "parameters": True, "integratorParameters": True}
        self.replicaConformation[index] = self.simulation.context.getState(**getter)


def auxiliary_variables(sampler: app.ReplicaExchangeSampler, index: int, temperature: float) -> np.ndarray:
    """Return the auxiliary variables in a replica's State, saved at this temperature, without changing the Context."""
    text = openmm.XmlSerializer.serialize(sampler.replicaConformation[index])
    integrator = meanforce.GLEIntegrator(temperature, DRIFT, STEP)
    context = openmm.Context(oscillators()[1], integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setState(openmm.XmlSerializer.deserialize(text))
    return integrator.getAuxiliaryVariables()._value


def test_replica_exchange_carries_the_bath() -> None:
    """At once after an exchange, each bath is its replica's own, in equilibrium at the new temperature."""
    sampler = make_sampler(Recorder, 4)
    sampler.swaps = []
    sampler.simulate(150)
    assert len(sampler.swaps) > 60
    # One step later, s has moved by the noise of one step, about sqrt(2 rate h) = 0.35 of its width at most.
    moved = [np.abs(after - scaled).mean() / (GAS_CONSTANT * t) ** 0.5 for scaled, after, t, _ in sampler.swaps]
    assert max(moved) < 0.5
    # The control: it is not the other replica's.
    pairs = zip(sampler.swaps[0::2], sampler.swaps[1::2], strict=True)
    assert min(np.abs(a[1] - b[0]).mean() / (GAS_CONSTANT * a[2]) ** 0.5 for a, b in pairs) > 0.5
    # In units of its own temperature, <s^2> = 1, up and down; unscaled it would be 3/4 and 4/3.
    for up in (False, True):
        baths = [(after, t) for _, after, t, rose in sampler.swaps if rose == up]
        squares = np.array([np.mean(after**2) / (GAS_CONSTANT * t) for after, t in baths])
        error = squares.std(ddof=1) / len(squares) ** 0.5
        assert error < 0.04
        assert abs(squares.mean() - 1) < 4 * error
        unscaled = squares * (TEMPERATURES[1] / TEMPERATURES[0]) ** (-1 if up else 1)
        assert abs(unscaled.mean() - 1) > 4 * error


def correlation_of_replicas(kind: type[app.ReplicaExchangeSampler]) -> float:
    """Return the correlation coefficient of the coordinates of the two replicas, which start from one State."""
    sampler = make_sampler(kind, 5)
    sampler.exchangesPerIteration = 0
    pairs: list[list[np.ndarray]] = []
    sampler.reporters.append(
        lambda s: pairs.append([state.getPositions(asNumpy=True)._value for state in s.replicaConformation])
    )
    sampler.simulate(60)
    first, second = np.array(pairs[10:]).transpose(1, 0, 2, 3).reshape(2, -1)
    return float(np.corrcoef(first, second)[0, 1])


class Rewinding(app.ReplicaExchangeSampler):
    """The control: each replica goes on from a checkpoint of its own, and with it from the same random numbers."""

    def simulateReplica(self, index: int, steps: int | None = None) -> None:
        if not hasattr(self, "checkpoints"):
            self.checkpoints = [self.simulation.context.createCheckpoint()] * len(self.states)
        self.simulation.context.loadCheckpoint(self.checkpoints[index])
        self._sampler.applyState(self.replicaStateIndex[index])
        self.simulation.integrator.step(self.stepsPerIteration)
        self.checkpoints[index] = self.simulation.context.createCheckpoint()
        self.replicaConformation[index] = self.simulation.context.getState(positions=True, velocities=True)


def test_replicas_do_not_share_random_forces() -> None:
    """3 x 8 coordinates at 50 times, about half of them independent: a standard error of about 0.04."""
    assert abs(correlation_of_replicas(app.ReplicaExchangeSampler)) < 0.2
    assert correlation_of_replicas(Rewinding) > 0.9


# ---- killed runs ----

LONG_RUN = """
import os, sys
import numpy as np, openmm, meanforce
platform, folder, steps, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
count = 2000 if platform == "CPU" else 60
system = openmm.System()
force = openmm.CustomExternalForce("250*(x^2+y^2+z^2)+4000*x^4")
for i in range(count):
    system.addParticle(7.0)
    force.addParticle(i)
system.addForce(force)
drift = np.array([[0.5, -8.0, -3.0], [8.0, 6.0, 0.0], [3.0, 0.0, 1.0]])
integrator = meanforce.GLEIntegrator(300, drift, 0.005)
properties = {"Threads": "2"} if platform == "CPU" else {}
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
if start == "new":
    integrator.setRandomNumberSeed(3)
    context.reinitialize()
    context.setPositions(np.zeros((count, 3)))
else:
    context.loadCheckpoint(open(start, "rb").read())
steps += context.getStepCount()
while context.getStepCount() < steps:
    integrator.step(10)
    with open(folder + "/partial", "wb") as file:
        file.write(context.createCheckpoint())
    os.replace(folder + "/partial", folder + "/checkpoint")
state = context.getState(positions=True, velocities=True)
arrays = [state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value]
end = np.concatenate([*arrays, integrator.getAuxiliaryVariables()._value.reshape(-1, 3)])
np.savez(folder + "/end.npz", end=end, steps=steps)
"""


def launch(platform: str, folder: Path, steps: int, start: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", LONG_RUN, platform, str(folder), str(steps), start])


@pytest.mark.parametrize("name", ["Reference", "CPU"])
def test_killed_run_resumes_exactly(name: str, tmp_path: Path) -> None:
    """SIGKILL in a long run; from the last checkpoint on, the trajectory is that of a run that was left alone."""
    victim = launch(name, tmp_path / "killed", 10**9, "new")
    last = tmp_path / "killed" / "checkpoint"
    try:
        deadline = time.monotonic() + 60
        while not last.exists():
            assert time.monotonic() < deadline
            assert victim.poll() is None
            time.sleep(0.005)
        time.sleep(0.05)
    finally:
        victim.kill()
    assert victim.wait() == -signal.SIGKILL

    def end(folder: str, steps: int, start: str) -> tuple[np.ndarray, int]:
        assert launch(name, tmp_path / folder, steps, start).wait() == 0
        with np.load(tmp_path / folder / "end.npz") as file:
            return file["end"], int(file["steps"])

    resumed, steps = end("resumed", 200, str(last))
    assert steps > 200
    whole, _ = end("whole", steps, "new")
    assert np.array_equal(whole, resumed)
    # The control: the resumed part alone, as if nothing had been saved.
    alone, _ = end("alone", 200, "new")
    assert not np.allclose(alone, whole)
