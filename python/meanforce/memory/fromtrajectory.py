# SPDX-License-Identifier: MIT
"""A recorded trajectory becomes a kernel.json with plots; what spoils a kernel is found in the data and named."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from ..cgpotential import CGPotential
from ..data import Trajectory
from ..memorykernel import MemoryKernel
from .diagnostics import MarkovianReport, markovian_report
from .extraction import Extraction, ModelForce, fit_mean_force, invert
from .fit import KernelFit, fit_kernel
from .streaming import CorrelationStream, CrossCorrelation
from .volterra import METHODS, Method

Array = NDArray[np.float64]

#: Numbers read from a file at once.
_NUMBERS = 2**23
#: C(dt)/C(0) below this: between two frames the velocity forgets half of itself.
_COARSE = 0.5
#: Share of the kinetic energy in a common drift, and its size in standard errors, from which on it is refused.
_DRIFT, _SIGMAS = 1e-3, 5.0
#: Share of the friction that acts at once from which on it is taken for a thermostat's.
_THERMOSTAT = 0.02
_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


@dataclass(frozen=True)
class MemoryResult:
    """What `kernel_of_trajectory` found.

    Attributes
    ----------
    kernel : MemoryKernel
        The passive kernel.
    extraction : Extraction
        The table that it was fitted to, and the correlations.
    fit : KernelFit
        How well it fits.
    markovian : MarkovianReport
        Whether it is needed.
    temperature : float
        Of the velocities, in K.
    warnings : list of str
        What may be wrong with the data.
    """

    kernel: MemoryKernel
    extraction: Extraction
    fit: KernelFit
    markovian: MarkovianReport
    temperature: float
    warnings: list[str]

    def numbers(self) -> dict[str, Any]:
        """Return the results for a JSON file."""
        table = self.extraction.table
        return {
            "friction": self.kernel.friction,
            "white_friction": self.kernel.white_friction,
            "modes": self.kernel.modes,
            "fit_error": self.fit.error,
            "integrated_fit_error": self.fit.integrated_error,
            "integrated_at_longest_lag": float(table.integrated[-1]),
            "integrated_error": float(self.extraction.integrated_error[-1]),
            "temperature": self.temperature,
            "markovian": asdict(self.markovian),
            "warnings": self.warnings,
            "t": table.t.tolist(),
            "vacf": self.extraction.velocity.value.tolist(),
            "vacf_standard_error": self.extraction.velocity.standard_error.tolist(),
            "kernel": table.kernel.tolist(),
            "kernel_standard_error": self.extraction.kernel_error.tolist(),
            "integrated": table.integrated.tolist(),
            "integrated_standard_error": self.extraction.integrated_error.tolist(),
        }


def kernel_of_trajectory(
    path: str | Path,
    *,
    max_time: float,
    modes: int | tuple[int, int] = (2, 3),
    white: bool = False,
    method: Method = "G",
    bead_type: str | None = None,
    mean_force: str = "none",
    model: str | Path | None = None,
    temperature: float | None = None,
    remove_drift: bool = False,
) -> MemoryResult:
    """Extract the memory kernel of the beads of one type from an H5MD trajectory, in bounded memory.

    Parameters
    ----------
    path : path
        As written by `CGReporter`, with velocities.
    max_time : float
        Longest lag, in ps.
    modes, white
        Of the kernel, see `fit_kernel`.
    method : {"G", "midpoint", "trapezoid", "second"}
        See `volterra_kernel`.
    bead_type : str, optional
        Name of a bead type; needed if there are several.
    mean_force : {"none", "linear", "polynomial", "model"}
        ``"polynomial"``: x, x^3, x^5 about the mean position. ``"model"``: the forces of `model`.
    model : path, optional
        A `model.pt`.
    temperature : float, optional
        In K; of the mean force. Default: that of the velocities.
    remove_drift : bool
        Take the mean velocity of all beads away.

    Raises
    ------
    ValueError
        If there are too few frames for the lags, frames are too far apart for the fastest motion, all beads drift, or
        the options do not fit the file.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got '{method}'")
    if mean_force not in ("none", "linear", "polynomial", "model"):
        raise ValueError(f"`mean_force` must be none, linear, polynomial or model, got '{mean_force}'")
    if (mean_force == "model") != (model is not None):
        raise ValueError("`model` is needed with the mean force 'model', and only then")
    with Trajectory(path) as trajectory:
        if trajectory.velocities is None:
            raise ValueError(f"{path} has no velocities: record them with CGReporter(..., velocities=True)")
        chosen = _chosen_beads(trajectory, bead_type)
        masses = np.asarray(trajectory.masses, dtype=np.float64)[chosen]
        dt, frames = trajectory.time_step, len(trajectory.velocities)
        lags = round(max_time / dt)
        if not 4 <= lags <= frames // 4:
            raise ValueError(
                f"a longest lag of {max_time:.6g} ps is {lags} intervals of {dt:.6g} ps, but {frames} frames allow 4 "
                f"to {frames // 4}: record a longer run, or ask for {max(4, frames // 4) * dt:.6g} ps"
            )
        drift, blocks, kt = _drift(trajectory, chosen, masses)
        if remove_drift:
            kt -= float(np.sum(masses) * np.mean(drift**2) / len(masses))
        else:
            _refuse_drift(drift, blocks, masses, kt)
            drift = np.zeros(3)
        force = _mean_force(trajectory, mean_force, model, chosen, kt / _R if temperature is None else temperature)
        velocity, pushed = _correlations(trajectory, chosen, masses, dt, max_time, force, drift)
    warnings = _check_start(velocity, dt)
    extraction = invert(velocity, pushed, method)
    warnings += _thermostat(extraction, dt)
    table = extraction.table
    # a white part is in the first points of k, but only there
    fit = fit_kernel(table.t, None if white else table.kernel, modes, integrated=table.integrated, white=white)
    report = markovian_report(fit.kernel, velocity.normalised())
    return MemoryResult(fit.kernel, extraction, fit, report, kt / _R, warnings)


def write_result(result: MemoryResult, folder: str | Path) -> None:
    """Write kernel.json, memory.json, and plots of the VACF, K, its integral and its spectrum (SVG, report.html)."""
    from ..report import Curve, Quantity, html_report, measured, plot

    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    result.kernel.save(where / "kernel.json")
    (where / "memory.json").write_text(json.dumps(result.numbers(), indent=1), encoding="utf-8")
    e, kernel = result.extraction, result.kernel
    c, t = e.velocity.normalised(), e.table.t
    omega = np.linspace(0.0, np.pi / c.dt, 400)
    plots = {
        "vacf": plot("Velocity autocorrelation", "t [ps]", "C(t)/C(0)", [Curve(t, c.value, "data", c.standard_error)]),
        "kernel": plot(
            "Memory kernel",
            "t [ps]",
            r"k(t) [1/ps$^2$]",
            [
                Curve(t, e.table.kernel, "inversion", e.kernel_error),
                Curve(t, kernel.kernel(t), "passive fit", style="k--"),
            ],
        ),
        "friction": plot(
            "Integrated friction",
            "t [ps]",
            r"$\int_0^t k$ [1/ps]",
            [
                Curve(t, e.table.integrated, "inversion", e.integrated_error),
                Curve(t, kernel.integrated(t), "passive fit", style="k--"),
            ],
        ),
        "spectrum": plot(
            "Spectrum of the kernel",
            "omega [rad/ps]",
            "Re k [1/ps]",
            [Curve(omega, kernel.spectrum(omega), "passive fit")],
        ),
    }
    for name, text in plots.items():
        (where / f"{name}.svg").write_text(text, encoding="utf-8")
    quantities = [
        Quantity("friction", "friction", "1/ps"),
        Quantity("fit", "relative error of the fit of k", ""),
        Quantity("memory", "memory time", "ps"),
        Quantity("ratio", "memory time / velocity relaxation", ""),
    ]
    values = {
        "friction": measured(kernel.friction, float(e.integrated_error[-1])),
        "fit": measured(result.fit.error),
        "memory": measured(result.markovian.memory_time),
        "ratio": measured(result.markovian.ratio),
    }
    facts = {"temperature of the velocities [K]": f"{result.temperature:.4g}", "verdict": str(result.markovian)}
    facts |= {f"warning {i + 1}": text for i, text in enumerate(result.warnings)}
    page = html_report(
        "Memory kernel",
        "The kernel is passive: it obeys fluctuation-dissipation whatever the data are.",
        quantities,
        [{"name": "kernel.json", "quantities": values}],
        list(plots.values()),
        facts,
    )
    (where / "report.html").write_text(page, encoding="utf-8")


# ------------------------------------------------------------------------------------------------ helpers


def _chosen_beads(trajectory: Trajectory, bead_type: str | None) -> NDArray[np.int64]:
    names = [kind.name for kind in trajectory.bead_types]
    if bead_type is None:
        if len(np.unique(trajectory.types)) > 1:
            raise ValueError(f"{trajectory.path} has several bead types, {', '.join(names)}: choose one")
        return np.arange(len(trajectory.types))
    if bead_type not in names:
        raise ValueError(f"there is no bead type '{bead_type}' in {trajectory.path}, only {', '.join(names)}")
    return np.flatnonzero(np.asarray(trajectory.types) == names.index(bead_type))


def _pieces(trajectory: Trajectory) -> list[slice]:
    assert trajectory.velocities is not None
    frames, beads = trajectory.velocities.shape[:2]
    size = max(16, _NUMBERS // (3 * beads))
    return [slice(i, min(i + size, frames)) for i in range(0, frames, size)]


def _drift(trajectory: Trajectory, chosen: NDArray[np.int64], masses: Array) -> tuple[Array, Array, float]:
    """Return the mean velocity of the beads, its means over ten blocks of time, and kT."""
    share = masses / masses.sum()
    mean, energy = [], 0.0
    assert trajectory.velocities is not None
    for piece in _pieces(trajectory):
        v = np.asarray(trajectory.velocities[piece], dtype=np.float64)[:, chosen]
        mean.append(np.einsum("fnc,n->fc", v, share))
        energy += float(np.einsum("fnc,n->", v * v, masses))
    common = np.concatenate(mean)
    kt = energy / (3.0 * len(masses) * len(common))
    if not kt > 0.0:
        raise ValueError(f"the velocities in {trajectory.path} are all zero")
    blocks = np.array([part.mean(axis=0) for part in np.array_split(common, 10)])
    return common.mean(axis=0), blocks, kt


def _refuse_drift(drift: Array, blocks: Array, masses: Array, kt: float) -> None:
    """Refuse a common velocity that is more than chance and carries a visible share of the kinetic energy."""
    error = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    share = float(np.sum(masses) * np.sum(drift**2) / (3.0 * len(masses) * kt))
    if share > _DRIFT and np.any(np.abs(drift) > _SIGMAS * np.maximum(error, 1e-300)):
        x, y, z = drift
        raise ValueError(
            f"all beads drift with ({x:.3g}, {y:.3g}, {z:.3g}) nm/ps, {100 * share:.2g} % of the kinetic energy, which "
            "would be a memory that never decays: remove the drift (--remove-drift), or record with a CMMotionRemover"
        )


def _mean_force(
    trajectory: Trajectory, kind: str, model: str | Path | None, chosen: NDArray[np.int64], temperature: float
) -> Any:
    """Return a function from positions (f, N, 3) and box to the forces on the chosen beads, or None."""
    if kind == "none":
        return None
    if kind == "model":
        assert model is not None
        system = openmm.System()
        for mass in trajectory.masses:
            system.addParticle(float(mass))
        periodic = trajectory.box is not None
        if trajectory.box is not None:
            system.setDefaultPeriodicBoxVectors(*np.diag(np.asarray(trajectory.box[0], dtype=np.float64)))
        names = [trajectory.bead_types[i].name for i in np.asarray(trajectory.types)]
        for item in CGPotential(model).createForces(names, periodic=periodic):
            system.addForce(item)
        force = ModelForce(system)
        return lambda x, box: force(x, box)[:, chosen]
    sample = np.asarray(trajectory.positions[:: max(1, len(trajectory.positions) // 2000)], dtype=np.float64)[:, chosen]
    fitted = fit_mean_force(sample, temperature, (1,) if kind == "linear" else (1, 3, 5), float(sample.mean()))
    return lambda x, box: fitted(x[:, chosen])


def _correlations(
    trajectory: Trajectory,
    chosen: NDArray[np.int64],
    masses: Array,
    dt: float,
    max_time: float,
    force: Any,
    drift: Array,
) -> tuple[CrossCorrelation, CrossCorrelation | None]:
    velocity, pushed = (CorrelationStream(dt, max_time, masses) for _ in range(2))
    offset = trajectory.velocity_time_offset or 0.0
    assert trajectory.velocities is not None
    for piece in _pieces(trajectory):
        v = np.asarray(trajectory.velocities[piece], dtype=np.float64)[:, chosen] - drift
        if force is not None:
            box = None if trajectory.box is None else np.asarray(trajectory.box[piece], dtype=np.float64)
            f = force(np.asarray(trajectory.positions[piece], dtype=np.float64), box)
            # velocities belong to a time before the positions of their frame
            whole = (
                f if trajectory.forces is None else np.asarray(trajectory.forces[piece], dtype=np.float64)[:, chosen]
            )
            v -= offset * whole / masses[:, None]
            pushed.add(v, f / masses[:, None])
        velocity.add(v)
    found, other = velocity.result(), None if force is None else pushed.result()
    assert isinstance(found, CrossCorrelation)
    assert other is None or isinstance(other, CrossCorrelation)
    return found, other


def _check_start(velocity: CrossCorrelation, dt: float) -> list[str]:
    """Refuse an interval in which velocities forget themselves."""
    c = velocity.normalised().value
    if c[1] < _COARSE:
        time = dt / np.sqrt(2.0 * (1.0 - min(c[1], 0.99)))
        raise ValueError(
            f"the sampling interval of {dt:.6g} ps is too coarse for the fastest motion: after one interval "
            f"C(t)/C(0) is {c[1]:.2g} already. Record every {0.2 * time:.2g} ps or less"
        )
    if c[1] < 0.9:
        return [f"C(t)/C(0) falls to {c[1]:.2g} within the first interval of {dt:.6g} ps: a finer one would be better"]
    return []


def _thermostat(extraction: Extraction, dt: float) -> list[str]:
    """Warn of friction that acts at once: C falls linearly, where that of atoms falls as the square of time."""
    c = extraction.velocity.normalised()

    def slope(values: Array) -> Array:
        lost = 1.0 - values  # slope * t + (anything) * t^2 + (anything) * t^3
        return np.asarray((18.0 * lost[..., 1] - 9.0 * lost[..., 2] + 2.0 * lost[..., 3]) / (6.0 * dt))

    blocks = slope(c.blocks / c.blocks[:, :1])
    value, error = float(slope(c.value)), float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
    if value > _THERMOSTAT * abs(extraction.table.integrated[-1]) and value > _SIGMAS * error:
        return [
            f"the reference is thermostatted: {value:.3g} +- {error:.1g} / ps of its friction act at once and are part "
            "of the kernel. Record without a thermostat, or with a global one"
        ]
    return []
