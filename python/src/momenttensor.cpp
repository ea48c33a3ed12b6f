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
    m.def("MomentTensorForce_getMaxL", &Force::getMaxL);
    m.def("MomentTensorForce_getNumChannels", &Force::getNumChannels);
    m.def("MomentTensorForce_addProduct", [](Force& force, const std::vector<int>& degrees, const std::vector<int>& shifts) {
        return checkArguments([&] { return force.addProduct(degrees, shifts); });
    });
    m.def("MomentTensorForce_getNumProducts", &Force::getNumProducts);
    m.def("MomentTensorForce_getProduct", [](const Force& force, int index) {
        std::vector<int> degrees, shifts;
        checkArguments([&] { force.getProduct(index, degrees, shifts); });
        return py::make_tuple(py::tuple(py::cast(degrees)), py::tuple(py::cast(shifts)));
    });
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
