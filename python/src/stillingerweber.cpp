// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/StillingerWeberForce.h"

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(StillingerWeberForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;

void bindStillingerWeberForce(py::module_& m) {
    using Force = StillingerWeberForce;
    m.def("is_StillingerWeberForce", [](py::object force) {
        return dynamic_cast<Force*>(forceAddress(force)) != nullptr;
    });
    m.def("StillingerWeberForce_setPairParameters", [](Force& force, int center, int type, double range, double gamma) {
        checkArguments([&] { force.setPairParameters(center, type, range, gamma); });
    });
    m.def("StillingerWeberForce_getPairParameters", [](const Force& force, int center, int type) {
        double range, gamma;
        checkArguments([&] { force.getPairParameters(center, type, range, gamma); });
        return py::make_tuple(range, gamma);
    });
    m.def("StillingerWeberForce_setTripletParameters", [](Force& force, int center, int type1, int type2, double c0, double c1, double c2) {
        checkArguments([&] { force.setTripletParameters(center, type1, type2, c0, c1, c2); });
    });
    m.def("StillingerWeberForce_getTripletParameters", [](const Force& force, int center, int type1, int type2) {
        double c0, c1, c2;
        checkArguments([&] { force.getTripletParameters(center, type1, type2, c0, c1, c2); });
        return py::make_tuple(c0, c1, c2);
    });
    m.def("StillingerWeberForce_setTripletAngle", [](Force& force, int center, int type1, int type2, double strength, double cosAngle) {
        checkArguments([&] { force.setTripletAngle(center, type1, type2, strength, cosAngle); });
    });
}
