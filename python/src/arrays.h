// SPDX-License-Identifier: MIT
// NumPy arrays of doubles: what the bound functions take and return.
#pragma once
#include <pybind11/numpy.h>
#include <vector>

namespace meanforce {

using Array = pybind11::array_t<double, pybind11::array::c_style | pybind11::array::forcecast>;

inline std::vector<double> toVector(const Array& array) {
    return std::vector<double>(array.data(), array.data()+array.size());
}

/** A copy, with the given shape. */
inline Array toArray(const std::vector<double>& values, const std::vector<pybind11::ssize_t>& shape) {
    return Array(shape, values.data());
}

}
