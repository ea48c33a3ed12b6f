// SPDX-License-Identifier: MIT
#include "meanforce/internal/Activation.h"
#include <algorithm>
#include <cmath>

using namespace std;

namespace meanforce {

Activation activationOf(const string& name) {
    return name == "tanh" ? Activation::Tanh : (name == "silu" ? Activation::SiLU : Activation::ShiftedSoftplus);
}

double activate(Activation activation, double x, double& slope) {
    if (activation == Activation::Tanh) {
        double y = tanh(x);
        slope = 1-y*y;
        return y;
    }
    double sigmoid = 1/(1+exp(-x));
    if (activation == Activation::SiLU) {
        slope = sigmoid*(1+x*(1-sigmoid));
        return x*sigmoid;
    }
    slope = sigmoid;
    // ln(1+exp(x)) without overflow.
    return max(x, 0.0)+log1p(exp(-fabs(x)))-log(2.0);
}

}
