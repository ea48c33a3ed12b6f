// SPDX-License-Identifier: MIT
// The CPU platform's neighbour list by itself, against all pairs, on one thread and on several; under the thread sanitizer
// this is where its loops meet OpenMM's thread pool.
#include "CpuNeighborList.h"
#include "Testing.h"
#include "meanforce/MomentTensorForce.h"
#include <algorithm>
#include <random>

using namespace OpenMM;
using namespace meanforce;
using namespace meanforce::testing;
using namespace std;

static const double CUTOFF = 0.5, SKIN = 0.1;
static const Vec3 BOX[3] = {Vec3(2.5, 0, 0), Vec3(0.75, 3.0, 0), Vec3(-1.0, 1.25, 2.75)};

/** Each bead's neighbours within the cutoff and the vectors to them, by bead. */
typedef vector<vector<pair<int, Vec3> > > Rows;

static Rows allPairs(const vector<Vec3>& x, const vector<int>& replicas, bool periodic) {
    Rows rows(x.size());
    for (size_t i = 0; i < x.size(); i++)
        for (size_t j = 0; j < x.size(); j++) {
            Vec3 delta = x[j]-x[i];
            if (periodic)
                for (int k = 2; k >= 0; k--)
                    delta -= BOX[k]*floor(delta[k]/BOX[k][k]+0.5);
            if (i != j && replicas[i] == replicas[j] && delta.dot(delta) < CUTOFF*CUTOFF)
                rows[i].push_back({(int) j, delta});
        }
    return rows;
}

static Rows rowsOf(const CpuNeighborList& list, int numBeads) {
    Rows rows(numBeads);
    for (int place = 0; place < numBeads; place++)
        for (const CpuNeighborList::Neighbor* n = list.begin(place); n != list.end(place); n++) {
            Vec3 delta = list.getDelta(place, *n);
            if (delta.dot(delta) < CUTOFF*CUTOFF)
                rows[list.getOrder()[place]].push_back({list.getOrder()[n->place()], delta});
        }
    return rows;
}

static void testRows(bool periodic, int numReplicas, int numThreads) {
    const int numBeads = 600;
    mt19937 random(1);
    uniform_real_distribution<double> uniform;
    normal_distribution<double> normal;
    vector<Vec3> x(numBeads);
    vector<int> types, replicas;
    for (int i = 0; i < numBeads; i++) {
        x[i] = BOX[0]*uniform(random)+BOX[1]*uniform(random)+BOX[2]*uniform(random);
        types.push_back(i*i%3);
        replicas.push_back(i%numReplicas);
    }
    ThreadPool pool(numThreads), one(1);
    CpuParallel parallel(pool), serial(one);
    CpuNeighborList list(CUTOFF, SKIN, periodic, types, numReplicas > 1 ? replicas : vector<int>());
    int rebuilds = 0;
    const int numSteps = 12;
    for (int step = 0; step < numSteps; step++) {
        rebuilds += list.update(x, BOX, parallel);
        const Rows found = rowsOf(list, numBeads), expected = allPairs(x, replicas, periodic);
        CpuNeighborList fresh(CUTOFF, SKIN, periodic, types, replicas);
        fresh.update(x, BOX, serial);
        ASSERT(rowsOf(fresh, numBeads) == found);    // to the last bit, of whatever age and on any number of threads
        for (int i = 0; i < numBeads; i++) {
            ASSERT_EQUAL(expected[i].size(), found[i].size());
            for (size_t k = 0; k < expected[i].size(); k++) {
                ASSERT_EQUAL(expected[i][k].first, found[i][k].first);
                ASSERT_EQUAL_VEC(expected[i][k].second, found[i][k].second, 1e-12);
            }
        }
        for (int place = 1; place < numBeads; place++)
            ASSERT(types[list.getOrder()[place-1]] <= types[list.getOrder()[place]]);
        for (Vec3& position : x)
            position += Vec3(normal(random), normal(random), normal(random))*0.008;
    }
    ASSERT(rebuilds > 1 && rebuilds < numSteps/2);
}

/** Neighbours in space are near in memory: the mean distance of places is far below a random order's, a third of their number. */
static void testOrderIsSpatial() {
    const int numBeads = 8000;
    mt19937 random(2);
    uniform_real_distribution<double> uniform;
    vector<Vec3> x(numBeads);
    for (Vec3& position : x)
        position = (BOX[0]*uniform(random)+BOX[1]*uniform(random)+BOX[2]*uniform(random))*2;
    const Vec3 box[3] = {BOX[0]*2, BOX[1]*2, BOX[2]*2};
    ThreadPool pool(2);
    CpuParallel parallel(pool);
    CpuNeighborList list(CUTOFF, SKIN, true);
    list.update(x, box, parallel);
    double sum = 0.0, count = 0.0;
    for (int place = 0; place < numBeads; place++)
        for (const CpuNeighborList::Neighbor* n = list.begin(place); n != list.end(place); n++, count++)
            sum += abs(n->place()-place);
    ASSERT(sum/count < 0.4*numBeads/3.0);
}

/** A force whose loops are long enough for all threads gives the same bits on one. */
static void testForceOnThreads(const TestPlatform& test) {
    const int numBeads = 600;
    mt19937 random(3);
    uniform_real_distribution<double> uniform;
    normal_distribution<double> normal;
    auto numbers = [&](int count) {
        vector<double> values(count);
        for (double& value : values)
            value = 0.3*normal(random);
        return values;
    };
    auto* force = new MomentTensorForce(2, CUTOFF, 2, 4);
    force->setFilters(CUTOFF/6, numbers(6*3*4));
    force->setTypeWeights(numbers(2*4));
    force->addLayer(5, numbers(2*5*force->getNumFeatures()), numbers(2*5));
    force->addLayer(1, numbers(2*5), numbers(2));
    force->setUsesPeriodicBoundaryConditions(true);
    System system;
    system.setDefaultPeriodicBoxVectors(BOX[0], BOX[1], BOX[2]);
    system.addForce(force);
    vector<Vec3> x(numBeads);
    for (int i = 0; i < numBeads; i++) {
        system.addParticle(18.0);
        force->addParticle(i%2);
        x[i] = BOX[0]*uniform(random)+BOX[1]*uniform(random)+BOX[2]*uniform(random);
    }
    vector<Vec3> forces[2];
    for (int several = 0; several < 2; several++) {
        VerletIntegrator integrator(0.001);
        Context context(system, integrator, test.platform, {{"Threads", several ? "3" : "1"}});
        context.setPositions(x);
        integrator.step(1);
        forces[several] = context.getState(State::Forces).getForces();
    }
    ASSERT(forces[0] == forces[1]);
}

static void runTests(const TestPlatform& test) {
    for (int numThreads : {1, 3}) {
        testRows(true, 1, numThreads);
        testRows(true, 3, numThreads);
        testRows(false, 1, numThreads);
    }
    testOrderIsSpatial();
    testForceOnThreads(test);
}

int main(int argc, char* argv[]) {
    if (argc < 2 || string(argv[1]) != "CPU")
        return SKIPPED;
    return run(argc, argv, runTests);
}
