// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/**
 * Number beads so that neighbours in space have similar numbers: order[number] is a bead.  It follows a Z-shaped curve
 * through about as many cells as there are beads, and depends on nothing but positions and box.
 *
 * @param box    the periodic box vectors, or null
 */
void sortSpatially(const std::vector<OpenMM::Vec3>& positions, const OpenMM::Vec3* box, std::vector<int>& order);

}
