# SPDX-License-Identifier: MIT
"""Time and error of correlations and of the inversion, beside a direct sum and, where it is installed, gleqpy.

python benchmarks/memory.py [--quick] [--large] [--output memory.json]

Velocities of free particles with the kernel 5 exp(-t/0.2) + exp(-t/1.5) + 4 exp(-t) cos 6t, sampled exactly every
0.05. `--large` streams 10,000 beads x 10,000 frames and reports the peak memory of this process. gleqpy needs its
package and ase; its inversion gets finite differences for the acceleration, as it asks for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from meanforce import MemoryKernel
from meanforce.memory import CorrelationStream, correlate, volterra_kernel

KERNEL = MemoryKernel.prony([5.0, 1.0], [0.2, 1.5]) + MemoryKernel.damped_cosine(4.0, 0.0, 1.0, 6.0)
DT, LAGS = 0.05, 100


class Bath:
    """Free particles, frame by frame."""

    def __init__(self, dofs: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._decay = scipy.linalg.expm(-DT * KERNEL.drift)
        values, vectors = np.linalg.eigh(np.eye(KERNEL.modes + 1) - self._decay @ self._decay.T)
        self._noise = vectors * np.sqrt(np.maximum(values, 0.0))
        self._z = self._rng.standard_normal((KERNEL.modes + 1, dofs))

    def frames(self, count: int) -> np.ndarray:
        """Return the next frames, shape (count, dofs)."""
        out = np.empty((count, self._z.shape[1]), dtype=np.float32)
        for i in range(count):
            out[i] = self._z[0]
            self._z = self._decay @ self._z + self._noise @ self._rng.standard_normal(self._z.shape)
        return out


def best(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Return the shortest time in seconds, and the result."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def direct(v: np.ndarray) -> np.ndarray:
    """Return the correlation by a sum for each lag."""
    return np.array([np.einsum("fn,fn->", v[lag:], v[: len(v) - lag]) / (len(v) - lag) for lag in range(LAGS + 1)])


def gleqpy() -> Any:
    """Return gleqpy's module, or None."""
    try:
        return importlib.import_module("gleqpy.memory.time")
    except ImportError:
        return None


def error(k: np.ndarray, t: np.ndarray) -> float:
    """Return the relative L2 error of a kernel."""
    exact = KERNEL.kernel(t)
    return float(np.linalg.norm(k - exact) / np.linalg.norm(exact))


def correlations(frames: int, dofs: int, rounds: int) -> list[dict[str, Any]]:
    """Time correlations of the same data."""
    v = Bath(dofs, 1).frames(frames).astype(np.float64)
    peer = gleqpy()
    contenders: dict[str, Callable[[], np.ndarray]] = {
        "meanforce": lambda: correlate(v[:, :, None], dt=DT, max_time=LAGS * DT).value,
        "direct sum": lambda: direct(v) / dofs,
    }
    if peer is not None:
        contenders["gleqpy"] = lambda: peer.calc_tcf(v, v, LAGS + 1).mean(axis=1)
    found, reference = [], None
    for name, call in contenders.items():
        seconds, value = best(call, rounds)
        reference = value if reference is None else reference
        difference = float(np.abs(value - reference).max())
        found.append({"what": "correlation", "contender": name, "seconds": seconds, "difference": difference})
    return found


def inversions(frames: int, dofs: int, rounds: int) -> list[dict[str, Any]]:
    """Time inversions, and compare their results with the kernel."""
    v = Bath(dofs, 2).frames(frames).astype(np.float64)
    c = correlate(v[:, :, None], dt=DT, max_time=LAGS * DT)
    found = []
    for method in ("G", "midpoint", "trapezoid", "second"):
        seconds, table = best(lambda method=method: volterra_kernel(c.t, c.value, method), rounds)
        whole = float(table.integrated[-1] / KERNEL.integrated(c.t[-1]))
        found.append(
            {
                "what": "inversion",
                "contender": f"meanforce {method}",
                "seconds": seconds,
                "error": error(table.kernel, c.t),
                "integral": whole,
            }
        )
    peer = gleqpy()
    if peer is not None:
        a = np.gradient(v, DT, axis=0)
        force = peer.calc_tcf(a, v, LAGS + 1).mean(axis=1)
        seconds, k = best(lambda: peer.calc_memory_midpt(c.value, force, DT), rounds)
        t = DT * (np.arange(len(k)) + 0.5)
        whole = float(k.sum() * DT / KERNEL.integrated(t[-1] + 0.5 * DT))
        found.append(
            {
                "what": "inversion",
                "contender": "gleqpy midpoint",
                "seconds": seconds,
                "error": error(k, t),
                "integral": whole,
            }
        )
    return found


def large(beads: int, frames: int, lags: int) -> dict[str, Any]:
    """Stream a trajectory that does not fit: only the time in the stream counts."""
    bath, stream, seconds, piece = Bath(3 * beads, 3), CorrelationStream(DT, lags * DT), 0.0, lags
    for begin in range(0, frames, piece):
        v = bath.frames(min(piece, frames - begin)).reshape(-1, beads, 3)
        start = time.perf_counter()
        stream.add(v)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    c = stream.result()
    table = volterra_kernel(c.t, c.value)
    return {
        "what": "stream",
        "contender": f"meanforce, {beads} beads x {frames} frames, {lags} lags",
        "seconds": seconds + time.perf_counter() - start,
        "error": error(table.kernel, c.t),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "data_megabytes": beads * frames * 3 * 4 / 2**20,
    }


def main() -> None:
    """Run and print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data, to see that it runs")
    parser.add_argument("--large", action="store_true", help="10,000 beads x 10,000 frames, streamed")
    parser.add_argument("--output", type=Path, help="JSON file for the records")
    options = parser.parse_args()
    frames, dofs, rounds = (800, 20, 1) if options.quick else (10000, 100, 3)
    records = []
    if options.large:  # first, so that the peak of memory is its own
        records.append(large(10000, 10000, LAGS))
    elif options.quick:
        records.append(large(100, 1000, LAGS))
    records += correlations(frames, dofs, rounds) + inversions(frames, dofs, rounds)
    for record in records:
        rest = ", ".join(
            f"{key.replace('_', ' ')} {value:.3g}"
            for key, value in record.items()
            if key not in ("what", "contender", "seconds")
        )
        print(f"{record['what']:12s} {record['contender']:20s} {1e3 * record['seconds']:10.2f} ms  {rest}")
    if options.output is not None:
        options.output.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
