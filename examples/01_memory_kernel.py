# SPDX-License-Identifier: MIT
"""Run a memory kernel and see it in the motion: the velocity autocorrelation of free particles.

For a free particle the discrete dynamics has an exact autocorrelation, which the run must reproduce.
"""

import numpy as np
import openmm
from openmm import unit

import meanforce
from meanforce.memory import velocity_autocorrelation

kernel = meanforce.MemoryKernel.prony([300.0], [0.05]) + meanforce.MemoryKernel.damped_cosine(100.0, 0.0, 2.0, 30.0)
step = 0.005  # ps

system = openmm.System()
for _ in range(500):
    system.addParticle(18.0)
integrator = meanforce.GLEIntegrator(300 * unit.kelvin, kernel, step * unit.picoseconds)
integrator.setRandomNumberSeed(1)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
context.setPositions(np.zeros((500, 3)))
context.setVelocitiesToTemperature(300, 1)

velocities = []
for _ in range(2000):
    integrator.step(1)
    velocities.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
found = velocity_autocorrelation(np.array(velocities), step, max_time=1.0)
exact = kernel.vacf(np.arange(len(found.t)), step)
print(f"friction: {kernel.friction:.3f} 1/ps")
print(f"largest deviation of the autocorrelation: {np.abs(found.value - exact).max():.3f}")
