// SPDX-License-Identifier: MIT
#include "CpuIntegrateGLEStepKernel.h"
#include "CpuNormalDeviates.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The fewest blocks that are worth a thread. */
static constexpr int MIN_BLOCKS_PER_THREAD = 100;
static constexpr int MAX_COMPONENTS = GLEIntegrator::MaxModes+1;
static_assert(sizeof(CpuGLEBlock::particle) == LANES*sizeof(int), "a block has one particle for each lane");

// ---- vector code: plain static functions on plain arrays ----

/** One component of eight particles, in the directions x, y and z. */
struct Vector8 {
    Double8 x, y, z;
};

static inline void load(const double* source, Vector8& target) {
    memcpy(&target, source, sizeof(Vector8));
}

static inline void store(const Vector8& source, double* target) {
    memcpy(target, &source, sizeof(Vector8));
}

/** The doubles of x, y and z of each lane's particle. */
static inline void gather(const double* source, const int* particle, Vector8& target) {
    double x[LANES], y[LANES], z[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        x[lane] = source[3*particle[lane]];
        y[lane] = source[3*particle[lane]+1];
        z[lane] = source[3*particle[lane]+2];
    }
    load(x, target.x);
    load(y, target.y);
    load(z, target.z);
}

static inline void scatter(const Vector8& source, const int* particle, int count, double* target) {
    double x[LANES], y[LANES], z[LANES];
    store(source.x, x);
    store(source.y, y);
    store(source.z, z);
    for (int lane = 0; lane < count; lane++) {
        target[3*particle[lane]] = x[lane];
        target[3*particle[lane]+1] = y[lane];
        target[3*particle[lane]+2] = z[lane];
    }
}

template <class T>
static inline void addScaled(Vector8& sum, const T& scale, const Vector8& term) {
    sum.x += scale*term.x;
    sum.y += scale*term.y;
    sum.z += scale*term.z;
}

/** sum += a block of a matrix times a component. */
template <int D>
static inline void addProduct(Vector8& sum, const double* block, const Vector8& component) {
    if constexpr (D == 1) {
        sum.x += block[0]*component.x;
        sum.y += block[0]*component.y;
        sum.z += block[0]*component.z;
    }
    else {
        sum.x += block[0]*component.x+block[1]*component.y+block[2]*component.z;
        sum.y += block[3]*component.x+block[4]*component.y+block[5]*component.z;
        sum.z += block[6]*component.x+block[7]*component.y+block[8]*component.z;
    }
}

/** The part of row a of (T-1) y that stays within u, component 0, and within s. */
template <int D>
static inline void propagateBath(const double* row, int a, const Vector8* y, int numComponents, Vector8& change) {
    const int begin = (a == 0 ? 0 : 1), end = (a == 0 ? 1 : numComponents);
    for (int b = begin; b < end; b++)
        addProduct<D>(change, row+b*D*D, y[b]);
}

/** The part of row a of (T-1) y that goes from s to u, and from u to s. */
template <int D>
static inline void couple(const double* row, int a, const Vector8* y, int numComponents, Vector8& change) {
    const int begin = (a == 0 ? 1 : 0), end = (a == 0 ? numComponents : 1);
    for (int b = begin; b < end; b++)
        addProduct<D>(change, row+b*D*D, y[b]);
}

/** Row a of sqrt(kT) S xi. */
template <int D>
static inline void addNoise(const double* row, const Vector8* xi, int numComponents, Vector8& change) {
    for (int b = 0; b < numComponents; b++)
        addProduct<D>(change, row+b*D*D, xi[b]);
}

/** (u, s) <- T (u, s) + sqrt(kT) S xi */
template <int D>
static inline void exchange(const CpuGLEBlock& block, const CpuGLEBath& bath, uint32_t seed, uint64_t noiseStep, double* s, double* heat, Vector8& v) {
    const int n = bath.numComponents;
    const double *decay = bath.decay.data(), *noise = bath.noise.data();
    Vector8 y[MAX_COMPONENTS], xi[MAX_COMPONENTS];
    double roots[LANES];
    Word8 particle;
    for (int lane = 0; lane < LANES; lane++) {
        roots[lane] = __builtin_sqrt(block.mass[lane]);
        particle[lane] = block.particle[lane];
    }
    Double8 sqrtMass;
    load(roots, sqrtMass);
    y[0] = {sqrtMass*v.x, sqrtMass*v.y, sqrtMass*v.z};
    for (int a = 1; a < n; a++)
        load(s+(a-1)*3*LANES, y[a]);
    for (int a = 0; a < n; a++) {
        Double8 deviates[3];
        normalDeviates(RandomStream::GLENoise, seed, noiseStep, particle, a, deviates);
        xi[a] = {deviates[0], deviates[1], deviates[2]};
    }
    for (int a = 0; a < n; a++) {
        Vector8 change = {};
        propagateBath<D>(decay+a*n*D*D, a, y, n, change);
        couple<D>(decay+a*n*D*D, a, y, n, change);
        addNoise<D>(noise+a*n*D*D, xi, n, change);
        if (a == 0) {
            addScaled(v, 1.0/sqrtMass, change);
            Double8 sum;
            load(heat, sum);
            sum -= change.x*(y[0].x+0.5*change.x) + change.y*(y[0].y+0.5*change.y) + change.z*(y[0].z+0.5*change.z);
            store(sum, heat);
        }
        else {
            addScaled(change, 1.0, y[a]);
            store(change, s+(a-1)*3*LANES);
        }
    }
}

struct CpuGLEArguments {
    const CpuGLEBlock* blocks;
    const CpuGLEBath* baths;
    int numModes;
    uint32_t seed;
    uint64_t noiseStep;
    double h;
    double *v, *s, *heat;
};

static inline void exchangeBlock(const CpuGLEArguments& args, int index, Vector8& v) {
    const CpuGLEBlock& block = args.blocks[index];
    if (block.kernel < 0)
        return;
    const CpuGLEBath& bath = args.baths[block.kernel];
    double *s = args.s+(size_t) index*args.numModes*3*LANES, *heat = args.heat+index*LANES;
    if (bath.dimension == 1)
        exchange<1>(block, bath, args.seed, args.noiseStep, s, heat, v);
    else
        exchange<3>(block, bath, args.seed, args.noiseStep, s, heat, v);
}

MEANFORCE_CLONES static void exchangeBlocks(const CpuGLEArguments& args, int begin, int end) {
    for (int index = begin; index < end; index++) {
        const CpuGLEBlock& block = args.blocks[index];
        Vector8 v;
        gather(args.v, block.particle, v);
        exchangeBlock(args, index, v);
        scatter(v, block.particle, block.count, args.v);
    }
}

MEANFORCE_CLONES static void stepBlocks(const CpuGLEArguments& args, double* positions, const double* forces, int begin, int end) {
    for (int index = begin; index < end; index++) {
        const CpuGLEBlock& block = args.blocks[index];
        Vector8 x, v, f;
        Double8 mass;
        gather(positions, block.particle, x);
        gather(args.v, block.particle, v);
        gather(forces, block.particle, f);
        load(block.mass, mass);
        addScaled(v, args.h/mass, f);
        addScaled(x, 0.5*args.h, v);
        exchangeBlock(args, index, v);
        addScaled(x, 0.5*args.h, v);
        scatter(x, block.particle, block.count, positions);
        scatter(v, block.particle, block.count, args.v);
    }
}

// ---- the kernel ----

static_assert(sizeof(Vec3) == 3*sizeof(double), "vectors are read as arrays of doubles");

static double* components(vector<Vec3>& vectors) {
    return reinterpret_cast<double*>(vectors.data());
}

void CpuIntegrateGLEStepKernel::initialize(const System& system, const GLEIntegrator& integrator) {
    ReferenceIntegrateGLEStepKernel::initialize(system, integrator);
    for (int kernel = -1; kernel < integrator.getNumKernels(); kernel++) {
        int lane = LANES;
        for (int i = 0; i < (int) mass.size(); i++) {
            if (mass[i] == 0 || particleKernel[i] != kernel)
                continue;
            if (lane == LANES) {
                CpuGLEBlock block = {kernel, 0, {}, {}};
                fill_n(block.particle, LANES, i);
                fill_n(block.mass, LANES, mass[i]);
                blocks.push_back(block);
                lane = 0;
            }
            blocks.back().particle[lane] = i;
            blocks.back().mass[lane] = mass[i];
            blocks.back().count = ++lane;
        }
    }
    s.assign(blocks.size()*numModes*3*LANES, 0.0);
    heat.assign(blocks.size()*LANES, 0.0);
}

void CpuIntegrateGLEStepKernel::stepFreely(vector<Vec3>& x, vector<Vec3>& v, vector<Vec3>& f, const Step& step) {
    if (blocks.empty())
        return;
    const CpuGLEArguments args = prepare(v, step);
    parallel.run(blocks.size(), MIN_BLOCKS_PER_THREAD, [&](int thread, int begin, int end) {
        stepBlocks(args, components(x), components(f), begin, end);
    });
}

void CpuIntegrateGLEStepKernel::exchangeWithBath(vector<Vec3>& v, const Step& step) {
    if (blocks.empty())
        return;
    const CpuGLEArguments args = prepare(v, step);
    parallel.run(blocks.size(), MIN_BLOCKS_PER_THREAD, [&](int thread, int begin, int end) {
        exchangeBlocks(args, begin, end);
    });
}

CpuGLEArguments CpuIntegrateGLEStepKernel::prepare(vector<Vec3>& v, const Step& step) {
    updateBaths(step);
    return {blocks.data(), baths.data(), numModes, step.seed, (uint64_t) step.noiseStep, step.h, components(v), s.data(), heat.data()};
}

void CpuIntegrateGLEStepKernel::updateBaths(const Step& step) {
    if (step.h == bathStepSize && step.kT == bathkT)
        return;
    bathStepSize = step.h;
    bathkT = step.kT;
    baths.clear();
    for (size_t i = 0; i < propagators.size(); i++) {
        const int d = kernelDimensions[i], numComponents = countComponents(propagators[i].dimension, d);
        baths.push_back({d, numComponents, arrangeInBlocks(propagators[i].decay, d, numComponents, d), arrangeInBlocks(propagators[i].noise, d, numComponents, d)});
        for (double& element : baths.back().noise)
            element *= sqrt(step.kT);
    }
}

void CpuIntegrateGLEStepKernel::getAuxiliaryVariables(ContextImpl& context, vector<double>& s) const {
    s.assign(3*mass.size()*numModes, 0.0);
    for (size_t index = 0; index < blocks.size(); index++)
        for (int lane = 0; lane < blocks[index].count; lane++)
            for (int direction = 0; direction < 3; direction++)
                for (int mode = 0; mode < numModes; mode++)
                    s[(3*(size_t) blocks[index].particle[lane]+direction)*numModes+mode] = this->s[((index*numModes+mode)*3+direction)*LANES+lane];
}

void CpuIntegrateGLEStepKernel::setAuxiliaryVariables(ContextImpl& context, const vector<double>& s) {
    for (size_t index = 0; index < blocks.size(); index++)
        for (int lane = 0; lane < LANES; lane++)
            for (int direction = 0; direction < 3; direction++)
                for (int mode = 0; mode < numModes; mode++)
                    this->s[((index*numModes+mode)*3+direction)*LANES+lane] = s[(3*(size_t) blocks[index].particle[lane]+direction)*numModes+mode];
}

double CpuIntegrateGLEStepKernel::getBathHeat(ContextImpl& context) const {
    // What constraints give and take is counted by the Reference part.
    double total = ReferenceIntegrateGLEStepKernel::getBathHeat(context);
    for (size_t index = 0; index < blocks.size(); index++)
        for (int lane = 0; lane < blocks[index].count; lane++)
            total += heat[index*LANES+lane];
    return total;
}

}
