// SPDX-License-Identifier: MIT
#include "BeadForceTesting.h"
#include "meanforce/StillingerWeberForce.h"
#include "openmm/serialization/XmlSerializer.h"
#include <memory>
#include <random>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static const double CUTOFF = 0.5;

static unique_ptr<StillingerWeberForce> createForce(int numTypes, int numParticles, bool periodic) {
    mt19937 random(1);
    uniform_real_distribution<double> uniform;
    auto force = make_unique<StillingerWeberForce>(numTypes, CUTOFF);
    for (int center = 0; center < numTypes; center++)
        for (int type1 = 0; type1 < numTypes; type1++) {
            force->setPairParameters(center, type1, 0.4+0.1*uniform(random), 0.1+0.1*uniform(random));
            for (int type2 = 0; type2 <= type1; type2++)
                force->setTripletParameters(center, type1, type2, 50*uniform(random), 100*uniform(random), 100*uniform(random));
        }
    force->setUsesPeriodicBoundaryConditions(periodic);
    for (int i = 0; i < numParticles; i++)
        force->addParticle(i%numTypes);
    return force;
}

/** Three beads: the energy of the equation in the header, term by term. */
static void testTriple(const TestPlatform& test) {
    const double a = 0.45, gamma = 0.12, c0 = 7, c1 = -30, c2 = 80;
    System system;
    auto force = make_unique<StillingerWeberForce>(2, CUTOFF);
    force->setPairParameters(1, 0, a, gamma);
    force->setTripletParameters(1, 0, 0, c0, c1, c2);
    for (int type : {0, 1, 0}) {
        system.addParticle(1.0);
        force->addParticle(type);
    }
    system.addForce(force.release());
    const double r1 = 0.25, r2 = 0.3125, cosine = 0.6;
    const vector<Vec3> positions = {Vec3(r1, 0, 0), Vec3(0, 0, 0), Vec3(cosine*r2, 0.8*r2, 0)};
    const double g = exp(gamma/(r1-a))*exp(gamma/(r2-a)), h = c0+c1*cosine+c2*cosine*cosine;
    State state = evaluate(system, positions, test.platform, test.properties);
    const double tolerance = test.tolerance(1e-5, 1e-5, test.getName() == "CPU" ? 1e-6 : 1e-12);
    ASSERT_EQUAL_TOL(h*g, state.getPotentialEnergy(), tolerance);
    // Bead 0 moves along the axis: only its distance changes; across: only the angle.
    ASSERT_EQUAL_TOL(h*g*gamma/((r1-a)*(r1-a)), state.getForces()[0][0], 10*tolerance);
    ASSERT_EQUAL_TOL(-(c1+2*c2*cosine)*g*0.8/r1, state.getForces()[0][1], 10*tolerance);
}

/** The classical form vanishes with its force at its own angle. */
static void testAngle(const TestPlatform& test) {
    System system;
    auto force = make_unique<StillingerWeberForce>(1, CUTOFF);
    force->setPairParameters(0, 0, 0.35, 0.1);
    force->setTripletAngle(0, 0, 0, 500.0, -0.6);
    for (int i = 0; i < 3; i++) {
        system.addParticle(1.0);
        force->addParticle(0);
    }
    double c0, c1, c2;
    force->getTripletParameters(0, 0, 0, c0, c1, c2);
    ASSERT_EQUAL_TOL(180.0, c0, 1e-14);
    ASSERT_EQUAL_TOL(600.0, c1, 1e-14);
    ASSERT_EQUAL_TOL(500.0, c2, 1e-14);
    system.addForce(force.release());
    for (double cosine : {-0.6, -0.8}) {
        double sine = sqrt(1-cosine*cosine);
        State state = evaluate(system, {Vec3(0, 0, 0), Vec3(0.25, 0, 0), Vec3(0.25*cosine, 0.25*sine, 0)}, test.platform, test.properties);
        ASSERT((fabs(state.getPotentialEnergy()) < 1e-4) == (cosine == -0.6));
        ASSERT((fabs(state.getForces()[1][1]) < 1e-3) == (cosine == -0.6));
    }
}

static void testForces(const TestPlatform& test, int numTypes, bool periodic) {
    const int numParticles = 60;
    mt19937 random(2);
    uniform_real_distribution<double> uniform(0.0, 1.25);
    System system;
    system.setDefaultPeriodicBoxVectors(Vec3(1.25, 0, 0), Vec3(0.5, 1.25, 0), Vec3(-0.375, 0.25, 1.25));
    vector<Vec3> positions;
    for (int i = 0; i < numParticles; i++) {
        system.addParticle(18.0);
        positions.push_back(Vec3((float) uniform(random), (float) uniform(random), (float) uniform(random)));
    }
    system.addForce(createForce(numTypes, numParticles, periodic).release());
    const double tolerance = test.tolerance(1e-5, 1e-5, 1e-9);
    assertEqualsReference(test, system, positions, tolerance, test.getName() == "CPU" ? 1e-6 : tolerance);
}

static void testSerialization() {
    unique_ptr<StillingerWeberForce> force = createForce(2, 5, true);
    stringstream first, second;
    XmlSerializer::serialize<Force>(force.get(), "Force", first);
    unique_ptr<Force> copy(XmlSerializer::deserialize<Force>(first));
    auto& found = dynamic_cast<StillingerWeberForce&>(*copy);
    ASSERT(found.getAllPairParameters() == force->getAllPairParameters());
    ASSERT(found.getAllTripletParameters() == force->getAllTripletParameters());
    XmlSerializer::serialize<Force>(copy.get(), "Force", second);
    ASSERT_EQUAL(first.str(), second.str());
}

static void testValidation() {
    assertThrows([] { StillingerWeberForce(0, 0.5); }, "the number of types must be at least 1, found 0");
    StillingerWeberForce force(2, 0.5);
    assertThrows([&] { force.setPairParameters(0, 1, 0.51, 0.1); }, "the range must be positive and at most the cutoff, 0.5 nm, found 0.51");
    assertThrows([&] { force.setPairParameters(0, 1, 0.4, INFINITY); }, "gamma must be positive (nm), found inf");
    assertThrows([&] { force.setTripletParameters(0, 1, 2, 0, 0, 0); }, "the index of a bead type must be at least 0 and less than 2, found 2");
    assertThrows([&] { force.setTripletAngle(0, 1, 1, 1.0, 1.5); }, "cosine of the angle must be from -1 to 1, found 1.5");
    force.setTripletAngle(0, 1, 1, 1.0, 0.5);
    assertThrows([&] { force.validate(); }, "none for a centre of type 0 and a neighbour of type 1");
}

static void runTests(const TestPlatform& test) {
    testTriple(test);
    testAngle(test);
    testForces(test, 1, true);
    testForces(test, 3, true);
    testForces(test, 2, false);
    testSerialization();
    testValidation();
    auto beads = [](int numBeads) { return createForce(2, numBeads, true).release(); };
    assertFewBeadsWork(test, beads);
    assertThreadsAgree(test, beads, 1200);
}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
