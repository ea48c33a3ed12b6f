// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/OpenMMException.h"
#include <pybind11/pybind11.h>

namespace meanforce {

/** Calls a function and turns the exception for a bad argument into Python's. */
template <class FUNCTION>
auto checkArguments(FUNCTION function) {
    try {
        return function();
    }
    catch (const OpenMM::OpenMMException& exception) {
        throw pybind11::value_error(exception.what());
    }
}

}
