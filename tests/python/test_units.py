# SPDX-License-Identifier: MIT
"""Quantities: any unit that can be converted is taken, any other is refused at the door."""

import numpy as np
import pytest
from openmm import unit

import meanforce
from meanforce import mapping, modelfile, structure
from meanforce.potentials import PairSpline

NM, PS, K = unit.nanometer, unit.picosecond, unit.kelvin
white = meanforce.MemoryKernel.white(1.0)


def make_mapping(masses=(1.0, 1.0)):
    return mapping.Mapping([[0, 1]], masses, ["A"], ["X"])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: meanforce.MemoryKernel([[1.0]] * K), "/picosecond"),
        (lambda: meanforce.MemoryKernel.white(1.0 * K), "/picosecond"),
        (lambda: meanforce.MemoryKernel.prony([1.0] * K, [1.0]), r"/\(picosecond\*\*2\)"),
        (lambda: meanforce.MemoryKernel.prony([1.0], [1.0] * K), "picosecond"),
        (lambda: meanforce.MemoryKernel.damped_cosine(1.0, 0.0, 1.0, 1.0 * K), "/picosecond"),
        (lambda: white.kernel(1.0 * K), "picosecond"),
        (lambda: meanforce.MemoryKernel.from_drift([[1.0]] * K), "/picosecond"),
        (lambda: meanforce.MemoryKernel.from_absolute([0.0, 1.0], [1.0, 0.5], 1.0 * NM), "dalton"),
        (lambda: white.spectrum(1.0 * K), "/picosecond"),
        (lambda: white.diffusion(300 * NM, 1.0), "kelvin"),
        (lambda: white.diffusion(300, 1.0, 0.1 * K), "picosecond"),
        (lambda: meanforce.MemoryKernel.prony([1.0], [1.0]).to_lammps_gld(1.0 * NM), "dalton"),
        (lambda: meanforce.GLEIntegrator(300 * NM, white, 0.001), "kelvin"),
        (lambda: meanforce.GLEIntegrator(300, white, 0.001 * K), "picosecond"),
        (lambda: meanforce.MomentTensorForce(1, 0.5 * K, 1, 1), "nanometer"),
        (lambda: make_mapping([1.0, 1.0] * K), "dalton"),
        (lambda: make_mapping().map_positions(np.zeros((2, 3)) * K), "nanometer"),
        (lambda: make_mapping().map_positions(np.zeros((2, 3)), np.eye(3) * K), "nanometer"),
        (lambda: make_mapping().map_velocities(np.zeros((2, 3)) * NM), "nanometer/picosecond"),
        (lambda: make_mapping().map_forces(np.zeros((2, 3)) * NM), r"kilojoule/\(nanometer\*mole\)"),
        (lambda: structure.rdf(np.zeros((1, 2, 3)) * K, np.eye(3)), "nanometer"),
        (lambda: structure.rdf(np.zeros((1, 2, 3)), np.eye(3) * K), "nanometer"),
    ],
)
def test_a_quantity_of_another_kind_is_refused(make, expected):
    with pytest.raises(TypeError, match=rf"in (kelvin|nanometer) is not compatible with {expected}, the unit expected"):
        make()


def test_the_temperature_of_a_potential_is_checked(tmp_path):
    path = tmp_path / "native.pt"
    path.write_bytes(modelfile.add_native_half(b"", *modelfile.describe(PairSpline(1, 0.5, 8))))
    potential = meanforce.CGPotential(path)
    assert len(potential.createForces([0], 300 * K)) == 1
    with pytest.raises(TypeError, match="in nanometer is not compatible with kelvin"):
        potential.createForces([0], 300 * NM)


def test_quantities_of_the_right_kind_are_converted():
    beads = make_mapping([1.0, 3.0] * unit.dalton)
    x, box = np.arange(6.0).reshape(2, 3), 20 * np.eye(3)
    expected = beads.map_positions(x, box)
    np.testing.assert_allclose(beads.map_positions(10 * x * unit.angstrom, 10 * box * unit.angstrom), expected)
    forces = beads.map_forces(x * unit.kilocalorie_per_mole / unit.angstrom)
    np.testing.assert_allclose(forces, 41.84 * beads.map_forces(x))
