// SPDX-License-Identifier: MIT
#include "BeadForceTesting.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/SplinePieces.h"
#include "openmm/serialization/XmlSerializer.h"
#include <memory>
#include <random>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static const double CUTOFF = 0.5;
static const int FUNCTIONS = 12;

static vector<double> createCoefficients(int numTypes) {
    mt19937 random(1);
    normal_distribution<double> normal;
    vector<double> values(numTypes*(numTypes+1)/2*FUNCTIONS);
    for (double& value : values)
        value = 10*normal(random);
    return values;
}

/** The polynomials of each interval are the sums of B-splines. */
static void testPieces() {
    const vector<double> coefficients = createCoefficients(2), pieces = splinePieces(coefficients, FUNCTIONS, FUNCTIONS);
    for (int row = 0; row < 3; row++)
        for (int n = 0; n < FUNCTIONS; n++)
            for (double f : {0.0, 0.3, 0.9}) {
                double B[4], dB[4], expected = 0.0;
                cubicBSplineWeights<double, double>(f, B, dB);
                for (int s = 0; s < 4; s++)
                    if (n-3+s >= 0)
                        expected += B[s]*coefficients[row*FUNCTIONS+FUNCTIONS-1-(n-3+s)];
                const double* a = &pieces[4*(row*FUNCTIONS+n)];
                ASSERT_EQUAL_TOL(expected, a[0]+f*(a[1]+f*(a[2]+f*a[3])), 1e-13);
            }
}

static unique_ptr<PairSplineForce> createForce(int numTypes, int numParticles, bool periodic) {
    auto force = make_unique<PairSplineForce>(numTypes, CUTOFF);
    force->setCoefficients(createCoefficients(numTypes));
    force->setUsesPeriodicBoundaryConditions(periodic);
    for (int i = 0; i < numParticles; i++)
        force->addParticle(i%numTypes);
    for (int i = 0; i+1 < numParticles; i += 3)
        force->addExclusion(i, i+1);
    return force;
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

/** The pair that is excluded feels nothing, in whichever order it was named. */
static void testExclusion(const TestPlatform& test) {
    for (bool excluded : {false, true}) {
        System system;
        auto force = make_unique<PairSplineForce>(1, CUTOFF);
        force->setCoefficients(createCoefficients(1));
        for (int i = 0; i < 3; i++) {
            system.addParticle(1.0);
            force->addParticle(0);
        }
        if (excluded)
            force->addExclusion(2, 0);
        system.addForce(force.release());
        State state = evaluate(system, {Vec3(0, 0, 0), Vec3(2, 0, 0), Vec3(0.25, 0, 0)}, test.platform, test.properties);
        ASSERT(excluded == (state.getForces()[0][0] == 0));
        ASSERT(excluded == (state.getPotentialEnergy() == 0));
    }
}

static void testSerialization() {
    unique_ptr<PairSplineForce> force = createForce(2, 5, true);
    stringstream first, second;
    XmlSerializer::serialize<Force>(force.get(), "Force", first);
    unique_ptr<Force> copy(XmlSerializer::deserialize<Force>(first));
    auto& found = dynamic_cast<PairSplineForce&>(*copy);
    ASSERT(found.getCoefficients() == force->getCoefficients());
    ASSERT_EQUAL(2, found.getNumExclusions());
    XmlSerializer::serialize<Force>(copy.get(), "Force", second);
    ASSERT_EQUAL(first.str(), second.str());
}

static void testValidation() {
    assertThrows([] { PairSplineForce(1, NAN); }, "the cutoff must be positive (nm), found nan");
    PairSplineForce force(2, 0.5);
    assertThrows([&] { force.setCoefficients(vector<double>(16)); }, "multiple of the number of pairs of types, 3, and at least 4 times as large, found 16");
    assertThrows([&] { force.setCoefficients(vector<double>(12, INFINITY)); }, "coefficients must be finite");
    assertThrows([&] { force.addExclusion(3, 3); }, "two different particles, with indices of at least 0, found 3 and 3");
    assertThrows([&] { force.validate(); }, "setCoefficients() must be called");
}

static void runTests(const TestPlatform& test) {
    testPieces();
    testForces(test, 1, true);
    testForces(test, 3, true);
    testForces(test, 2, false);
    testExclusion(test);
    testSerialization();
    testValidation();
    auto beads = [](int numBeads) { return createForce(2, numBeads, true).release(); };
    assertFewBeadsWork(test, beads);
    assertThreadsAgree(test, beads, 1500);
}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
