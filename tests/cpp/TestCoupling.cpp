// SPDX-License-Identifier: MIT
#include "Testing.h"
#include "meanforce/internal/Coupling.h"
#include "meanforce/internal/SphericalHarmonics.h"
#include <random>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static Vec3 randomDirection(mt19937& random) {
    normal_distribution<double> normal;
    Vec3 v(normal(random), normal(random), normal(random));
    return v/sqrt(v.dot(v));
}

static Vec3 mirror(const Vec3& v, const Vec3& normal) {
    return v-normal*(2*v.dot(normal));
}

/** The product of the harmonics of three directions. */
static double couple(const vector<int>& degrees, const Vec3& u, const Vec3& v, const Vec3& w) {
    double Y[3][25], sum = 0.0;
    sphericalHarmonics<4, double, double>(u[0], u[1], u[2], Y[0]);
    sphericalHarmonics<4, double, double>(v[0], v[1], v[2], Y[1]);
    sphericalHarmonics<4, double, double>(w[0], w[1], w[2], Y[2]);
    for (const CouplingTerm& term : coupleMoments(degrees))
        sum += term.value*Y[0][term.lm[0]]*Y[1][term.lm[1]]*(degrees.size() == 3 ? Y[2][term.lm[2]] : 1.0);
    return sum;
}

static double square(const vector<CouplingTerm>& terms) {
    double sum = 0.0;
    for (const CouplingTerm& term : terms)
        sum += term.value*term.value;
    return sum;
}

/** All degrees: norm, sign, invariance under rotations (two mirrors), parity (one), symmetry under exchange. */
static void testInvarianceAndParity() {
    mt19937 random(1);
    int numCouplings = 0;
    for (int l1 = 0; l1 <= 4; l1++)
        for (int l2 = 0; l2 <= 4; l2++)
            for (int l3 = 0; l3 <= 4; l3++) {
                const vector<int> degrees = {l1, l2, l3};
                const vector<CouplingTerm> terms = coupleMoments(degrees);
                if (l3 < abs(l1-l2) || l3 > l1+l2) {
                    ASSERT(terms.empty());
                    continue;
                }
                numCouplings++;
                ASSERT_EQUAL_TOL(1.0, square(terms), 1e-14);
                ASSERT(terms[0].value > 0);
                const double parity = ((l1+l2+l3)%2 == 0 ? 1 : -1);
                double largest = 0.0;
                for (int trial = 0; trial < 4; trial++) {
                    const Vec3 u = randomDirection(random), v = randomDirection(random), w = randomDirection(random);
                    const Vec3 a = randomDirection(random), b = randomDirection(random);
                    const double value = couple(degrees, u, v, w);
                    largest = max(largest, abs(value));
                    ASSERT_EQUAL_TOL(parity*value, couple(degrees, mirror(u, a), mirror(v, a), mirror(w, a)), 1e-13);
                    ASSERT_EQUAL_TOL(value, couple(degrees, mirror(mirror(u, a), b), mirror(mirror(v, a), b), mirror(mirror(w, a), b)), 1e-13);
                    if (l1 == l2)
                        ASSERT_EQUAL_TOL(parity*value, couple(degrees, v, u, w), 1e-13);
                }
                ASSERT(largest > 1e-2);
            }
    ASSERT_EQUAL(65, numCouplings);
}

/** The cross product, scalar products, and (1,1,2), proportional to 3 (u.w)(v.w) - u.v. */
static void testClosedForms() {
    mt19937 random(2);
    for (int trial = 0; trial < 10; trial++) {
        const Vec3 u = randomDirection(random), v = randomDirection(random), w = randomDirection(random);
        // The first term is Y_1,-1 Y_1,0 Y_1,1 = y z x.
        ASSERT_EQUAL_TOL(u.dot(v.cross(w))/sqrt(6), couple({1, 1, 1}, u, v, w), 1e-14);
        // The first term is y of u, y of v and the component 2,0 of w, which is negative.
        ASSERT_EQUAL_TOL((u.dot(v)-3*u.dot(w)*v.dot(w))/sqrt(30), couple({1, 1, 2}, u, v, w), 1e-14);
        for (int l = 0; l <= 4; l++) {
            ASSERT_EQUAL_TOL(couple({l, l}, u, v, w), sqrt(2*l+1)*couple({l, l, 0}, u, v, w), 1e-13);
            ASSERT_EQUAL_TOL(1.0, couple({l, l}, u, u, w), 1e-13);
        }
    }
    ASSERT(coupleMoments({1, 2}).empty());
}

static void testValidation() {
    checkProduct(3, 4, {1, 1, 1}, {0, 1, 2});
    checkProduct(3, 4, {2, 2}, {0, 1});
    assertThrows([] { checkProduct(3, 4, {1, 1, 1}, {0, 0, 0}); }, "must not vanish identically");
    assertThrows([] { checkProduct(3, 4, {2, 1, 2}, {0, 3, 0}); }, "found the degrees (2, 1, 2) with the shifts (0, 3, 0)");
    assertThrows([] { checkProduct(3, 4, {1, 1, 3}, {0, 1, 2}); }, "must have degrees that form a triangle");
    assertThrows([] { checkProduct(3, 4, {1, 2}, {0, 1}); }, "must have equal degrees");
    assertThrows([] { checkProduct(3, 4, {4, 4}, {0, 1}); }, "must have degrees from 0 to 3");
    assertThrows([] { checkProduct(3, 4, {1, 1}, {0, 4}); }, "must have shifts from 0 to 3");
    assertThrows([] { checkProduct(3, 4, {1, 1}, {1, 0}); }, "must have 0 as its first shift");
    assertThrows([] { checkProduct(3, 4, {1}, {0}); }, "must have two or three degrees");
}

static void runTests(const TestPlatform& test) {
    if (test.getName() != "Reference")
        return;    // shared by all platforms
    testInvarianceAndParity();
    testClosedForms();
    testValidation();
}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
