# SPDX-License-Identifier: MIT
"""Alanine dipeptide end to end, short: frames with forces, priors, network, model.pt, OpenMM, Ramachandran plot.

tests/validation/test_alanine.py is the long version.
"""

import numpy as np
import openmm
import pytest
from openmm import app

import alanine
import meanforce
from shared_data import shared_folder

torch = pytest.importorskip("torch")

from meanforce.potentials import energies_and_forces  # noqa: E402


def test_alanine_dipeptide_short(tmp_path):
    torch.set_num_threads(1)  # with more, small tensors take several times longer on a busy machine
    folder, example = shared_folder("cgnet_ala2"), alanine.example()
    frames = example.load(folder)
    target = example.ramachandran(frames.positions)
    prior = example.fit_prior(frames)
    drawn = example.sampler(frames, 200, 20.0, 0.4, seed=1).sample(prior).positions
    model = example.train(frames, prior, drawn, epochs=3, seed=1)
    meanforce.export(model, tmp_path / "alanine.pt")
    topology = app.Topology()
    residue = topology.addResidue("ALAD", topology.addChain())
    atoms = [topology.addAtom(name, None, residue) for name in example.NAMES]
    for first, second in example.BONDS:
        topology.addBond(atoms[first], atoms[second])
    system = meanforce.CGPotential(tmp_path / "alanine.pt").createSystem(topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(frames.positions[0])
    energy = context.getState(energy=True).getPotentialEnergy()._value
    expected = energies_and_forces(model, frames.positions[:1], frames.types, forces=False)[0][0]
    assert energy == pytest.approx(expected, rel=1e-5)
    found = example.sampler(frames, 200, 18.0, 0.3, seed=2).sample(model).positions
    assert len(found) == 12000
    assert np.all(np.isfinite(found))
    assert np.linalg.norm(found[:, 0] - found[:, 4], axis=1).max() < 0.6  # in the frames 0.50 nm: nothing dissociates
    # The floor of 12,000 correlated frames against 10,000 is about 0.03.
    assert example.jensen_shannon(example.ramachandran(found), target) < 0.06
    weights = [np.mean(example.dihedral(x, 0) > 0) for x in (found, frames.positions)]
    assert abs(np.log(weights[0] / weights[1])) < 1.0
    # The wrong variant: a model that does not know left from right visits both hands.
    mirrored = np.concatenate([found[::2], found[1::2] * np.array([-1.0, 1.0, 1.0])])
    assert example.jensen_shannon(example.ramachandran(mirrored), target) > 0.15
