# SPDX-License-Identifier: MIT
"""Extraction of kernels with more data than tests/python/test_memory_extraction.py and test_memory_models.py take.

Figures are kept in build/validation/memory, one file each: a stopped run goes on with the next.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from gle_physics import TEMPERATURE
from meanforce.memory import extract_kernel, volterra_kernel
from memory_data import THREE, Springs, distance, double_well_force, free_velocities

FOLDER = Path(__file__).resolve().parents[2] / "build" / "validation" / "memory"
FINE = 0.02 * np.arange(251)

pytestmark = pytest.mark.validation


def kept(name, measure):
    """Return the figures that `measure` gives, from the file of an earlier run if there is one, and print them."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        figures = measure()
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures))
    figures = json.loads(path.read_text())
    print(name, {key: np.round(value, 5).tolist() for key, value in figures.items()})
    return figures


@pytest.mark.parametrize(("dt", "frames"), [(0.05, 2000), (0.1, 2000), (0.2, 2000), (0.2, 200)])
def test_three_modes(dt, frames):
    """1e6 (and 1e5) velocities of free particles, four samples of each: parametric fits have no error from dt."""
    torch = pytest.importorskip("torch")
    from meanforce.memory import VelocityRecord, fit_likelihood, fit_vacf

    torch.set_num_threads(1)
    lags = round(5.0 / dt)

    def measure():
        found = {"inversion": [], "fit": [], "likelihood": [], "z": []}
        for seed in range(4):
            v = free_velocities(THREE, dt, frames, 500, seed)
            record = VelocityRecord.from_velocities(v, dt, memory=min(10.0, frames * dt / 4))
            c, t = record.products[0, : lags + 1], dt * np.arange(lags + 1)
            found["inversion"].append(distance(volterra_kernel(t, c, refine=1).kernel, THREE.kernel(t)))
            found["fit"].append(distance(fit_vacf(t, c, (2, 1)).kernel.kernel(FINE), THREE.kernel(FINE)))
            likely = fit_likelihood(record, (2, 1))
            found["likelihood"].append(distance(likely.kernel.kernel(FINE), THREE.kernel(FINE)))
            z = (likely.kernel.kernel(FINE) - THREE.kernel(FINE)) / likely.kernel_error(FINE)
            found["z"].append(float(np.sqrt(np.mean(z**2))))
        return found

    found = {key: np.array(value) for key, value in kept(f"three-{dt}-{frames}", measure).items()}
    scale = np.sqrt(2000 / frames)
    assert np.sqrt(np.mean(found["likelihood"] ** 2)) < scale * (0.01 if dt == 0.2 else 0.03)
    assert np.sqrt(np.mean(found["fit"] ** 2)) < scale * (0.015 if dt == 0.2 else 0.05)
    assert 0.3 < np.sqrt(np.mean(found["z"] ** 2)) < 2.0
    if dt == 0.2:
        assert np.all(found["inversion"] > 0.1)


def test_springs_in_a_double_well():
    """T6 with four times the data."""

    def measure():
        bath, t = Springs(), 0.02 * np.arange(251)
        found = {"true": [], "fitted": [], "spring": [], "none": []}
        for seed in range(4):
            x, v, _ = bath.run(copies=1800, steps=3000, h=0.02, seed=seed)
            forces = {"true": double_well_force, "fitted": (1, 3, 5), "spring": "linear", "none": "none"}
            for name, force in forces.items():
                e = extract_kernel(x, v, 0.02, max_time=5.0, temperature=TEMPERATURE, mean_force=force)
                found[name].append(distance(e.table.kernel, bath.kernel(t)))
        return found

    found = kept("springs", measure)
    assert max(found["true"]) < 0.04
    assert max(found["fitted"]) < 0.08
    assert min(found["none"]) > 3.0
    assert min(found["spring"]) > 3.0
