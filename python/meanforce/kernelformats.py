# SPDX-License-Identifier: MIT
"""Memory kernels in the files of other programs: LAMMPS `fix gld` and `fix gle`, GLE4MD. Units are converted here only.

The conventions were checked by running LAMMPS (22 Jul 2025) with what these functions write, at zero temperature, in
units real and metal: the velocity of one particle decays as `MemoryKernel.vacf` says (tests/validation/test_gle.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: LAMMPS unit styles: time unit in ps. Masses are in dalton (g/mol) in both.
LAMMPS_TIME = {"real": 1e-3, "metal": 1.0}

#: How GLE4MD names units in its headers: the unit of A in 1/ps, and of C in K.
_RATE_UNITS = {
    "picoseconds^-1": 1.0,
    "ps^-1": 1.0,
    "femtoseconds^-1": 1e3,
    "fs^-1": 1e3,
    "seconds^-1": 1e-12,
    "s^-1": 1e-12,
    "atomic time units^-1": 1.0 / 2.4188843265864e-5,  # CODATA 2018
}
_TEMPERATURE_UNITS = {"K": 1.0, "eV": 11604.51812, "atomic energy units": 315775.0248}
#: Relative deviation from equilibrium that the digits of a file may make.
_DIGITS = 1e-6


def lammps_time(units: str) -> float:
    """Return the time unit of a LAMMPS unit style, in ps."""
    if units not in LAMMPS_TIME:
        raise ValueError(f"`units` must be one of {', '.join(LAMMPS_TIME)}, got '{units}'")
    return LAMMPS_TIME[units]


def lammps_rate(units: str) -> str:
    """Return the name of the unit of A in a LAMMPS unit style."""
    return {1.0: "ps^-1", 1e-3: "fs^-1"}[lammps_time(units)]


def prony_terms(drift: Array) -> tuple[Array, Array]:
    """Return amplitudes (1/ps^2) and times (ps) of a kernel that is a sum of positive exponentials.

    Raises
    ------
    ValueError
        If the kernel has a white part, or a mode that oscillates or has a negative amplitude.
    """
    if drift[0, 0] > 1e-12 * np.abs(drift).max():
        raise ValueError(f"fix gld has no white part, but the kernel's is {drift[0, 0]:.6g} 1/ps: use to_lammps_gle")
    memory = drift[1:, 1:]
    # Without a coupling between modes they are what they seem, also where two have nearly the same time.
    if np.count_nonzero(memory - np.diag(np.diag(memory))) == 0:
        rates, amplitudes = np.diag(memory).astype(complex), -drift[0, 1:] * drift[1:, 0] + 0j
    else:
        rates, vectors = np.linalg.eig(memory)
        amplitudes = -(drift[0, 1:] @ vectors) * np.linalg.solve(vectors, drift[1:, 0].astype(complex))
    for rate, amplitude in zip(rates, amplitudes, strict=True):
        if abs(rate.imag) > 1e-9 * abs(rate) or rate.real <= 0.0 or amplitude.real < -1e-9 * np.abs(amplitudes).sum():
            raise ValueError(
                "fix gld needs positive exponentials that decay, but the kernel has a mode with the rate "
                f"{rate:.6g} 1/ps and the amplitude {amplitude:.6g} 1/ps^2: use to_lammps_gle"
            )
    order = np.argsort(1.0 / rates.real)
    kept = amplitudes.real[order] > 0.0
    return np.asarray(amplitudes.real[order][kept]), np.asarray(1.0 / rates.real[order][kept])


def gld_command(amplitudes: Array, times: Array, mass: float, time: float, temperature: float, seed: int) -> str:
    """Return the command ``fix bath all gld ...`` with c_k = m a_k tau_k in dalton per time unit."""
    weights = mass * amplitudes * times * time
    pairs = zip(weights.tolist(), (times / time).tolist(), strict=True)
    terms = " ".join(f"{c!r} {tau!r}" for c, tau in pairs)
    return f"fix bath all gld {temperature!r} {temperature!r} {len(times)} {seed} pprony {terms}"


def parse_gld(command: str, mass: float, time: float) -> tuple[Array, Array]:
    """Return amplitudes (1/ps^2) and times (ps) of a fix gld command, or of its numbers alone."""
    words = command.replace("&", " ").split()
    expected: int | None = None
    if "pprony" in words:
        place = words.index("pprony")
        if place >= 2 and words[place - 2].isdigit():
            expected = int(words[place - 2])
        words = words[place + 1 :]
    numbers: list[float] = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            break  # a keyword: frozen, zero
    if not numbers or len(numbers) % 2 or (expected is not None and len(numbers) != 2 * expected):
        wanted = "pairs c_k tau_k" if expected is None else f"{expected} pairs c_k tau_k"
        raise ValueError(f"`command` must hold {wanted} after pprony, got {len(numbers)} numbers")
    c, tau = np.array(numbers[::2]), np.array(numbers[1::2])
    if not (np.all(tau > 0.0) and np.all(c >= 0.0)):
        raise ValueError(f"`command` must hold c_k >= 0 and tau_k > 0, got {numbers}")
    tau = tau * time
    return c / (time * mass * tau), tau


def matrix_text(title: Iterable[str], matrix: Array) -> str:
    """Return comment lines and a matrix whose numbers survive the round trip."""
    rows = ["  ".join(f"{x!r:>24}" for x in row) for row in matrix.tolist()]
    return "\n".join([*(f"# {line}" for line in title), *rows]) + "\n"


def read_matrices(path: Path, rate_unit: str | None, covariance: Path | None) -> tuple[Array, Array | None]:
    """Return A in 1/ps and C in K (None if the file has none) of a GLE4MD file, or of two plain files.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a matrix is missing, not square or there are several (PIGLET); if the units are not known.
    """
    sections = _sections(path)
    if "A" not in sections and "" in sections:
        sections["A"] = sections.pop("")
    if "A" not in sections:
        raise ValueError(f"'{path}' holds no drift matrix A")
    if covariance is not None:
        other = _sections(covariance)
        sections["C"] = other.get("C") or other.get("") or other.get("A") or ("", [])
    a = _scaled(sections["A"], rate_unit, _RATE_UNITS, f"A in '{path}'", "`units`")
    c = None
    if "C" in sections:
        header, rows = sections["C"]
        where = f"C in '{covariance or path}'"
        # Only the ratio of its elements matters.
        c = _scaled((header or "K", rows), None, _TEMPERATURE_UNITS, where, "the header")
        if c.shape != a.shape:
            raise ValueError(f"{where} must have the shape of A, {a.shape}, got {c.shape}")
    return a, c


def equilibrium_drift(a: Array, c: Array) -> Array:
    """Return A in the basis where the covariance C of a canonical thermostat is a multiple of 1.

    Raises
    ------
    ValueError
        If C is that of a thermostat out of equilibrium (quantum, delta): no memory kernel alone says what it does.
    """
    if np.abs(c - c.T).max() > _DIGITS * np.abs(c).max():
        raise ValueError("the covariance C must be symmetric")
    kt, correlation = c[0, 0], np.abs(c[0, 1:]).max(initial=0.0)
    values, vectors = np.linalg.eigh(0.5 * (c[1:, 1:] + c[1:, 1:].T)) if len(c) > 1 else (np.ones(0), np.eye(0))
    if kt <= 0.0 or np.any(values <= 0.0):
        raise ValueError(f"the covariance C must be positive definite, got the diagonal {np.diag(c)}")
    if correlation > _DIGITS * kt:
        raise ValueError(
            "the covariance C is not that of canonical sampling: velocity and auxiliary variables are correlated, with "
            f"{correlation:.6g} K at {kt:.6g} K for the velocity. Quantum and delta thermostats are not supported"
        )
    root = (vectors * np.sqrt(values / kt)) @ vectors.T
    whole, inverse = np.eye(len(a)), np.eye(len(a))
    whole[1:, 1:], inverse[1:, 1:] = root, np.linalg.inv(root)
    return np.asarray(inverse @ a @ whole)


def _sections(path: Path) -> dict[str, tuple[str, list[list[float]]]]:
    """Return unit and rows of the matrices of a file, by name: "A", "C", or "" for one without a header."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}'")
    name, found = "", dict[str, tuple[str, list[list[float]]]]()
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        header = re.match(r"#\s*([AC]) MATRIX:?\s*(?:[(\[]([^)\]]*)[)\]])?", line.strip())
        if header:
            name = header.group(1)
            found[name] = ((header.group(2) or "").strip(), [])
        elif "Matrix for normal mode" in line and found.get(name, ("", []))[1]:
            raise ValueError(f"'{path}' holds one matrix for each normal mode (PIGLET): only a single one can be used")
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise ValueError(f"line {number} of '{path}' must hold numbers, got '{line.strip()}'") from None
        found.setdefault(name, ("", []))[1].append(row)
    return found


def _scaled(
    section: tuple[str, list[list[float]]], given: str | None, units: dict[str, float], where: str, ask: str
) -> Array:
    header, rows = section
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"{where} must be a square matrix, got rows of {[len(row) for row in rows]} numbers")
    unit = given or header
    if unit not in units:
        raise ValueError(f"the unit of {where} must be given by {ask} as one of {', '.join(units)}, got '{unit}'")
    if given and header in units and not math.isclose(units[header], units[unit]):
        raise ValueError(f"{where} is in {header}, as its header says, not in {given}")
    return units[unit] * np.array(rows)
