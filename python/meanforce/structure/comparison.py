# SPDX-License-Identifier: MIT
"""Runs side by side: the structure of a reference and of coarse-grained models, as results.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..data import Frames, Trajectory
from ..report import Curve, Quantity, Value, html_report, measured, plot
from .blocks import BLOCKS, jackknife
from .distributions import Distribution, common_edges, divergence, uniform_edges
from .internal import angles, dihedrals, distances
from .neighbours import angle_distribution
from .radial import RDF, first_peak, rdf, rdf_error

RDF_RANGE, RDF_BINS = 0.9, 180
BINS, BINS_2D = 60, 36
MOST = 6
"""So many distances, angles and dihedrals are chosen by themselves, for molecules of few beads."""

INTRODUCTION = """
The first run is the reference. Distances between distributions are Jensen-Shannon divergences in nats (0: equal, 0.69:
disjoint); the floor is what two equal runs of these lengths would show by chance. In brackets, standard errors in
units of the last digits, from {blocks} consecutive blocks of each run.
"""


@dataclass(frozen=True)
class Coordinates:
    """Internal coordinates to compare: tuples of two, three or four bead indices."""

    distances: tuple[tuple[int, ...], ...] = ()
    angles: tuple[tuple[int, ...], ...] = ()
    dihedrals: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def along_chain(cls, beads: int) -> Coordinates:
        """Return those of successive beads, up to `MOST` of each kind."""
        kinds = [tuple(tuple(range(k, k + m)) for k in range(beads - m + 1))[:MOST] for m in (2, 3, 4)]
        return cls(*kinds)

    @property
    def named(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Label to kind and indices of each."""
        kinds = {"distance": self.distances, "angle": self.angles, "dihedral": self.dihedrals}
        return {f"{kind} {'-'.join(map(str, i))}": (kind, i) for kind, many in kinds.items() for i in many}


def compare(
    runs: Mapping[str, Trajectory | Frames],
    output: str | Path,
    coordinates: Coordinates | None = None,
    neighbours: float | None = None,
    stride: int = 1,
) -> dict[str, Any]:
    """Measure the structure of runs of the same beads and write ``results.json`` and ``report.html``.

    Parameters
    ----------
    runs
        Name to frames; the first is the reference.
    output
        Folder for the two files; made if it does not exist.
    coordinates
        Internal coordinates; by default those along the chain for systems without a box, none for liquids.
    neighbours
        Distance in nm within which beads are neighbours, for the angles between them; by default the first minimum of
        the reference's g(r).
    stride
        Use every so many frames.

    Returns
    -------
    dict
        What results.json holds.

    Raises
    ------
    ValueError
        If the runs do not have the same beads, one has too few frames, or not all have a box.
    """
    frames = {name: run[slice(None, None, stride)] for name, run in runs.items()}
    first = next(iter(frames.values()))
    for name, f in frames.items():
        if f.positions.shape[1] != first.positions.shape[1] or np.any(f.types != first.types):
            raise ValueError(f"run {name!r} does not have the beads of the reference")
        if (f.box is None) != (first.box is None):
            raise ValueError(f"run {name!r} and the reference must both have a box or both have none")
        if len(f) < BLOCKS:
            raise ValueError(f"run {name!r} has {len(f)} frames; at least {BLOCKS} are needed for standard errors")
    if coordinates is None:
        beads = first.positions.shape[1]
        coordinates = Coordinates.along_chain(beads) if first.box is None else Coordinates()
    table = _Table(list(frames))
    if first.box is not None:
        _liquid(frames, table, neighbours)
    _internal(frames, coordinates, table)
    results = {
        "meanforce": __version__,
        "frames": {name: len(f) for name, f in frames.items()},
        "systems": table.systems,
        "curves": table.curves,
    }
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False), encoding="utf-8")
    facts = {"meanforce": __version__, **{f"frames: {name}": len(f) for name, f in frames.items()}}
    introduction = INTRODUCTION.format(blocks=BLOCKS)
    page = html_report("Structure, side by side", introduction, table.quantities, table.systems, table.plots, facts)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return results


class _Table:
    """Collects quantities, curves and plots of all runs."""

    def __init__(self, names: Sequence[str]) -> None:
        self.quantities: list[Quantity] = []
        self.systems: list[dict[str, Any]] = [{"name": name, "quantities": {}} for name in names]
        self.curves: dict[str, Any] = {}
        self.plots: list[str] = []

    def add(self, key: str, label: str, unit_name: str, values: Sequence[Value | None]) -> None:
        self.quantities.append(Quantity(key, label, unit_name))
        for system, value in zip(self.systems, values, strict=True):
            if value is not None:
                system["quantities"][key] = value

    def draw(self, key: str, title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> None:
        self.plots.append(plot(title, x_label, y_label, curves))
        self.curves[key] = {
            c.label: {
                "x": np.asarray(c.x).tolist(),
                "y": np.asarray(c.y).tolist(),
                "standard_error": np.nan_to_num(np.asarray(c.standard_error)).tolist(),
            }
            for c in curves
        }

    def add_divergences(self, label: str, measured_runs: Sequence[Distribution]) -> None:
        found = [divergence(measured_runs[0], other) for other in measured_runs[1:]]
        self.add(
            f"js {label}", f"{label}: divergence", "nats", [None, *(measured(d.value, d.standard_error) for d in found)]
        )
        self.add(f"floor {label}", f"{label}: floor", "nats", [None, *(measured(d.floor) for d in found)])


def _style(k: int) -> str:
    return "k-" if k == 0 else "--"


def _parts(f: Frames) -> list[Frames]:
    return [f[part] for part in np.array_split(np.arange(len(f)), BLOCKS)]


def _liquid(frames: Mapping[str, Frames], table: _Table, neighbours: float | None) -> None:
    """Compare g(r) of every pair of types and the angles between neighbours."""
    names, runs = list(frames), list(frames.values())
    boxes = [f.box for f in runs if f.box is not None]
    widths = [0.5 / np.linalg.norm(np.linalg.inv(box), axis=1).max() for box in boxes]
    r_max = min(RDF_RANGE, 0.999 * min(widths))
    kinds = np.unique(runs[0].types).tolist()
    pairs = [(a, b) for a in kinds for b in kinds if a <= b] if len(kinds) > 1 else [None]
    reference: RDF | None = None
    for pair in pairs:
        title = "g(r)" if pair is None else f"g(r) of types {pair[0]} and {pair[1]}"
        options: dict[str, Any] = {} if pair is None else {"types": runs[0].types, "pair": pair}
        blocks = [np.array([rdf(p.positions, p.box, r_max, RDF_BINS, **options).g for p in _parts(f)]) for f in runs]
        r = (np.arange(RDF_BINS) + 0.5) * r_max / RDF_BINS
        whole = [RDF(r, b.mean(0), b.std(0, ddof=1) / np.sqrt(BLOCKS)) for b in blocks]
        reference = reference or whole[0]

        def as_rdf(g: np.ndarray, r: np.ndarray = r) -> RDF:
            return RDF(r, g, np.zeros_like(g))

        def error(g: np.ndarray, target: RDF = whole[0]) -> float:
            return rdf_error(as_rdf(g), target, r_max)

        errors = [measured(*map(float, jackknife(b, error))) for b in blocks[1:]]
        heights = [measured(*map(float, jackknife(b, lambda g: as_rdf(g).g.max()))) for b in blocks]
        table.add(f"peak {title}", f"{title}: highest", "", heights)
        table.add(f"error {title}", f"{title}: mean error", "", [None, *errors])
        curves = [
            Curve(r, w.g, n, w.standard_error, _style(k)) for k, (n, w) in enumerate(zip(names, whole, strict=True))
        ]
        table.draw(title, title, "r [nm]", "g(r)", curves)
    assert reference is not None
    cutoff = _first_minimum(reference) if neighbours is None else neighbours
    found = []
    for f in runs:
        densities = [angle_distribution(p.positions, p.box, cutoff)[1] for p in _parts(f)]
        edges = np.linspace(0, np.pi, len(densities[0]) + 1)
        found.append(Distribution((edges,), np.array(densities)))
    label = f"angles between neighbours within {cutoff:.3g} nm"
    table.add_divergences(label, found)
    _draw_distributions(table, label, "angle [degree]", names, found)


def _first_minimum(g: RDF) -> float:
    _, peak = first_peak(g)
    after = np.flatnonzero((g.r > peak) & (g.r < 1.8 * peak))
    return float(g.r[after[np.argmin(g.g[after])]])


def _internal(frames: Mapping[str, Frames], coordinates: Coordinates, table: _Table) -> None:
    names, runs = list(frames), list(frames.values())
    functions = {"distance": distances, "angle": angles, "dihedral": dihedrals}
    for label, (kind, index) in coordinates.named.items():
        values = [functions[kind](f.positions, [index], f.box)[:, 0] for f in runs]
        edges = uniform_edges(-np.pi, np.pi, BINS) if kind == "dihedral" else common_edges(values, BINS)
        found = [Distribution.measure(v, edges) for v in values]
        table.add_divergences(label, found)
        _draw_distributions(table, label, "r [nm]" if kind == "distance" else "angle [degree]", names, found)
    if len(coordinates.dihedrals) > 1:
        both = coordinates.dihedrals[:2]
        edges = uniform_edges(-np.pi, np.pi, BINS_2D)
        planes = [Distribution.measure(list(dihedrals(f.positions, both, f.box).T), [edges, edges]) for f in runs]
        table.add_divergences("first two dihedrals together", planes)


def _draw_distributions(
    table: _Table, label: str, x_label: str, names: Sequence[str], found: Sequence[Distribution]
) -> None:
    degrees = "degree" in x_label
    curves = []
    for k, (name, d) in enumerate(zip(names, found, strict=True)):
        x = np.degrees(d.centers[0]) if degrees else d.centers[0]
        curves.append(Curve(x, d.density, name, d.standard_error, _style(k)))
    table.draw(label, label, x_label, "density [1/rad]" if degrees else "density [1/nm]", curves)
