// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/**
 * Number beads so that neighbours have similar numbers: order[number] is a bead.  Replicas follow each other; each follows a
 * Z-shaped curve through about as many cells as it has beads.  Unlike the places of CpuNeighborList, the numbers depend on
 * nothing but the arguments, and neighbours of different types have similar numbers too.
 *
 * @param replicas    of all beads, 0, 1, ...
 * @param box         the periodic box vectors, or null
 */
void sortSpatially(const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& replicas, int numReplicas, const OpenMM::Vec3* box,
        std::vector<int>& order);

}
