# SPDX-License-Identifier: MIT
"""The generalized Langevin integrator: friction with memory, and the noise that belongs to it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from . import _meanforce
from ._openmm import adopt, strip_units

_PER_PICOSECOND = unit.picosecond**-1
_SQRT_ENERGY = unit.kilojoule_per_mole**0.5


def _drift_matrix(kernel: Any) -> tuple[NDArray[np.float64], int]:
    """Return the (d+n, d+n) drift matrix in 1/ps and the dimension d of a memory kernel; d = 1 for a plain matrix."""
    drift = np.asarray(strip_units(getattr(kernel, "drift", kernel), _PER_PICOSECOND), dtype=np.float64)
    if drift.ndim != 2 or drift.shape[0] != drift.shape[1] or drift.size == 0:
        raise ValueError(
            "the drift matrix must be square, (n+1, n+1) for n auxiliary variables, got an array of shape "
            f"{drift.shape}; friction gamma without memory is [[gamma]]"
        )
    return drift, int(getattr(kernel, "dimension", 1))


def _friction(drift: NDArray[np.float64], d: int) -> float:
    """Return the integral of k(t), of a matrix kernel the largest in any direction, in 1/ps; 0 if it is infinite."""
    try:
        friction = drift[:d, :d] - drift[:d, d:] @ np.linalg.solve(drift[d:, d:], drift[d:, :d])
    except np.linalg.LinAlgError:
        return 0.0
    return float(np.linalg.eigvalsh((friction + friction.T) / 2)[-1])


class GLEIntegrator(openmm.Integrator):
    r"""Simulates a System with the generalized Langevin equation.

    .. math::

        m \dot v = F - m \int_0^t k(s)\, v(t-s)\, ds + R(t), \qquad \langle R(t) R(t')\rangle = m kT k(|t-t'|)

    The memory is that of `n` auxiliary variables `s` for each degree of freedom. With ``u = sqrt(m) v``, the bath is
    ``d(u, s) = -A (u, s) dt + noise`` for a drift matrix `A`, and the noise is the one that keeps `u` and every `s`
    independent and normal with variance kT. Then ``k(t) = 2 A[0, 0] delta(t) - A[0, 1:] expm(-A[1:, 1:] t) A[1:, 0]``.
    Such noise exists if and only if ``A + A.T`` has no negative eigenvalue.

    A kernel of dimension 3 is a 3 x 3 matrix in the laboratory frame, as near a wall or in a channel: `u` is then the
    vector of all three directions, with `n` auxiliary variables that it shares, and `A` has the shape (3+n, 3+n).

    One step needs one force evaluation (kick, half drift, exact bath, half drift). Positions, velocities and auxiliary
    variables of harmonic systems are sampled without any error from the step size. Velocities lag half a step behind
    positions. Without memory, ``A = [[gamma]]``, this is OpenMM's LangevinMiddleIntegrator.

    Random numbers are a function of (seed, steps taken, particle, component) only: all platforms use the same ones.
    Checkpoints and States with integrator parameters continue a trajectory exactly; but in a Context that has already
    taken more steps with the same seed, a State continues with fresh noise, so that the replicas of OpenMM's
    ReplicaExchangeSampler, which take turns in one Context, do not share their random forces.

    Constraints may act on particles with memory: the velocities that they forbid are then drawn anew from equilibrium
    before the bath acts, and removed after it, which keeps the canonical distribution. Particles of mass zero and
    virtual sites have no bath.

    Kernels, their particles, the seed and
    the auxiliary initialization are read when a Context is created; step size and temperature may change at any time.

    Parameters
    ----------
    temperature
        Temperature of the heat bath, in K.
    kernel
        The memory of all particles: an object with the attributes `drift` and, unless it is 1, `dimension`, such as
        `meanforce.MemoryKernel`, or the matrix `A` itself, of shape (n+1, n+1), in 1/ps, n <= 32. More kernels can be
        added; see `setParticleKernel`.
    stepSize
        Step size, in ps.

    Raises
    ------
    ValueError
        If `A` is not square, not finite, too large or not passive; if the temperature is negative; or if the step size
        is not positive.

    Warns
    -----
    UserWarning
        Once, if the friction of a kernel times the step size exceeds 1.

    References
    ----------
    Drift matrices: M. Ceriotti, G. Bussi, M. Parrinello, J. Chem. Theory Comput. 6, 1170 (2010),
    doi:10.1021/ct900563s. Order of operations: Z. Zhang et al., J. Phys. Chem. A 123, 6056 (2019),
    doi:10.1021/acs.jpca.9b02771.
    """

    #: Auxiliary variables start as in a bath that has always been in equilibrium.
    Equilibrium = 0
    #: Auxiliary variables start from zero: the bath has no memory of the time before.
    Zero = 1

    def __init__(self, temperature: Any, kernel: Any, stepSize: Any) -> None:
        drift, dimension = _drift_matrix(kernel)
        adopt(
            self,
            '<Integrator type="meanforce::GLEIntegrator" version="1" temperature="0" stepSize="0.001"'
            ' constraintTolerance="1e-05" randomSeed="0" integrationForceGroups="-1" auxiliaryInitialization="0">'
            '<Kernels/><ParticleKernels particles="" kernels=""/></Integrator>',
        )
        self.setTemperature(temperature)
        _meanforce.GLEIntegrator_addKernel(self, drift, dimension)
        _meanforce.GLEIntegrator_setStepSize(self, float(strip_units(stepSize, unit.picosecond)))
        self._warn_of_large_friction()

    @classmethod
    def isinstance(cls, integrator: openmm.Integrator) -> bool:
        """Return whether `integrator`, whose Python class may be the generic one, is a GLEIntegrator."""
        return bool(_meanforce.is_GLEIntegrator(integrator))

    @classmethod
    def cast(cls, integrator: openmm.Integrator) -> GLEIntegrator:
        """Give a generic openmm.Integrator, as made by XmlSerializer, the class GLEIntegrator.

        Raises
        ------
        TypeError
            If it is another kind of integrator.
        """
        if not cls.isinstance(integrator):
            raise TypeError("this integrator is not a GLEIntegrator")
        integrator.__class__ = cls
        integrator._warn_of_large_friction()
        return integrator  # type: ignore[no-any-return]

    def getTemperature(self) -> unit.Quantity:
        """Return the temperature of the heat bath, in K."""
        return _meanforce.GLEIntegrator_getTemperature(self) * unit.kelvin

    def setTemperature(self, temperature: Any) -> None:
        """Set the temperature of the heat bath, in K, from the next step on.

        Auxiliary variables are then scaled by sqrt(T'/T), which puts the bath in equilibrium at the new temperature at
        once; velocities are left alone.
        """
        _meanforce.GLEIntegrator_setTemperature(self, float(strip_units(temperature, unit.kelvin)))

    def setStepSize(self, size: Any) -> None:
        """Set the step size, in ps."""
        _meanforce.GLEIntegrator_setStepSize(self, float(strip_units(size, unit.picosecond)))
        self._warn_of_large_friction()

    def addKernel(self, kernel: Any) -> int:
        """Add a memory kernel (an object with an attribute `drift`, or the drift matrix in 1/ps); return its index."""
        index = int(_meanforce.GLEIntegrator_addKernel(self, *_drift_matrix(kernel)))
        self._warn_of_large_friction()
        return index

    def _warn_of_large_friction(self) -> None:
        if getattr(self, "_has_warned", False):
            return
        step = self.getStepSize()._value
        for index in range(self.getNumKernels()):
            friction = _friction(self.getKernel(index)._value, self.getKernelDimension(index))
            if friction * step > 1:
                self._has_warned = True
                warnings.warn(
                    f"the friction of kernel {index} times the step size is {friction * step:.3g}, above 1. Sampling "
                    "is right, but where memory is shorter than a step, the dynamics no longer depends on the "
                    "friction: then use kernel.brownian(temperature, stepSize)",
                    stacklevel=3,
                )
                return

    def getNumKernels(self) -> int:
        """Return the number of memory kernels."""
        return int(_meanforce.GLEIntegrator_getNumKernels(self))

    def getKernel(self, index: int) -> unit.Quantity:
        """Return the drift matrix of a memory kernel, an array of shape (d+n, d+n) in 1/ps."""
        drift = np.array(_meanforce.GLEIntegrator_getKernel(self, index))
        size = round(len(drift) ** 0.5)
        return unit.Quantity(drift.reshape(size, size), _PER_PICOSECOND)

    def getKernelDimension(self, index: int) -> int:
        """Return the dimension d of a memory kernel: 1, or 3 for a 3 x 3 matrix."""
        return int(_meanforce.GLEIntegrator_getKernelDimension(self, index))

    def setParticleKernel(self, particle: int, kernel: int) -> None:
        """Set the index of the memory kernel of a particle: 0 unless set; -1 for no heat bath at all."""
        _meanforce.GLEIntegrator_setParticleKernel(self, particle, kernel)

    def getParticleKernel(self, particle: int) -> int:
        """Return the index of the memory kernel of a particle, or -1 if it has no heat bath."""
        return int(_meanforce.GLEIntegrator_getParticleKernel(self, particle))

    def getParticleKernels(self) -> dict[int, int]:
        """Return the kernels of those particles for which `setParticleKernel` was called, by particle index."""
        return dict(_meanforce.GLEIntegrator_getParticleKernels(self))

    def getNumModes(self) -> int:
        """Return the largest number of auxiliary variables per degree of freedom of any kernel added so far.

        A kernel of dimension 3 with n auxiliary variables counts as n/3, rounded up.
        """
        return int(_meanforce.GLEIntegrator_getNumModes(self))

    def getRandomNumberSeed(self) -> int:
        """Return the seed that was set; 0 means that each Context draws a fresh one."""
        return int(_meanforce.GLEIntegrator_getRandomNumberSeed(self))

    def setRandomNumberSeed(self, seed: int) -> None:
        """Set the random number seed; 0, the default, for a fresh one each time.

        A Context that exists goes on with the new seed from its next step. Loading a checkpoint or State restores the
        seed of the run that made it: set another one afterwards, so that runs from one State are independent.
        """
        _meanforce.GLEIntegrator_setRandomNumberSeed(self, seed)

    def getAuxiliaryInitialization(self) -> int:
        """Return how auxiliary variables start: `Equilibrium`, the default, or `Zero`."""
        return int(_meanforce.GLEIntegrator_getAuxiliaryInitialization(self))

    def setAuxiliaryInitialization(self, initialization: int) -> None:
        """Set how auxiliary variables start when a Context is created: `Equilibrium` or `Zero`."""
        _meanforce.GLEIntegrator_setAuxiliaryInitialization(self, initialization)

    def getAuxiliaryVariables(self) -> unit.Quantity:
        """Return the auxiliary variables, shape (particles, 3, modes), in sqrt(kJ/mol).

        `modes` is what `getNumModes()` was when the Context was created. Modes that a particle's kernel does not have
        are zero. Variable `j` of a kernel of dimension 3 is ``[particle, j % 3, j // 3]``.

        Raises
        ------
        ValueError
            If the integrator has no Context yet.
        """
        return unit.Quantity(_meanforce.GLEIntegrator_getAuxiliaryVariables(self), _SQRT_ENERGY)

    def setAuxiliaryVariables(self, s: Sequence[Any] | NDArray[np.float64] | unit.Quantity) -> None:
        """Set the auxiliary variables, of the shape and unit of `getAuxiliaryVariables()`.

        They are taken to belong to the current temperature.

        Raises
        ------
        ValueError
            If the integrator has no Context yet, if the shape is another, or if a value is not finite.
        """
        array = np.asarray(strip_units(s, _SQRT_ENERGY), dtype=np.float64)
        shape = tuple(_meanforce.GLEIntegrator_getAuxiliaryShape(self))
        if array.shape != shape:
            raise ValueError(
                f"auxiliary variables must have the shape (particles, 3, modes) = {shape}, got {array.shape}"
            )
        _meanforce.GLEIntegrator_setAuxiliaryVariables(self, array)

    def getBathHeat(self) -> unit.Quantity:
        """Return the energy that the particles have given to the bath, in kJ/mol.

        Potential energy plus kinetic energy plus this heat does not drift where the step resolves the forces. It
        fluctuates in proportion to the step size, because velocities lag half a step behind positions; see
        `computeConservedEnergy`.

        Raises
        ------
        ValueError
            If the integrator has no Context yet.
        """
        return _meanforce.GLEIntegrator_getBathHeat(self) * unit.kilojoule_per_mole

    def computeConservedEnergy(self) -> unit.Quantity:
        """Return potential energy plus kinetic energy plus heat of the bath, in kJ/mol, all at the same time.

        Velocities are taken half a step forward to the time of the positions. The sum is conserved as well as in a
        Verlet integration: it fluctuates in proportion to the square of the step size. Forces are evaluated.

        Raises
        ------
        ValueError
            If the integrator has no Context yet.
        """
        return _meanforce.GLEIntegrator_computeConservedEnergy(self) * unit.kilojoule_per_mole
