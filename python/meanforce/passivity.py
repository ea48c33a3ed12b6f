# SPDX-License-Identifier: MIT
"""Which memory kernels a heat bath can have, and the drift matrix of such a bath.

A realisation of a kernel is a matrix ``[[D, -r], [c, M]]`` of shape (d+n, d+n) with the d velocity components first,
for ``k(t) = 2 D delta(t) + r exp(-M t) c``. The kernel is passive if its spectrum, the Hermitian part of
``D + r (i omega + M)^-1 c``, is positive semidefinite at every frequency. The positive-real lemma then says that some
change of basis of the n auxiliary variables makes the symmetric part of the whole matrix positive semidefinite, which
is the canonical form that an integrator needs.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A drift matrix A is accepted as passive when the eigenvalues of (A + A^T)/2 are above minus this fraction of its
#: largest entry: the rounding of a matrix that is passive on paper. GLEIntegrator's rule is the same.
ROUNDING = 1e-10
#: A spectrum is negative when it is so by more than this fraction of its largest value, each times 1 + (omega/scale)^2
#: to give the far end its weight.
_NEGATIVE = 1e-9
#: Rounding of a spectrum relative to the modulus of the Laplace transform at the same frequency.
_SPECTRUM_ROUNDING = 1e-12
#: The white part counts as zero, and a smaller one than this as none, relative to the largest entry of the matrix.
_NO_WHITE = 1e-9
#: What a change of basis may leave of negative dissipation, relative to the largest entry; it is made up for by as much
#: friction on each variable, and the kernel of the result is compared with the one wanted to within _KERNEL_ERROR.
_REPAIRED = 1e-7
_KERNEL_ERROR = 1e-6


def smallest_dissipation(drift: Array) -> float:
    """Return the smallest eigenvalue of (A + A^T)/2, in the unit of A."""
    return float(np.linalg.eigvalsh(0.5 * drift + 0.5 * drift.T)[0])


def is_dissipative(drift: Array) -> bool:
    """Return whether A + A^T >= 0, up to rounding."""
    return bool(smallest_dissipation(drift) >= -ROUNDING * np.abs(drift).max())


def laplace(matrix: Array, d: int, omega: Array) -> NDArray[np.complex128]:
    """Return D + r (i omega + M)^-1 c for a realisation, shape (*omega.shape, d, d)."""
    n = len(matrix) - d
    values = np.broadcast_to(matrix[:d, :d].astype(complex), (*omega.shape, d, d))
    if n == 0:
        return values
    resolvent = 1j * omega[..., None, None] * np.eye(n) + matrix[d:, d:]
    column = np.broadcast_to(matrix[d:, :d].astype(complex), (*omega.shape, n, d))
    return np.asarray(values - matrix[:d, d:] @ np.linalg.solve(resolvent, column))


def hermitian_part(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return (Z + Z^H)/2 of a stack of matrices."""
    return np.asarray(0.5 * (values + values.conj().swapaxes(-1, -2)))


def negative_frequency(matrix: Array, d: int) -> tuple[float, float] | None:
    """Return the angular frequency where the spectrum is most negative, and its value there; None if it is not.

    The spectrum of a rational kernel changes sign only at zeros of Z(s) + Z(-s)^T. It is looked at between all of them
    and in a logarithmic grid.
    """
    n = len(matrix) - d
    if n == 0:
        lowest = smallest_dissipation(matrix)
        return (0.0, lowest) if lowest < -ROUNDING * np.abs(matrix).max() else None
    white, row, memory, column = matrix[:d, :d], -matrix[:d, d:], matrix[d:, d:], matrix[d:, :d]
    pencil = np.block(
        [
            [-memory, np.zeros((n, n)), column],
            [np.zeros((n, n)), memory.T, -row.T],
            [row, column.T, white + white.T],
        ]
    )
    weight = np.diag(np.r_[np.ones(2 * n), np.zeros(d)])
    zeros = scipy.linalg.eigvals(pencil, weight)
    poles = np.linalg.eigvals(memory)
    special = np.concatenate([zeros[np.isfinite(zeros)], poles])
    special = np.unique(np.concatenate([np.abs(special.imag), np.abs(special)]))
    scale = max(float(np.abs(poles).max()), 1e-300)
    special = special[special < 1e4 * scale]
    grid = np.concatenate([[0.0], np.geomspace(1e-4 * scale, 1e4 * scale, 400), special])
    grid = np.unique(np.concatenate([grid, 0.5 * (special[1:] + special[:-1])]))
    # On a pole of an undamped oscillation the spectrum is not defined.
    grid = grid[np.min(np.abs(1j * grid[:, None] + poles), axis=1) > 1e-9 * scale]

    def lowest_value(omega: Array) -> Array:
        return np.asarray(np.linalg.eigvalsh(hermitian_part(laplace(matrix, d, omega)))[..., 0])

    values = lowest_value(grid)
    tail = 1.0 + (grid / scale) ** 2
    size = np.abs(laplace(matrix, d, grid)).max(axis=(-1, -2))
    if not np.any((values * tail < -_NEGATIVE * size.max()) & (values < -_SPECTRUM_ROUNDING * size)):
        return None
    i = int(np.argmin(values))
    if 0 < i < len(grid) - 1:
        best = scipy.optimize.minimize_scalar(
            lambda w: float(lowest_value(np.array(w))), bounds=(grid[i - 1], grid[i + 1]), method="bounded"
        )
        if best.fun < values[i]:
            return float(best.x), float(best.fun)
    return float(grid[i]), float(values[i])


def refusal(frequency: float, value: float) -> str:
    """Return what is wrong with a kernel whose spectrum has this value at this frequency."""
    return (
        f"the kernel is not passive: its spectrum, which must be >= 0, is {value:.6g} 1/ps at the frequency "
        f"{frequency:.6g} rad/ps, where such a bath would create energy"
    )


def canonical_drift(matrix: Array, d: int) -> Array:
    """Return the realisation of the same kernel with a positive semidefinite symmetric part.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (d+n, d+n)
        Any realisation, in 1/ps.
    d : int
        The number of velocity components.

    Raises
    ------
    ValueError
        If the kernel is not passive (the frequency is named), or has a part that never decays and that is not in
        canonical form already.
    """
    if is_dissipative(matrix):
        return matrix
    worst = negative_frequency(matrix, d)
    if worst is not None:
        raise ValueError(refusal(*worst))
    n = len(matrix) - d
    rates = np.linalg.eigvals(matrix[d:, d:]) if n else np.ones(1)
    if rates.real.min() <= 1e-12 * np.abs(rates).max():
        raise ValueError(
            "a memory that never decays needs a drift matrix A with A + A^T >= 0 as it stands, but this one has not, "
            f"and a mode has the decay rate {rates.real.min():.6g} 1/ps"
        )
    for candidate in (matrix, _minimal(matrix, d)):
        try:
            drift = _canonical(candidate, d)
        except np.linalg.LinAlgError:
            continue
        lacking = -smallest_dissipation(drift)
        largest = np.abs(drift).max()
        if lacking > _REPAIRED * largest:
            continue
        if lacking > 0.0:
            drift = drift + lacking * np.eye(len(drift))
        if _same_kernel(drift, matrix, d):
            return drift
    raise ValueError(
        "the kernel is passive, but so close to the limit that no drift matrix with A + A^T >= 0 could be found: add a "
        "little white friction"
    )


def _same_kernel(a: Array, b: Array, d: int) -> bool:
    scale = np.abs(np.linalg.eigvals(b[d:, d:])).max()
    omega = np.concatenate([[0.0], np.geomspace(1e-3 * scale, 10.0 * scale, 60)])
    first, second = laplace(a, d, omega), laplace(b, d, omega)
    return bool(np.abs(first - second).max() <= _KERNEL_ERROR * np.abs(second).max())


def _minimal(matrix: Array, d: int) -> Array:
    """Return the balanced realisation without the variables that the kernel does not show."""
    row, memory, column = -matrix[:d, d:], matrix[d:, d:], matrix[d:, :d]
    reached = _factor(scipy.linalg.solve_continuous_lyapunov(memory, column @ column.T))
    seen = _factor(scipy.linalg.solve_continuous_lyapunov(memory.T, row.T @ row))
    left, values, right = np.linalg.svd(seen.T @ reached)
    kept = values > 1e-12 * values.max()
    root = np.sqrt(values[kept])
    to = reached @ right[kept].T / root
    back = (seen @ left[:, kept] / root).T
    return np.block([[matrix[:d, :d], -row @ to], [back @ column, back @ memory @ to]])


def _factor(gramian: Array) -> Array:
    values, vectors = np.linalg.eigh(0.5 * (gramian + gramian.T))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _canonical(matrix: Array, d: int) -> Array:
    """Return the canonical form of a passive kernel whose modes all decay.

    With white friction on every component a Riccati equation gives the basis. Components without are coupled to as many
    auxiliary variables s_a by g = k(0)^1/2 and to nothing else; s_a then takes their place in the problem that is left:
    the memory's own memory, as in Mori's continued fraction.
    """
    n = len(matrix) - d
    if n == 0 or is_dissipative(matrix):
        return matrix
    scale = np.abs(matrix).max()
    dissipation, rotation = np.linalg.eigh(0.5 * (matrix[:d, :d] + matrix[:d, :d].T))
    rotation = rotation[:, ::-1]
    strong = int(np.sum(dissipation > _NO_WHITE * scale))
    if strong == d:
        return _riccati(matrix, d)
    b = _change_basis(matrix, rotation, np.eye(n))
    row, column = -b[strong:d, d:], b[d:, strong:d]
    start = row @ column
    k0, turn = np.linalg.eigh(0.5 * (start + start.T))
    live = k0 > 1e-14 * scale**2
    order = np.r_[np.flatnonzero(live), np.flatnonzero(~live)]
    k0, turn = k0[order], turn[:, order]
    ports = scipy.linalg.block_diag(np.eye(strong), turn)
    rotation = rotation @ ports
    b = _change_basis(b, ports, np.eye(n))
    count = int(live.sum())
    first, last = slice(strong, strong + count), slice(strong + count, d)
    b[last, d:] = b[d:, last] = 0.0
    g = np.sqrt(k0[:count])
    row, column = -b[first, d:], b[d:, first]
    basis = np.concatenate([column / g, scipy.linalg.null_space(row)], axis=1)
    if basis.shape != (n, n):
        raise np.linalg.LinAlgError("the memory is not minimal")
    b = _change_basis(b, np.eye(d), basis)
    b[first, d:] = b[d:, first] = 0.0
    s_a = np.arange(d, d + count)
    b[np.arange(strong, strong + count), s_a] = -g
    b[s_a, np.arange(strong, strong + count)] = g
    inner = np.r_[np.arange(strong), np.arange(d, d + n)]
    b[np.ix_(inner, inner)] = _canonical(b[np.ix_(inner, inner)], strong + count)
    return _change_basis(b, rotation.T, np.eye(n))


def _change_basis(matrix: Array, ports: Array, basis: Array) -> Array:
    """Return the matrix for velocity components rotated by `ports` (orthogonal) and auxiliary variables in `basis`."""
    whole = scipy.linalg.block_diag(ports, basis)
    inverse = scipy.linalg.block_diag(ports.T, np.linalg.inv(basis))
    return np.asarray(inverse @ matrix @ whole)


def _riccati(matrix: Array, d: int) -> Array:
    """Return the canonical form for a kernel with white friction on every component.

    P of the positive-real lemma solves ``-M^T P - P M + (P c - r^T) (D + D^T)^-1 (P c - r^T)^T = 0``; the new auxiliary
    variables are P^1/2 s. Where the spectrum touches zero, P is that of a little more white friction.
    """
    white, row, memory, column = matrix[:d, :d], -matrix[:d, d:], matrix[d:, d:], matrix[d:, :d]
    scale = np.abs(matrix).max()
    best, most = None, -_REPAIRED
    for extra in (0.0, 1e-11, 1e-10, 1e-9):
        resistance = white + white.T + 2.0 * extra * scale * np.eye(d)
        try:
            p = scipy.linalg.solve_continuous_are(-memory, column, np.zeros_like(memory), -resistance, s=-row.T)
        except (np.linalg.LinAlgError, ValueError):
            continue
        values, vectors = np.linalg.eigh(0.5 * (p + p.T))
        if values[0] <= 1e-14 * values[-1]:
            continue
        basis = (vectors / np.sqrt(values)) @ vectors.T
        drift = _change_basis(matrix, np.eye(d), basis)
        least = smallest_dissipation(drift) / np.abs(drift).max()
        if (best is None and least >= most) or least > most:
            best, most = drift, least
        if most >= 0.0:
            break
    if best is None:
        raise np.linalg.LinAlgError("no solution of the Riccati equation was found")
    return best
