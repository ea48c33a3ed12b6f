// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/PairSplineForce.h"

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(PairSplineForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;

void bindPairSplineForce(py::module_& m) {
    using Force = PairSplineForce;
    m.def("is_PairSplineForce", [](py::object force) {
        return dynamic_cast<Force*>(forceAddress(force)) != nullptr;
    });
    m.def("PairSplineForce_getNumPairs", &Force::getNumPairs);
    m.def("PairSplineForce_setCoefficients", [](Force& force, const Array& coefficients) {
        checkArguments([&] { force.setCoefficients(toVector(coefficients)); });
    });
    m.def("PairSplineForce_getCoefficients", [](Force& force) {
        return toArray(force.getCoefficients(), {force.getNumPairs(), force.getNumFunctions()});
    });
    m.def("PairSplineForce_addExclusion", [](Force& force, int particle1, int particle2) {
        return checkArguments([&] { return force.addExclusion(particle1, particle2); });
    });
    m.def("PairSplineForce_getNumExclusions", &Force::getNumExclusions);
    m.def("PairSplineForce_getExclusionParticles", [](Force& force, int index) {
        std::pair<int, int> particles = checkArguments([&] { return force.getExclusionParticles(index); });
        return py::make_tuple(particles.first, particles.second);
    });
}
