// SPDX-License-Identifier: MIT
// The one bridge between pybind11 and OpenMM's SWIG wrappers.  A wrapped object keeps its C++ address in the public
// attribute `this`; reading only that keeps us independent of the SWIG runtime OpenMM was built with.
#pragma once
#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>
#include "openmm/Context.h"
#include "openmm/Force.h"
#include "openmm/Integrator.h"
#include <cstdint>
#include <string>

namespace meanforce {

/** The address held by a Python object of class openmm.<base>.  Throws TypeError for anything else. */
inline void* address(pybind11::handle object, const char* base) {
    // Never a plain static py::object: its destructor would run after Py_Finalize() and crash at exit.
    PYBIND11_CONSTINIT static pybind11::gil_safe_call_once_and_store<pybind11::object> storage;
    pybind11::object& openmm = storage.call_once_and_store_result([] {
        return pybind11::object(pybind11::module_::import("openmm"));
    }).get_stored();
    if (!pybind11::isinstance(object, openmm.attr(base)))
        throw pybind11::type_error(std::string("expected an openmm.")+base+", got "+std::string(pybind11::str(pybind11::type::of(object))));
    return reinterpret_cast<void*>(pybind11::int_(object.attr("this")).cast<std::uintptr_t>());
}

inline OpenMM::Force* forceAddress(pybind11::handle object) {
    return static_cast<OpenMM::Force*>(address(object, "Force"));
}

inline OpenMM::Integrator* integratorAddress(pybind11::handle object) {
    return static_cast<OpenMM::Integrator*>(address(object, "Integrator"));
}

template <class T, class Base> struct OpenMMCaster {
    T* value = nullptr;
    static pybind11::handle cast(const T&, pybind11::return_value_policy, pybind11::handle) = delete;
    template <class U> using cast_op_type = pybind11::detail::cast_op_type<U>;
    operator T*() { return value; }
    operator T&() { return *value; }
    bool load(pybind11::handle source, bool) {
        value = dynamic_cast<T*>(static_cast<Base*>(address(source, baseName())));
        return value != nullptr;
    }
    static const char* baseName() {
        return std::is_same<Base, OpenMM::Force>::value ? "Force" : "Integrator";
    }
};

}

/** Lets functions bound with pybind11 take CLASS&, a subclass of openmm.BASE. */
#define MEANFORCE_CASTER(CLASS, BASE) \
    template <> struct type_caster<meanforce::CLASS> : meanforce::OpenMMCaster<meanforce::CLASS, OpenMM::BASE> { \
        static constexpr auto name = const_name("meanforce." #CLASS); \
    };

namespace pybind11 { namespace detail {
template <> struct type_caster<OpenMM::Context> {
    OpenMM::Context* value = nullptr;
    static constexpr auto name = const_name("openmm.Context");
    template <class U> using cast_op_type = pybind11::detail::cast_op_type<U>;
    operator OpenMM::Context*() { return value; }
    operator OpenMM::Context&() { return *value; }
    bool load(handle source, bool) {
        value = static_cast<OpenMM::Context*>(meanforce::address(source, "Context"));
        return value != nullptr;
    }
};
}}
