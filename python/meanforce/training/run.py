# SPDX-License-Identifier: MIT
"""A training from a configuration file, in a folder that holds everything needed to repeat it."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openmm
import torch

from .. import _version
from ..data import Frames, Trajectory, check_frames
from ..modelfile import BeadType
from ..potentials import (
    MomentTensor,
    Potential,
    SchNet,
    Sum,
    are_chiral,
    is_mirror_blind,
    products,
    repulsion,
    smallest_distances,
)
from .bondedfit import fit_bonded
from .forcematching import ForceMatching
from .ibi import IterativeBoltzmannInversion
from .imc import InverseMonteCarlo
from .iteration import Iteration, StructureIteration, target_distributions
from .linear import LinearForceMatching, fit_pair_spline
from .noise import with_noise
from .relativeentropy import RelativeEntropy
from .sampler import OpenMMSampler

METHODS = ("force-matching", "forces-and-noise", "linear", "ibi", "imc", "relative-entropy")
BLINDNESS_FRAMES = 30
"""Frames whose mirror images are compared."""

START_FRAMES = 200
"""Frames, at most, from which the starting potential of an iterative method is fitted."""

KEYS: dict[str, set[str]] = {
    "": {"method", "seed", "data", "prior", "noise", "model", "training", "sampling"},
    "data": {"trajectories", "temperature", "stride", "bonds"},
    "prior": {"dihedral_order", "improper_order", "repulsion"},
    "noise": {"width", "copies"},
}

Advance = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and the quantities that matter, in words."""


def template(method: str) -> str:
    """Return the commented configuration of a method.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {method!r}")
    return (resources.files("meanforce.training") / "configs" / f"{method}.toml").read_text()


def read_config(path: str | Path) -> dict[str, Any]:
    """Return a configuration, checked for a known method and for misspelt names.

    Raises
    ------
    ValueError
        If it is not TOML, a section or name is unknown, or something that is needed is missing.
    """
    try:
        config = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    method = config.get("method")
    if method not in METHODS:
        raise ValueError(f"`method` in {path} must be one of {', '.join(METHODS)}, got {method!r}")
    for section, known in KEYS.items():
        values = config if section == "" else config.get(section, {})
        unknown = sorted(set(values) - known)
        if unknown:
            where = f"[{section}]" if section else "the file"
            raise ValueError(f"{path}: {where} has no {unknown[0]!r}; it may have {', '.join(sorted(known))}")
    for name in ("trajectories", "temperature"):
        if name not in config.get("data", {}):
            raise ValueError(f"{path}: [data] needs `{name}`")
    return config


def run(config_path: str | Path, folder: str | Path, advance: Advance, warn: Callable[[str], None]) -> dict[str, Any]:
    """Train as a configuration says, and return what was found; a stopped run in the folder goes on.

    Parameters
    ----------
    config_path
        TOML; paths in it are relative to it.
    folder
        Receives ``config.toml``, ``run.json`` (versions, seed, SHA-256 of the data), the state of the training,
        ``model.pt`` and ``results.json``.
    advance, warn
        For a progress bar, and for sentences that the user should read.

    Raises
    ------
    ValueError
        If the configuration or the data make no sense, or the folder holds another run.
    """
    config = read_config(config_path)
    base, output = Path(config_path).resolve().parent, Path(folder)
    paths = [base / name for name in config["data"]["trajectories"]]
    trajectories = [Trajectory(path) for path in paths]
    _describe(config_path, config, paths, output)
    stride = int(config["data"].get("stride", 1))
    frames = [trajectory[::stride] for trajectory in trajectories]
    bonds = config["data"].get("bonds", trajectories[0].bonds)
    bonds = [(int(i), int(j)) for i, j in bonds]
    torch.manual_seed(int(config.get("seed", 1)))
    by_forces = config["method"] in ("force-matching", "forces-and-noise", "linear")
    for part, kelvin in zip(frames, _per_trajectory(config, len(frames)), strict=True):
        check_frames(part, temperature=kelvin, forces=by_forces and config["method"] != "forces-and-noise")
    table = list(trajectories[0].bead_types)
    if config["method"] in ("force-matching", "forces-and-noise"):
        model, results = _train_network(config, frames, bonds, table, output, advance, warn)
    elif config["method"] == "linear":
        fit = LinearForceMatching(**config.get("model", {})).fit(frames[0], num_types=len(table), bonds=bonds)
        model, results = fit.potential, {"unexplained": fit.unexplained}
    else:
        model, results = _iterate(config, frames[0], len(table), output, advance)
    model.bead_types = table
    from ..modelfile import export

    export(model, output / "model.pt")
    (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def build_model(settings: Mapping[str, Any], num_types: int) -> Potential:
    """Return the network that a [model] section describes.

    Raises
    ------
    ValueError
        If its kind or one of its names is unknown.
    """
    options = dict(settings)
    kind = options.pop("kind", "moment-tensor")
    cutoff = float(options.pop("cutoff", 0.9))
    try:
        if kind == "schnet":
            return SchNet(num_types, cutoff, **{"filter_grid": 512, **options})
        if kind == "moment-tensor":
            odd = bool(options.pop("odd_products", True))
            options.setdefault("max_l", 2)
            options.setdefault("channels", 8)
            chosen = products(options["max_l"], options["channels"], order=2, odd=odd)
            return MomentTensor(num_types, cutoff, products=chosen, **options)
    except TypeError as error:
        raise ValueError(f"[model]: {str(error).split('() ')[-1]}") from None
    raise ValueError(f"[model] kind must be 'moment-tensor' or 'schnet', got {kind!r}")


def _train_network(
    config: dict[str, Any],
    frames: list[Frames],
    bonds: list[tuple[int, int]],
    table: list[BeadType],
    output: Path,
    advance: Advance,
    warn: Callable[[str], None],
) -> tuple[Potential, dict[str, Any]]:
    kelvin = _per_trajectory(config, len(frames))
    if config["method"] == "forces-and-noise":
        noise = {"width": 0.005, "copies": 1, **config.get("noise", {})}
        seed = int(config.get("seed", 1))
        frames = [
            with_noise(part, noise["width"], t, copies=noise["copies"], seed=seed + k)
            for k, (part, t) in enumerate(zip(frames, kelvin, strict=True))
        ]
    first, types = frames[0], np.asarray(frames[0].types).tolist()
    prior = _prior(config.get("prior"), first, bonds, kelvin[0], len(table))
    network = build_model(config.get("model", {}), len(table))
    whole = network if prior is None else Sum(prior, network)
    whole.set_bonds(types, bonds)
    sample = first[:: max(1, len(first) // BLINDNESS_FRAMES)]
    box = None if sample.box is None else np.asarray(sample.box[0])
    if bonds and are_chiral(first.positions, types, bonds) and is_mirror_blind(whole, sample.positions, types, box):
        warn(
            "the molecule is chiral, but the model gives its mirror image the same energy and will visit both hands: "
            "add signed terms (dihedral_order or improper_order in [prior], odd_products in [model])"
        )
    settings = dict(config.get("training", {}))
    epochs, processes = int(settings.pop("epochs", 50)), int(settings.pop("processes", 1))
    fabric = _launch(processes) if processes > 1 else None
    try:
        training = ForceMatching(
            network,
            frames,
            prior,
            temperature=kelvin if network.temperature_dependent else None,
            fabric=fabric,
            seed=int(config.get("seed", 1)),
            **settings,
        )
    except TypeError as error:
        raise ValueError(f"[training]: {str(error).split('() ')[-1]}") from None
    state = output / "training.pt"
    if state.exists():
        training.load(state)

    def progress(step: int, total: int, loss: float) -> None:
        advance(step, total, f"loss {loss:.4f}")

    result = training.train(epochs=epochs, progress=progress, checkpoint=state)
    return whole, {
        "unexplained_prior": result.unexplained_prior,
        "unexplained": result.unexplained,
        "steps": result.steps,
        "seconds": result.seconds,
    }


def _iterate(
    config: dict[str, Any], frames: Frames, num_types: int, output: Path, advance: Advance
) -> tuple[Potential, dict[str, Any]]:
    kelvin = _per_trajectory(config, 1)[0]
    model = {"cutoff": 0.9, "spacing": 0.02, **config.get("model", {})}
    settings = dict(config.get("training", {}))
    iterations, tolerance = int(settings.pop("iterations", 10)), float(settings.pop("tolerance", 0.0))
    target = target_distributions(frames, model["cutoff"], round(model["cutoff"] / 0.005))
    kinds: dict[str, Callable[..., StructureIteration]] = {
        "ibi": IterativeBoltzmannInversion,
        "imc": InverseMonteCarlo,
        "relative-entropy": RelativeEntropy,
    }
    try:
        method = kinds[config["method"]](target, kelvin, **settings)
        sampler = OpenMMSampler.from_frames(
            frames, kelvin, seed=int(config.get("seed", 1)), **{"replicas": 1, **config.get("sampling", {})}
        )
    except TypeError as error:
        raise ValueError(f"[training] or [sampling]: {str(error).split('() ')[-1]}") from None
    if frames.forces is None:
        raise ValueError("the starting potential is fitted to forces, which these frames have not")
    start = fit_pair_spline(
        frames[:: max(1, len(frames) // START_FRAMES)], model["cutoff"], model["spacing"], num_types=num_types
    )

    def progress(done: int, total: int, iteration: Iteration) -> None:
        pressure = "" if iteration.pressure is None else f", {iteration.pressure:.0f} bar"
        advance(done, total, f"error of g(r) {iteration.error:.4f}{pressure}")

    result = method.fit(
        start, sampler, iterations=iterations, tolerance=tolerance, state=output / "iterations", progress=progress
    )
    return result.best.potential, {"errors": [iteration.error for iteration in result.history]}


def _prior(
    settings: dict[str, Any] | None, frames: Frames, bonds: list[tuple[int, int]], kelvin: float, num_types: int
) -> Potential | None:
    if settings is None:
        return None
    dihedral_order, improper_order = int(settings.get("dihedral_order", 3)), int(settings.get("improper_order", 0))
    terms: list[Potential] = []
    if bonds:
        terms.append(fit_bonded(frames, bonds, kelvin, num_types, True, dihedral_order, improper_order))
    if settings.get("repulsion", True):
        box = None if frames.box is None else np.asarray(frames.box)
        sigmas = smallest_distances(frames.positions, frames.types, box, bonds)
        terms.append(repulsion(sigmas, exclude_bonds=3 if bonds else 0))
    if not terms:
        return None
    prior = Sum(*terms)
    prior.set_bonds(np.asarray(frames.types).tolist(), bonds)
    return prior


def _launch(processes: int) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ImportError("several processes need lightning-fabric: pip install meanforce[distributed]") from None
    fabric = Fabric(accelerator="auto", devices=processes, strategy="ddp")
    fabric.launch()
    return fabric


def _per_trajectory(config: dict[str, Any], count: int) -> list[float]:
    kelvin = config["data"]["temperature"]
    values = [float(kelvin)] * count if np.ndim(kelvin) == 0 else [float(t) for t in kelvin]
    if len(values) < count or min(values) <= 0:
        raise ValueError(f"[data] `temperature` must be one positive number or {count}, got {kelvin}")
    return values


def _describe(config_path: str | Path, config: dict[str, Any], paths: list[Path], output: Path) -> None:
    """Write what is needed to repeat the run, or check that the run in the folder is this one."""
    description = {
        "config": config,
        "data": {str(path): _sha256(path) for path in paths},
        "versions": {
            "meanforce": _version.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "openmm": openmm.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }
    output.mkdir(parents=True, exist_ok=True)
    file = output / "run.json"
    if file.exists():
        old = json.loads(file.read_text())
        for name in ("config", "data"):
            if old[name] != description[name]:
                raise ValueError(f"{output} holds a run with another {name}; choose another folder")
        return
    shutil.copyfile(config_path, output / "config.toml")
    file.write_text(json.dumps(description, indent=1) + "\n")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
