// SPDX-License-Identifier: MIT
#include "arrays.h"
#include "casters.h"
#include "exceptions.h"
#include "meanforce/GLEIntegrator.h"
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace meanforce;

namespace pybind11 { namespace detail {
MEANFORCE_CASTER(GLEIntegrator, Integrator)
}}

void bindGLEIntegrator(py::module_& module) {
    module.def("is_GLEIntegrator", [](py::object object) {
        return dynamic_cast<GLEIntegrator*>(integratorAddress(object)) != nullptr;
    });
    module.def("GLEIntegrator_getTemperature", &GLEIntegrator::getTemperature);
    module.def("GLEIntegrator_setTemperature", [](GLEIntegrator& self, double temperature) {
        checkArguments([&] { self.setTemperature(temperature); });
    });
    module.def("GLEIntegrator_setStepSize", [](GLEIntegrator& self, double size) {
        checkArguments([&] { self.setStepSize(size); });
    });
    module.def("GLEIntegrator_addKernel", [](GLEIntegrator& self, const Array& drift, int dimension) {
        return checkArguments([&] { return self.addKernel(toVector(drift), dimension); });
    });
    module.def("GLEIntegrator_getNumKernels", &GLEIntegrator::getNumKernels);
    module.def("GLEIntegrator_getKernel", [](const GLEIntegrator& self, int index) {
        return checkArguments([&] { return self.getKernel(index); });
    });
    module.def("GLEIntegrator_getKernelDimension", [](const GLEIntegrator& self, int index) {
        return checkArguments([&] { return self.getKernelDimension(index); });
    });
    module.def("GLEIntegrator_setParticleKernel", [](GLEIntegrator& self, int particle, int kernel) {
        checkArguments([&] { self.setParticleKernel(particle, kernel); });
    });
    module.def("GLEIntegrator_getParticleKernel", [](const GLEIntegrator& self, int particle) {
        return checkArguments([&] { return self.getParticleKernel(particle); });
    });
    module.def("GLEIntegrator_getParticleKernels", &GLEIntegrator::getParticleKernels);
    module.def("GLEIntegrator_getNumModes", &GLEIntegrator::getNumModes);
    module.def("GLEIntegrator_getRandomNumberSeed", &GLEIntegrator::getRandomNumberSeed);
    module.def("GLEIntegrator_setRandomNumberSeed", &GLEIntegrator::setRandomNumberSeed);
    module.def("GLEIntegrator_getAuxiliaryInitialization", [](const GLEIntegrator& self) {
        return (int) self.getAuxiliaryInitialization();
    });
    module.def("GLEIntegrator_setAuxiliaryInitialization", [](GLEIntegrator& self, int initialization) {
        checkArguments([&] { self.setAuxiliaryInitialization((GLEIntegrator::AuxiliaryInitialization) initialization); });
    });
    module.def("GLEIntegrator_getAuxiliaryVariables", [](const GLEIntegrator& self) {
        return checkArguments([&] {
            std::vector<double> s;
            self.getAuxiliaryVariables(s);
            const auto shape = self.getAuxiliaryShape();
            return toArray(s, {shape.begin(), shape.end()});
        });
    });
    module.def("GLEIntegrator_getAuxiliaryShape", [](const GLEIntegrator& self) {
        return checkArguments([&] { return self.getAuxiliaryShape(); });
    });
    module.def("GLEIntegrator_setAuxiliaryVariables", [](GLEIntegrator& self, const Array& s) {
        checkArguments([&] { self.setAuxiliaryVariables(toVector(s)); });
    });
    module.def("GLEIntegrator_getBathHeat", [](const GLEIntegrator& self) {
        return checkArguments([&] { return self.getBathHeat(); });
    });
    module.def("GLEIntegrator_computeConservedEnergy", [](GLEIntegrator& self) {
        return checkArguments([&] {
            py::gil_scoped_release release;
            return self.computeConservedEnergy();
        });
    });
}
