// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <vector>

namespace meanforce {

/** The energies of beads, A_i-T B_i, added up in the order of the beads. */
struct BeadEnergies {
    /**
     * @param A, B          of each bead
     * @param replicas      of each bead
     */
    template <class T>
    BeadEnergies(const std::vector<T>& A, const std::vector<T>& B, double temperature, const std::vector<int>& replicas, int numReplicas) :
            ofReplica(numReplicas, 0.0) {
        for (size_t i = 0; i < A.size(); i++) {
            const double energy = A[i]-temperature*B[i];
            total += energy;
            entropy += B[i];
            ofReplica[replicas[i]] += energy;
        }
    }
    double total = 0.0, entropy = 0.0;    // entropy is the sum of B
    std::vector<double> ofReplica;
};

}
