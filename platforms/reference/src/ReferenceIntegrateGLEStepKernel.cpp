// SPDX-License-Identifier: MIT
#include "ReferenceIntegrateGLEStepKernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/reference/ReferenceConstraints.h"
#include "openmm/reference/ReferenceVirtualSites.h"
#include "openmm/reference/SimTKOpenMMRealType.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

static ReferencePlatform::PlatformData& platformData(ContextImpl& context) {
    return *static_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
}

struct ReferenceIntegrateGLEStepKernel::Constrained {
    void projectVelocities(vector<Vec3>& velocities) const {
        constraints.applyToVelocities(x, velocities, inverseMass, tolerance);
    }
    /** Moves from x to where the constraints take the target; what they shift it by in the time dt goes into the velocities. */
    void moveTo(const vector<Vec3>& target, double dt) const {
        vector<Vec3> constrained(target);
        constraints.apply(x, constrained, inverseMass, tolerance);
        for (size_t i = 0; i < x.size(); i++)
            if (mass[i] != 0) {
                v[i] += (constrained[i]-target[i])/dt;
                x[i] = constrained[i];
            }
    }
    vector<Vec3> &x, &v;
    ReferenceConstraints& constraints;
    const vector<double>& mass;
    vector<double>& inverseMass;
    double tolerance;
};

void ReferenceIntegrateGLEStepKernel::initialize(const System& system, const GLEIntegrator& integrator) {
    for (int i = 0; i < system.getNumParticles(); i++) {
        const double m = system.getParticleMass(i);
        mass.push_back(m);
        inverseMass.push_back(m == 0 ? 0 : 1/m);
        particleKernel.push_back(integrator.getParticleKernel(i));
    }
    for (int i = 0; i < integrator.getNumKernels(); i++)
        drifts.push_back(integrator.getKernel(i));
    for (int i = 0; i < integrator.getNumKernels(); i++)
        kernelDimensions.push_back(integrator.getKernelDimension(i));
    numModes = integrator.getNumModes();
    hasConstraints = system.getNumConstraints() > 0;
    needsRefill = integrator.needsRefill(system);
    isConstrained.assign(mass.size(), false);
    for (int i = 0; i < system.getNumConstraints(); i++) {
        int particle1, particle2;
        double distance;
        system.getConstraintParameters(i, particle1, particle2, distance);
        isConstrained[particle1] = isConstrained[particle2] = true;
    }
    s.assign(3*(size_t) system.getNumParticles()*numModes, 0.0);
}

void ReferenceIntegrateGLEStepKernel::checkBeforeStep(ContextImpl& context) const {
    // Forces with a cutoff silently skip a particle at NaN, which then spreads through the bath and the constraints.
    const vector<Vec3>& x = *platformData(context).positions;
    for (size_t i = 0; i < x.size(); i++)
        if (mass[i] != 0 && !(isfinite(x[i][0]) && isfinite(x[i][1]) && isfinite(x[i][2])))
            throwBadPosition(i);
}

void ReferenceIntegrateGLEStepKernel::execute(ContextImpl& context, const GLEIntegrator& integrator, uint32_t seed, int64_t noiseStep) {
    ReferencePlatform::PlatformData& data = platformData(context);
    const Step step = {integrator.getStepSize(), BOLTZ*integrator.getTemperature(), integrator.getConstraintTolerance(), seed, noiseStep};
    updatePropagators(step.h);
    const Constrained state = {*data.positions, *data.velocities, *data.constraints, mass, inverseMass, step.tolerance};
    if (needsRefill)
        stepWithRefill(state, *data.forces, step);
    else if (hasConstraints)
        stepWithoutMemory(state, *data.forces, step);
    else
        stepFreely(*data.positions, *data.velocities, *data.forces, step);
    data.virtualSites->computePositions(context.getSystem(), *data.positions, data.periodicBoxVectors);
    data.time += step.h;
    data.stepCount++;
}

void ReferenceIntegrateGLEStepKernel::stepFreely(vector<Vec3>& x, vector<Vec3>& v, vector<Vec3>& f, const Step& step) {
    kick(v, f, step.h);
    drift(x, v, 0.5*step.h);
    exchangeWithBath(v, step);
    drift(x, v, 0.5*step.h);
}

/**
 * One correction of positions for the whole step, as LangevinMiddleIntegrator does it.  Noise that the constraints forbid would
 * not move anything; it is taken from the velocities at once, so that it does not count as heat.
 */
void ReferenceIntegrateGLEStepKernel::stepWithoutMemory(const Constrained& state, const vector<Vec3>& f, const Step& step) {
    kick(state.v, f, step.h);
    state.projectVelocities(state.v);
    vector<Vec3> x(state.x);
    drift(x, state.v, 0.5*step.h);
    exchangeWithBath(state.v, step);
    heat += kineticEnergy(state.v);
    state.projectVelocities(state.v);
    heat -= kineticEnergy(state.v);
    drift(x, state.v, 0.5*step.h);
    state.moveTo(x, step.h);
}

void ReferenceIntegrateGLEStepKernel::stepWithRefill(const Constrained& state, const vector<Vec3>& f, const Step& step) {
    const auto driftOnConstraints = [&] {
        vector<Vec3> x(state.x);
        drift(x, state.v, 0.5*step.h);
        state.moveTo(x, 0.5*step.h);
        state.projectVelocities(state.v);
    };
    kick(state.v, f, step.h);
    state.projectVelocities(state.v);
    driftOnConstraints();
    heat += kineticEnergy(state.v);
    refill(state, step);
    heat -= kineticEnergy(state.v);
    exchangeWithBath(state.v, step);
    heat += kineticEnergy(state.v);
    state.projectVelocities(state.v);
    heat -= kineticEnergy(state.v);
    driftOnConstraints();
}

/** v += (1-P) w */
void ReferenceIntegrateGLEStepKernel::refill(const Constrained& state, const Step& step) {
    const NormalStream normal(RandomStream::GLERefill, step.seed);
    vector<Vec3> w(mass.size());
    for (size_t i = 0; i < mass.size(); i++)
        if (isConstrained[i] && mass[i] != 0) {
            const auto xi = normal(step.noiseStep, i, 0);
            w[i] = Vec3(xi[0], xi[1], xi[2])*sqrt(step.kT/mass[i]);
        }
    vector<Vec3> allowed(w);
    state.projectVelocities(allowed);
    for (size_t i = 0; i < mass.size(); i++)
        state.v[i] += w[i]-allowed[i];
}

void ReferenceIntegrateGLEStepKernel::kick(vector<Vec3>& v, const vector<Vec3>& f, double h) const {
    for (size_t i = 0; i < v.size(); i++)
        v[i] += f[i]*(h*inverseMass[i]);
}

void ReferenceIntegrateGLEStepKernel::drift(vector<Vec3>& x, const vector<Vec3>& v, double h) const {
    for (size_t i = 0; i < x.size(); i++)
        if (mass[i] != 0)
            x[i] += v[i]*h;
}

void ReferenceIntegrateGLEStepKernel::exchangeWithBath(vector<Vec3>& v, const Step& step) {
    const NormalStream normal(RandomStream::GLENoise, step.seed);
    for (size_t i = 0; i < v.size(); i++) {
        if (mass[i] == 0 || particleKernel[i] < 0)
            continue;
        const int bath = particleKernel[i], d = kernelDimensions[bath];
        const GLEPropagator& propagator = propagators[bath];
        const int numComponents = countComponents(propagator.dimension, d);
        vector<array<double, 3> > normals(numComponents);
        for (int a = 0; a < numComponents; a++)
            normals[a] = normal(step.noiseStep, i, a);
        // One bath for each direction, or one for all three.
        for (int direction = 0; direction < 3; direction += d) {
            vector<double> y(propagator.dimension), xi(propagator.dimension), change(propagator.dimension, 0.0);
            for (int a = 0; a < propagator.dimension; a++) {
                const int component = a/d, k = direction+a%d;
                y[a] = (component == 0 ? sqrt(mass[i])*v[i][k] : s[(3*i+k)*numModes+component-1]);
                xi[a] = normals[component][k];
            }
            propagateBath(propagator, d, y, change);
            couple(propagator, d, y, change);
            addNoise(propagator, sqrt(step.kT), xi, change);
            for (int a = 0; a < propagator.dimension; a++) {
                const int component = a/d, k = direction+a%d;
                if (component == 0) {
                    v[i][k] += change[a]/sqrt(mass[i]);
                    heat -= change[a]*(y[a]+0.5*change[a]);
                }
                else
                    s[(3*i+k)*numModes+component-1] += change[a];
            }
        }
    }
}

/** The part of (T-1) y that stays within u, and within s. */
void ReferenceIntegrateGLEStepKernel::propagateBath(const GLEPropagator& propagator, int d, const vector<double>& y, vector<double>& change) const {
    for (int a = 0; a < propagator.dimension; a++)
        for (int b = 0; b < propagator.dimension; b++)
            if ((a < d) == (b < d))
                change[a] += propagator.decay[a*propagator.dimension+b]*y[b];
}

/** The part of (T-1) y that goes from s to u, and from u to s. */
void ReferenceIntegrateGLEStepKernel::couple(const GLEPropagator& propagator, int d, const vector<double>& y, vector<double>& change) const {
    for (int a = 0; a < propagator.dimension; a++)
        for (int b = 0; b < propagator.dimension; b++)
            if ((a < d) != (b < d))
                change[a] += propagator.decay[a*propagator.dimension+b]*y[b];
}

/** sqrt(kT) S xi */
void ReferenceIntegrateGLEStepKernel::addNoise(const GLEPropagator& propagator, double sqrtkT, const vector<double>& xi, vector<double>& change) const {
    for (int a = 0; a < propagator.dimension; a++)
        for (int b = 0; b < propagator.dimension; b++)
            change[a] += sqrtkT*propagator.noise[a*propagator.dimension+b]*xi[b];
}

void ReferenceIntegrateGLEStepKernel::updatePropagators(double h) {
    if (h == propagatorStepSize)
        return;
    propagatorStepSize = h;
    propagators.clear();
    for (const vector<double>& drift : drifts)
        propagators.emplace_back(drift, h);
}

double ReferenceIntegrateGLEStepKernel::kineticEnergy(const vector<Vec3>& v) const {
    double energy = 0;
    for (size_t i = 0; i < v.size(); i++)
        energy += 0.5*mass[i]*v[i].dot(v[i]);
    return energy;
}

double ReferenceIntegrateGLEStepKernel::computeKineticEnergy(ContextImpl& context, const GLEIntegrator& integrator) {
    return kineticEnergy(*platformData(context).velocities);
}

void ReferenceIntegrateGLEStepKernel::getAuxiliaryVariables(ContextImpl& context, vector<double>& s) const {
    s = this->s;
}

void ReferenceIntegrateGLEStepKernel::setAuxiliaryVariables(ContextImpl& context, const vector<double>& s) {
    this->s = s;
}

double ReferenceIntegrateGLEStepKernel::getBathHeat(ContextImpl& context) const {
    return heat;
}

}
