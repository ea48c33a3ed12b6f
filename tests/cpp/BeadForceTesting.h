// SPDX-License-Identifier: MIT
// Shared by the C++ tests of forces on beads.
#pragma once
#include "Testing.h"
#include "meanforce/BeadForce.h"
#include "openmm/Context.h"
#include "openmm/State.h"
#include "openmm/System.h"
#include "openmm/VerletIntegrator.h"
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace meanforce {
namespace testing {

/** Jittered lattice points, so that no two beads are closer than 0.1 nm, exact in single precision. */
inline std::vector<OpenMM::Vec3> createPositions(int numParticles, const OpenMM::Vec3* box) {
    std::mt19937 random(4);
    std::uniform_real_distribution<double> uniform;
    const int n = (int) std::ceil(std::cbrt(numParticles));
    std::vector<OpenMM::Vec3> positions;
    for (int i = 0; i < numParticles; i++) {
        OpenMM::Vec3 s((i%n+0.5*uniform(random))/n, (i/n%n+0.5*uniform(random))/n, (i/(n*n)+0.5*uniform(random))/n);
        OpenMM::Vec3 x = box[0]*s[0]+box[1]*s[1]+box[2]*s[2];
        positions.push_back(OpenMM::Vec3((float) x[0], (float) x[1], (float) x[2]));
    }
    return positions;
}

/** The forces and the energy at these positions. */
inline OpenMM::State evaluate(const OpenMM::System& system, const std::vector<OpenMM::Vec3>& positions, OpenMM::Platform& platform,
        const std::map<std::string, std::string>& properties) {
    OpenMM::VerletIntegrator integrator(0.001);
    OpenMM::Context context(system, integrator, platform, properties);
    context.setPositions(positions);
    return context.getState(OpenMM::State::Forces | OpenMM::State::Energy);
}

/**
 * Fails unless the platform gives Reference's energy and forces, and forces that add up to zero.  Returns what Reference gives.
 *
 * @param tolerance          of the forces, relative to their root mean square
 * @param energyTolerance    of the energy, relative
 */
inline OpenMM::State assertEqualsReference(const TestPlatform& test, const OpenMM::System& system, const std::vector<OpenMM::Vec3>& positions,
        double tolerance, double energyTolerance) {
    using namespace OpenMM;    // for the macros
    OpenMM::State found = evaluate(system, positions, test.platform, test.properties);
    OpenMM::State expected = evaluate(system, positions, *findPlatform("Reference"), {});
    double error = 0.0, size = 0.0;
    OpenMM::Vec3 sum;
    for (size_t i = 0; i < positions.size(); i++) {
        OpenMM::Vec3 difference = found.getForces()[i]-expected.getForces()[i];
        error += difference.dot(difference);
        size += expected.getForces()[i].dot(expected.getForces()[i]);
        sum += found.getForces()[i];
    }
    ASSERT(size > 1);
    ASSERT(std::sqrt(error/size) < tolerance);
    ASSERT_EQUAL_TOL(expected.getPotentialEnergy(), found.getPotentialEnergy(), energyTolerance);
    ASSERT_EQUAL_VEC(OpenMM::Vec3(), sum, 10*tolerance*std::sqrt(size));
    return expected;
}

/** Fails unless the energy falls along the forces as they say. */
inline void assertForcesAreGradient(const OpenMM::System& system, const std::vector<OpenMM::Vec3>& positions, const std::vector<OpenMM::Vec3>& forces,
        OpenMM::Platform& platform, const std::map<std::string, std::string>& properties, double step, double tolerance) {
    using namespace OpenMM;    // for the macros
    double size = 0.0;
    for (const OpenMM::Vec3& force : forces)
        size += force.dot(force);
    const double h = step/std::sqrt(size);
    std::vector<OpenMM::Vec3> plus(positions), minus(positions);
    for (size_t i = 0; i < positions.size(); i++) {
        plus[i] += forces[i]*h;
        minus[i] -= forces[i]*h;
    }
    double difference = evaluate(system, minus, platform, properties).getPotentialEnergy()-evaluate(system, plus, platform, properties).getPotentialEnergy();
    ASSERT_EQUAL_TOL(size, difference/(2*h), tolerance);
}

/** A force of which no bead takes part does nothing, and one lonely bead feels nothing. */
inline void assertFewBeadsWork(const TestPlatform& test, const std::function<BeadForce*(int numBeads)>& createForce) {
    using namespace OpenMM;    // for the macros
    for (int numBeads : {0, 1}) {
        OpenMM::System system;
        BeadForce* force = createForce(3);
        system.addForce(force);
        for (int i = 0; i < 3; i++) {
            system.addParticle(18.0);
            if (i >= numBeads)
                force->setParticleType(i, -1);
        }
        const OpenMM::Vec3 box[3] = {OpenMM::Vec3(2, 0, 0), OpenMM::Vec3(0, 2, 0), OpenMM::Vec3(0, 0, 2)};
        system.setDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
        OpenMM::State found = evaluate(system, createPositions(3, box), test.platform, test.properties);
        for (const OpenMM::Vec3& x : found.getForces())
            ASSERT_EQUAL_VEC(OpenMM::Vec3(), x, 0.0);
        ASSERT(numBeads > 0 ? std::isfinite(found.getPotentialEnergy()) : found.getPotentialEnergy() == 0.0);
    }
}

/** On the CPU platform, three threads with enough beads for all of them give Reference's forces, before and after some steps. */
inline void assertThreadsAgree(const TestPlatform& test, const std::function<BeadForce*(int numBeads)>& createForce, int numBeads) {
    using namespace OpenMM;    // for the macros
    if (test.getName() != "CPU")
        return;
    TestPlatform threaded(test.platform, "");
    threaded.properties["Threads"] = "3";
    const double width = std::cbrt(numBeads/12.0);    // 12 beads per nm^3
    const OpenMM::Vec3 box[3] = {OpenMM::Vec3(width, 0, 0), OpenMM::Vec3(0.25, width, 0), OpenMM::Vec3(-0.375, 0.5, width)};
    OpenMM::System system;
    system.setDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
    system.addForce(createForce(numBeads));
    for (int i = 0; i < numBeads; i++)
        system.addParticle(18.0);
    std::vector<OpenMM::Vec3> positions = createPositions(numBeads, box);
    assertEqualsReference(threaded, system, positions, 1e-5, 1e-5);
    OpenMM::VerletIntegrator integrator(0.001);
    OpenMM::Context context(system, integrator, threaded.platform, threaded.properties);
    context.setPositions(positions);
    integrator.step(20);
    ASSERT(std::isfinite(context.getState(OpenMM::State::Energy).getPotentialEnergy()));
}

}
}
