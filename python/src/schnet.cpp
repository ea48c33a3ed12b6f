// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/SchNetForce.h"
#include <pybind11/stl.h>
#include <cmath>

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(SchNetForce, Force)
}}

namespace py = pybind11;
using namespace meanforce;
using Force = SchNetForce;

static void bindParameters(py::module_& m) {
    m.def("SchNetForce_getNumFilters", &Force::getNumFilters);
    m.def("SchNetForce_getNumBlocks", &Force::getNumBlocks);
    m.def("SchNetForce_getNumRadialFunctions", &Force::getNumRadialFunctions);
    m.def("SchNetForce_setRadialBasis", [](Force& force, const std::string& kind, double exponent, const Array& centers, const Array& widths) {
        checkArguments([&] { force.setRadialBasis(kind, exponent, toVector(centers), toVector(widths)); });
    });
    m.def("SchNetForce_getRadialBasis", [](const Force& force) {
        return py::make_tuple(force.getRadialBasis(), force.getBasisExponent(), toArray(force.getBasisCenters(), {(py::ssize_t) force.getBasisCenters().size()}),
                toArray(force.getBasisWidths(), {(py::ssize_t) force.getBasisWidths().size()}));
    });
    m.def("SchNetForce_setCutoffFunction", [](Force& force, const std::string& kind, double lower) {
        checkArguments([&] { force.setCutoffFunction(kind, lower); });
    });
    m.def("SchNetForce_getCutoffFunction", [](const Force& force) {
        return py::make_tuple(force.getCutoffFunction(), force.getLowerCutoff());
    });
    m.def("SchNetForce_setEmbeddings", [](Force& force, const Array& embeddings) {
        checkArguments([&] { force.setEmbeddings(toVector(embeddings)); });
    });
    m.def("SchNetForce_getEmbeddings", [](const Force& force) {
        py::ssize_t numTypes = force.getEmbeddings().empty() ? 0 : force.getNumTypes();
        return toArray(force.getEmbeddings(), {numTypes, force.getNumFeatures()});
    });
    m.def("SchNetForce_setTypeEnergies", [](Force& force, const Array& energies) {
        checkArguments([&] { force.setTypeEnergies(toVector(energies)); });
    });
    m.def("SchNetForce_getTypeEnergies", [](const Force& force) {
        return toArray(force.getTypeEnergies(), {force.getNumTypes()});
    });
    m.def("SchNetForce_setBlockParameters", [](Force& force, int index, const Array& lin1, const Array& V1, const Array& v1, const Array& V2, const Array& v2,
            const Array& lin2, const Array& l2, const Array& lin3, const Array& l3) {
        checkArguments([&] {
            force.setBlockParameters(index, {toVector(lin1), toVector(V1), toVector(v1), toVector(V2), toVector(v2), toVector(lin2), toVector(l2),
                    toVector(lin3), toVector(l3)});
        });
    });
    m.def("SchNetForce_getBlockParameters", [](const Force& force, int index) {
        return checkArguments([&]() -> py::tuple {
            const Force::Block& block = force.getBlockParameters(index);
            const py::ssize_t empty = block.lin1Weights.empty() ? 0 : 1, H = empty*force.getNumFeatures(), F = empty*force.getNumFilters(),
                    R = force.getNumRadialFunctions();
            return py::make_tuple(toArray(block.lin1Weights, {F, H}), toArray(block.filter1Weights, {F, R}), toArray(block.filter1Biases, {F}),
                    toArray(block.filter2Weights, {F, F}), toArray(block.filter2Biases, {F}), toArray(block.lin2Weights, {H, F}), toArray(block.lin2Biases, {H}),
                    toArray(block.lin3Weights, {H, H}), toArray(block.lin3Biases, {H}));
        });
    });
}

static void bindFilters(py::module_& m) {
    m.def("SchNetForce_setFilterGrid", [](Force& force, int degree, int intervals) {
        checkArguments([&] { force.setFilterGrid(degree, intervals); });
    });
    m.def("SchNetForce_getFilterGrid", [](const Force& force) {
        return py::make_tuple(force.getFilterDegree(), force.getNumFilterIntervals());
    });
    m.def("SchNetForce_setFilterTables", [](Force& force, int degree, int intervals, const Array& coefficients) {
        checkArguments([&] { force.setFilterTables(degree, intervals, toVector(coefficients)); });
    });
    m.def("SchNetForce_getFilterTables", [](const Force& force) {
        return checkArguments([&] {
            std::vector<double> tables = force.getFilterTables();
            const py::ssize_t rows = tables.empty() ? 0 : force.getNumFilterIntervals()+force.getFilterDegree();
            return toArray(tables, {force.getNumBlocks(), rows, force.getNumFilters()});
        });
    });
    m.def("SchNetForce_tabulateFilters", [](Force& force, double tolerance, const Array& positions, const std::vector<int>& types) {
        std::vector<OpenMM::Vec3> vectors;
        for (py::ssize_t i = 0; i+2 < positions.size(); i += 3)
            vectors.push_back(OpenMM::Vec3(positions.data()[i], positions.data()[i+1], positions.data()[i+2]));
        return checkArguments([&] {
            py::gil_scoped_release release;
            return force.tabulateFilters(tolerance, vectors, types);
        });
    });
    m.def("SchNetForce_getFilterError", [](const Force& force) -> py::object {
        if (std::isnan(force.getFilterError()))
            return py::none();
        return py::float_(force.getFilterError());
    });
    m.def("SchNetForce_evaluateFilters", [](const Force& force, const Array& distances) {
        return checkArguments([&] {
            return toArray(force.evaluateFilters(toVector(distances)), {force.getNumBlocks(), distances.size(), force.getNumFilters()});
        });
    });
}

void bindSchNetForce(py::module_& m) {
    m.def("is_SchNetForce", [](py::object force) {
        return dynamic_cast<Force*>(forceAddress(force)) != nullptr;
    });
    bindParameters(m);
    bindFilters(m);
}
