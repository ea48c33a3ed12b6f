// SPDX-License-Identifier: MIT
#include "casters.h"
// One declaration and one call per feature; each feature binds itself in a file of its own.
void bindGLEIntegrator(pybind11::module_& module);

void bindBeadForce(pybind11::module_& module);
void bindExceptions(pybind11::module_& module);
void bindKernelClass(pybind11::module_& module);
void bindMomentTensorForce(pybind11::module_& module);
void bindSchNetForce(pybind11::module_& module);
void bindPairSplineForce(pybind11::module_& module);
void bindStillingerWeberForce(pybind11::module_& module);

PYBIND11_MODULE(_meanforce, module) {
    module.doc() = "Native half of meanforce: free functions that the Python classes call.";
    bindGLEIntegrator(module);
    bindBeadForce(module);
    bindExceptions(module);
    bindKernelClass(module);
    bindMomentTensorForce(module);
    bindSchNetForce(module);
    bindPairSplineForce(module);
    bindStillingerWeberForce(module);
}
