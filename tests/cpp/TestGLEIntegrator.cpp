// SPDX-License-Identifier: MIT
#include "Testing.h"
#include "meanforce/GLEIntegrator.h"
#include "meanforce/internal/GLEPropagator.h"
#include "meanforce/internal/Philox.h"
#include "openmm/CustomExternalForce.h"
#include "openmm/HarmonicBondForce.h"
#include "openmm/LangevinMiddleIntegrator.h"
#include "openmm/NonbondedForce.h"
#include "openmm/VirtualSite.h"
#include "openmm/reference/SimTKOpenMMRealType.h"
#include "openmm/serialization/XmlSerializer.h"
#include <memory>
#include <random>
#include <sstream>
#include <vector>

using namespace OpenMM;
using namespace std;
using namespace meanforce;
using namespace meanforce::testing;

namespace {

// ---- kernels ----

using Matrix = vector<double>;

/** Exponential memories k(t) = sum b_j^2 exp(-rate_j t), with white friction gamma. */
Matrix exponentialKernel(double gamma, const vector<double>& b, const vector<double>& rate) {
    const int dimension = b.size()+1;
    Matrix drift(dimension*dimension, 0.0);
    drift[0] = gamma;
    for (int j = 1; j < dimension; j++) {
        drift[j] = -b[j-1];
        drift[j*dimension] = b[j-1];
        drift[j*dimension+j] = rate[j-1];
    }
    return drift;
}

/** A passive kernel with random couplings, A = L L^T + an antisymmetric matrix, of a given scale in 1/ps. */
Matrix randomKernel(int numModes, double scale, int seed) {
    const int n = numModes+1;
    mt19937 generator(seed);
    normal_distribution<double> normal;
    Matrix l(n*n), g(n*n), drift(n*n, 0.0);
    for (int i = 0; i < n*n; i++) {
        l[i] = normal(generator);
        g[i] = normal(generator);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            drift[i*n+j] = scale*(g[i*n+j]-g[j*n+i]);
            for (int k = 0; k < n; k++)
                drift[i*n+j] += scale*l[i*n+k]*l[j*n+k]/n;
        }
    return drift;
}

Matrix multiply(const Matrix& a, const Matrix& b, int n) {
    Matrix c(n*n, 0.0);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            for (int k = 0; k < n; k++)
                c[i*n+j] += a[i*n+k]*b[k*n+j];
    return c;
}

Matrix transpose(const Matrix& a, int n) {
    Matrix b(n*n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            b[i*n+j] = a[j*n+i];
    return b;
}

/** T = 1 + (T-1) */
Matrix propagator(const GLEPropagator& p) {
    Matrix t(p.decay);
    for (int i = 0; i < p.dimension; i++)
        t[i*p.dimension+i] += 1;
    return t;
}

// ---- systems ----

/** Independent particles in the potential strength*x^2/2 for each coordinate (none if strength = 0). */
unique_ptr<System> makeOscillators(int numParticles, double mass, double strength) {
    auto system = make_unique<System>();
    auto* force = new CustomExternalForce("0.5*strength*(x^2+y^2+z^2)");
    force->addGlobalParameter("strength", strength);
    for (int i = 0; i < numParticles; i++) {
        system->addParticle(mass);
        force->addParticle(i);
    }
    system->addForce(force);
    return system;
}

vector<Vec3> normalVectors(int number, double width, int seed) {
    mt19937 generator(seed);
    normal_distribution<double> normal(0.0, width);
    vector<Vec3> values(number);
    for (Vec3& value : values)
        for (int k = 0; k < 3; k++)
            value[k] = normal(generator);
    return values;
}

/** A ring of particles with every kind of bath, a massless particle, a virtual site and a rigid bond. */
struct MixedSystem {
    MixedSystem() {
        auto* bonds = new HarmonicBondForce();
        for (int i = 0; i < 40; i++) {
            system.addParticle(i == 7 ? 0.0 : 10.0+i%3);
            positions.push_back(Vec3(0.3*i, 0.1*(i%2), 0.05*(i%5)));
            if (i > 0 && i != 31)
                bonds->addBond(i-1, i, 0.3, 2000.0);
        }
        system.addConstraint(30, 31, 0.3+0.02);
        system.addParticle(0.0);
        positions.push_back(Vec3());
        system.setVirtualSite(40, new TwoParticleAverageSite(3, 4, 0.4, 0.6));
        bonds->addBond(40, 12, 2.0, 10.0);
        system.addForce(bonds);
    }
    /** On GPUs, one 3 x 3 kernel changes the way in which all kernels are stored. */
    unique_ptr<GLEIntegrator> makeIntegrator(double temperature, bool withMatrixKernel = false, bool withConstrainedMemory = false) const {
        auto integrator = make_unique<GLEIntegrator>(temperature, 0.002);
        integrator->addKernel(exponentialKernel(1.0, {5.0, 8.0, 3.0}, {4.0, 20.0, 0.5}));
        const int langevin = integrator->addKernel({5.0});
        const int oneMode = integrator->addKernel(exponentialKernel(0.0, {9.0}, {7.0}));
        for (int i = 0; i < 40; i++)
            if (i >= 28 && i < 34 && !withConstrainedMemory)
                integrator->setParticleKernel(i, langevin);
            else if (i%4 == 1)
                integrator->setParticleKernel(i, oneMode);
            else if (i%4 == 2)
                integrator->setParticleKernel(i, -1);
        if (withMatrixKernel) {
            const int matrix = integrator->addKernel(randomKernel(6, 3.0, 5), 3); // four auxiliary variables
            for (int i = 3; i < 24; i += 4)
                integrator->setParticleKernel(i, matrix);
        }
        integrator->setRandomNumberSeed(17);
        integrator->setConstraintTolerance(1e-8);
        return integrator;
    }
    System system;
    vector<Vec3> positions;
};

vector<double> auxiliaryVariables(const GLEIntegrator& integrator) {
    vector<double> s;
    integrator.getAuxiliaryVariables(s);
    return s;
}

void assertSameTrajectory(Context& expected, Context& found, double tolerance) {
    const State state1 = expected.getState(State::Positions | State::Velocities), state2 = found.getState(State::Positions | State::Velocities);
    for (size_t i = 0; i < state1.getPositions().size(); i++)
        for (int k = 0; k < 3; k++) {
            ASSERT_EQUAL_TOL(state1.getPositions()[i][k], state2.getPositions()[i][k], tolerance);
            // Velocities reach 1 nm/ps and change by 1e-2 nm/ps in a step.
            ASSERT_EQUAL_TOL(state1.getVelocities()[i][k], state2.getVelocities()[i][k], 100*tolerance);
        }
}

// ---- mathematics ----

void testPhiloxKnownAnswers() {
    // From the test vectors of Random123.
    const array<uint32_t, 4> zeros = philox4x32({0, 0, 0, 0}, {0, 0});
    ASSERT((zeros == array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    const array<uint32_t, 4> ones = philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff});
    ASSERT((ones == array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    const array<uint32_t, 4> digitsOfPi = philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
    ASSERT((digitsOfPi == array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

void testNormalDeviates() {
    const NormalStream normal(RandomStream::GLENoise, 1);
    const int number = 100000;
    double moments[3][4] = {}, crossXY = 0;
    for (int i = 0; i < number; i++) {
        const auto xi = normal(i, 3, 2);
        for (int k = 0; k < 3; k++)
            for (int power = 0; power < 4; power++)
                moments[k][power] += pow(xi[k], power+1)/number;
        crossXY += xi[0]*xi[1]/number;
    }
    // The variance of xi^n is <xi^2n> - <xi^n>^2: 1, 2, 15, 96.
    const double expected[] = {0, 1, 0, 3}, variance[] = {1, 2, 15, 96};
    for (int k = 0; k < 3; k++)
        for (int power = 0; power < 4; power++)
            assertWithinErrors("moment of a normal deviate", expected[power], moments[k][power], sqrt(variance[power]/number), 4);
    assertWithinErrors("correlation of x and y", 0, crossXY, 1/sqrt((double) number), 4);
}

/** T(2h) = T(h)^2 and S S^T + T C T^T = C, C = 1. */
void testPropagatorIdentities() {
    const vector<Matrix> drifts = {{3.0}, {0.0}, exponentialKernel(0, {5.0}, {2.0}), exponentialKernel(1, {50.0, 3.0}, {500.0, 1e-3}),
        exponentialKernel(0, {1e-3}, {1e-5}), {0, 7, -7, 0}, randomKernel(4, 10.0, 1), randomKernel(32, 20.0, 2), randomKernel(8, 5e4, 3)};
    for (const Matrix& drift : drifts)
        for (double h : {1e-4, 0.002, 0.02}) {
            const GLEPropagator single(drift, h), twice(drift, 2*h);
            const int n = single.dimension;
            const Matrix t = propagator(single), t2 = multiply(t, t, n), expected = propagator(twice);
            const Matrix noise = multiply(single.noise, transpose(single.noise, n), n), kept = multiply(t, transpose(t, n), n);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) {
                    ASSERT_EQUAL_TOL(expected[i*n+j], t2[i*n+j], 1e-12);
                    ASSERT_EQUAL_TOL(i == j ? 1.0 : 0.0, noise[i*n+j]+kept[i*n+j], 1e-12);
                }
        }
    // Without memory, T = exp(-gamma h); one undamped coupling is a rotation, whose angle a tiny step must not lose.
    ASSERT_EQUAL_TOL(expm1(-0.06), GLEPropagator({3.0}, 0.02).decay[0], 1e-15);
    const GLEPropagator rotation({0, -7, 7, 0}, 1e-9);
    ASSERT(fabs(rotation.decay[1]/sin(7e-9)-1) < 1e-15);
    ASSERT(fabs(rotation.decay[0]/(-2*pow(sin(3.5e-9), 2))-1) < 1e-14);
    ASSERT_EQUAL_TOL(1.0, smallestDissipation({2, 5, -3, 2}), 1e-14);
    ASSERT_EQUAL_TOL(-1.0, smallestDissipation({0, 1, 1, 0}), 1e-14);
}

// ---- dynamics ----

void testNoMemoryIsLangevinMiddle(const TestPlatform& test) {
    MixedSystem mixed;
    GLEIntegrator integrator(0.0, 0.002);
    integrator.addKernel({5.0});
    LangevinMiddleIntegrator langevin(0.0, 5.0, 0.002);
    for (Integrator* i : {(Integrator*) &integrator, (Integrator*) &langevin})
        i->setConstraintTolerance(1e-8);
    Context context1(mixed.system, langevin, test.platform, test.properties), context2(mixed.system, integrator, test.platform, test.properties);
    for (Context* context : {&context1, &context2}) {
        context->setPositions(mixed.positions);
        context->applyConstraints(1e-8);
        context->computeVirtualSites();
        context->setVelocities(normalVectors(mixed.positions.size(), 0.5, 3));
        context->applyVelocityConstraints(1e-8);
    }
    // Single and mixed: roundoff of float forces, 1e-7 of 600 kJ/mol/nm, over 0.2 ps.
    for (int i = 0; i < 100; i++) {
        langevin.step(1);
        integrator.step(1);
        assertSameTrajectory(context1, context2, test.tolerance(1e-5, 1e-6, 1e-12));
    }
    ASSERT_EQUAL_TOL(context1.getState(State::Energy).getKineticEnergy(), context2.getState(State::Energy).getKineticEnergy(), test.tolerance(1e-4, 1e-5, 1e-12));
    ASSERT_EQUAL_TOL(0.2, context2.getTime(), 1e-12);
    ASSERT_EQUAL(100, context2.getStepCount());
}

/** The same noise and the same physics as the specification, for every kind of bath at once. */
void testAgreesWithReference(const TestPlatform& test, bool withMatrixKernel, bool withConstrainedMemory) {
    MixedSystem mixed;
    auto integrator1 = mixed.makeIntegrator(300.0, withMatrixKernel, withConstrainedMemory);
    auto integrator2 = mixed.makeIntegrator(300.0, withMatrixKernel, withConstrainedMemory);
    ASSERT_EQUAL(withConstrainedMemory, integrator1->needsRefill(mixed.system));
    Context context1(mixed.system, *integrator1, *findPlatform("Reference")), context2(mixed.system, *integrator2, test.platform, test.properties);
    for (Context* context : {&context1, &context2}) {
        context->setPositions(mixed.positions);
        context->applyConstraints(1e-8);
        context->computeVirtualSites();
    }
    integrator1->step(20);
    integrator2->step(20);
    const double tolerance = test.tolerance(1e-5, 1e-6, 1e-8); // in double, the constraint's own tolerance
    assertSameTrajectory(context1, context2, tolerance);
    const vector<double> s1 = auxiliaryVariables(*integrator1), s2 = auxiliaryVariables(*integrator2);
    ASSERT_EQUAL(41*3*3, (int) s1.size());
    for (size_t i = 0; i < s1.size(); i++)
        ASSERT_EQUAL_TOL(s1[i], s2[i], 100*tolerance);
    ASSERT_EQUAL_TOL(integrator1->getBathHeat(), integrator2->getBathHeat(), 100*tolerance);
    // Particles without memory have no auxiliary variables, and the massless one has not moved.
    for (int particle : {2, 7, withConstrainedMemory ? 6 : 28, 40})
        for (int k = 0; k < 9; k++)
            ASSERT_EQUAL(0.0, s2[9*particle+k]);
    // The fifth and sixth of four variables of a 3 x 3 kernel.
    for (int direction = 1; withMatrixKernel && direction < 3; direction++)
        ASSERT_EQUAL(0.0, s2[(3*3+direction)*3+1]);
    ASSERT(!withMatrixKernel || s2[(3*3+0)*3+1] != 0.0);
    ASSERT_EQUAL_VEC(mixed.positions[7], context2.getState(State::Positions).getPositions()[7], 1e-6);
}

/** Spatial sorting of atoms on a GPU must carry the auxiliary variables along. */
void testReordering(const TestPlatform& test) {
    const int numParticles = 400;
    const double width = 4.0;
    System system;
    system.setDefaultPeriodicBoxVectors(Vec3(width, 0, 0), Vec3(0, width, 0), Vec3(0, 0, width));
    auto* nonbonded = new NonbondedForce();
    nonbonded->setNonbondedMethod(NonbondedForce::CutoffPeriodic);
    nonbonded->setCutoffDistance(1.0);
    for (int i = 0; i < numParticles; i++) {
        system.addParticle(5.0);
        nonbonded->addParticle(0.0, 1.0, 0.0); // no forces: trajectories on two platforms never diverge
    }
    system.addForce(nonbonded);
    mt19937 generator(5);
    uniform_real_distribution<double> uniform(0, width);
    vector<Vec3> positions(numParticles);
    for (Vec3& x : positions)
        x = Vec3(uniform(generator), uniform(generator), uniform(generator));
    // On Reference, free particles without the O(N^2) search for neighbours.
    auto freeSystem = makeOscillators(numParticles, 5.0, 0.0);
    auto run = [&](const System& system, Platform& platform, const map<string, string>& properties) {
        GLEIntegrator integrator(300.0, 0.005);
        integrator.addKernel(exponentialKernel(0.1, {3.0, 4.0}, {2.0, 0.2}));
        integrator.setRandomNumberSeed(8);
        Context context(system, integrator, platform, properties);
        context.setPositions(positions);
        integrator.step(600);
        return context.getState(State::Positions);
    };
    const State expected = run(*freeSystem, *findPlatform("Reference"), {}), found = run(system, test.platform, test.properties);
    for (int i = 0; i < numParticles; i++)
        ASSERT_EQUAL_VEC(expected.getPositions()[i], found.getPositions()[i], test.tolerance(1e-4, 1e-5, 1e-9));
}

void testForceGroups(const TestPlatform& test) {
    auto system = makeOscillators(1, 1.0, 1000.0);
    system->getForce(0).setForceGroup(3);
    GLEIntegrator integrator(0.0, 0.001);
    integrator.addKernel({0.0});
    integrator.setIntegrationForceGroups(1);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions({Vec3(1, 0, 0)});
    integrator.step(10);
    ASSERT_EQUAL_VEC(Vec3(1, 0, 0), context.getState(State::Positions).getPositions()[0], 1e-12);
    integrator.setIntegrationForceGroups(1<<3);
    integrator.step(10);
    ASSERT(context.getState(State::Positions).getPositions()[0][0] < 0.99);
}

void testBathHeat(const TestPlatform& test) {
    const int numParticles = 100;
    auto system = makeOscillators(numParticles, 10.0, 1000.0);
    GLEIntegrator integrator(300.0, 0.002);
    integrator.addKernel(exponentialKernel(2.0, {10.0}, {5.0}));
    integrator.setRandomNumberSeed(3);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(vector<Vec3>(numParticles));
    integrator.step(500);
    const State state = context.getState(State::Energy);
    // From rest, the particles take about 3 N kT = 748 kJ/mol from the bath.  The energy of leapfrog oscillates by the
    // fraction omega h/2 = 1 % of the energy of each oscillator, with random phases.
    ASSERT(integrator.getBathHeat() < -500);
    ASSERT_EQUAL_TOL(0.0, (state.getPotentialEnergy()+state.getKineticEnergy()+integrator.getBathHeat())/748.0, 0.005);
}

void testTemperatureChange(const TestPlatform& test) {
    auto system = makeOscillators(10, 10.0, 0.0);
    GLEIntegrator integrator(200.0, 1e-6);
    integrator.addKernel(exponentialKernel(0.0, {1e-3}, {1e-3}));
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(vector<Vec3>(10));
    const vector<double> before = auxiliaryVariables(integrator);
    integrator.setTemperature(800.0);
    integrator.step(1);
    vector<double> after = auxiliaryVariables(integrator);
    for (size_t i = 0; i < before.size(); i++)
        ASSERT_EQUAL_TOL(2*before[i], after[i], 1e-3); // one step at T' has noise of 2e-4
    integrator.setTemperature(0.0);
    integrator.step(1);
    integrator.setTemperature(300.0);
    integrator.step(1);
    after = auxiliaryVariables(integrator);
    for (double s : after)
        ASSERT(isfinite(s) && fabs(s) < 1e-3);
}

// ---- statistics: thresholds in standard errors, over independent degrees of freedom ----

struct Mean {
    Mean(const vector<double>& samples) {
        double sum = 0, squares = 0;
        for (double sample : samples)
            sum += sample;
        value = sum/samples.size();
        for (double sample : samples)
            squares += (sample-value)*(sample-value);
        standardError = sqrt(squares/samples.size()/(samples.size()-1));
    }
    double value, standardError;
};

/** Time averages of x^2, v^2 and s_j^2 for each degree of freedom, in units of their equilibrium values. */
struct Moments {
    Moments(int numDof, int numModes) : numDof(numDof), sums(2+numModes, vector<double>(numDof, 0.0)) {
    }
    void add(int moment, int dof, double value) {
        sums[moment][dof] += value*value;
    }
    void check(int numSamples) const {
        for (size_t moment = 0; moment < sums.size(); moment++) {
            vector<double> averages(sums[moment]);
            for (double& average : averages)
                average /= numSamples;
            const Mean mean(averages);
            const string name = moment == 0 ? "<x^2>" : (moment == 1 ? "<v^2>" : "<s"+to_string(moment-1)+"^2>");
            printf("  %s: %.5f +- %.5f\n", name.c_str(), mean.value, mean.standardError);
            ASSERT(mean.standardError <= 0.0012);
            if (fabs(mean.value-1) > 0.005)
                throw OpenMMException(name+" is off by more than 0.5 %");
        }
    }
    int numDof;
    vector<vector<double> > sums;
};

constexpr int NUM_OSCILLATORS = 1000;
constexpr double MASS = 3.0, STEP = 0.01, OMEGA = 0.8/STEP, TEMPERATURE = 300.0, KT = BOLTZ*TEMPERATURE;

/** Oscillators with omega h = 0.8 are sampled without any error from the step size. */
void testHarmonicMoments(const TestPlatform& test, const Matrix& drift, int numSteps) {
    auto system = makeOscillators(NUM_OSCILLATORS, MASS, MASS*OMEGA*OMEGA);
    GLEIntegrator integrator(TEMPERATURE, STEP);
    integrator.addKernel(drift);
    integrator.setRandomNumberSeed(11);
    const double widthX = sqrt(KT/MASS)/OMEGA, widthV = sqrt(KT/MASS), widthS = sqrt(KT);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(normalVectors(NUM_OSCILLATORS, widthX, 1));
    context.setVelocities(normalVectors(NUM_OSCILLATORS, widthV, 2));
    const int numModes = integrator.getNumModes(), interval = 2;
    Moments moments(3*NUM_OSCILLATORS, numModes);
    for (int step = 0; step < numSteps; step += interval) {
        integrator.step(interval);
        const State state = context.getState(State::Positions | State::Velocities);
        const vector<double> s = auxiliaryVariables(integrator);
        for (int dof = 0; dof < 3*NUM_OSCILLATORS; dof++) {
            moments.add(0, dof, state.getPositions()[dof/3][dof%3]/widthX);
            moments.add(1, dof, state.getVelocities()[dof/3][dof%3]/widthV);
            for (int mode = 0; mode < numModes; mode++)
                moments.add(2+mode, dof, s[dof*numModes+mode]/widthS);
        }
    }
    moments.check(numSteps/interval);
}

/** The control: the same bath in the order O(h/2) B(h/2) A(h) B(h/2) O(h/2) gives <x^2> 1/(1-(omega h/2)^2) = 1.19. */
void testObaboControl(const Matrix& drift, int numSteps) {
    const GLEPropagator half(drift, 0.5*STEP);
    const int dimension = half.dimension, numDof = 3*NUM_OSCILLATORS;
    mt19937 generator(4);
    normal_distribution<double> normal;
    auto exchange = [&](double* y) {
        vector<double> old(y, y+dimension), xi(dimension);
        for (double& value : xi)
            value = normal(generator);
        for (int a = 0; a < dimension; a++)
            for (int b = 0; b < dimension; b++)
                y[a] += half.decay[a*dimension+b]*old[b]+half.noise[a*dimension+b]*xi[b];
    };
    // In units of their equilibrium widths: q = x/<x^2>^(1/2), and y = (u, s)/sqrt(kT).
    Moments moments(numDof, dimension-1);
    for (int dof = 0; dof < numDof; dof++) {
        double q = normal(generator);
        vector<double> y(dimension);
        for (double& value : y)
            value = normal(generator);
        for (int step = 0; step < numSteps; step++) {
            exchange(y.data());
            y[0] -= 0.5*STEP*OMEGA*q;
            q += STEP*OMEGA*y[0];
            y[0] -= 0.5*STEP*OMEGA*q;
            exchange(y.data());
            moments.add(0, dof, q);
            for (int a = 0; a < dimension; a++)
                moments.add(1+a, dof, y[a]);
        }
    }
    assertThrows([&] { moments.check(numSteps); }, "<x^2>");
    double sum = 0;
    for (double square : moments.sums[0])
        sum += square/numSteps/numDof;
    ASSERT_EQUAL_TOL(1/(1-0.16), sum, 0.005);
}

/** Compares the covariance of samples y with kT S S^T, each element within 4.5 standard errors. */
void checkNoise(const vector<vector<double> >& y, const Matrix& expected, int dimension) {
    for (int a = 0; a < dimension; a++)
        for (int b = 0; b <= a; b++) {
            vector<double> products;
            for (const vector<double>& sample : y)
                products.push_back(sample[a]*sample[b]);
            const Mean mean(products);
            assertWithinErrors("noise covariance", expected[a*dimension+b], mean.value, mean.standardError, 4.5);
        }
}

/** One step from rest: (u, s) is pure noise.  Rows of S must share their random numbers. */
void testNoiseCovariance(const TestPlatform& test) {
    const int numParticles = 20000, dimension = 4;
    const double h = 0.05;
    const Matrix drift = exponentialKernel(0.5, {5.0, 8.0, 3.0}, {4.0, 20.0, 0.5});
    auto system = makeOscillators(numParticles, MASS, 0.0);
    GLEIntegrator integrator(TEMPERATURE, h);
    integrator.addKernel(drift);
    integrator.setAuxiliaryInitialization(GLEIntegrator::Zero);
    integrator.setRandomNumberSeed(6);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(vector<Vec3>(numParticles));
    for (double s : auxiliaryVariables(integrator))
        ASSERT_EQUAL(0.0, s);
    integrator.step(1);
    const State state = context.getState(State::Velocities);
    const vector<double> s = auxiliaryVariables(integrator);
    vector<vector<double> > samples;
    for (int dof = 0; dof < 3*numParticles; dof++)
        samples.push_back({sqrt(MASS)*state.getVelocities()[dof/3][dof%3], s[3*dof], s[3*dof+1], s[3*dof+2]});
    const GLEPropagator p(drift, h);
    Matrix expected = multiply(p.noise, transpose(p.noise, dimension), dimension);
    for (double& element : expected)
        element *= KT;
    checkNoise(samples, expected, dimension);
    // The control: right variances, but each row with random numbers of its own.
    mt19937 generator(4);
    normal_distribution<double> normal;
    for (vector<double>& sample : samples)
        for (int a = 0; a < dimension; a++)
            sample[a] = sqrt(expected[a*dimension+a])*normal(generator);
    assertThrows([&] { checkNoise(samples, expected, dimension); }, "noise covariance");
}

/** The noise of a 3 x 3 kernel, whose u are three and whose two auxiliary variables are those of all directions. */
void testMatrixNoiseCovariance(const TestPlatform& test) {
    const int numParticles = 20000, dimension = 5;
    const double h = 0.05;
    const Matrix drift = randomKernel(4, 6.0, 12);
    auto system = makeOscillators(numParticles, MASS, 0.0);
    GLEIntegrator integrator(TEMPERATURE, h);
    integrator.addKernel(drift, 3);
    integrator.setAuxiliaryInitialization(GLEIntegrator::Zero);
    integrator.setRandomNumberSeed(9);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(vector<Vec3>(numParticles));
    integrator.step(1);
    const State state = context.getState(State::Velocities);
    const vector<double> s = auxiliaryVariables(integrator);
    vector<vector<double> > samples;
    for (int i = 0; i < numParticles; i++) {
        const Vec3 u = sqrt(MASS)*state.getVelocities()[i];
        samples.push_back({u[0], u[1], u[2], s[3*i], s[3*i+1]});
    }
    const GLEPropagator p(drift, h);
    Matrix expected = multiply(p.noise, transpose(p.noise, dimension), dimension);
    for (double& element : expected)
        element *= KT;
    checkNoise(samples, expected, dimension);
    // The control: the directions taken one by one.
    for (int i = 0; i < numParticles; i++)
        swap(samples[i][1], samples[(i+1)%numParticles][1]);
    assertThrows([&] { checkNoise(samples, expected, dimension); }, "noise covariance");
}

/** The velocity correlation of free particles is exactly (kT/m) [T^n]_00. */
void testFreeVelocityCorrelation(const TestPlatform& test) {
    const int numParticles = 500, numSteps = 1500, numLags = 40;
    const Matrix drift = exponentialKernel(0.3, {20.0, 6.0}, {15.0, 3.0});
    auto system = makeOscillators(numParticles, MASS, 0.0);
    GLEIntegrator integrator(TEMPERATURE, 0.02);
    integrator.addKernel(drift);
    integrator.setRandomNumberSeed(23);
    Context context(*system, integrator, test.platform, test.properties);
    context.setPositions(vector<Vec3>(numParticles));
    context.setVelocities(normalVectors(numParticles, sqrt(KT/MASS), 9));
    vector<vector<Vec3> > v;
    for (int step = 0; step < numSteps; step++) {
        integrator.step(1);
        v.push_back(context.getState(State::Velocities).getVelocities());
    }
    const Matrix t = propagator(GLEPropagator(drift, 0.02));
    Matrix power = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int lag = 0; lag < numLags; lag++) {
        vector<double> averages(3*numParticles, 0.0);
        for (int dof = 0; dof < 3*numParticles; dof++)
            for (int step = 0; step+lag < numSteps; step++)
                averages[dof] += v[step][dof/3][dof%3]*v[step+lag][dof/3][dof%3]/(numSteps-lag);
        const Mean mean(averages);
        assertWithinErrors("velocity correlation at lag "+to_string(lag), power[0]*KT/MASS, mean.value, mean.standardError, 4);
        ASSERT(mean.standardError < 0.005*KT/MASS);
        power = multiply(power, t, 3);
    }
}

// ---- state ----

/** Runs on, or saves and loads into a new Context with an integrator of another seed: the trajectory is the same to the last bit. */
void testRestart(const TestPlatform& test, bool useCheckpoint) {
    const int numSteps = test.getName() == "Reference" ? 1000 : 200, numParticles = 30;
    auto system = makeOscillators(numParticles, 10.0, 500.0);
    auto makeIntegrator = [&](int seed) {
        auto integrator = make_unique<GLEIntegrator>(300.0, 0.004);
        integrator->addKernel(randomKernel(5, 4.0, 8));
        integrator->setParticleKernel(3, -1);
        integrator->setRandomNumberSeed(seed);
        return integrator;
    };
    auto integrator1 = makeIntegrator(0), integrator2 = makeIntegrator(99);
    Context context1(*system, *integrator1, test.platform, test.properties), context2(*system, *integrator2, test.platform, test.properties);
    context1.setPositions(vector<Vec3>(numParticles));
    integrator1->step(numSteps);
    if (useCheckpoint) {
        stringstream stream;
        context1.createCheckpoint(stream);
        context2.loadCheckpoint(stream);
    }
    else {
        stringstream stream;
        const State state = context1.getState(State::Positions | State::Velocities | State::Parameters | State::IntegratorParameters);
        XmlSerializer::serialize<State>(&state, "State", stream);
        unique_ptr<State> copy(XmlSerializer::deserialize<State>(stream));
        context2.setState(*copy);
    }
    ASSERT(auxiliaryVariables(*integrator1) == auxiliaryVariables(*integrator2));
    ASSERT_EQUAL(integrator1->getBathHeat(), integrator2->getBathHeat());
    integrator1->step(numSteps);
    integrator2->step(numSteps);
    // A State does not keep the last bits of positions of mixed precision.
    const double tolerance = useCheckpoint || test.isDouble() || test.precision == "single" ? 0.0 : 1e-6;
    assertSameTrajectory(context1, context2, tolerance);
    ASSERT(tolerance > 0 || auxiliaryVariables(*integrator1) == auxiliaryVariables(*integrator2));
    // The noise is that of the steps taken since the integrator was created, whatever OpenMM's own counter says.
    context1.setStepCount(0);
    integrator1->step(5);
    integrator2->step(5);
    assertSameTrajectory(context1, context2, tolerance);
    // Reinitializing with the state kept continues the trajectory, too.
    context1.reinitialize(true);
    integrator1->step(5);
    integrator2->step(5);
    assertSameTrajectory(context1, context2, max(tolerance, 1e-12));
}

void testStatesOfOtherIntegrators(const TestPlatform& test) {
    auto system = makeOscillators(5, 10.0, 500.0);
    LangevinMiddleIntegrator langevin(300.0, 1.0, 0.002);
    GLEIntegrator integrator(300.0, 0.002);
    integrator.addKernel(exponentialKernel(0, {3.0}, {2.0}));
    Context context1(*system, langevin, test.platform, test.properties), context2(*system, integrator, test.platform, test.properties);
    context1.setPositions(normalVectors(5, 0.1, 1));
    // Equilibrating with Langevin dynamics and going on with memory is fine: the bath keeps its own state.
    const vector<double> before = auxiliaryVariables(integrator);
    context2.setState(context1.getState(State::Positions | State::Velocities | State::IntegratorParameters));
    ASSERT(auxiliaryVariables(integrator) == before);
    stringstream stream;
    context1.createCheckpoint(stream);
    assertThrows([&] { context2.loadCheckpoint(stream); }, "checkpoint");
}

void testAuxiliaryVariables(const TestPlatform& test) {
    auto system = makeOscillators(4000, 10.0, 0.0);
    GLEIntegrator integrator(300.0, 0.001);
    integrator.addKernel(exponentialKernel(0, {3.0, 2.0}, {2.0, 1.0}));
    integrator.addKernel(exponentialKernel(0, {3.0}, {2.0}));
    integrator.setParticleKernel(1, 1);
    integrator.setRandomNumberSeed(5);
    vector<double> s;
    assertThrows([&] { integrator.getAuxiliaryVariables(s); }, "not bound");
    assertThrows([&] { integrator.setAuxiliaryVariables(s); }, "not bound");
    assertThrows([&] { integrator.step(1); }, "not bound");
    Context context(*system, integrator, test.platform, test.properties);
    // They start in equilibrium.
    s = auxiliaryVariables(integrator);
    vector<double> squares;
    for (double value : s)
        squares.push_back(value*value);
    const Mean mean(squares);
    assertWithinErrors("initial <s^2>", KT, mean.value, mean.standardError, 4);
    for (size_t i = 0; i < s.size(); i++)
        s[i] = 0.001*i;
    integrator.setAuxiliaryVariables(s);
    const vector<double> found = auxiliaryVariables(integrator);
    for (size_t i = 0; i < s.size(); i++)
        ASSERT_EQUAL_TOL(i == 7 || i == 9 || i == 11 ? 0.0 : s[i], found[i], 1e-6); // particle 1 has one mode only
    s.pop_back();
    assertThrows([&] { integrator.setAuxiliaryVariables(s); }, "expected 24000 auxiliary variables");
}

void testErrors(const TestPlatform& test) {
    assertThrows([] { GLEIntegrator(-1.0, 0.001); }, "-1 K");
    assertThrows([] { GLEIntegrator(300.0, 0.0); }, "0 ps");
    assertThrows([] { GLEIntegrator(300.0, NAN); }, "step size");
    GLEIntegrator integrator(300.0, 0.001);
    assertThrows([&] { integrator.setTemperature(INFINITY); }, "temperature");
    assertThrows([&] { integrator.addKernel({1, 2, 3}); }, "3 elements");
    assertThrows([&] { integrator.addKernel({}); }, "0 elements");
    assertThrows([&] { integrator.addKernel({1, 0, NAN, 1}); }, "row 1, column 0");
    assertThrows([&] { integrator.addKernel({0, 1, 1, 0}); }, "negative eigenvalue -1/ps");
    assertThrows([&] { integrator.addKernel(Matrix(34*34, 0.0)); }, "34 x 34");
    assertThrows([&] { integrator.addKernel({1.0}, 2); }, "1 or 3, got 2");
    assertThrows([&] { integrator.addKernel({1, 0, 0, 1}, 3); }, "at least 3 x 3, got 2 x 2");
    assertThrows([&] { integrator.addKernel(Matrix(36*36, 0.0), 3); }, "up to 35 x 35, got 36 x 36");
    assertThrows([&] { integrator.addKernel({1, 0, 0, 0, -2, 0, 0, 0, 1}, 3); }, "negative eigenvalue -2/ps");
    assertThrows([&] { integrator.setParticleKernel(0, 0); }, "one of the 0 kernels");
    assertThrows([&] { integrator.getKernel(0); }, "no kernel 0");
    auto system = makeOscillators(4, 1.0, 0.0);
    assertNoContext(*system, integrator, test, "at least one kernel");
    ASSERT_EQUAL(0, integrator.addKernel({1.0}));
    ASSERT_EQUAL(1, integrator.addKernel(randomKernel(32, 1.0, 7)));
    assertThrows([&] { integrator.setParticleKernel(-1, 0); }, "-1");
    integrator.setParticleKernel(4, 1);
    assertNoContext(*system, integrator, test, "particle 4");
    // Where a constraint meets memory, or two kinds of bath, a step is another one.
    system = makeOscillators(5, 1.0, 0.0);
    ASSERT(!integrator.needsRefill(*system));
    system->addConstraint(2, 3, 1.0);
    ASSERT(!integrator.needsRefill(*system));
    integrator.setParticleKernel(3, -1);
    ASSERT(integrator.needsRefill(*system));
    integrator.setParticleKernel(2, -1);
    ASSERT(!integrator.needsRefill(*system));
    integrator.setParticleKernel(2, 1);
    integrator.setParticleKernel(3, 1);
    ASSERT(integrator.needsRefill(*system));
}

void testSerialization() {
    GLEIntegrator integrator(301.5, 0.0031);
    integrator.addKernel(randomKernel(3, 2.0, 1));
    integrator.addKernel({0.1});
    integrator.addKernel(randomKernel(34, 2.0, 1), 3);
    integrator.setParticleKernel(2, 1);
    integrator.setParticleKernel(12, -1);
    integrator.setRandomNumberSeed(-7);
    integrator.setAuxiliaryInitialization(GLEIntegrator::Zero);
    integrator.setIntegrationForceGroups(5);
    integrator.setConstraintTolerance(3e-7);
    stringstream stream;
    XmlSerializer::serialize<Integrator>(&integrator, "Integrator", stream);
    unique_ptr<Integrator> owner(XmlSerializer::deserialize<Integrator>(stream));
    const auto& copy = dynamic_cast<GLEIntegrator&>(*owner);
    ASSERT_EQUAL(integrator.getTemperature(), copy.getTemperature());
    ASSERT_EQUAL(integrator.getStepSize(), copy.getStepSize());
    ASSERT_EQUAL(3, copy.getNumKernels());
    ASSERT_EQUAL(11, copy.getNumModes());
    for (int i = 0; i < 3; i++) {
        ASSERT(integrator.getKernel(i) == copy.getKernel(i));
        ASSERT_EQUAL(i == 2 ? 3 : 1, copy.getKernelDimension(i));
    }
    ASSERT(integrator.getParticleKernels() == copy.getParticleKernels());
    ASSERT_EQUAL(-7, copy.getRandomNumberSeed());
    ASSERT_EQUAL(GLEIntegrator::Zero, copy.getAuxiliaryInitialization());
    ASSERT_EQUAL(5, copy.getIntegrationForceGroups());
    ASSERT_EQUAL(3e-7, copy.getConstraintTolerance());
}

void runTests(const TestPlatform& test) {
    const Matrix memory = exponentialKernel(0, {0.6/STEP, 0.4/STEP, 0.5/STEP}, {0.5/STEP, 0.15/STEP, 1.5/STEP});
    if (test.getName() == "Reference") {
        testPhiloxKnownAnswers();
        testNormalDeviates();
        testPropagatorIdentities();
        testSerialization();
        testErrors(test);
        testObaboControl(memory, 2500);
        testHarmonicMoments(test, {0.3/STEP}, 3000);
    }
    else {
        testAgreesWithReference(test, false, false);
        testAgreesWithReference(test, true, false);
        testAgreesWithReference(test, false, true);
        testAgreesWithReference(test, true, true);
        testReordering(test);
    }
    testNoMemoryIsLangevinMiddle(test);
    testForceGroups(test);
    testBathHeat(test);
    testTemperatureChange(test);
    testAuxiliaryVariables(test);
    testRestart(test, true);
    testRestart(test, false);
    testStatesOfOtherIntegrators(test);
    testNoiseCovariance(test);
    testMatrixNoiseCovariance(test);
    // One double and one mixed precision suffice for the long runs: the other platforms follow the same trajectories.
    if (test.getName() == "Reference" || test.precision == "mixed") {
        testHarmonicMoments(test, memory, 4500);
        testFreeVelocityCorrelation(test);
    }
}

}

int main(int argc, char* argv[]) {
    return run(argc, argv, runTests);
}
