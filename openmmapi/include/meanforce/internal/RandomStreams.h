// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace meanforce {

/**
 * Every stream of random numbers in meanforce.  The identifier is half of the generator's key, so streams never overlap,
 * whatever their seeds.  Never reuse or renumber an identifier: checkpoints rely on it.
 */
enum class RandomStream : std::uint32_t {
    GLENoise = 1,              ///< random force of GLEIntegrator: (step, particle, component)
    GLEInitialAuxiliaries = 2, ///< equilibrium auxiliary variables at Context creation: (0, particle, component)
    GLERefill = 3              ///< velocities along constraints while the bath acts: (step, particle, 0)
};

}
