// SPDX-License-Identifier: MIT
#include "casters.h"
#include "meanforce/internal/KernelOwner.h"
#include "openmm/internal/ForceImpl.h"
#include <cxxabi.h>
#include <cstdlib>
#include <memory>
#include <typeinfo>

namespace py = pybind11;

namespace {

/** Reaches a protected member of every Force. */
struct ForceAccess : OpenMM::Force {
    static OpenMM::ForceImpl& implOf(OpenMM::Force& force, OpenMM::Context& context) {
        OpenMM::ForceImpl& (OpenMM::Force::*getImpl)(OpenMM::Context&) const = &ForceAccess::getImplInContext;
        return (force.*getImpl)(context);
    }
};

/** Both arguments are Python objects of OpenMM's classes. */
meanforce::KernelOwner* findOwner(OpenMM::Context& context, py::object object) {
    if (py::isinstance(object, py::module_::import("openmm").attr("Integrator")))
        return dynamic_cast<meanforce::KernelOwner*>(meanforce::integratorAddress(object));
    return dynamic_cast<meanforce::KernelOwner*>(&ForceAccess::implOf(*meanforce::forceAddress(object), context));
}

std::string kernelClass(OpenMM::Context& context, py::object object) {
    auto* owner = findOwner(context, object);
    if (owner == nullptr)
        throw py::type_error("expected a force or an integrator of meanforce");
    const OpenMM::KernelImpl& kernel = owner->getKernelImpl();
    int status = 0;
    std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(typeid(kernel).name(), nullptr, nullptr, &status), std::free);
    return status == 0 ? name.get() : typeid(kernel).name();
}

}

void bindKernelClass(py::module_& m) {
    m.def("kernel_class", &kernelClass, py::arg("context"), py::arg("object"),
          "Return the C++ class name of the kernel that serves one of our forces or integrators in a Context.");
}
