# SPDX-License-Identifier: MIT
"""Alanine dipeptide with three seeds, at least 200,000 frames each. Resumable: build/validation/alanine.

Figures of a run stand in docs/validation.md.
"""

from pathlib import Path

import numpy as np
import pytest

import alanine
from shared_data import shared_folder

FOLDER = Path(__file__).resolve().parents[2] / "build" / "validation" / "alanine"
REPLICAS, PARTS, FRAMES_PER_PART = 500, 10, 40

pytestmark = pytest.mark.validation


def sampled(example, frames, prior, seed: int) -> np.ndarray:
    """Return frames of the model of a seed, 2 ps apart, and keep everything on the disk as soon as it is there."""
    import torch

    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "prior.npy").exists():
        np.save(FOLDER / "prior.npy", example.sampler(frames, 500, 120.0, 1.2, seed=1).sample(prior).positions)
    path = FOLDER / f"model-{seed}.pt"
    if not path.exists():
        torch.save(example.train(frames, prior, np.load(FOLDER / "prior.npy"), 10, seed).potentials[-1], path)
    from meanforce.potentials import Sum

    model = Sum(prior, torch.load(path, weights_only=False))
    model.set_bonds(frames.types.tolist(), example.BONDS)
    sampler = example.sampler(frames, REPLICAS, 2.0 * FRAMES_PER_PART, 2.0, seed=10 + seed)
    parts = []
    for part in range(PARTS):
        file = FOLDER / f"frames-{seed}-{part}.npz"
        if not file.exists():
            positions = sampler.sample(model).positions.astype(np.float32)
            np.savez(file, found=positions, **sampler.state())
        with np.load(file) as saved:
            parts.append(saved["found"])
            sampler.restore({"positions": saved["positions"], "samples": saved["samples"]})
    return np.concatenate(parts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ramachandran_plot(seed):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    folder, example = shared_folder("cgnet_ala2"), alanine.example()
    frames = example.load(folder)
    prior = example.fit_prior(frames)
    found = sampled(example, frames, prior, seed)
    assert len(found) >= 200_000
    assert np.linalg.norm(found[:, 0] - found[:, 4], axis=1).max() < 0.6
    divergence = example.jensen_shannon(example.ramachandran(found), example.ramachandran(frames.positions))
    weights = [np.mean(example.dihedral(x, 0) > 0) for x in (found, frames.positions)]
    print(f"seed {seed}: JS {divergence:.4f} nats, phi > 0 {weights[0]:.4f} ({weights[1]:.4f} in the frames)")
    assert divergence < 0.05
    assert abs(np.log(weights[0] / weights[1])) < 1.0
