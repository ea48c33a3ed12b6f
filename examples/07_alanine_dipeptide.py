# SPDX-License-Identifier: MIT
"""Alanine dipeptide as five beads: priors, a network that knows left from right, and its Ramachandran plot.

Needs the 10,000 frames of Wang et al. (doi:10.1021/acscentsci.8b00913), in github.com/coarse-graining/cgnet:

    python 07_alanine_dipeptide.py --data folder/with/ala2_coordinates.npy
Nearly all of the force that the priors leave is noise, and phi > 0 is visited three times. So the network learns from
forces and from conformations (PriorSamples).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import meanforce
from meanforce.data import Frames
from meanforce.modelfile import BeadType
from meanforce.potentials import MomentTensor, Sum, products, repulsion, smallest_distances
from meanforce.training import ForceMatching, OpenMMSampler, PriorSamples, fit_bonded

BONDS, TEMPERATURE = [(0, 1), (1, 2), (2, 3), (3, 4)], 300.0
NAMES, MASSES = ["C_ACE", "N_ALA", "CA", "C_ALA", "N_NME"], np.array([12.011, 14.007, 12.011, 12.011, 14.007])
TYPES = [BeadType(name, "ALAD", mass) for name, mass in zip(NAMES, MASSES, strict=True)]


def load(folder: Path) -> Frames:
    """Return the frames; the files hold angstrom and kcal/mol/angstrom."""
    x, f = np.load(folder / "ala2_coordinates.npy"), np.load(folder / "ala2_forces.npy")
    x -= x.mean(axis=1, keepdims=True)  # copies that lie far apart cost the lists of neighbours time
    return Frames(0.1 * x, forces=41.84 * f, types=np.arange(5), masses=MASSES)


def sampler(frames: Frames, replicas: int, picoseconds: float, interval: float, seed: int) -> OpenMMSampler:
    times = {"equilibration": 10.0, "production": picoseconds, "interval": interval, "time_step": 0.003}
    where = {"platform": "CPU", "threads": 1, "seed": seed}
    return OpenMMSampler.from_frames(frames, TEMPERATURE, replicas, bonds=BONDS, **where, **times)


def fit_prior(frames: Frames) -> Sum:
    """Return bonds, angles, signed dihedrals and the repulsion of the two ends."""
    bonded = fit_bonded(frames, BONDS, TEMPERATURE, dihedral_order=4)
    sigmas = smallest_distances(frames.positions, frames.types, None, BONDS)
    prior = Sum(bonded, repulsion(sigmas, exclude_bonds=3))
    prior.set_bonds(frames.types.tolist(), BONDS)
    return prior


def train(frames: Frames, prior: Sum, drawn: np.ndarray, epochs: int, seed: int) -> Sum:
    """Return prior plus network, trained on forces and on what the prior alone samples."""
    torch.manual_seed(seed)
    odd = products(2, 4, order=2, odd=True)
    network = MomentTensor(5, 0.7, max_l=2, channels=4, radial_functions=12, hidden=(16,), products=odd)
    samples = PriorSamples(Frames(drawn, types=frames.types), TEMPERATURE, weight=0.3, batch_size=256)
    training = ForceMatching(network, frames, prior, learning_rate=1e-2, batch_size=128, samples=samples, seed=seed)
    result = training.train(epochs=epochs)
    print(f"held-out force left: {result.unexplained / result.unexplained_prior:.4f} of what the prior leaves")
    print(f"effective part of the prior's samples: {training.effective_fraction():.2f}")
    model = Sum(prior, network)
    model.set_bonds(frames.types.tolist(), BONDS)
    model.bead_types = TYPES
    return model


def dihedral(x: np.ndarray, first: int) -> np.ndarray:
    a, b, c = (x[:, first + k + 1] - x[:, first + k] for k in range(3))
    n, m = np.cross(a, b), np.cross(b, c)
    return np.arctan2(np.linalg.norm(b, axis=1) * np.sum(a * m, axis=1), np.sum(n * m, axis=1))


def ramachandran(x: np.ndarray) -> np.ndarray:
    """Return the 60 x 60 histogram of phi and psi."""
    counts = np.histogram2d(dihedral(x, 0), dihedral(x, 1), 60, [[-np.pi, np.pi]] * 2)[0]
    return counts / counts.sum()


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Return the divergence in nats."""
    m = 0.5 * (p + q)
    return sum(0.5 * float(np.sum(h[h > 0] * np.log(h[h > 0] / m[h > 0]))) for h in (p, q))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("."))
    folder = parser.parse_args().data
    if not (folder / "ala2_coordinates.npy").exists():
        raise SystemExit(print(f"no ala2_coordinates.npy in {folder}: nothing to do"))
    torch.set_num_threads(1)
    frames = load(folder)
    prior = fit_prior(frames)
    drawn = sampler(frames, 500, 120.0, 1.2, seed=1).sample(prior).positions
    model = train(frames, prior, drawn, epochs=10, seed=1)
    meanforce.export(model, "alanine.pt")
    found = sampler(frames, 500, 120.0, 0.6, seed=2).sample(model).positions
    print(f"JS divergence {jensen_shannon(ramachandran(found), ramachandran(frames.positions)):.3f} nats")
    weights = [np.mean(dihedral(x, 0) > 0) for x in (found, frames.positions)]
    print(f"phi > 0: {weights[0]:.4f}, in the frames {weights[1]:.4f}")
