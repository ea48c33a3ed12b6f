# SPDX-License-Identifier: MIT
"""Force maps on 400 ps of alanine dipeptide with rigid bonds to hydrogen, in eight runs; a stopped one goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meanforce.data import Frames, check_frames
from meanforce.mapping import ForceMap
from peptide import TEMPERATURE, alanine_dipeptide, sample
from test_forcemap import BEADS, KT, directions, six_beads

pytestmark = pytest.mark.validation
FOLDER = Path(__file__).resolve().parents[2] / "build" / "validation" / "force-maps"
RUNS, FRAMES = 8, 2500


@pytest.fixture(scope="module")
def runs():
    """Return the mapping, and positions and forces of each run."""
    topology, system, start = alanine_dipeptide()
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(1, RUNS + 1):
        path = FOLDER / f"run-{seed}.npz"
        if not path.exists():
            x, f = sample(system, start, FRAMES, interval=10, seed=seed, equilibration=5000)
            np.savez(path.with_suffix(".part.npz"), x=x, f=f)
            path.with_suffix(".part.npz").rename(path)
        with np.load(path) as file:
            found.append((file["x"], file["f"]))
    return six_beads(topology, system), found


def z_scores(values: list[np.ndarray], blocks: int = 5) -> np.ndarray:
    """Return means in standard errors, from the scatter of five parts of each run."""
    parts = [part.mean(axis=0) for run in values for part in np.array_split(run, blocks)]
    return np.mean(parts, axis=0) / (np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts)))


def test_noise_and_bias_of_force_maps(runs, capsys):
    mapping, found = runs
    training = [f for _, f in found[: RUNS // 2]]
    maps = {
        "slice": ForceMap.slice(mapping),
        "constraint-aware": ForceMap.constraint_aware(mapping),
        "optimal": ForceMap.optimal(mapping, iter(training)),
    }
    pairs = ~np.eye(len(BEADS), dtype=bool)
    noise, bias, against_aware = {}, {}, {}
    for name, force_map in maps.items():
        noise[name] = force_map.mean_square(iter([f for _, f in found[RUNS // 2 :]]))
        ybg, difference = [], []
        for x, f in found:
            n, r = directions(mapping.map_positions(x))
            along = np.einsum("fix,fijx->fij", force_map.apply(f), n)[:, pairs]
            aware = np.einsum("fix,fijx->fij", maps["constraint-aware"].apply(f), n)[:, pairs]
            ybg.append(along + 2 * KT / r[:, pairs])
            difference.append(along - aware)
        bias[name] = np.mean(z_scores(ybg) ** 2)
        moved = np.abs(np.concatenate(difference)).max(axis=0) > 1e-9
        against_aware[name] = np.mean(z_scores([d[:, moved] for d in difference]) ** 2) if moved.any() else 0.0
    x = np.concatenate([mapping.map_positions(x) for x, _ in found])
    forces = np.concatenate([maps["optimal"].apply(f) for _, f in found])
    report = check_frames(Frames(x, forces=forces, masses=mapping.masses), temperature=TEMPERATURE)
    with capsys.disabled():
        print()
        for name in maps:
            print(f"{name:16s} <F^2> {noise[name].mean():9.0f}  z^2 {bias[name]:6.2f}  {against_aware[name]:6.2f}")
        print(f"-<F.v>/kT<div v> = {report.force_ratio:.4f} +- {report.force_ratio_error:.4f}")
    assert np.all(noise["optimal"] <= 1.005 * noise["constraint-aware"])
    assert noise["optimal"].mean() < 0.72 * noise["constraint-aware"].mean()
    assert noise["constraint-aware"].mean() < 0.94 * noise["slice"].mean()
    assert bias["constraint-aware"] < 2.0
    assert bias["optimal"] < 2.0
    assert against_aware["optimal"] < 2.0
    assert bias["slice"] > 8.0
    assert against_aware["slice"] > 20.0
    assert abs(report.force_ratio - 1) < 4 * report.force_ratio_error
