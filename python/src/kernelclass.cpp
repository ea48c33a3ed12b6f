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

std::string kernelClass(OpenMM::Context& context, py::object force) {
    auto* owner = dynamic_cast<meanforce::KernelOwner*>(&ForceAccess::implOf(*meanforce::forceAddress(force), context));
    if (owner == nullptr)
        throw py::type_error("expected a force of meanforce");
    const OpenMM::KernelImpl& kernel = owner->getKernelImpl();
    int status = 0;
    std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(typeid(kernel).name(), nullptr, nullptr, &status), std::free);
    return status == 0 ? name.get() : typeid(kernel).name();
}

}

void bindKernelClass(py::module_& m) {
    m.def("kernel_class", &kernelClass, py::arg("context"), py::arg("force"),
          "Return the C++ class name of the kernel that serves one of our forces in a Context.");
}
