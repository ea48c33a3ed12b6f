// SPDX-License-Identifier: MIT
#include "casters.h"
#include "openmm/OpenMMException.h"

namespace py = pybind11;

/** Makes an OpenMMException of our functions the same Python exception as one of OpenMM's own functions. */
void bindExceptions(py::module_& m) {
    py::register_local_exception_translator([](std::exception_ptr exception) {
        try {
            if (exception)
                std::rethrow_exception(exception);
        }
        catch (const OpenMM::OpenMMException& error) {
            py::set_error(py::module_::import("openmm").attr("OpenMMException"), error.what());
        }
    });
}
