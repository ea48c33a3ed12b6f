# SPDX-License-Identifier: MIT
"""One memory kernel, three kinds of dynamics: with memory, with white friction, and without inertia.

All diffuse alike; only the first has the velocities. `markovian` says from which time on the others will do.
"""

import numpy as np
import openmm

import meanforce

TEMPERATURE, MASS, BEADS = 300.0, 18.0, 2000  # K, dalton

# A bead that rattles in a cage of its neighbours: friction with a negative lobe.
kernel = meanforce.MemoryKernel.prony([900.0], [0.02]) + meanforce.MemoryKernel.damped_cosine(250.0, -60.0, 8.0, 30.0)
limit = kernel.markovian()
print(limit)

system = openmm.System()
for _ in range(BEADS):
    system.addParticle(MASS)


def diffusion(integrator: openmm.Integrator, time: float) -> float:
    """Return D from the mean square displacement after `time` ps, in 1e-9 m^2/s, with a standard error of 1.8 %."""
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.zeros((BEADS, 3)))
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    integrator.step(round(time / integrator.getStepSize()._value))
    x = context.getState(positions=True).getPositions(asNumpy=True)._value
    return 1000 * np.mean(x**2) / (2 * time)


time = 100 * limit.shortest_time
expected = 1000 * kernel.diffusion(TEMPERATURE, MASS)
print(f"kT / (mass * friction): {expected:.2f}e-9 m^2/s")
for name, integrator in (
    ("GLE", meanforce.GLEIntegrator(TEMPERATURE, kernel, 0.005)),
    ("Langevin", kernel.langevin(TEMPERATURE, 0.005)),
    ("Brownian", kernel.brownian(TEMPERATURE, 0.05)),
):
    print(f"{name:>9}: {diffusion(integrator, time):.2f}")
n = np.arange(200)
difference = np.abs(kernel.vacf(n, 0.005) - limit.kernel.vacf(n, 0.005)).max()
print(f"largest difference of the velocity correlation without memory: {difference:.3f}")
