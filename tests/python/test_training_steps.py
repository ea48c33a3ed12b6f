# SPDX-License-Identifier: MIT
"""Training of networks: the step's gradient, batches of fixed shapes, several trajectories, stops and processes."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from meanforce.data import Frames

torch = pytest.importorskip("torch")

from meanforce.potentials import MomentTensor, PairSpline, SchNet, products  # noqa: E402
from meanforce.training import ForceMatching, Monitor, PriorSamples  # noqa: E402
from meanforce.training.batches import PairedFrames, pair_forces  # noqa: E402
from meanforce.training.step import ForceLoss  # noqa: E402

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
BEADS = 6


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def chains(count: int, seed: int = 0, scale: float = 0.15) -> Frames:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(scale=scale, size=(count, BEADS, 3)), axis=1)
    return Frames(x, forces=100 * rng.normal(size=x.shape), types=np.arange(BEADS) % 3)


def schnet(grid: int | None = 64, seed: int = 0, cutoff: float = 0.5) -> SchNet:
    torch.manual_seed(seed)
    return SchNet(3, cutoff, features=16, filters=16, blocks=1, radial_functions=12, hidden=(8,), filter_grid=grid)


def moments(seed: int = 0) -> MomentTensor:
    torch.manual_seed(seed)
    return MomentTensor(
        3, 0.5, max_l=2, channels=4, radial_functions=8, hidden=(8,), products=products(2, 4, order=2, odd=True)
    )


def paired(frames: Frames, model, dtype=None) -> PairedFrames:
    data = PairedFrames(frames.types, model.cutoff, dtype or next(model.parameters()).dtype)
    data.add(frames, None, None)
    data.finish()
    return data


@pytest.mark.parametrize("make", [schnet, moments])
def test_gradient_is_that_of_autograd_twice(make):
    model = make().double()
    frames = chains(5)
    batch = paired(frames, model).join(range(5))
    parameters = dict(model.named_parameters())
    gradients, loss = ForceLoss(model, 0.1)(parameters, batch)
    forces = pair_forces(model, batch.displacements, batch.first, batch.second, batch.types, differentiable=True)
    expected = 0.1 * (forces - batch.forces).square().sum()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-12)
    for parameter, other in zip(
        parameters.items(),
        torch.autograd.grad(expected, list(parameters.values()), allow_unused=True),
        strict=True,
    ):
        name, _ = parameter
        torch.testing.assert_close(gradients[name], torch.zeros_like(gradients[name]) if other is None else other)
    # and by finite differences of the loss, in one random direction
    torch.manual_seed(3)
    direction = {name: torch.randn_like(p) for name, p in parameters.items()}
    losses = [
        ForceLoss(model, 0.1)({name: p + sign * 1e-6 * direction[name] for name, p in parameters.items()}, batch)[1]
        for sign in (1, -1)
    ]
    slope = sum(float((gradients[name] * direction[name]).sum()) for name in parameters)
    assert slope == pytest.approx(float(losses[0] - losses[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("make", [schnet, moments])
def test_filling_a_batch_up_changes_nothing(make):
    model = make().double()
    data = paired(chains(40), model)
    pool = np.arange(40)
    sizes = {data.padded_pairs(np.random.default_rng(k).permutation(pool)[:8], pool) for k in range(50)}
    assert 1 <= len(sizes) <= 8
    chosen = pool[3:11]
    plain, filled = data.join(chosen), data.join(chosen, data.padded_pairs(chosen, pool))
    assert len(filled.first) in sizes or len(filled.first) >= len(plain.first)
    assert len(filled.first) > len(plain.first)
    results = [ForceLoss(model, 1.0)(dict(model.named_parameters()), batch) for batch in (plain, filled)]
    assert float(results[0][1]) == pytest.approx(float(results[1][1]), rel=1e-12)
    for name in results[0][0]:
        torch.testing.assert_close(results[0][0][name], results[1][0][name])


def test_compiled_step_trains_the_same_model():
    curves = []
    for compiled in (False, True):
        # All pairs are within the cutoff: one shape, compiled once.
        training = ForceMatching(
            schnet(cutoff=4.0), chains(40), batch_size=8, learning_rate=3e-3, compiled=compiled, validation_fraction=0.2
        )
        losses = []
        training.train(epochs=4, progress=lambda step, total, loss, losses=losses: losses.append(loss))
        curves.append(losses)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
    assert curves[0][-1] != pytest.approx(curves[0][0], rel=1e-4)  # they did train


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch):
    def fail(function, **options):
        def broken(*arguments):
            raise RuntimeError("no compiler\non this machine")

        return broken

    monkeypatch.setattr(torch, "compile", fail)
    training = ForceMatching(schnet(), chains(20), batch_size=4, compiled=True)
    with pytest.warns(RuntimeWarning, match="could not be compiled, it runs uncompiled: no compiler$"):
        assert training.train(epochs=1).steps == 4


def test_memory_stays_flat_over_epochs():
    training = ForceMatching(schnet(), chains(200), batch_size=16)
    sizes = []

    def note(step: int, total: int, loss: float) -> None:
        if step % 11 == 0:
            gc.collect()
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    training.train(epochs=30, progress=note)
    assert len(sizes) == 30
    # The batches of one epoch take 0.2 MB; a graph that is kept would take more for each step.
    assert max(sizes[15:]) - max(sizes[5:15]) < 2e6


def test_gradient_is_clipped():
    moved = []
    for clip in (None, 1e-12):
        model = schnet()
        before = model.embedding.detach().clone()
        ForceMatching(model, chains(20), batch_size=4, clip=clip, learning_rate=1e-4).train(epochs=1)
        moved.append(float((model.embedding.detach() - before).abs().max()))
    # Adam divides by the gradient's size plus 1e-8, so only a gradient much smaller than that makes small steps.
    assert moved[1] < 0.01 * moved[0]


def test_several_trajectories_are_held_out_whole():
    parts = [chains(10, 1), chains(12, 2), chains(8, 3)]
    training = ForceMatching(schnet(), parts, validation_fraction=0.1)
    assert len(training._training) == 22
    training = ForceMatching(schnet(), parts, validation_fraction=0.5)
    assert len(training._training) == 10
    joined = Frames(
        np.concatenate([p.positions for p in parts]),
        forces=np.concatenate([p.forces for p in parts]),
        types=parts[0].types,
    )
    training, whole = schnet(), schnet()
    a = ForceMatching(training, parts).train(epochs=1)
    b = ForceMatching(whole, joined, validation_fraction=8 / 30).train(epochs=1)
    assert a.unexplained == b.unexplained
    other = Frames(parts[0].positions, forces=parts[0].forces, types=np.zeros(BEADS, dtype=int))
    with pytest.raises(ValueError, match="the same beads"):
        ForceMatching(schnet(), [parts[0], other])


def test_temperature_reaches_the_model():
    """Forces made at two temperatures by a known model U = A - T B are learned only by one that is told which."""
    torch.manual_seed(1)
    teacher = SchNet(3, 0.8, 8, 8, 1, 8, hidden=(8,), temperature_dependent=True).double()
    with torch.no_grad():
        teacher.layers[-1].weight.mul_(100.0)
    x = chains(120).positions
    types = np.arange(BEADS) % 3
    kelvin = np.where(np.arange(120) % 2 == 0, 250.0, 400.0)
    forces = []
    for frame, t in zip(x, kelvin, strict=True):
        position = torch.from_numpy(frame).requires_grad_()
        energy = teacher(position, torch.from_numpy(types), None, float(t))
        forces.append(-torch.autograd.grad(energy, position)[0].numpy())
    frames = Frames(x, forces=np.array(forces), types=types)
    # With the teacher itself as prior nothing is left: the prior gets each frame's temperature too.
    right = ForceMatching(schnet(), frames, prior=teacher, temperature=kelvin)
    assert right._unexplained_prior < 1e-20
    wrong = ForceMatching(schnet(), frames, prior=teacher, temperature=300.0)
    assert wrong._unexplained_prior > 1e-4
    torch.manual_seed(1)
    student = SchNet(3, 0.8, 8, 8, 1, 8, hidden=(8,), temperature_dependent=True).double()
    student.load_state_dict(teacher.state_dict())
    assert ForceMatching(student, frames, temperature=kelvin).unexplained() < 1e-20
    assert ForceMatching(student, frames, temperature=kelvin[::-1].copy()).unexplained() > 1e-4
    with pytest.raises(ValueError, match="`temperature`, in K, is missing"):
        ForceMatching(student, frames)
    with pytest.raises(ValueError, match="one for each of 120 frames"):
        ForceMatching(student, frames, temperature=kelvin[:7])
    with pytest.raises(ValueError, match="3 values for 2 trajectories"):
        ForceMatching(student, [frames, frames], temperature=[300.0, 310.0, 320.0])


def test_monitor_ends_training_and_chooses_the_weights():
    values = iter([3.0, 1.0, 2.0, 4.0, 5.0, 0.0])
    seen = []

    def measure(model):
        seen.append(model.embedding.detach().clone())
        return next(values)

    model = schnet()
    training = ForceMatching(model, chains(20), batch_size=9)
    result = training.train(epochs=100, monitor=Monitor(measure, every=2, patience=3))
    assert result.monitored == ((4, 3.0), (8, 1.0), (12, 2.0), (16, 4.0), (20, 5.0))
    assert result.steps == 20
    assert torch.equal(model.embedding, seen[1])
    with pytest.raises(ValueError, match="at least 1"):
        Monitor(measure, every=0)


def test_monitored_training_resumes_to_the_same_result(tmp_path):
    class StopError(Exception):
        pass

    def measure(model):
        return float(model.embedding.detach().square().sum())

    def stop(step, total, loss):
        if step == 7:
            raise StopError

    monitor, path = Monitor(measure, every=1, patience=2), tmp_path / "state.pt"
    whole = schnet()
    expected = ForceMatching(whole, chains(20), batch_size=6).train(epochs=5, monitor=monitor)
    with pytest.raises(StopError):
        ForceMatching(schnet(), chains(20), batch_size=6).train(
            epochs=5, monitor=monitor, checkpoint=path, checkpoint_seconds=1e9, progress=stop
        )
    model = schnet(seed=1)
    second = ForceMatching(model, chains(20), batch_size=6)
    second.load(path)  # saved although it was never time to
    found = second.train(epochs=5, monitor=monitor)
    assert found.monitored == expected.monitored
    assert torch.equal(model.embedding, whole.embedding)


def test_bad_force_stops_before_the_weights_change(tmp_path):
    frames = chains(20)
    frames.forces[3] = 1e30
    model, path = schnet(), tmp_path / "state.pt"
    training = ForceMatching(model, frames, batch_size=18)
    training._mean_square = 1.0
    training._loss = ForceLoss(model, 1e30)
    before = model.embedding.detach().clone()
    with pytest.raises(FloatingPointError, match="the loss of step 1 is inf"):
        training.train(epochs=2, checkpoint=path)
    assert torch.equal(model.embedding, before)
    assert torch.load(path, weights_only=True)["step"] == 0


SCRIPT = """
import sys
import numpy as np
import torch
sys.path.insert(0, {folder!r})
from test_training_steps import chains, schnet
from meanforce.training import ForceMatching

torch.set_num_threads(1)
model = schnet()
training = ForceMatching(model, chains(60), batch_size=6{options})
"""


def script(body: str, options: str = "") -> str:
    return SCRIPT.format(folder=str(Path(__file__).parent), options=options) + textwrap.dedent(body)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_signal_saves_the_last_step(tmp_path, number, status):
    path = tmp_path / "state.pt"
    body = f"""
    def progress(step, total, loss):
        print(step, flush=True)
    training.train(epochs=100000, progress=progress, checkpoint={str(path)!r}, checkpoint_seconds=1e9)
    """
    run = subprocess.Popen(
        [sys.executable, "-c", script(body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    for line in run.stdout:
        if int(line) >= 5:
            break
    run.send_signal(number)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode in (status, -number)
    last = int([line, *rest.split()][-1])
    state = torch.load(path, weights_only=True)
    assert state["step"] == last >= 5
    # The state is that of an undisturbed training after as many steps.
    model = schnet()
    training = ForceMatching(model, chains(60), batch_size=6)

    class EnoughError(Exception):
        pass

    def stop(step, total, loss):
        if step == last:
            raise EnoughError

    with pytest.raises(EnoughError):
        training.train(epochs=100000, progress=stop)
    assert all(torch.equal(state["weights"][name], weight) for name, weight in training._weights.items())


def test_two_processes_train_like_one(tmp_path):
    pytest.importorskip("lightning_fabric")
    body = f"""
    import json
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo"))
    fabric.launch()
    if fabric.global_rank == 1:
        torch.manual_seed(99)
        model = schnet(seed=9)  # the first process's weights must win
    training = ForceMatching(model, chains(60), batch_size=6, fabric=fabric)
    losses = []
    result = training.train(epochs=3, progress=lambda step, total, loss: losses.append(loss),
                            checkpoint={str(tmp_path)!r} + "/state.pt")
    with open({str(tmp_path)!r} + f"/{{fabric.global_rank}}.json", "w") as file:
        json.dump([losses, result.unexplained, float(model.embedding.sum())], file)
    """
    program = tmp_path / "train.py"
    program.write_text(script(body))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"))}
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=200, env=environment)
    assert run.returncode == 0, run.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    losses = []
    model = schnet()
    training = ForceMatching(model, chains(60), batch_size=6)
    result = training.train(epochs=3, progress=lambda step, total, loss: losses.append(loss))
    np.testing.assert_allclose(first[0], losses, rtol=1e-5)
    assert first[1] == pytest.approx(result.unexplained, rel=1e-5)
    assert len(set(losses)) > 5
    # A state of two processes goes on in one.
    training.load(tmp_path / "state.pt")
    assert training.train(epochs=3).steps == len(losses)


def test_processes_must_share_batches_evenly():
    class Three:
        world_size, global_rank, device = 3, 0, torch.device("cpu")

    with pytest.raises(ValueError, match="3 processes cannot share batches of 4"):
        ForceMatching(schnet(), chains(20), batch_size=4, fabric=Three())


def test_conformations_of_the_prior_set_the_distribution():
    """Two beads whose distance is uniform in the prior's samples and not in the data: U = -kT ln of the ratio."""
    rng = np.random.default_rng(1)
    kT = 0.00831446 * 300

    def pairs(r):
        x = np.zeros((len(r), 2, 3))
        u = rng.normal(size=(len(r), 3))
        x[:, 1] = r[:, None] * u / np.linalg.norm(u, axis=1, keepdims=True)
        return x

    uniform = rng.uniform(0.2, 0.6, 4000)
    wanted = 1 + np.cos(2 * np.pi * (uniform - 0.2) / 0.4)  # density in units of the prior's
    chosen = uniform[rng.uniform(0, 2, 4000) < wanted]
    # Forces so large that the model's own do not matter: only conformations count.
    forces = np.full((len(chosen), 2, 3), 1e6)
    data = Frames(pairs(chosen), forces=forces, types=np.zeros(2, dtype=int))
    samples = PriorSamples(Frames(pairs(rng.uniform(0.2, 0.6, 4000))), 300.0, weight=1.0, batch_size=500)
    model = PairSpline(1, 1.2, 24)
    training = ForceMatching(model, data, samples=samples, batch_size=200, learning_rate=0.3, averaging=0.99)
    assert training.effective_fraction() == pytest.approx(1.0)
    training.train(epochs=40)
    r = torch.linspace(0.23, 0.57, 35)
    found = (model.basis(r) @ model.coefficients[0]).detach().numpy()
    ratio = 1 + np.cos(2 * np.pi * (r.numpy() - 0.2) / 0.4)
    density = np.exp(-found / kT)
    density *= ratio.mean() / density.mean()
    np.testing.assert_allclose(density, ratio, atol=0.15)
    # <w>^2 / <w^2> of w = 1 + cos is 1 / (1 + 1/2)
    assert training.effective_fraction() == pytest.approx(2 / 3, abs=0.04)
    with pytest.raises(ValueError, match="no samples"):
        ForceMatching(model, data).effective_fraction()
    with pytest.raises(ValueError, match="between 1 and 4000"):
        PriorSamples(samples.frames, 300.0, batch_size=5000)


def test_benchmark_runs(tmp_path):
    command = [sys.executable, str(FOLDER / "training.py"), "--quick", "--seconds", "0.1", "--batch", "16"]
    result = subprocess.run([*command, "--json", "r.json"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    records = json.loads((tmp_path / "r.json").read_text())["records"]
    assert len(records) == 3
    assert all(record["frames_per_second"] > 0 for record in records)
    assert all(record["curve_difference"] < 1e-4 for record in records)
