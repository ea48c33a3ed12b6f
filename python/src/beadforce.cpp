// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/NetworkForce.h"
#include <pybind11/stl.h>

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(BeadForce, Force)
MEANFORCE_CASTER(NetworkForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;

static void bindBeads(py::module_& m) {
    m.def("BeadForce_getNumTypes", &BeadForce::getNumTypes);
    m.def("BeadForce_getCutoff", &BeadForce::getCutoff);
    m.def("BeadForce_addParticle", [](BeadForce& force, int type, int replica) {
        return checkArguments([&] { return force.addParticle(type, replica); });
    });
    m.def("BeadForce_getNumParticles", &BeadForce::getNumParticles);
    m.def("BeadForce_getNumReplicas", &BeadForce::getNumReplicas);
    m.def("BeadForce_getParticleType", [](const BeadForce& force, int index) {
        return checkArguments([&] { return force.getParticleType(index); });
    });
    m.def("BeadForce_setParticleType", [](BeadForce& force, int index, int type) {
        checkArguments([&] { force.setParticleType(index, type); });
    });
    m.def("BeadForce_getParticleReplica", [](const BeadForce& force, int index) {
        return checkArguments([&] { return force.getParticleReplica(index); });
    });
    m.def("BeadForce_setUsesPeriodicBoundaryConditions", &BeadForce::setUsesPeriodicBoundaryConditions);
    m.def("BeadForce_updateParametersInContext", &BeadForce::updateParametersInContext, py::call_guard<py::gil_scoped_release>());
    m.def("BeadForce_getReplicaEnergies", [](const BeadForce& force, OpenMM::Context& context) {
        std::vector<double> energies;
        {
            py::gil_scoped_release release;
            energies = force.getReplicaEnergies(context);
        }
        return toArray(energies, {(py::ssize_t) energies.size()});
    });
}

static void bindNetwork(py::module_& m) {
    m.attr("TemperatureParameter") = NetworkForce::TemperatureParameter();
    m.def("NetworkForce_getNumFeatures", &NetworkForce::getNumFeatures);
    m.def("NetworkForce_getNumNetworks", &NetworkForce::getNumNetworks);
    m.def("NetworkForce_addLayer", [](NetworkForce& force, const Array& weights, const Array& biases) {
        return checkArguments([&] { return force.addLayer((int) weights.shape(1), toVector(weights), toVector(biases)); });
    });
    m.def("NetworkForce_setLayerParameters", [](NetworkForce& force, int index, const Array& weights, const Array& biases) {
        checkArguments([&] { force.setLayerParameters(index, toVector(weights), toVector(biases)); });
    });
    m.def("NetworkForce_getNumLayers", &NetworkForce::getNumLayers);
    m.def("NetworkForce_getLayerParameters", [](NetworkForce& force, int index) {
        return checkArguments([&] {
            py::ssize_t networks = force.getNumNetworks(), outputs = force.getNumLayerOutputs(index), inputs = force.getNumLayerInputs(index);
            return py::make_tuple(toArray(force.getLayerWeights(index), {networks, outputs, inputs}), toArray(force.getLayerBiases(index), {networks, outputs}));
        });
    });
    m.def("NetworkForce_setActivation", [](NetworkForce& force, const std::string& activation) {
        checkArguments([&] { force.setActivation(activation); });
    });
    m.def("NetworkForce_getActivation", &NetworkForce::getActivation);
    m.def("NetworkForce_setTemperatureDependent", &NetworkForce::setTemperatureDependent);
    m.def("NetworkForce_isTemperatureDependent", &NetworkForce::isTemperatureDependent);
    m.def("NetworkForce_setDefaultTemperature", [](NetworkForce& force, double temperature) {
        checkArguments([&] { force.setDefaultTemperature(temperature); });
    });
    m.def("NetworkForce_getDefaultTemperature", &NetworkForce::getDefaultTemperature);
    m.def("NetworkForce_setOffset", [](NetworkForce& force, const Array& coefficients) {
        checkArguments([&] { force.setOffset(toVector(coefficients)); });
    });
    m.def("NetworkForce_getOffset", [](const NetworkForce& force) {
        return toArray(force.getOffset(), {(py::ssize_t) force.getOffset().size()});
    });
    m.def("NetworkForce_addEnergyParameterDerivative", [](NetworkForce& force, const std::string& name) {
        checkArguments([&] { force.addEnergyParameterDerivative(name); });
    });
}

void bindBeadForce(py::module_& m) {
    bindBeads(m);
    bindNetwork(m);
}
