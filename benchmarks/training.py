# SPDX-License-Identifier: MIT
"""Frames per second of force matching, step by step from the usual way to ours, and that all train the same model.

The frames are like those of a small protein: 10 beads, every pair within the cutoff. The usual way evaluates a SchNet's
filters for both directions of each pair and differentiates twice with autograd; ours evaluates them once per pair, on
the grid on which the model will run, and compiles both derivatives as one graph.

    python benchmarks/training.py                 # SchNet as published models have it, a few minutes
    python benchmarks/training.py --quick         # a small network, no compilation
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from meanforce.data import Frames
from meanforce.potentials import SchNet
from meanforce.training.batches import Batch, PairedFrames
from meanforce.training.step import ForceLoss

BEADS, CUTOFF, GRID, FORCE = 10, 1.5, 1024, 400.0
LEARNING_RATE = 1e-3
Gradient = Callable[[dict[str, Tensor], Batch], tuple[dict[str, Tensor], Tensor]]


def frames(count: int) -> Frames:
    """Return loose chains with forces of a known size; what they are does not matter here."""
    rng = np.random.default_rng(1)
    positions = np.cumsum(rng.normal(scale=0.17, size=(count, BEADS, 3)), axis=1)
    return Frames(positions, forces=FORCE * rng.normal(size=positions.shape), types=np.arange(BEADS) % 5)


def model(quick: bool, grid: int | None) -> SchNet:
    """Return the network, the same weights each time."""
    torch.manual_seed(1)
    width, blocks = (16, 1) if quick else (128, 3)
    return SchNet(5, CUTOFF, width, width, blocks, filter_grid=grid)


def directed_step(network: SchNet, scale: float) -> Gradient:
    """Return loss and gradient of a SchNet with directed edges, by autograd's double backward."""

    def messages(block: torch.nn.Module, states: Tensor, filters: Tensor, source: Tensor, target: Tensor) -> Tensor:
        sent = block.lin1(states)
        collected = torch.zeros_like(sent).index_add(0, target, filters * sent.index_select(0, source))
        return block.lin3(block.activation(block.lin2(collected)))

    def step(parameters: dict[str, Tensor], batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        d = torch.cat([batch.displacements, -batch.displacements]).requires_grad_()
        source, target = torch.cat([batch.second, batch.first]), torch.cat([batch.first, batch.second])
        filters = network.exact_filters(d.square().sum(1).sqrt())
        states = network.embedding.index_select(0, batch.types)
        for block, values in zip(network.blocks, filters, strict=True):
            states = states + messages(block, states, values, source, target)
        for layer in network.layers[:-1]:
            states = network.output_activation(layer(states))
        energy = network.layers[-1](states).sum() + network.type_energies.index_select(0, batch.types).sum()
        (slope,) = torch.autograd.grad(energy, d, create_graph=True)
        forces = torch.zeros_like(batch.forces).index_add(0, target, slope).index_add(0, source, -slope)
        loss = (forces - batch.forces).square().sum() * scale
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        found = zip(parameters.items(), gradients, strict=True)
        return {name: torch.zeros_like(p) if g is None else g for (name, p), g in found}, loss.detach()

    return step


def loss_curve(network: SchNet, step: Gradient, batches: list[Batch]) -> list[float]:
    """Train the network and return its losses."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    losses = []
    for batch in batches:
        parameters = dict(network.named_parameters())
        gradients, loss = step(parameters, batch)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        optimizer.step()
        losses.append(float(loss))
    return losses


def rate(network: SchNet, step: Gradient, batch: Batch, seconds: float) -> float:
    """Return frames per second: of the fastest of the repetitions, since others use the machine too."""
    parameters = dict(network.named_parameters())
    count = len(batch.types) // BEADS
    best, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end or best == 0.0:
        start = time.perf_counter()
        step(parameters, batch)
        best = max(best, count / (time.perf_counter() - start))
    return best


def main() -> None:
    """Time the steps, compare their loss curves, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="frames per step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0, help="time for each step")
    parser.add_argument("--curve", type=int, default=20, help="steps of the loss curves that are compared")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = frames(4 * arguments.batch)
    paired = PairedFrames(data.types, CUTOFF, torch.float32)
    paired.add(data, None, None)
    paired.finish()
    pool = np.arange(len(paired))
    chosen = [np.random.default_rng(k).permutation(pool)[: arguments.batch] for k in range(arguments.curve)]
    batches = [paired.join(c, paired.padded_pairs(c, pool)) for c in chosen]
    scale = 1 / (arguments.batch * float(np.mean(paired.squared)))

    contenders: list[tuple[str, int | None, Callable[[SchNet], Gradient]]] = [
        ("directed edges, autograd", None, lambda m: directed_step(m, scale)),
        ("pairs", None, lambda m: ForceLoss(m, scale)),
        ("pairs, filters on the grid", GRID, lambda m: ForceLoss(m, scale)),
    ]
    if not arguments.quick:
        contenders.append(("pairs, grid, compiled", GRID, lambda m: ForceLoss(m, scale, compiled=True)))
    records = []
    for name, grid, make in contenders:
        network = model(arguments.quick, grid)
        step = make(network)
        started = time.perf_counter()
        step(dict(network.named_parameters()), batches[0])
        first = time.perf_counter() - started
        speed = rate(network, step, batches[0], arguments.seconds)
        curve = loss_curve(network, step, batches)
        reference = records[0] if records else None
        worst = (
            0.0 if reference is None else max(abs(a / b - 1) for a, b in zip(curve, reference["curve"], strict=True))
        )
        ratio = 1.0 if reference is None else speed / reference["frames_per_second"]
        records.append(
            {"step": name, "frames_per_second": speed, "ratio": ratio, "first_seconds": first,
             "curve_difference": worst, "curve": curve}
        )  # fmt: skip
        print(f"{name:28} {speed:8.0f} frames/s {ratio:6.2f}x   first step {first:5.1f} s   loss curve {worst:.1e}")
    if arguments.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "torch": torch.__version__}
        with open(arguments.json, "w") as file:
            json.dump({"machine": machine, "batch": arguments.batch, "records": records}, file, indent=1)


if __name__ == "__main__":
    main()
