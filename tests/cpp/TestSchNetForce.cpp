// SPDX-License-Identifier: MIT
#include "BeadForceTesting.h"
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/FilterTable.h"
#include "meanforce/internal/QuinticBSpline.h"
#include "openmm/serialization/XmlSerializer.h"
#include <memory>
#include <random>
#include <vector>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static const double CUTOFF = 0.45;

/** Quintic B-splines add up to one, their slopes to zero, and the slopes are the derivatives. */
static void testQuinticWeights() {
    const double h = 1e-5;
    for (double f : {0.0, 0.2, 0.5, 0.9}) {
        double B[6], dB[6], plus[6], minus[6], ignored[6], sum = 0.0, slope = 0.0;
        quinticBSplineWeights<double, double>(f, B, dB);
        quinticBSplineWeights<double, double>(f+h, plus, ignored);
        quinticBSplineWeights<double, double>(f-h, minus, ignored);
        for (int s = 0; s < 6; s++) {
            sum += B[s];
            slope += dB[s];
            ASSERT_EQUAL_TOL((plus[s]-minus[s])/(2*h), dB[s], 1e-8);
        }
        ASSERT_EQUAL_TOL(1.0, sum, 1e-14);
        ASSERT_EQUAL_TOL(0.0, slope, 1e-14);
    }
    double B[6], dB[6];
    quinticBSplineWeights<double, double>(0.0, B, dB);
    ASSERT_EQUAL_TOL(66.0/120, B[2], 1e-15);
}

/** A spline of degree d is every polynomial of degree d, also on the finest grid. */
static void testTablesReproducePolynomials(int degree, int intervals) {
    auto polynomial = [&](double r, double* W, double* dWdr) {
        W[0] = pow(r-0.3, degree);
        dWdr[0] = degree*pow(r-0.3, degree-1);
        W[1] = 1-2*r;
        dWdr[1] = -2;
    };
    FilterTable table(CUTOFF, degree, intervals, FilterTable::interpolate(CUTOFF, degree, intervals, 2, polynomial));
    for (double r : {0.0, 0.001, 0.11, 0.3, 0.44999}) {
        double W[2], dWdr[2], expected[2], slopes[2];
        table.evaluate(r, W, dWdr);
        polynomial(r, expected, slopes);
        for (int c = 0; c < 2; c++) {
            ASSERT_EQUAL_TOL(expected[c], W[c], 1e-13);
            ASSERT_EQUAL_TOL(slopes[c], dWdr[c], 1e-10);
        }
    }
}

static unique_ptr<SchNetForce> createForce(int numParticles, int features, int filters, int blocks, const string& basis, const string& activation,
        bool periodic) {
    mt19937 random(3);
    normal_distribution<double> normal;
    auto numbers = [&](int count, double scale) {
        vector<double> values(count);
        for (double& value : values)
            value = scale*normal(random);
        return values;
    };
    const int H = features, F = filters, R = 9;
    auto force = make_unique<SchNetForce>(2, CUTOFF, H, F, blocks);
    vector<double> centers;
    for (int k = 0; k < R; k++)
        centers.push_back(basis == "gaussian" ? CUTOFF*k/R : (k+0.5)/R);
    if (basis == "gaussian")
        force->setRadialBasis(basis, 150.0, centers);
    else
        force->setRadialBasis(basis, 5/CUTOFF, centers, vector<double>(R, 15.0));
    force->setEmbeddings(numbers(2*H, 1.0));
    force->setTypeEnergies(numbers(2, 1.0));
    for (int b = 0; b < blocks; b++)
        force->setBlockParameters(b, {numbers(F*H, 1/sqrt(H)), numbers(F*R, 0.7), numbers(F, 1.0), numbers(F*F, 1/sqrt(F)), numbers(F, 0.1),
                numbers(H*F, 1/sqrt(F)), numbers(H, 0.1), numbers(H*H, 1/sqrt(H)), numbers(H, 0.1)});
    force->addLayer(7, numbers(7*H, 1/sqrt(H)), numbers(7, 0.1));
    force->addLayer(1, numbers(7, 8.0), numbers(1, 1.0));
    force->setActivation(activation);
    force->setUsesPeriodicBoundaryConditions(periodic);
    for (int i = 0; i < numParticles; i++)
        force->addParticle(i%2);
    return force;
}

static void testForces(const TestPlatform& test, unique_ptr<SchNetForce> force) {
    const int numParticles = force->getNumParticles();
    const Vec3 box[3] = {Vec3(1.25, 0, 0), Vec3(0.5, 1.25, 0), Vec3(-0.375, 0.25, 1.5)};
    System system;
    for (int i = 0; i < numParticles; i++)
        system.addParticle(18.0);
    system.setDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
    system.addForce(force.release());
    vector<Vec3> positions = createPositions(numParticles, box);
    const double tolerance = (test.getName() == "CPU" ? 1e-5 : test.tolerance(1e-5, 1e-5, 1e-9));
    State expected = assertEqualsReference(test, system, positions, tolerance, tolerance);
    assertForcesAreGradient(system, positions, expected.getForces(), *findPlatform("Reference"), {}, 1e-5, 1e-6);
}

static void testTabulation() {
    unique_ptr<SchNetForce> force = createForce(0, 8, 12, 2, "expnormal", "tanh", false);
    ASSERT(std::isnan(force->getFilterError()));
    double error = force->tabulateFilters(1e-5);
    ASSERT(error < 1e-5);
    ASSERT_EQUAL(error, force->getFilterError());
    const int rows = force->getNumFilterIntervals()+force->getFilterDegree();
    ASSERT_EQUAL(2*rows*12, (int) force->getFilterTables().size());
    // The last row acts around r = 0 only, and a filter network's value there is what it makes.
    vector<double> tables = force->getFilterTables();
    FilterTable table(CUTOFF, force->getFilterDegree(), force->getNumFilterIntervals(), vector<double>(tables.begin(), tables.begin()+rows*12));
    vector<double> exact = force->evaluateFilters({0.0, 0.2}), W(12), dWdr(12);
    for (int k = 0; k < 2; k++) {
        table.evaluate(0.2*k, W.data(), dWdr.data());
        for (int c = 0; c < 12; c++)
            ASSERT_EQUAL_TOL(exact[k*12+c], W[c], 1e-5);
    }
    assertThrows([&] { force->tabulateFilters(1e-5, vector<Vec3>(3), {0, 1}); }, "multiple of that of types, 2, found 3");
}

static void testSerialization() {
    unique_ptr<SchNetForce> force = createForce(5, 4, 6, 3, "gaussian", "silu", true);
    force->setForceGroup(4);
    force->tabulateFilters(1e-3);
    stringstream first, second;
    XmlSerializer::serialize<Force>(force.get(), "Force", first);
    unique_ptr<Force> copy(XmlSerializer::deserialize<Force>(first));
    auto& found = dynamic_cast<SchNetForce&>(*copy);
    ASSERT_EQUAL(4, found.getForceGroup());
    ASSERT_EQUAL(force->getFilterError(), found.getFilterError());
    ASSERT(found.getBlockParameters(2).lin3Weights == force->getBlockParameters(2).lin3Weights);
    ASSERT(found.getFilterTables() == force->getFilterTables());
    XmlSerializer::serialize<Force>(copy.get(), "Force", second);
    ASSERT_EQUAL(first.str(), second.str());
}

static void testValidation() {
    assertThrows([] { SchNetForce(1, 0.5, 4, 4, 9); }, "the number of blocks must be from 1 to 8, found 9");
    SchNetForce force(2, 0.5, 3, 4, 1);
    assertThrows([&] { force.setBlockParameters(0, {}); }, "setRadialBasis() must be called");
    force.setRadialBasis("gaussian", 1.0, {0.1, 0.2});
    assertThrows([&] { force.setBlockParameters(0, {}); }, "weights of lin1 must be 12 (filters*features), found 0");
    assertThrows([&] { force.setFilterTables(3, 10, vector<double>(51)); }, "must be 52 (blocks*(intervals+degree)*filters), found 51");
    assertThrows([&] { force.getBlockParameters(1); }, "less than 1, found 1");
}

static void runTests(const TestPlatform& test) {
    testQuinticWeights();
    for (int degree : {3, 5})
        for (int intervals : {4, 10, 300})
            testTablesReproducePolynomials(degree, intervals);
    testTabulation();
    testSerialization();
    testValidation();
    testForces(test, createForce(60, 10, 20, 2, "gaussian", "ssp", true));
    unique_ptr<SchNetForce> tabulated = createForce(60, 24, 130, 3, "expnormal", "tanh", false);
    tabulated->setFilterGrid(5, 60);
    testForces(test, move(tabulated));
    auto beads = [](int numBeads) { return createForce(numBeads, 10, 20, 2, "gaussian", "ssp", true).release(); };
    assertFewBeadsWork(test, beads);
    assertThreadsAgree(test, beads, 150);
}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
