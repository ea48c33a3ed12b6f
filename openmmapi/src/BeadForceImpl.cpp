// SPDX-License-Identifier: MIT
#include "meanforce/internal/BeadForceImpl.h"
#include "meanforce/CalcBeadForceKernel.h"
#include "meanforce/GLEIntegrator.h"
#include "openmm/AndersenThermostat.h"
#include "openmm/BrownianIntegrator.h"
#include "openmm/CompoundIntegrator.h"
#include "openmm/LangevinIntegrator.h"
#include "openmm/LangevinMiddleIntegrator.h"
#include "openmm/MonteCarloAnisotropicBarostat.h"
#include "openmm/MonteCarloBarostat.h"
#include "openmm/MonteCarloFlexibleBarostat.h"
#include "openmm/MonteCarloMembraneBarostat.h"
#include "openmm/NoseHooverIntegrator.h"
#include "openmm/VariableLangevinIntegrator.h"
#include "openmm/internal/ContextImpl.h"
#include <cmath>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The temperature that an integrator of a known class keeps, in K; 0 if it keeps none. */
static double temperatureOf(const Integrator& integrator) {
    if (auto* compound = dynamic_cast<const CompoundIntegrator*>(&integrator))
        return temperatureOf(compound->getIntegrator(compound->getCurrentIntegrator()));
    if (auto* i = dynamic_cast<const GLEIntegrator*>(&integrator))
        return i->getTemperature();
    if (auto* i = dynamic_cast<const LangevinMiddleIntegrator*>(&integrator))
        return i->getTemperature();
    if (auto* i = dynamic_cast<const LangevinIntegrator*>(&integrator))
        return i->getTemperature();
    if (auto* i = dynamic_cast<const VariableLangevinIntegrator*>(&integrator))
        return i->getTemperature();
    if (auto* i = dynamic_cast<const BrownianIntegrator*>(&integrator))
        return i->getTemperature();
    if (auto* i = dynamic_cast<const NoseHooverIntegrator*>(&integrator))
        return i->getNumThermostats() == 0 ? 0.0 : i->getTemperature();
    return 0.0;
}

static bool isBarostat(const Force& force) {
    return dynamic_cast<const MonteCarloBarostat*>(&force) != nullptr || dynamic_cast<const MonteCarloAnisotropicBarostat*>(&force) != nullptr ||
            dynamic_cast<const MonteCarloMembraneBarostat*>(&force) != nullptr || dynamic_cast<const MonteCarloFlexibleBarostat*>(&force) != nullptr;
}

BeadForceImpl::BeadForceImpl(const BeadForce& owner) : owner(owner), temperatureParameter(owner.getTemperatureParameter()) {
    forceGroup = owner.getForceGroup();
}

void BeadForceImpl::initialize(ContextImpl& context) {
    const System& system = context.getSystem();
    if (owner.getNumParticles() != system.getNumParticles())
        throw OpenMMException(owner.getName()+": the number of particles must be that of the System, "+to_string(system.getNumParticles())+
                ", found "+to_string(owner.getNumParticles()));
    owner.validate();
    if (owner.getNumReplicas() > 1)
        for (int i = 0; i < system.getNumForces(); i++)
            if (isBarostat(system.getForce(i)))
                throw OpenMMException(owner.getName()+": replicas share one box, so a barostat cannot change it, found "+system.getForce(i).getName());
    if (owner.usesPeriodicBoundaryConditions()) {
        Vec3 box[3];
        system.getDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
        checkBox(owner.getName(), box, owner.getCutoff());
    }
    shape = owner.describeShape();
    kernel = context.getPlatform().createKernel(owner.getKernelName(), context);
    kernel.getAs<CalcBeadForceKernel>().initialize(system, owner);
}

void BeadForceImpl::checkBox(const string& className, const Vec3* boxVectors, double cutoff) {
    for (int i = 0; i < 3; i++)
        if (boxVectors[i][i] < 2*cutoff) {
            stringstream message;
            message << className << ": the periodic box must be at least twice the cutoff, " << 2*cutoff << " nm, in every direction, found "
                    << boxVectors[i][i] << " nm along " << "xyz"[i];
            throw OpenMMException(message.str());
        }
}

OpenMMException BeadForceImpl::positionError(const string& className, int particle) {
    return OpenMMException(className+": the position of particle "+to_string(particle)+" is NaN, infinite or too far from the origin");
}

double BeadForceImpl::getTemperature(ContextImpl& context) const {
    if (temperatureParameter.empty())
        return 0.0;
    double temperature = context.getParameter(temperatureParameter);
    if (!(isfinite(temperature) && temperature > 0)) {
        stringstream message;
        message << owner.getName() << ": the parameter '" << temperatureParameter << "' must be positive (K), found " << temperature;
        throw OpenMMException(message.str());
    }
    return temperature;
}

void BeadForceImpl::updateContextState(ContextImpl& context, bool& forcesInvalid) {
    if (temperatureParameter.empty())
        return;
    double expected = getTemperature(context), found = temperatureOf(context.getIntegrator());
    const auto& parameters = context.getParameters();
    auto thermostat = parameters.find(AndersenThermostat::Temperature());
    if (found == 0.0 && thermostat != parameters.end())
        found = thermostat->second;
    if (found != 0.0 && fabs(found-expected) > 1e-6*expected) {
        stringstream message;
        message << owner.getName() << ": the dynamics must run at the temperature of the potential, the parameter '" << temperatureParameter << "', "
                << expected << " K, found " << found << " K";
        throw OpenMMException(message.str());
    }
}

double BeadForceImpl::calcForcesAndEnergy(ContextImpl& context, bool includeForces, bool includeEnergy, int groups) {
    if ((groups & (1<<owner.getForceGroup())) == 0)
        return 0.0;
    auto& calc = kernel.getAs<CalcBeadForceKernel>();
    double temperature = getTemperature(context), slope;
    double offset = owner.getNumReplicas()*owner.computeOffset(temperature, slope);
    double energy = calc.execute(context, includeForces, includeEnergy, temperature)+offset;
    if (owner.hasTemperatureDerivative())
        calc.addTemperatureDerivative(context, owner.getNumReplicas()*slope);
    return energy;
}

map<string, double> BeadForceImpl::getDefaultParameters() {
    if (temperatureParameter.empty())
        return {};
    return {{temperatureParameter, owner.getDefaultTemperature()}};
}

vector<string> BeadForceImpl::getKernelNames() {
    return {owner.getKernelName()};
}

void BeadForceImpl::updateParametersInContext(ContextImpl& context) {
    owner.validate();
    auto now = owner.describeShape();
    for (size_t i = 0; i < shape.size(); i++)
        if (now[i] != shape[i])
            throw OpenMMException(owner.getName()+": updateParametersInContext() cannot change the "+shape[i].first+" from "+
                    shape[i].second+" to "+now[i].second);
    kernel.getAs<CalcBeadForceKernel>().copyParametersToContext(context, owner);
    context.systemChanged();
}

vector<double> BeadForceImpl::getReplicaEnergies(ContextImpl& context) {
    context.calcForcesAndEnergy(false, true, 1<<owner.getForceGroup());
    vector<double> energies = kernel.getAs<CalcBeadForceKernel>().getReplicaEnergies();
    double slope, offset = owner.computeOffset(getTemperature(context), slope);
    for (double& energy : energies)
        energy += offset;
    return energies;
}

const KernelImpl& BeadForceImpl::getKernelImpl() const {
    return kernel.getImpl();
}

}
