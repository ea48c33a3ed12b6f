// SPDX-License-Identifier: MIT
// The moment tensors' kernels: forces are the gradient of the energy.
#include "shim.h"
#include <random>

#define MAX_L 3
#define CHANNELS 3
#define VECTOR_WIDTH 1
#define vec real
#define VLOAD(p) (*(p))
#define VSTORE(v, p) (*(p) = (v))
#define VSUM(v) (v)
#define NUM_TYPES 2
#define NUM_FUNCTIONS 6
#define FILTER_STRIDE ((MAX_L+1)*CHANNELS)
#define NUM_LAYERS 2
#define NUM_UNITS ((MAX_L+2)*CHANNELS+4+1)
#define CUTOFF 0.5
#define INV_SPACING (NUM_FUNCTIONS/CUTOFF)
#define LARGEST_EXPONENT 80.0
#define ONE_SIXTH (1.0/6)
#define ROOT_3 std::sqrt(3.0)
#define ROOT_5 std::sqrt(5.0)
#define ROOT_15 std::sqrt(15.0)
#define ROOT_35 std::sqrt(35.0)
#define ROOT_70 std::sqrt(70.0)
#define ROOT_3_8 std::sqrt(3.0/8)
#define ROOT_5_8 std::sqrt(5.0/8)
namespace group0 {
#include "momentTensor.cc"
}
namespace group1 {
#include "momentTensor.cc"
}

static const int N = 12, PADDED = 16, CAPACITY = 11, BLOCK_SIZE = 8;
static const std::vector<int> LAYERS = {(MAX_L+2)*CHANNELS, 4, 1};

struct Model {
    std::mt19937 random{1};
    Array<int> types{N}, layerSizes{LAYERS};
    Array<real> filters{(NUM_FUNCTIONS+7)*FILTER_STRIDE}, typeWeights{NUM_TYPES*CHANNELS}, weights, transposed, biases;
    Array<real> moments{N*(MAX_L+1)*(MAX_L+1)*CHANNELS}, energies{N};
    Array<int> rowCount{N}, rows{N*CAPACITY};
    Array<real4> deltas{N*CAPACITY};
    Array<mm_ulong> forces{3*PADDED};
    double x[N][3];

    Model() : weights(NUM_TYPES*(LAYERS[0]*4+4)), transposed(weights.size()), biases(NUM_TYPES*5) {
        std::normal_distribution<double> normal;
        for (int i = 0; i < N; i++) {
            types[i] = (i == 4 ? -1 : i%NUM_TYPES);
            for (double& component : x[i])
                component = 0.2*normal(random);
        }
        for (int k = 3*FILTER_STRIDE; k < (NUM_FUNCTIONS+3)*FILTER_STRIDE; k++)
            filters[k] = normal(random);
        for (size_t k = 0; k < typeWeights.size(); k++)
            typeWeights[k] = normal(random);
        for (size_t k = 0; k < biases.size(); k++)
            biases[k] = 0.1*normal(random);
        size_t start = 0;
        for (int layer = 0; layer < NUM_LAYERS; layer++) {
            const int inputs = LAYERS[layer], outputs = LAYERS[layer+1];
            for (int type = 0; type < NUM_TYPES; type++)
                for (int in = 0; in < inputs; in++)
                    for (int out = 0; out < outputs; out++)
                        weights[start+(type*inputs+in)*outputs+out] = transposed[start+(type*outputs+out)*inputs+in] = 0.3*normal(random);
            start += NUM_TYPES*inputs*outputs;
        }
    }
    double evaluate() {
        findRows(*this, N, CAPACITY, CUTOFF);
        forces = Array<mm_ulong>(3*PADDED);
        LAUNCH(computeMoments, BLOCK_SIZE, N, rowCount, rows, deltas, CAPACITY, types, filters, typeWeights, moments);
        LAUNCH(evaluateNetwork, BLOCK_SIZE, N, types, layerSizes, weights, transposed, biases, moments, energies);
        LAUNCH(computeForces, BLOCK_SIZE, N, PADDED, rowCount, rows, deltas, CAPACITY, types, filters, typeWeights, moments, forces);
        return sumEnergies(*this, N);
    }
};

int main() {
    Model model;
    std::vector<std::pair<int, int> > components;
    for (int i = 0; i < N; i += 4)
        for (int k = 0; k < 3; k++)
            components.push_back({i, k});
    checkForces(model, N, PADDED, components);
    return 0;
}
