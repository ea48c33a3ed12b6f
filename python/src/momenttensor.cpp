// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/Coupling.h"
#include <pybind11/stl.h>

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(MomentTensorForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;

void bindMomentTensorForce(py::module_& m) {
    using Force = MomentTensorForce;
    m.def("coupleMoments", [](const std::vector<int>& degrees) {
        py::list terms;
        for (const CouplingTerm& term : coupleMoments(degrees))
            terms.append(py::make_tuple(term.lm, term.value));
        return terms;
    });
    m.def("checkProduct", [](int maxL, int channels, const std::vector<int>& degrees, const std::vector<int>& shifts) {
        checkArguments([&] { checkProduct(maxL, channels, degrees, shifts); });
    });
    m.def("is_MomentTensorForce", [](py::object force) {
        return dynamic_cast<Force*>(forceAddress(force)) != nullptr;
    });
    m.def("MomentTensorForce_getNumTypes", &Force::getNumTypes);
    m.def("MomentTensorForce_getCutoff", &Force::getCutoff);
    m.def("MomentTensorForce_getMaxL", &Force::getMaxL);
    m.def("MomentTensorForce_getNumChannels", &Force::getNumChannels);
    m.def("MomentTensorForce_getNumFeatures", &Force::getNumFeatures);
    m.def("MomentTensorForce_setFilters", [](Force& force, double spacing, const Array& coefficients) {
        checkArguments([&] { force.setFilters(spacing, toVector(coefficients)); });
    });
    m.def("MomentTensorForce_getFilters", [](Force& force) {
        return py::make_tuple(force.getFilterSpacing(), toArray(force.getFilterCoefficients(),
                {force.getNumFilterFunctions(), force.getMaxL()+1, force.getNumChannels()}));
    });
    m.def("MomentTensorForce_setTypeWeights", [](Force& force, const Array& weights) {
        checkArguments([&] { force.setTypeWeights(toVector(weights)); });
    });
    m.def("MomentTensorForce_getTypeWeights", [](Force& force) {
        py::ssize_t numTypes = force.getTypeWeights().empty() ? 0 : force.getNumTypes();
        return toArray(force.getTypeWeights(), {numTypes, force.getNumChannels()});
    });
    m.def("MomentTensorForce_addLayer", [](Force& force, const Array& weights, const Array& biases) {
        return checkArguments([&] { return force.addLayer((int) weights.shape(1), toVector(weights), toVector(biases)); });
    });
    m.def("MomentTensorForce_setLayerParameters", [](Force& force, int index, const Array& weights, const Array& biases) {
        checkArguments([&] { force.setLayerParameters(index, toVector(weights), toVector(biases)); });
    });
    m.def("MomentTensorForce_getNumLayers", &Force::getNumLayers);
    m.def("MomentTensorForce_getLayerParameters", [](Force& force, int index) {
        return checkArguments([&] {
            py::ssize_t types = force.getNumTypes(), outputs = force.getNumLayerOutputs(index), inputs = force.getNumLayerInputs(index);
            return py::make_tuple(toArray(force.getLayerWeights(index), {types, outputs, inputs}), toArray(force.getLayerBiases(index), {types, outputs}));
        });
    });
    m.def("MomentTensorForce_setActivation", [](Force& force, const std::string& activation) {
        checkArguments([&] { force.setActivation(activation); });
    });
    m.def("MomentTensorForce_getActivation", &Force::getActivation);
    m.def("MomentTensorForce_addParticle", [](Force& force, int type) {
        return checkArguments([&] { return force.addParticle(type); });
    });
    m.def("MomentTensorForce_getNumParticles", &Force::getNumParticles);
    m.def("MomentTensorForce_getParticleType", [](const Force& force, int index) {
        return checkArguments([&] { return force.getParticleType(index); });
    });
    m.def("MomentTensorForce_setParticleType", [](Force& force, int index, int type) {
        checkArguments([&] { force.setParticleType(index, type); });
    });
    m.def("MomentTensorForce_setUsesPeriodicBoundaryConditions", &Force::setUsesPeriodicBoundaryConditions);
    m.def("MomentTensorForce_updateParametersInContext", &Force::updateParametersInContext, py::call_guard<py::gil_scoped_release>());
}
