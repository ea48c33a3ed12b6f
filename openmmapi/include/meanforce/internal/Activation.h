// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include <string>

namespace meanforce {

/** The activation functions: tanh(x), x/(1+exp(-x)) and ln((1+exp(x))/2). */
enum class Activation {
    Tanh, SiLU, ShiftedSoftplus
};

/** The activation function called "tanh", "silu" or "ssp". */
MEANFORCE_EXPORT Activation activationOf(const std::string& name);

/** Return the function's value at x and set `slope` to its derivative. */
MEANFORCE_EXPORT double activate(Activation activation, double x, double& slope);

}
