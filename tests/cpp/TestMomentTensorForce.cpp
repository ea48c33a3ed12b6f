// SPDX-License-Identifier: MIT
#include "BeadForceTesting.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/CubicBSpline.h"
#include "meanforce/internal/SphericalHarmonics.h"
#include "openmm/serialization/XmlSerializer.h"
#include <memory>
#include <random>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static const double CUTOFF = 0.45;

static double legendre(int l, double x) {
    double previous = 0.0, value = 1.0;
    for (int n = 0; n < l; n++) {
        double next = ((2*n+1)*x*value-n*previous)/(n+1);
        previous = value;
        value = next;
    }
    return value;
}

static Vec3 randomVector(mt19937& random) {
    normal_distribution<double> normal;
    return Vec3(normal(random), normal(random), normal(random));
}

/** sum_m Y_lm(u) Y_lm(v) = P_l(u.v). */
static void testHarmonicsObeyTheAdditionTheorem() {
    mt19937 random(1);
    for (int trial = 0; trial < 10; trial++) {
        Vec3 u = randomVector(random), v = randomVector(random);
        u /= sqrt(u.dot(u));
        v /= sqrt(v.dot(v));
        double Yu[25], Yv[25];
        sphericalHarmonics<4, double, double>(u[0], u[1], u[2], Yu);
        sphericalHarmonics<4, double, double>(v[0], v[1], v[2], Yv);
        for (int l = 0; l <= 4; l++) {
            double sum = 0.0;
            for (int lm = l*l; lm < (l+1)*(l+1); lm++)
                sum += Yu[lm]*Yv[lm];
            ASSERT_EQUAL_TOL(legendre(l, u.dot(v)), sum, 1e-13);
        }
    }
}

/** The projected gradients are the derivatives of Y_lm(r/|r|). */
static void testHarmonicGradients() {
    mt19937 random(2);
    const double h = 1e-6;
    for (int trial = 0; trial < 5; trial++) {
        Vec3 r = randomVector(random);
        auto harmonics = [](const Vec3& r, double* Y) {
            Vec3 n = r/sqrt(r.dot(r));
            sphericalHarmonics<4, double, double>(n[0], n[1], n[2], Y);
        };
        double gradient[3][25], plus[25], minus[25], inverseR = 1/sqrt(r.dot(r));
        Vec3 n = r*inverseR;
        sphericalHarmonicGradients<4, double, double>(n[0], n[1], n[2], gradient[0], gradient[1], gradient[2]);
        for (int lm = 0; lm < 25; lm++)
            projectGradient(n[0], n[1], n[2], inverseR, gradient[0][lm], gradient[1][lm], gradient[2][lm]);
        for (int k = 0; k < 3; k++) {
            Vec3 step;
            step[k] = h;
            harmonics(r+step, plus);
            harmonics(r-step, minus);
            for (int lm = 0; lm < 25; lm++)
                ASSERT_EQUAL_TOL((plus[lm]-minus[lm])/(2*h), gradient[k][lm], 1e-7);
        }
    }
}

/** B-splines add up to one, their slopes to zero, and the slopes are the derivatives. */
static void testSplineWeights() {
    const double h = 1e-6;
    for (double f : {0.0, 0.2, 0.5, 0.9}) {
        double B[4], dB[4], plus[4], minus[4], ignored[4];
        cubicBSplineWeights<double, double>(f, B, dB);
        cubicBSplineWeights<double, double>(f+h, plus, ignored);
        cubicBSplineWeights<double, double>(f-h, minus, ignored);
        ASSERT_EQUAL_TOL(1.0, B[0]+B[1]+B[2]+B[3], 1e-14);
        ASSERT_EQUAL_TOL(0.0, dB[0]+dB[1]+dB[2]+dB[3], 1e-14);
        for (int s = 0; s < 4; s++)
            ASSERT_EQUAL_TOL((plus[s]-minus[s])/(2*h), dB[s], 1e-8);
    }
    double B[4], dB[4];
    cubicBSplineWeights<double, double>(0.0, B, dB);
    ASSERT_EQUAL_TOL(2.0/3.0, B[1], 1e-15);
    ASSERT_EQUAL_TOL(1.0/6.0, B[2], 1e-15);
}

static unique_ptr<MomentTensorForce> createForce(int numTypes, int numParticles, int maxL, int channels, const string& activation, bool periodic) {
    mt19937 random(3);
    normal_distribution<double> normal;
    auto numbers = [&](int count, double scale) {
        vector<double> values(count);
        for (double& value : values)
            value = scale*normal(random);
        return values;
    };
    auto force = make_unique<MomentTensorForce>(numTypes, CUTOFF, maxL, channels);
    if (maxL >= 2 && channels >= 3) {
        force->addProduct({1, 1}, {0, 1});
        force->addProduct({1, 1, 2}, {0, 0, 2});
        force->addProduct({1, 1, 1}, {0, 1, 2});
    }
    force->setFilters(CUTOFF/9, numbers(9*(maxL+1)*channels, 1.0));
    force->setTypeWeights(numbers(numTypes*channels, 1.0));
    int features = force->getNumFeatures();
    force->addLayer(10, numbers(numTypes*10*features, 1/sqrt(features)), numbers(numTypes*10, 0.1));
    force->addLayer(7, numbers(numTypes*7*10, 0.3), numbers(numTypes*7, 0.1));
    force->addLayer(1, numbers(numTypes*7, 4.0), numbers(numTypes, 1.0));
    force->setActivation(activation);
    force->setUsesPeriodicBoundaryConditions(periodic);
    for (int i = 0; i < numParticles; i++)
        force->addParticle(i%numTypes);
    return force;
}

static void testForces(const TestPlatform& test, const string& shape, int numTypes, int maxL, int channels, const string& activation) {
    const int numParticles = 60;
    const Vec3 box[3] = {Vec3(1.25, 0, 0), Vec3(shape == "triclinic" ? 0.5 : 0, 1.25, 0), Vec3(shape == "triclinic" ? -0.375 : 0, shape == "triclinic" ? 0.25 : 0, 1.5)};
    System system;
    for (int i = 0; i < numParticles; i++)
        system.addParticle(18.0);
    system.setDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
    MomentTensorForce* force = createForce(numTypes, numParticles, maxL, channels, activation, shape != "none").release();
    system.addForce(force);
    vector<Vec3> positions = createPositions(numParticles, box);
    const double tolerance = (test.getName() == "CPU" ? 1e-5 : test.tolerance(1e-5, 1e-5, 1e-9));
    State expected = assertEqualsReference(test, system, positions, tolerance, tolerance);
    const double step = (test.isDouble() && test.getName() != "CPU" ? 1e-5 : 3e-4);
    assertForcesAreGradient(system, positions, expected.getForces(), test.platform, test.properties, step, 5e-3);
}

static void testSerialization() {
    unique_ptr<MomentTensorForce> force = createForce(2, 5, 2, 3, "silu", true);
    force->setForceGroup(4);
    stringstream first, second;
    XmlSerializer::serialize<Force>(force.get(), "Force", first);
    unique_ptr<Force> copy(XmlSerializer::deserialize<Force>(first));
    auto& found = dynamic_cast<MomentTensorForce&>(*copy);
    ASSERT_EQUAL(4, found.getForceGroup());
    ASSERT(found.getLayerWeights(1) == force->getLayerWeights(1));
    vector<int> degrees, shifts;
    found.getProduct(1, degrees, shifts);
    ASSERT_EQUAL(3, found.getNumProducts());
    ASSERT(degrees == vector<int>({1, 1, 2}) && shifts == vector<int>({0, 0, 2}));
    ASSERT_EQUAL((2+2+3)*3, found.getNumFeatures());
    XmlSerializer::serialize<Force>(copy.get(), "Force", second);
    ASSERT_EQUAL(first.str(), second.str());
    string text = first.str();
    text.replace(text.find("version=\"1\""), 11, "version=\"9\"");
    assertThrows([&] {
        stringstream newer(text);
        XmlSerializer::deserialize<Force>(newer);
    }, "found version 9");
}

static void testValidation() {
    assertThrows([] { MomentTensorForce(1, NAN, 3, 4); }, "the cutoff must be positive (nm), found nan");
    MomentTensorForce force(2, 0.5, 1, 3);
    assertThrows([&] { force.setFilters(0.1, vector<double>(7)); }, "positive multiple of (degrees)*(channels) = 6, found 7");
    assertThrows([&] { force.setTypeWeights(vector<double>(5)); }, "must be 6 (types*channels), found 5");
    assertThrows([&] { force.addLayer(2, vector<double>(2*2*9, INFINITY), vector<double>(4)); }, "weights of a layer with 9 inputs must be finite");
    assertThrows([&] { force.addLayer(2, vector<double>(2*2*8), vector<double>(4)); }, "must be 36 (types*outputs*inputs), found 32");
    assertThrows([&] { force.addParticle(-2); }, "found -2");
    assertThrows([&] { force.addProduct({1, 1, 1}, {0, 0, 0}); }, "must not vanish identically");
    force.addLayer(1, vector<double>(2*9), vector<double>(2));
    assertThrows([&] { force.addProduct({1, 1}, {0, 1}); }, "addProduct() must be called before addLayer(), found 1 layers");
}

static void runTests(const TestPlatform& test) {
    testHarmonicsObeyTheAdditionTheorem();
    testHarmonicGradients();
    testSplineWeights();
    testSerialization();
    testValidation();
    testForces(test, "none", 1, 0, 4, "tanh");
    testForces(test, "rectangular", 3, 3, 12, "tanh");
    testForces(test, "triclinic", 2, 4, 9, "silu");
    auto beads = [](int numBeads) { return createForce(2, numBeads, 3, 5, "tanh", true).release(); };
    assertFewBeadsWork(test, beads);
    assertThreadsAgree(test, beads, 300);
}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
