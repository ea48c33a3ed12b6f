// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/Vec3.h"
#include <vector>

namespace meanforce {

/**
 * Sums of forces and energies of beads, one set for each part of a computation, so that threads can add to any bead.  The
 * parts are added up in a fixed order: results are the same bits whenever the number of parts is.
 */
class CpuForceSums {
public:
    /** The force on a bead and its energy. */
    struct Sum {
        double x, y, z, energy;
    };
    void initialize(int numParts, int numBeads) {
        sums.resize(numParts);
        for (auto& part : sums)
            part.assign(numBeads, {0.0, 0.0, 0.0, 0.0});
    }
    /** The four numbers of each bead, in the order of Sum. */
    double* getPart(int part) {
        return reinterpret_cast<double*>(sums[part].data());
    }
    /** Write the energies, and add the forces if they are wanted. */
    void addUp(const std::vector<int>& particles, std::vector<float>& energies, std::vector<OpenMM::Vec3>* forces) const {
        for (size_t bead = 0; bead < particles.size(); bead++) {
            Sum total = sums[0][bead];
            for (size_t part = 1; part < sums.size(); part++) {
                const Sum& other = sums[part][bead];
                total = {total.x+other.x, total.y+other.y, total.z+other.z, total.energy+other.energy};
            }
            energies[bead] = (float) total.energy;
            if (forces != nullptr)
                (*forces)[particles[bead]] += OpenMM::Vec3(total.x, total.y, total.z);
        }
    }
private:
    std::vector<std::vector<Sum> > sums;
};

}
