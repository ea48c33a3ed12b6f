# SPDX-License-Identifier: MIT
"""The public checks pass sound models and catch deliberately broken ones, each by name."""

import numpy as np
import pytest
import torch

import meanforce
from meanforce.potentials import MomentTensor, PairSpline, StillingerWeber, Sum
from meanforce.testing import check_kernel, check_potential

CUTOFF, SIGMA = 0.9, 0.3
MASS = 18.0


def core(r, cutoff=CUTOFF):
    """Return a repulsive pair energy that vanishes with its first two derivatives at the cutoff."""
    return 2.0 * (SIGMA / r) ** 9 * torch.relu(1 - (r / cutoff) ** 2) ** 3


class Sound(torch.nn.Module):
    cutoff = CUTOFF

    def pairs(self, x):
        i, j = torch.triu_indices(len(x), len(x), 1)
        return x[j] - x[i]

    def energy(self, r, d, x):
        return core(r).sum()

    def forward(self, x, types, box=None):
        d = self.pairs(x)
        return self.energy(d.norm(dim=1), d, x)


class FeelsTheOrigin(Sound):
    def energy(self, r, d, x):
        return core(r).sum() + 0.3 * x.square().sum()


class FeelsTheAxis(Sound):
    def energy(self, r, d, x):
        return (core(r) * (1 + 0.1 * (d[:, 2] / r) ** 2)).sum()


class KnowsIndices(Sound):
    def energy(self, r, d, x):
        weights = 1 + 0.1 * torch.arange(len(r), dtype=r.dtype)
        return (weights * core(r)).sum()


class Truncated(Sound):
    def energy(self, r, d, x):
        return torch.where(r < CUTOFF, 3.0 * torch.exp(-r), torch.zeros_like(r)).sum() + core(r).sum()


class Kinked(Sound):
    """The energy is continuous, the force is not, and not at the cutoff."""

    def energy(self, r, d, x):
        return core(r).sum() + 40.0 * torch.relu(0.7 - r).sum()


class DetachedPart(Sound):
    """A descriptor without its gradient: forces are no longer those of the energy."""

    def energy(self, r, d, x):
        density = torch.relu(1 - r / CUTOFF).square().sum()
        return core(r).sum() * (1 + 0.05 * density.detach())


class Hole(Sound):
    """Attraction wins below 0.2 nm, as in a network that never saw such distances."""

    def energy(self, r, d, x):
        return core(r).clamp(max=15.0).sum() - 400.0 * torch.relu(0.2 - r).square().sum() / 0.04


class Handed(Sound):
    """Adds a parity-odd triple product of each bead's moments."""

    def energy(self, r, d, x):
        delta = x[None] - x[:, None] + torch.eye(len(x), dtype=x.dtype)[:, :, None]
        s = delta.norm(dim=2)
        fade = torch.relu(1 - (s / CUTOFF) ** 2) ** 4 * (1 - torch.eye(len(x), dtype=x.dtype))
        a, b, c = ((delta * (fade * s**k)[:, :, None]).sum(1) for k in (0, 2, 4))
        return core(r).sum() + 1e3 * (a * torch.linalg.cross(b, c)).sum()


def twisted(x, types, box):
    """Return a sound energy with a force that swirls about the bead's neighbours: it does work around loops."""
    positions = torch.tensor(x, requires_grad=True)
    energy = Sound()(positions, None)
    (gradient,) = torch.autograd.grad(energy, positions)
    d = x[:, None] - x[None]
    r = np.linalg.norm(d, axis=-1)[..., None] + 1e-9
    swirl = np.cross(d, d[:, ::-1]) * np.exp(-((r / 0.4) ** 2))
    return float(energy.detach()), -gradient.numpy() + 5.0 * swirl.sum(axis=1)


def unbalanced(x, types, box):
    """Return forces that violate Newton's third law: the first bead is pushed without a reaction."""
    positions = torch.tensor(x, requires_grad=True)
    energy = Sound()(positions, None)
    forces = -torch.autograd.grad(energy, positions)[0].numpy()
    forces[0] *= 1.01
    return float(energy.detach()), forces


def test_a_sound_model_passes():
    report = check_potential(Sound(), masses=[MASS])
    assert report.passed, str(report)
    assert "cannot tell mirror images apart" in report["mirror images"].message


@pytest.mark.parametrize(
    ("model", "failures"),
    [
        (FeelsTheOrigin(), {"translation", "net force"}),
        (FeelsTheAxis(), {"rotation", "net torque"}),
        (KnowsIndices(), {"permutation"}),
        (Truncated(), {"smooth at the cutoff"}),
        (Kinked(), {"smooth at the cutoff"}),
        (DetachedPart(), {"forces are the gradient", "conservative"}),
        (Hole(), {"no hole at short distance"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_a_broken_model_is_caught_by_name(model, failures):
    report = check_potential(model, masses=[MASS])
    # Nothing else is accused. Forces next to a kink or a hole are not smooth either, which other checks may notice.
    assert failures <= set(report.failures), str(report)
    assert isinstance(model, FeelsTheOrigin | Kinked | Hole) or failures == set(report.failures), str(report)


def test_forces_that_are_no_gradient_are_caught_without_looking_at_the_energy():
    report = check_potential(twisted, cutoff=CUTOFF, masses=[MASS])
    assert "conservative" in report.failures
    assert "net force" in check_potential(unbalanced, cutoff=CUTOFF, masses=[MASS]).failures


def test_blindness_to_mirror_images_fails_only_where_it_matters():
    assert check_potential(Sound(), masses=[MASS], chiral=True).failures == ["mirror images"]
    handed = check_potential(Handed(), masses=[MASS], chiral=True)
    assert handed["mirror images"].passed
    assert "rotation" not in handed.failures


def test_the_place_of_a_jump_is_named():
    message = check_potential(Truncated(), masses=[MASS])["smooth at the cutoff"].message
    assert "the energy jumps" in message
    assert "at 0.9 nm (cutoff 0.9 nm)" in message


def test_step_size_of_a_harmonic_pair_is_exact():
    """For two masses m on a spring k, omega^2 = 2 k/m, and leapfrog is stable up to 2/omega."""
    k, r0 = 1000.0, 0.3

    def spring(x, types, box):
        d = x[1] - x[0]
        r = np.linalg.norm(d)
        pull = k * (r - r0) * d / r
        return 0.5 * k * (r - r0) ** 2, np.array([pull, -pull, 0 * pull])

    x = np.array([[0.0, 0, 0], [r0, 0, 0], [0, 0.5, 0]])
    report = check_potential(spring, x, cutoff=1.0, masses=[MASS])
    assert report.step_size == pytest.approx(2 / np.sqrt(2 * k / MASS), rel=0.01)


def sound_sum(network):
    spline = PairSpline(2, CUTOFF, 30)
    with torch.no_grad():
        r = torch.arange(30) * CUTOFF / 30
        spline.coefficients[:] = 200.0 * torch.exp(-r / 0.06)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(3))
    return Sum(spline, network)


def test_our_own_potentials_pass_in_torch_and_in_openmm(tmp_path):
    model = sound_sum(MomentTensor(2, 0.8, max_l=2, channels=4, radial_functions=8, hidden=(8, 8)))
    assert check_potential(model, masses=[MASS, MASS]).passed, str(check_potential(model))
    model = Sum(model, StillingerWeber(2, 0.6, 0.1))
    model.bead_types = [meanforce.potentials.BeadType("A", mass=MASS), meanforce.potentials.BeadType("B", mass=MASS)]
    meanforce.export(model, tmp_path / "model.pt")
    native = check_potential(tmp_path / "model.pt")
    assert native.passed, str(native)
    assert "1 dalton" not in native["step size"].message


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ValueError, match="cutoff is not known"):
        check_potential(twisted)
    with pytest.raises(ValueError, match=r"positions must have shape \(n, 3\)"):
        check_potential(Sound(), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="masses must be positive"):
        check_potential(Sound(), masses=[-1.0])
    with pytest.raises(TypeError, match="got int"):
        check_potential(3, cutoff=1.0)

    def nothing(x, types, box):
        return np.nan, np.zeros_like(x)

    assert check_potential(nothing, cutoff=1.0).failures == ["finite"]


# ------------------------------------------------------------------------------------------------------------- kernels

KERNELS = {
    "prony": meanforce.MemoryKernel.prony([30.0, 5.0], [0.1, 1.0]),
    "cosine": meanforce.MemoryKernel.damped_cosine(20.0, 5.0, 3.0, 10.0),
    "white": meanforce.MemoryKernel.white(5.0),
    "matrix": meanforce.MemoryKernel.matrix(
        meanforce.MemoryKernel.prony([30.0], [0.2]), [[1.0, 0.2, 0], [0.2, 0.8, 0], [0, 0, 0.5]]
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_sound_kernels_pass(name):
    report = check_kernel(KERNELS[name])
    assert report.passed, str(report)


class Fake:
    """A kernel exp(-t) whose functions can be replaced one by one."""

    white_friction, friction = 0.0, 1.0

    def __init__(self, **replaced):
        self.__dict__.update(replaced)

    def kernel(self, t):
        return np.exp(-np.asarray(t))

    def integrated(self, t):
        return 1 - np.exp(-np.asarray(t))

    def spectrum(self, omega):
        return 1 / (1 + np.asarray(omega) ** 2)


@pytest.mark.parametrize(
    ("replaced", "failure"),
    [
        ({}, None),
        ({"spectrum": lambda w: (1 - 0.1 * w**2) / (1 + w**2) ** 2}, "passive"),
        ({"kernel": lambda t: 0.5 + 0.5 * np.exp(-t)}, "decays"),
        ({"integrated": lambda t: 1 - np.exp(-1.1 * t)}, "integral"),
        ({"friction": 1.3, "integrated": lambda t: 1 - np.exp(-t)}, "friction"),
        ({"spectrum": lambda w: 1.1 / (1 + w**2)}, "spectrum"),
        ({"kernel": lambda t: np.exp(-t) * np.where(t > 1, np.nan, 1)}, "finite"),
        ({"friction": np.inf}, "decays"),
    ],
)
def test_broken_kernels_are_caught_by_name(replaced, failure):
    report = check_kernel(Fake(**replaced))
    assert (failure in report.failures) if failure else report.passed, str(report)


def test_a_kernel_that_is_not_symmetric_is_caught():
    skew = np.array([[1.0, 0.3, 0], [0, 1, 0], [0, 0, 1]])
    kernel = Fake(
        white_friction=np.zeros((3, 3)),
        friction=skew,
        kernel=lambda t: np.exp(-t)[:, None, None] * skew,
        integrated=lambda t: (1 - np.exp(-t))[:, None, None] * skew,
        spectrum=lambda w: skew / (1 + w**2)[:, None, None],
    )
    assert "symmetric at t = 0" in check_kernel(kernel).failures
