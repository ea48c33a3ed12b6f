// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/MomentTensorForce.h"

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(MomentTensorForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;

void bindMomentTensorForce(py::module_& m) {
    using Force = MomentTensorForce;
    m.def("is_MomentTensorForce", [](py::object force) {
        return dynamic_cast<Force*>(forceAddress(force)) != nullptr;
    });
    m.def("MomentTensorForce_getMaxL", &Force::getMaxL);
    m.def("MomentTensorForce_getNumChannels", &Force::getNumChannels);
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
}
