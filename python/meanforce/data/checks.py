# SPDX-License-Identifier: MIT
r"""What is wrong with frames of beads, found before a training starts.

The unit of forces is checked by an identity that holds in equilibrium for every system and every unbiased force map:
for a vector field v(x) of the beads

    < sum_I F_I . v_I > = -kT < sum_I div_I v_I >

(partial integration of the density exp(-U/kT); v = x gives the virial theorem). Here v_I = sum_J u(r_IJ) n_IJ over
pairs closer than a cutoff, which is defined in periodic boxes too. The ratio of both sides is one; wrong units make it
10, 4.184 or their like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import app, unit
from scipy.spatial import cKDTree

from .._openmm import strip_units
from ..mapping import minimum_image
from .frames import Frames, select

KB = float(unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin))
CHECKS = ("finite", "topology", "units", "overlap", "amount")
MAX_FRAMES = 5000
"""Frames that the statistical checks look at, evenly spaced."""
MAX_PAIRS = 1_000_000
"""Pairs that the statistical checks look at."""
OVERLAP = 0.03
"""Beads closer than this, in nm, lie on one another: a third of the shortest bond there is."""
TYPICAL_SIZE = 0.3
"""Size of a bead of unknown mass in nm: that of a water molecule."""
LIQUID_DENSITY = 602.2
"""Density of water in dalton/nm^3, which turns a bead's mass into its size."""
LARGE_GAP, SMALL_GAP = 4.0, 0.12
"""Distances of nearest neighbours, in sizes of a bead, beyond which positions are in another unit.

Bonded carbon atoms have 0.5, water 0.9, alpha carbons 1.4.
"""
REACHES = (2.0, 3.0)
"""Reaches of the vector field in distances of nearest neighbours; the one with the smallest error is taken."""
STIFF = 0.08
"""Relative fluctuation of the distance of two beads that are bound to each other; neighbours in a liquid have more."""
SIGMAS = 4.0
"""Standard errors that a deviation needs to count."""
FACTORS = {
    4.184: "forces in kJ/mol/length read as kcal/mol/length",
    1 / 4.184: "forces in kcal/mol/length read as kJ/mol/length",
    10.0: "positions in angstrom read as nm, or forces in kJ/mol/nm read as kJ/mol/angstrom",
    0.1: "positions in nm read as angstrom, or forces in kJ/mol/angstrom read as kJ/mol/nm",
    41.84: "forces in kJ/mol/nm read as kcal/mol/angstrom",
    1 / 41.84: "forces in kcal/mol/angstrom read as kJ/mol/nm",
    10 / 4.184: "positions in angstrom and forces in kcal/mol/length read as nm and kJ/mol/length",
    4.184 / 10: "positions in nm and forces in kJ/mol/length read as angstrom and kcal/mol/length",
    -1.0: "forces with the wrong sign, gradients of the energy",
}


class BadFrames(ValueError):
    """Frames that must not be trained on; the message names frame and bead."""


@dataclass(frozen=True)
class FrameReport:
    """What `check_frames` measured.

    Attributes
    ----------
    frames, beads : int
        How many there are.
    neighbour_distance : float
        Median distance to a bead's nearest neighbour in nm, NaN for a single bead.
    smallest_distance : float
        Between any two beads in nm.
    force_ratio, force_ratio_error : float
        -<F.v> / kT<div v> and its standard error: one if forces, positions and temperature fit. NaN where not measured.
    temperature : float
        From the velocities in K, NaN where there are none.
    notes : tuple of str
        What could not be checked, and why.
    """

    frames: int
    beads: int
    neighbour_distance: float
    smallest_distance: float
    force_ratio: float
    force_ratio_error: float
    temperature: float
    notes: tuple[str, ...]


def check_frames(
    frames: Any,
    *,
    temperature: Any = None,
    topology: app.Topology | None = None,
    num_functions: int | None = None,
    forces: bool = True,
    ignore: Iterable[str] = (),
) -> FrameReport:
    """Refuse frames that a training would fail on, or learn nonsense from.

    Call it before a training starts. It reads in blocks, so that the frames may be larger than the memory.

    Parameters
    ----------
    frames : Frames, Trajectory or MlcgTrajectory
        The beads.
    temperature
        Of the atomistic run in K; without it the unit of forces is not checked.
    topology
        The coarse-grained topology that the training uses; it is compared with the beads' number, types and bonds.
    num_functions
        Number of linear basis functions that are to be fitted.
    forces
        Whether the training needs forces.
    ignore
        Names of checks to leave out: ``finite``, ``topology``, ``units``, ``overlap``, ``amount``. Forces from
        which priors have been taken (mlcg's delta forces) do not fulfil the identity that ``units`` uses.

    Returns
    -------
    report
        What was measured.

    Raises
    ------
    BadFrames
        A ValueError that names what is wrong, with frame and bead.
    """
    left_out = set(ignore)
    if not left_out <= set(CHECKS):
        raise ValueError(f"`ignore` must be of {CHECKS}, got {sorted(left_out - set(CHECKS))}")
    kT = None if temperature is None else KB * float(strip_units(temperature, unit.kelvin))
    if kT is not None and not kT > 0:
        raise ValueError(f"`temperature` must be positive, got {temperature}")
    if len(frames) == 0:
        raise BadFrames("there are no frames")
    if forces and frames.forces is None:
        raise BadFrames(
            "there are no forces; map a trajectory that has them, or use a method that needs none, as iterative"
            " Boltzmann inversion"
        )
    if "finite" not in left_out:
        for block_start, block in _raw_blocks(frames):
            _check_finite(block, block_start)
    if topology is not None and "topology" not in left_out:
        _check_topology(frames, topology)
    numbers, sample = _sample(frames)
    neighbours = _nearest(sample)
    alone = sample.positions.shape[1] == 1
    usual_distance = float("nan") if alone else float(np.median(neighbours.distances))
    sizes = _sizes(frames)
    if "units" not in left_out:
        _check_lengths(neighbours, numbers, sizes)
    if "overlap" not in left_out:
        _check_overlap(frames)
    if topology is not None and "topology" not in left_out:
        _check_bonds(sample, numbers, topology, sizes)
    notes: list[str] = []
    measured = _temperature(sample)
    ratio = error = np.nan
    if "units" not in left_out:
        _check_temperature(measured, temperature, notes)
        if frames.forces is not None:
            ratio, error = _check_force_unit(sample, numbers, kT, usual_distance, notes)
    if "amount" not in left_out:
        _check_amount(frames, num_functions, forces)
    return FrameReport(
        len(frames),
        int(sample.positions.shape[1]),
        usual_distance,
        float("nan") if alone else float(np.min(neighbours.distances)),
        ratio,
        error,
        measured,
        tuple(notes),
    )


@dataclass(frozen=True)
class Nearest:
    """Distance (n_frames, n_beads) to each bead's nearest neighbour, NaN for a bead alone, and which that is."""

    distances: np.ndarray
    partners: np.ndarray


def _raw_blocks(frames: Any, size: int = 500) -> Iterable[tuple[int, dict[str, np.ndarray]]]:
    for start in range(0, len(frames), size):
        names = ("positions", "velocities", "forces")
        present = {name: getattr(frames, name) for name in names}
        yield start, {k: np.asarray(v[start : start + size]) for k, v in present.items() if v is not None}


def _check_finite(block: dict[str, np.ndarray], start: int) -> None:
    for name, values in block.items():
        finite = np.isfinite(values).all(axis=2)
        if not finite.all():
            frame, bead = np.argwhere(~finite)[0]
            value = values[frame, bead][~np.isfinite(values[frame, bead])][0]
            raise BadFrames(f"frame {start + frame}, bead {bead}: the {name} are not finite ({value})")


def _check_topology(frames: Any, topology: app.Topology) -> None:
    n, atoms = int(frames.positions.shape[1]), list(topology.atoms())
    if n != len(atoms):
        raise BadFrames(f"the frames have {n} beads (frame 0, bead {min(n, len(atoms))}), the topology {len(atoms)}")
    known = frames.bead_types
    for bead, atom in enumerate(atoms if known else ()):
        kind = known[int(frames.types[bead])]
        if (kind.name, kind.residue) != (atom.name, atom.residue.name):
            raise BadFrames(
                f"frame 0, bead {bead}: the frames have a {kind.residue}:{kind.name}, the topology a"
                f" {atom.residue.name}:{atom.name} there; the order of the beads must be the same"
            )


def _check_bonds(sample: Frames, numbers: np.ndarray, topology: app.Topology, sizes: np.ndarray) -> None:
    """Refuse bonds so long that the topology is another's, or the molecule is cut by the box."""
    for bond in topology.bonds():
        i, j = bond[0].index, bond[1].index
        distance = np.linalg.norm(_displacements(sample, i, j), axis=1)
        limit = LARGE_GAP * (sizes[i] + sizes[j])
        if distance.max() > limit:
            frame = int(np.argmax(distance))
            raise BadFrames(
                f"frame {numbers[frame]}, bead {i}: it is bonded to bead {j}, but {distance[frame]:.3g} nm away"
                f" (at most {limit:.2g} is plausible); the order of the beads is another, or the box cuts the molecule"
            )


def _displacements(sample: Frames, i: int, j: int) -> np.ndarray:
    d = np.asarray(sample.positions[:, j] - sample.positions[:, i], dtype=float)
    return d if sample.box is None else minimum_image(d[:, None], sample.box)[:, 0]


def _sample(frames: Any) -> tuple[np.ndarray, Frames]:
    """Return evenly spaced frames, few enough for the statistical checks, and their numbers."""
    n = int(frames.positions.shape[1])
    count = min(len(frames), MAX_FRAMES, max(20, MAX_PAIRS // (30 * n)))
    numbers = np.unique(np.linspace(0, len(frames) - 1, count).astype(int))
    return numbers, select(frames, numbers)


def _sizes(frames: Any) -> np.ndarray:
    """Return the size (n_beads,) in nm that each bead has in a liquid, from its mass."""
    if frames.masses is None:
        return np.full(int(frames.positions.shape[1]), TYPICAL_SIZE)
    return np.cbrt(np.asarray(frames.masses, dtype=float) / LIQUID_DENSITY)


def _nearest(sample: Frames) -> Nearest:
    frames, n = sample.positions.shape[:2]
    distances, partners = np.full((frames, n), np.nan), np.zeros((frames, n), dtype=int)
    if n > 1:
        for k in range(frames):
            tree, points, rows = _tree(sample, k)
            found, which = tree.query(points, k=2)
            distances[k], partners[k] = found[:, 1], rows[which[:, 1]]
    return Nearest(distances, partners)


def _tree(sample: Frames, frame: int) -> tuple[cKDTree, np.ndarray, np.ndarray]:
    """Return a tree of the beads of a frame, the beads' places in it, and the bead of each of its points.

    Orthogonal boxes are known to the tree; of others it holds the 26 images around the box as well.
    """
    x = np.asarray(sample.positions[frame], dtype=float)
    rows = np.arange(len(x))
    if sample.box is None:
        return cKDTree(x), x, rows
    box = np.asarray(sample.box[frame], dtype=float)
    x = np.linalg.solve(box.T, x.T).T
    x = (x - np.floor(x)) @ box
    edges = np.diag(box)
    if np.allclose(box, np.diag(edges)):
        x = np.where(x >= edges, 0.0, x)  # rounding may have put a bead on the upper face
        return cKDTree(x, boxsize=edges), x, rows
    shifts = np.stack(np.meshgrid(*[[0, -1, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    images = (x[None] + (shifts @ box)[:, None]).reshape(-1, 3)
    return cKDTree(images), x, np.tile(rows, len(shifts))


def _check_lengths(nearest: Nearest, numbers: np.ndarray, sizes: np.ndarray) -> None:
    """Refuse positions in another unit, of all frames or of some."""
    if nearest.distances.shape[1] < 2:
        return
    gaps = nearest.distances / sizes
    smallest, median = np.unravel_index(np.argmin(gaps), gaps.shape), float(np.median(gaps))
    if gaps[smallest] > LARGE_GAP:
        frame, bead = (int(k) for k in smallest)
        raise BadFrames(
            f"frame {numbers[frame]}, bead {bead}: the closest two beads of all frames are"
            f" {nearest.distances[smallest]:.3g} nm apart, where about {sizes[bead]:.2g} nm is the size of such a bead:"
            " positions in angstrom were read as nm"
        )
    if median < SMALL_GAP:
        frame, bead = 0, int(np.argmin(np.abs(gaps[0] - median)))
        raise BadFrames(
            f"frame {numbers[frame]}, bead {bead}: its nearest neighbour is {nearest.distances[frame, bead]:.3g} nm"
            f" away, as is usual in these frames, where about {sizes[bead]:.2g} nm is the size of such a bead:"
            " positions in nm were read as angstrom"
        )
    scale = np.median(gaps, axis=1)
    usual = float(np.median(scale))
    odd = np.flatnonzero((scale > LARGE_GAP * usual) | (scale < usual / LARGE_GAP))
    if len(odd):
        frame, bead = int(odd[0]), int(np.argmax(np.abs(np.log(gaps[odd[0]] / usual))))
        raise BadFrames(
            f"frame {numbers[frame]}, bead {bead}: distances in this frame are {scale[frame] / usual:.3g} times those"
            " of the others; its positions are in another unit or of another system"
        )


def _check_overlap(frames: Any) -> None:
    n = int(frames.positions.shape[1])
    if n < 2:
        return
    size = max(1, 20000 // n)
    for start in range(0, len(frames), size):
        block = select(frames, slice(start, start + size))
        for k in range(len(block)):
            tree, points, rows = _tree(block, k)
            found, which = tree.query(points, k=2, distance_upper_bound=OVERLAP)
            if np.isfinite(found[:, 1]).any():
                bead = int(np.argmin(found[:, 1]))
                pair = [int(r) for r in rows[which[bead]]]
                other = pair[1] if pair[0] == bead else pair[0]
                raise BadFrames(
                    f"frame {start + k}, bead {bead}: it lies on bead {other}, {found[bead, 1]:.3g} nm away (beads"
                    f" closer than {OVERLAP} nm overlap)"
                )


def _temperature(sample: Frames) -> float:
    if sample.velocities is None or sample.masses is None:
        return float(np.nan)
    return float(np.mean(np.asarray(sample.masses)[:, None] * np.asarray(sample.velocities, dtype=float) ** 2) / KB)


def _check_temperature(measured: float, temperature: Any, notes: list[str]) -> None:
    if np.isnan(measured) or temperature is None:
        return
    expected = float(strip_units(temperature, unit.kelvin))
    if not 0.4 < measured / expected < 2.5:
        raise BadFrames(
            f"the velocities of the beads (frame 0, bead 0 and all others) have a temperature of {measured:.3g} K, not"
            f" of {expected:.4g} K: they are in another unit (a factor of {np.sqrt(measured / expected):.3g}), or the"
            " masses are"
        )


def _check_force_unit(
    sample: Frames, numbers: np.ndarray, kT: float | None, distance: float, notes: list[str]
) -> tuple[float, float]:
    """Return -<F.v> / kT<div v> and its standard error; refuse it where it is surely not one."""
    if kT is None:
        notes.append("the unit of forces was not checked: no temperature was given")
        return np.nan, np.nan
    if not np.isfinite(distance):
        notes.append("the unit of forces was not checked: a single bead has no neighbours")
        return np.nan, np.nan
    found = _force_ratios(sample, kT, distance)
    ratio, error, power = min(found, key=lambda one: one[1] / max(1.0, abs(one[0])))
    if not error < 0.2 * max(1.0, abs(ratio)):
        notes.append(f"the unit of forces could not be checked: too noisy, {ratio:.3g} +- {error:.2g} where 1 is right")
        return ratio, error
    if abs(ratio - 1) > SIGMAS * error and not 0.55 < ratio < 1.8:
        closest = min(FACTORS, key=lambda f: abs(np.log(abs(ratio / f))) + 10 * (f * ratio < 0))
        bead = int(np.argmax(np.abs(power.mean(axis=0))))
        frame = int(np.argmax(np.abs(power[:, bead])))
        raise BadFrames(
            f"forces do not fit positions and temperature: -<F.v>/kT<div v> is {ratio:.3g} +- {error:.2g}, not one"
            f" (most of it from bead {bead}, as in frame {numbers[frame]}); near {closest:.3g}, as from"
            f" {FACTORS[closest]}"
        )
    return ratio, error


def _force_ratios(sample: Frames, kT: float, distance: float) -> list[tuple[float, float, np.ndarray]]:
    """Return -<F.v> / kT<div v>, its standard error, and F_I . v_I (n_frames, n_beads), for several fields v."""
    fields = [_pair_field(sample, reach * distance) for reach in REACHES]
    stiff = _stiff_field(sample)
    return [_ratio(power, kT * divergence) for power, divergence in [*fields, *([] if stiff is None else [stiff])]]


def _ratio(power: np.ndarray, divergence: np.ndarray) -> tuple[float, float, np.ndarray]:
    return *_ratio_of_means(-power.sum(axis=1), divergence.sum(axis=1)), power


def _stiff_field(sample: Frames) -> tuple[np.ndarray, np.ndarray] | None:
    """Return F_I . v_I and div_I v_I, (n_frames, n_beads), of v = (r - <r>) n over pairs that stay together; or None.

    A field as small as the fluctuation of a bond carries little of the noise of the forces. Each pair is weighted by
    its own noise.
    """
    frames, n = sample.positions.shape[:2]
    power, divergence, found = np.zeros((frames, n)), np.zeros((frames, n)), False
    for i, j in _close_pairs(sample):
        d = -_displacements(sample, i, j)
        r = np.linalg.norm(d, axis=1)
        stretch = r - r.mean()
        if not 1e-4 < stretch.std() / r.mean() < STIFF:
            continue
        found = True
        v = d * (stretch / r)[:, None]
        of_i, of_j = (np.einsum("fx,fx->f", np.asarray(sample.forces)[:, k], s * v) for k, s in ((i, 1), (j, -1)))
        weight = 1.0 / max(np.var(of_i + of_j), np.finfo(float).tiny)
        for bead, part in ((i, of_i), (j, of_j)):
            power[:, bead] += weight * part
            divergence[:, bead] += weight * (1 + 2 * stretch / r)
    return (power, divergence) if found else None


def _close_pairs(sample: Frames) -> set[tuple[int, int]]:
    """Return the pairs of beads that are among each other's nearest in the first frame."""
    tree, points, rows = _tree(sample, 0)
    nearest = rows[tree.query(points, k=min(5, len(rows)))[1]]
    return {(int(min(i, j)), int(max(i, j))) for i, partners in enumerate(nearest) for j in partners if i != j}


def _pair_field(sample: Frames, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Return F_I . v_I and div_I v_I, both (n_frames, n_beads).

    v_I = sum_J u(r) n over pairs closer than the cutoff, with n from J to I and u = r (1 - r^2/rc^2)^2.
    """
    frames, n = sample.positions.shape[:2]
    power, divergence = np.zeros((frames, n)), np.zeros((frames, n))
    assert sample.forces is not None
    for k in range(frames):
        tree, points, _ = _tree(sample, k)
        reach = cutoff if sample.box is None else min(cutoff, 0.45 * float(np.diag(sample.box[k]).min()))
        pairs = cKDTree(points, boxsize=tree.boxsize).sparse_distance_matrix(tree, reach, output_type="ndarray")
        pairs = pairs[pairs["v"] > 0]
        i, r = pairs["i"], pairs["v"]
        d = points[i] - tree.data[pairs["j"]]
        if tree.boxsize is not None:
            d -= np.round(d / tree.boxsize) * tree.boxsize
        w = 1 - (r / reach) ** 2
        force = np.asarray(sample.forces[k], dtype=float)
        # div of w^2 d in three dimensions is 3 w^2 + r d(w^2)/dr
        np.add.at(power[k], i, w**2 * np.einsum("px,px->p", force[i], d))
        np.add.at(divergence[k], i, 3 * w**2 - 4 * w * (r / reach) ** 2)
    return power, divergence


def _ratio_of_means(numerator: np.ndarray, denominator: np.ndarray, blocks: int = 20) -> tuple[float, float]:
    """Return <a>/<b> and its standard error by leaving out one of consecutive blocks of frames at a time."""
    blocks = min(blocks, len(numerator))
    if blocks < 5 or denominator.sum() == 0:
        return float("nan"), float("inf")
    a = np.array([part.sum() for part in np.array_split(numerator, blocks)])
    b = np.array([part.sum() for part in np.array_split(denominator, blocks)])
    left = (a.sum() - a) / (b.sum() - b)
    return float(a.sum() / b.sum()), float(np.sqrt((blocks - 1) / blocks * np.sum((left - left.mean()) ** 2)))


def _check_amount(frames: Any, num_functions: int | None, forces: bool) -> None:
    if num_functions is None:
        return
    n, count = int(frames.positions.shape[1]), len(frames)
    # Forces of one frame sum to zero, so that a frame brings 3 (n - 1) independent numbers.
    per_frame = 3 * max(1, n - 1) if forces else n
    needed = max(10, -(-2 * num_functions // per_frame))
    if count < needed:
        raise BadFrames(
            f"{count} frames (the last is frame {count - 1}) of {n} beads (the last is bead {n - 1}) are too few for"
            f" {num_functions} basis functions; at least {needed} are needed"
        )


def explain(report: FrameReport) -> Sequence[str]:
    """Return lines that tell a person what was checked."""
    lines = [
        f"{report.frames} frames of {report.beads} beads, nearest neighbours at {report.neighbour_distance:.3g} nm"
    ]
    if np.isfinite(report.force_ratio):
        lines.append(
            f"forces fit positions and temperature: {report.force_ratio:.3f} +- {report.force_ratio_error:.3f}"
        )
    return [*lines, *report.notes]
