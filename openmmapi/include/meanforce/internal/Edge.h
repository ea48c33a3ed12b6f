// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/Vec3.h"

namespace meanforce {

/** The directed edge from bead i to its neighbour j. */
struct Edge {
    int i, j;
    double r;
    OpenMM::Vec3 direction;    // from i to j; zero if both are at the same point
};

}
