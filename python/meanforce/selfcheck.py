# SPDX-License-Identifier: MIT
"""Compare every platform with Reference on a small system: the two-second check of an installation."""

from __future__ import annotations

import platform as host
from dataclasses import dataclass

import numpy as np
import openmm
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ._plugins import platform_works, platforms, plugin_failures
from ._version import __version__
from .gle import GLEIntegrator
from .memorykernel import MemoryKernel
from .momenttensor import MomentTensorForce

_BEADS = 64
_BOX = 1.6  # nm
_STEPS = 20
#: Largest allowed deviation from Reference, forces relative to their RMS and positions in nm after `_STEPS` steps.
_TOLERANCE = {"single": (1e-5, 1e-4), "mixed": (1e-5, 1e-5), "double": (1e-9, 1e-8), "": (1e-5, 1e-5)}


@dataclass(frozen=True)
class Deviation:
    """How far a platform is from Reference."""

    force: float
    position: float


def run_checks(console: Console) -> bool:
    """Print versions, platforms and deviations from Reference; return whether all platforms agree.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.

    Returns
    -------
    bool
        False if a platform disagrees with Reference, cannot run, or its plugin failed to load.
    """
    console.print(
        f"meanforce {__version__}, OpenMM {openmm.Platform.getOpenMMVersion()}, Python {host.python_version()}"
    )
    table = Table("platform", "precision", "force error / RMS", f"position error after {_STEPS} GLE steps [nm]", "")
    reference = _evaluate("Reference", "")
    agree = True
    for name in platforms():
        for precision in ("",) if name in ("Reference", "CPU") else ("single", "mixed", "double"):
            try:
                found = _evaluate(name, precision)
            except openmm.OpenMMException as error:
                table.add_row(name, precision, "", "", f"[yellow]cannot run here: {escape(str(error))}[/yellow]")
                agree = agree and not platform_works(name, precision)  # a device without it is no fault of ours
                continue
            deviation = _deviation(found, reference)
            force_limit, position_limit = _TOLERANCE[precision]
            good = deviation.force <= force_limit and deviation.position <= position_limit
            agree = agree and good
            verdict = (
                "[green]agrees[/green]"
                if good
                else f"[red]disagrees (limits {force_limit:g}, {position_limit:g})[/red]"
            )
            table.add_row(name, precision, f"{deviation.force:.1e}", f"{deviation.position:.1e}", verdict)
    for name, message in plugin_failures().items():
        table.add_row(name, "", "", "", f"[red]plugin did not load: {escape(message)}[/red]")
        agree = False
    console.print(table)
    return agree


def _evaluate(name: str, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Return forces of a small system and its positions after some GLE steps."""
    system, positions = _small_system()
    integrator = GLEIntegrator(300.0, MemoryKernel.prony([400.0, 30.0], [0.02, 0.3]), 0.002)
    integrator.setRandomNumberSeed(1)
    properties = {"Precision": precision} if precision else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(name), properties)
    context.setPositions(positions)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    integrator.step(_STEPS)
    return np.array(forces), np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)


def _small_system() -> tuple[openmm.System, np.ndarray]:
    rng = np.random.default_rng(1)
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(_BOX * np.eye(3)))
    force = MomentTensorForce(2, 0.6, 3, 4)
    force.setUsesPeriodicBoundaryConditions(True)
    force.setFilters(0.06, rng.normal(size=(10, 4, 4)))
    force.setTypeWeights(rng.normal(size=(2, 4)))
    force.addLayer(0.1 * rng.normal(size=(2, 8, 20)), np.zeros((2, 8)))
    force.addLayer(rng.normal(size=(2, 1, 8)), np.zeros((2, 1)))
    for i in range(_BEADS):
        system.addParticle(18.0 + i % 2)
        force.addParticle(i % 2)
    system.addForce(force)
    side = round(_BEADS ** (1 / 3))
    lattice = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), axis=-1).reshape(-1, 3) * (_BOX / side)
    return system, lattice + rng.normal(scale=0.03, size=lattice.shape)


def _deviation(found: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]) -> Deviation:
    rms = float(np.sqrt(np.mean(reference[0] ** 2)))
    return Deviation(float(np.abs(found[0] - reference[0]).max()) / rms, float(np.abs(found[1] - reference[1]).max()))
