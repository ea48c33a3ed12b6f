# SPDX-License-Identifier: MIT
"""From a run to its memory: record velocities, extract the kernel, test that the run obeys fluctuation-dissipation."""

import numpy as np
import openmm

import meanforce
from meanforce.memory import extract_kernel, fdt_test, fit_kernel, markovian_report

KT = 300.0 * 0.00831446261815324  # kJ/mol
MASS, STIFFNESS, STEP = 18.0, 500.0, 0.01  # dalton, kJ/mol/nm^2, ps

# The reference: beads on springs, with a memory that we pretend not to know.
true = meanforce.MemoryKernel.prony([400.0, 50.0], [0.05, 0.5])
system = openmm.System()
spring = openmm.CustomExternalForce(f"{STIFFNESS / 2}*(x^2+y^2+z^2)")
for i in range(200):
    system.addParticle(MASS)
    spring.addParticle(i)
system.addForce(spring)
integrator = meanforce.GLEIntegrator(300.0, true, STEP)
integrator.setRandomNumberSeed(1)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
context.setPositions(np.random.default_rng(1).normal(size=(200, 3)) * np.sqrt(KT / STIFFNESS))
context.setVelocitiesToTemperature(300.0, 2)
positions, velocities = [], []
for _ in range(1500):
    integrator.step(1)
    state = context.getState(positions=True, velocities=True)
    positions.append(state.getPositions(asNumpy=True)._value)
    velocities.append(state.getVelocities(asNumpy=True)._value)
x, v = np.array(positions), np.array(velocities)

# Velocities of this integrator belong to a time half a step before the positions.
masses = np.full(200, MASS)
options = {"max_time": 2.0, "masses": masses, "temperature": 300.0, "velocity_time_offset": -STEP / 2}
found = extract_kernel(x, v, STEP, mean_force="linear", **options)
forgotten = extract_kernel(x, v, STEP, **options)
exact = true.integrated(2.0)
value, error = found.table.integrated[-1], found.integrated_error[-1]
print(f"friction up to 2 ps: {value:.1f} +- {error:.1f} / ps, truth {exact:.1f};")
print(f"without the mean force it would be {forgotten.table.integrated[-1]:.0f} / ps")

fit = fit_kernel(found.table.t, integrated=found.table.integrated, modes=(2, 0))
print(f"passive fit: {fit.kernel}, relative error of int k {fit.integrated_error:.3f}")
print(markovian_report(fit.kernel))

forces = -STIFFNESS * x
print(fdt_test(true, v, STEP, temperature=300.0, masses=masses, max_time=1.0, forces=forces))
print("if friction had no memory:")
white = meanforce.MemoryKernel.white(true.friction)
print(fdt_test(white, v, STEP, temperature=300.0, masses=masses, max_time=1.0, forces=forces))
