# SPDX-License-Identifier: MIT
"""One-bead water from atomistic SPC/E water: the whole path, from forces to a coarse-grained run with memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import app, unit
from rich.console import Console

from .. import memory
from .._files import write_text
from .._plugins import find_platform
from .._version import __version__
from ..cgpotential import CGPotential
from ..data import Frames, Trajectory
from ..gle import GLEIntegrator
from ..mapping import Mapping
from ..memorykernel import MemoryKernel
from ..modelfile import export
from ..report import Curve, Quantity, html_report, measured, plot, terminal_table
from . import sampling
from .sampling import Structure, dynamic_quantities, make_simulation, run_steps, velocity_correlation
from .stages import Advance, Run, part

if TYPE_CHECKING:
    from ..potentials import MomentTensor, PairSpline

TITLE = "One-bead water, learned from SPC/E"
INTRODUCTION = """
Atomistic SPC/E water was simulated and mapped to one bead per molecule. A B-spline pair potential and a moment-tensor
network were fitted to the mapped forces; two steps of iterative Boltzmann inversion corrected the pair part. A memory
kernel was extracted from the velocities and corrected until the coarse-grained velocity autocorrelation matched.
Everything coarse-grained ran in OpenMM through native kernels. The columns: the atoms, recorded with a friction of
0.5/ps; the pair prior alone; the prior with the network, both from force matching alone; and the final model with weak
friction (0.1/ps), with Langevin friction equal to the kernel's integral, and with the memory kernel. The errors: mean
absolute error of g(r) up to 0.9 nm; mean absolute error of the distribution of angles between neighbours closer than
0.35 nm, relative to its mean; relative L2 error of the velocity autocorrelation from 0 to 2 ps. In brackets, standard
errors in units of the last digits.
"""
QUANTITIES = (
    Quantity("peak_height", "g(r) first peak", ""),
    Quantity("peak_place", "at", "nm"),
    Quantity("rdf_error", "g(r) error", ""),
    Quantity("angle_error", "angle error", ""),
    Quantity("diffusion", "D", "1e-9 m²/s"),
    Quantity("vacf_error", "VACF error", ""),
    Quantity("ms_per_step", "ms per step", ""),
)


@dataclass(frozen=True)
class Settings:
    """Everything the results depend on. Times in ps, lengths in nm."""

    molecules: int
    seed: int
    temperature: float = 298.0  # K
    density: float = 0.997  # g/cm^3, water at 298 K and 1 bar
    atomistic_step: float = 0.002
    atomistic_cutoff: float = 0.9
    thermostat: float = 2.0  # 1/ps, while equilibrating and sampling structure
    recording_friction: float = 0.5  # 1/ps, atomistic; docs/validation.md says why not less
    weak_friction: float = 0.1  # 1/ps, of the CG run that shows what is missing without a bath
    equilibration: float = 25.0
    recording: float = 100.0
    record_interval: float = 0.02
    prior_cutoff: float = 0.6  # 0.9 is no more accurate, and a step then takes three times as long
    prior_spacing: float = 0.02
    network_cutoff: float = 0.45
    channels: int = 12
    max_l: int = 3
    prior_interval: float = 0.5  # between frames for the linear fit, which few frames determine
    training_interval: float = 0.1  # between frames for the network
    epochs: int = 6
    cg_step: float = 0.004
    cg_equilibration: float = 2.0
    structure_run: float = 20.0
    kernel_run: float = 30.0
    kernel_corrections: int = 3
    production_run: float = 60.0
    correlation_time: float = 4.0  # longest lag of velocity autocorrelations, and upper limit of their integral

    def quick(self) -> Settings:
        """Return the same with less data: every stage runs, the statistics are poorer."""
        return replace(
            self,
            equilibration=6.0,
            recording=16.0,
            epochs=8,
            structure_run=6.0,
            kernel_run=11.0,
            kernel_corrections=2,
            production_run=11.0,
            correlation_time=2.0,
        )


def run_demo(
    output: Path, *, quick: bool, molecules: int, seed: int, platform: str, console: Console
) -> dict[str, Any]:
    """Run the demo, or what is left of it, in the folder `output`, and return what ``results.json`` holds.

    Parameters
    ----------
    output : Path
        Folder for all files. A stopped run in it goes on from its last finished stage.
    quick : bool
        Use less data.
    molecules : int
        Number of water molecules, at least 216: the box must hold twice the cutoff.
    seed : int
        Seed of all random streams.
    platform : str
        Name of an OpenMM platform, or ``auto``.
    console : rich.console.Console
        Where to report progress.

    Raises
    ------
    ValueError
        If the settings are not possible, or the folder holds a run with other settings.
    ImportError
        If torch, which training needs, is missing.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ImportError("the demo trains a network, which needs torch: pip install 'meanforce[train]'") from None
    if molecules < 216:
        raise ValueError(f"at least 216 molecules are needed, so that the box holds twice the cutoff; got {molecules}")
    settings = Settings(molecules, seed)
    demo = WaterDemo(output, settings.quick() if quick else settings, find_platform(platform), console)
    return demo.run()


class WaterDemo:
    """The stages of the demo. Each reads what earlier ones left in the folder, and leaves its own files there."""

    def __init__(self, folder: Path, settings: Settings, platform: openmm.Platform, console: Console) -> None:
        self.settings = settings
        self.platform = platform
        self.console = console
        self.folder = folder
        self.stages = Run(folder, {**asdict(settings), "platform": platform.getName()}, console)

    def run(self) -> dict[str, Any]:
        """Run all stages that have not finished before, and show the results."""
        self.console.print(f"{TITLE} (platform {self.platform.getName()}, results in {self.folder})")
        stage = self.stages.stage
        stage("equilibrate", "Equilibrate atomistic water", self.equilibrate)
        stage("record", "Record atomistic forces and velocities", self.record)
        stage("prior", "Fit the pair potential by force matching", self.fit_prior)
        stage("network", "Train the moment-tensor network", self.train_network)
        stage("structure", "Sample, and correct the pair part", self.correct_pair_part)
        stage("weak friction", "Run with weak friction", self.run_weak_friction)
        stage("kernel", "Extract and correct the memory kernel", self.correct_kernel)
        stage("langevin", "Run Langevin dynamics at the kernel's friction", self.run_langevin)
        stage("gle", "Run with memory", self.run_gle)
        results = stage("report", "Measure and report", self.report)
        width = max(self.console.width, 110)  # also where the terminal is narrower: cut-off figures are of no use
        table = terminal_table(TITLE, QUANTITIES, results["systems"])
        Console(file=self.console.file, width=width).print(table)
        self.console.print(
            f"{sum(self.stages.seconds.values()) / 60:.1f} minutes; report: {self.folder / 'report.html'}"
        )
        return results

    # ---- atomistic water ----

    def equilibrate(self, advance: Advance) -> dict[str, Any]:
        """Build the box, minimise, equilibrate, and save System, State and mapping input."""
        s = self.settings
        forcefield = app.ForceField("spce.xml")
        model = app.Modeller(app.Topology(), [] * unit.nanometer)
        model.addSolvent(forcefield, model="spce", numAdded=s.molecules)
        edge = self._scale_to_density(model)
        system = forcefield.createSystem(
            model.topology, nonbondedMethod=app.PME, nonbondedCutoff=s.atomistic_cutoff, rigidWater=True
        )
        integrator = self._langevin(s.thermostat, s.atomistic_step, stream=1)
        simulation = make_simulation(model.topology, system, integrator, self.platform)
        simulation.context.setPositions(model.positions)
        simulation.minimizeEnergy(maxIterations=200)
        simulation.context.setVelocitiesToTemperature(s.temperature, s.seed)
        run_steps(simulation, round(s.equilibration / s.atomistic_step), advance)
        app.PDBxFile.writeFile(model.topology, model.positions, str(self.folder / "atomistic.cif"))
        write_text(self.folder / "atomistic-system.xml", openmm.XmlSerializer.serialize(system))
        simulation.saveState(str(self.folder / "atomistic-state.xml"))
        return {"box_edge": edge}

    def _scale_to_density(self, model: app.Modeller) -> float:
        """Move the molecules so that the box has the wanted density; return its edge."""
        s = self.settings
        x = np.array(model.positions.value_in_unit(unit.nanometer)).reshape(s.molecules, 3, 3)
        old = np.diag(model.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
        mass = sum(atom.element.mass.value_in_unit(unit.dalton) for atom in model.topology.atoms())
        molar = (
            s.density * unit.gram / unit.centimeter**3 * unit.AVOGADRO_CONSTANT_NA
        )  # OpenMM's dalton is a molar unit
        density = molar.value_in_unit(unit.dalton / unit.nanometer**3)
        edge = (mass / density) ** (1 / 3)
        x += x[:, :1] * (edge / old - 1.0)
        model.positions = x.reshape(-1, 3) * unit.nanometer
        model.topology.setPeriodicBoxVectors(np.eye(3) * edge * unit.nanometer)
        return float(edge)

    def record(self, advance: Advance) -> dict[str, Any]:
        """Record mapped positions, velocities and forces; write the CG topology."""
        s = self.settings
        system = openmm.XmlSerializer.deserialize((self.folder / "atomistic-system.xml").read_text())
        topology = app.PDBxFile(str(self.folder / "atomistic.cif")).topology
        integrator = self._langevin(s.recording_friction, s.atomistic_step, stream=2)
        simulation = make_simulation(topology, system, integrator, self.platform)
        state = openmm.XmlSerializer.deserialize((self.folder / "atomistic-state.xml").read_text())
        simulation.context.setState(state)
        mapping = Mapping.from_topology(topology, system)
        ms = sampling.record(
            simulation, mapping, self._file("atomistic"), s.recording, s.record_interval, advance, forces=True
        )
        with Trajectory(self._file("atomistic")) as trajectory:
            mapping.write_pdb(self.folder / "water-cg.pdb", trajectory.positions[0], np.asarray(trajectory.box)[0])
        return {"ms_per_step": ms}

    # ---- learning the potential ----

    def fit_prior(self, advance: Advance) -> dict[str, Any]:
        """Fit the pair spline by linear least squares."""
        from ..training import fit_pair_spline

        prior = fit_pair_spline(
            self._frames(self.settings.prior_interval), self.settings.prior_cutoff, self.settings.prior_spacing
        )
        return {"coefficients": prior.coefficients.tolist()}

    def train_network(self, advance: Advance) -> dict[str, Any]:
        """Train the network on the forces the prior leaves."""
        import torch

        from ..potentials import MomentTensor
        from ..training import ForceMatching

        s = self.settings
        torch.manual_seed(s.seed)
        torch.set_num_threads(1)  # the batches are small: a second thread gains little, and loses on a busy machine
        network = MomentTensor(1, s.network_cutoff, max_l=s.max_l, channels=s.channels)
        training = ForceMatching(network, self._frames(s.training_interval), prior=self._prior("prior"), seed=s.seed)
        result = training.train(epochs=s.epochs, progress=lambda step, total, loss: advance(step / total))
        torch.save(network.state_dict(), self.folder / "network.pt")
        return {"unexplained_prior": result.unexplained_prior, "unexplained": result.unexplained}

    def correct_pair_part(self, advance: Advance) -> dict[str, Any]:
        """Sample the pair prior alone and prior + network, then apply two steps of iterative Boltzmann inversion."""
        from ..training import IterativeBoltzmannInversion

        target = Structure.measure(self._file("atomistic")).rdf
        prior, network = self._prior("prior"), self._network()
        self._sample_structure("prior alone", prior, None, part(advance, 0.0, 0.25))
        self._sample_structure("force matching", prior, network, part(advance, 0.25, 0.5))
        inversion = IterativeBoltzmannInversion(target, self.settings.temperature)
        pair = inversion.update(prior, {(0, 0): Structure.measure(self._file("force matching")).rdf})
        self._sample_structure("first correction", pair, network, part(advance, 0.5, 0.75))
        pair = inversion.update(pair, {(0, 0): Structure.measure(self._file("first correction")).rdf})
        self._export(pair, network, self.folder / "model.pt")
        return {"coefficients": pair.coefficients.tolist()}

    def _sample_structure(self, name: str, pair: PairSpline, network: MomentTensor | None, advance: Advance) -> None:
        s = self.settings
        model = self.folder / f"{name.replace(' ', '-')}.pt"
        self._export(pair, network, model)
        self._run_cg(name, self._langevin(s.thermostat, s.cg_step, stream=3), s.structure_run, advance, model=model)

    # ---- memory ----

    def run_weak_friction(self, advance: Advance) -> dict[str, Any]:
        """Run the CG model nearly without a bath: its own collisions are all that slows it."""
        s = self.settings
        integrator = self._langevin(s.weak_friction, s.cg_step, stream=4)
        return {"ms_per_step": self._run_cg("weak friction", integrator, s.production_run, advance)}

    def correct_kernel(self, advance: Advance) -> dict[str, Any]:
        """Find the kernel with which the CG velocity autocorrelation is the atomistic one."""
        s = self.settings
        target, no_bath = (self._correlation(name) for name in ("atomistic", "weak friction"))
        iteration = memory.KernelIteration(target, no_bath)
        kernel = iteration.initial()
        for k in range(s.kernel_corrections):
            integrator = self._gle(kernel, stream=5 + k)
            share = part(advance, k / s.kernel_corrections, (k + 1) / s.kernel_corrections)
            self._run_cg(f"correction {k}", integrator, s.kernel_run, share)
            kernel = iteration.update(self._correlation(f"correction {k}"))
        kernel = iteration.average()
        kernel.save(self.folder / "kernel.json")
        self._export(self._prior("structure"), self._network(), self.folder / "model.pt", kernel)
        return {
            "friction": kernel.friction,
            "modes": kernel.modes,
            "history": [asdict(record) for record in iteration.history],
        }

    def run_langevin(self, advance: Advance) -> dict[str, Any]:
        """Run Langevin dynamics with the kernel's integral as friction."""
        s = self.settings
        integrator = self._langevin(self._kernel().friction, s.cg_step, stream=20)
        return {"ms_per_step": self._run_cg("Langevin", integrator, s.production_run, advance)}

    def run_gle(self, advance: Advance) -> dict[str, Any]:
        """Run generalized Langevin dynamics with the kernel."""
        integrator = self._gle(self._kernel(), stream=21)
        return {"ms_per_step": self._run_cg("GLE", integrator, self.settings.production_run, advance)}

    # ---- parts ----

    def _run_cg(
        self, name: str, integrator: openmm.Integrator, picoseconds: float, advance: Advance, model: Path | None = None
    ) -> float:
        """Run a model from an atomistic frame, record it, and return ms per step."""
        s = self.settings
        topology = app.PDBFile(str(self.folder / "water-cg.pdb")).topology
        with Trajectory(self._file("atomistic")) as atomistic:
            start, box = atomistic.positions[0], np.asarray(atomistic.box)[0]
        topology.setPeriodicBoxVectors(box * unit.nanometer)  # PDB rounds them
        system = CGPotential(model or self.folder / "model.pt").createSystem(topology, temperature=s.temperature)
        simulation = make_simulation(topology, system, integrator, self.platform)
        simulation.context.setPositions(start)
        simulation.context.setVelocitiesToTemperature(s.temperature, s.seed)
        first = s.cg_equilibration / (s.cg_equilibration + picoseconds)
        run_steps(simulation, round(s.cg_equilibration / s.cg_step), part(advance, 0.0, first))
        mapping = Mapping.identity(topology, system)
        advance = part(advance, first, 1.0)
        return sampling.record(
            simulation, mapping, self._file(name), picoseconds, s.record_interval, advance, forces=False
        )

    def _langevin(self, friction: float, step: float, stream: int) -> openmm.LangevinMiddleIntegrator:
        integrator = openmm.LangevinMiddleIntegrator(self.settings.temperature, friction, step)
        integrator.setRandomNumberSeed(self._seed(stream))
        return integrator

    def _gle(self, kernel: MemoryKernel, stream: int) -> GLEIntegrator:
        integrator = GLEIntegrator(self.settings.temperature, kernel, self.settings.cg_step)
        integrator.setRandomNumberSeed(self._seed(stream))
        return integrator

    def _seed(self, stream: int) -> int:
        return 1000 * self.settings.seed + stream

    def _file(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-').lower()}.h5"

    def _correlation(self, name: str) -> memory.Correlation:
        return velocity_correlation(self._file(name), self.settings.correlation_time)

    def _frames(self, interval: float) -> Frames:
        """Return atomistic frames about every `interval` ps."""
        with Trajectory(self._file("atomistic")) as trajectory:
            every = max(1, round(interval / trajectory.time_step))
            return trajectory[slice(None, None, every)]

    def _result(self, stage: str) -> dict[str, Any]:
        return self.stages.result(stage)

    def _prior(self, stage: str) -> PairSpline:
        """Return the pair potential that a stage found."""
        import torch

        from ..potentials import PairSpline

        coefficients = torch.tensor(self._result(stage)["coefficients"], dtype=torch.float64)
        prior = PairSpline(1, self.settings.prior_cutoff, coefficients.shape[1]).double()
        with torch.no_grad():
            prior.coefficients.copy_(coefficients)
        return prior

    def _network(self) -> MomentTensor:
        import torch

        from ..potentials import MomentTensor

        s = self.settings
        network = MomentTensor(1, s.network_cutoff, max_l=s.max_l, channels=s.channels)
        network.load_state_dict(torch.load(self.folder / "network.pt", weights_only=True))
        return network

    def _export(
        self, pair: PairSpline, network: MomentTensor | None, path: Path, kernel: MemoryKernel | None = None
    ) -> None:
        from ..potentials import Sum

        model = pair if network is None else Sum(pair, network)
        with Trajectory(self._file("atomistic")) as trajectory:
            model.bead_types = trajectory.bead_types
        export(model, path, kernel=kernel)

    def _kernel(self) -> MemoryKernel:
        return MemoryKernel.load(self.folder / "kernel.json")

    # ---- results ----

    def report(self, advance: Advance) -> dict[str, Any]:
        """Measure all runs and write ``results.json`` and ``report.html``."""
        names = {
            "atomistic": "atomistic",
            "prior alone": "pair prior",
            "force matching": "+ network",
            "weak friction": "weak friction",
            "Langevin": "Langevin",
            "GLE": "GLE",
        }
        times = {"atomistic": "record", "weak friction": "weak friction", "Langevin": "langevin", "GLE": "gle"}
        structures: dict[str, Structure] = {}
        correlations: dict[str, memory.Correlation] = {}
        systems = []
        for key, name in names.items():
            structures[key] = Structure.measure(self._file(key))
            quantities = structures[key].quantities(structures["atomistic"])
            if key in times:
                correlations[key] = self._correlation(key)
                quantities.update(dynamic_quantities(correlations[key], correlations["atomistic"]))
                quantities["ms_per_step"] = measured(self._result(times[key])["ms_per_step"])
            systems.append({"key": key, "name": name, "quantities": quantities})
            advance(len(systems) / len(names))
        kernel = self._kernel()
        results = {
            "meanforce": __version__,
            "openmm": openmm.Platform.getOpenMMVersion(),
            "platform": self.platform.getName(),
            "settings": asdict(self.settings),
            "systems": systems,
            "force_matching": self._result("network"),
            "kernel": {
                "friction": kernel.friction,
                "modes": kernel.modes,
                "history": self._result("kernel")["history"],
            },
            "seconds": self.stages.seconds,
        }
        write_text(self.folder / "results.json", json.dumps(results, indent=1, allow_nan=False))
        facts = {
            "meanforce, OpenMM": f"{__version__}, {results['openmm']} ({results['platform']})",
            "friction of the kernel": f"{kernel.friction:.3g} / ps, {kernel.modes} auxiliary variables",
            **{f"setting: {key}": value for key, value in asdict(self.settings).items()},
            **{f"seconds: {key}": f"{value:.0f}" for key, value in self.stages.seconds.items()},
        }
        plots = self._plots(names, structures, correlations, kernel)
        write_text(self.folder / "report.html", html_report(TITLE, INTRODUCTION, QUANTITIES, systems, plots, facts))
        return results

    @staticmethod
    def _plots(
        names: dict[str, str],
        structures: dict[str, Structure],
        correlations: dict[str, memory.Correlation],
        kernel: MemoryKernel,
    ) -> list[str]:
        shown = ("atomistic", "prior alone", "force matching", "GLE")
        styles = {"atomistic": "k-"}
        rdfs = [
            Curve(structures[k].r, structures[k].rdf.g, names[k], structures[k].rdf.standard_error, styles.get(k, "--"))
            for k in shown
        ]
        angles = [
            Curve(np.degrees(x.theta), x.angles, names[k], x.angles_error, styles.get(k, "--"))
            for k, x in ((k, structures[k]) for k in shown)
        ]
        vacfs = [Curve(c.t, c.value, names[k], c.standard_error, styles.get(k, "--")) for k, c in correlations.items()]
        t = np.linspace(0.0, 1.0, 500)
        return [
            plot("Structure", "r [nm]", "g(r)", rdfs, lambda axes: axes.set_xlim(0.2, 0.9)),
            plot("Angles between neighbours closer than 0.35 nm", "angle [degree]", "density [1/rad]", angles),
            plot("Velocity autocorrelation", "t [ps]", "C(t)/C(0)", vacfs, lambda axes: axes.set_xlim(0.0, 1.0)),
            plot("Memory kernel", "t [ps]", r"k(t) [1/ps$^2$]", [Curve(t, kernel.kernel(t), "k(t)")]),
        ]
