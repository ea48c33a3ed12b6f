// SPDX-License-Identifier: MIT
// SchNet's kernels, with tables or, given -DEXACT, with filter networks: forces are the gradient of the energy.
#include "shim.h"
#include <random>

#define vec real
#define VECTOR_WIDTH 1
#define VECTORS_PER_ITEM 1
#define VLOAD(p) (*(p))
#define VSTORE(v, p) (*(p) = (v))
#define VSUM(v) (v)
#define PADDED(size) (size)
#define TILE 4
#define GROUP_SIZE 8
#define NUM_FEATURES 5
#define NUM_FILTERS 9
#define FEATURE_STRIDE NUM_FEATURES
#define FILTER_STRIDE NUM_FILTERS
#define LARGEST_STRIDE NUM_FILTERS
#define NUM_BLOCKS 2
#define NUM_LAYERS 2
#define NUM_UNITS (NUM_FEATURES+3+1)
#define NUM_TRANSPOSED_WEIGHTS (NUM_FEATURES*3+3)
#define READOUT_STRIDE 1
#define CUTOFF 0.5
#define LARGEST_EXPONENT 80.0
#define LOG_2 0.6931471805599453
#ifdef EXACT
#define ACTIVATION_SSP 1
#define NUM_RADIAL_FUNCTIONS 6
#define BASIS_STRIDE NUM_RADIAL_FUNCTIONS
#define BASIS_EXPNORMAL 1
#define EXPONENT 10.0
#define PI_OVER_CUTOFF (M_PI/CUTOFF)
#define LOWER_CUTOFF 0.05
#define CUTOFF_ANGLE (2*M_PI/(CUTOFF-LOWER_CUTOFF))
#define CUTOFF_SIGN (-1)
#else
#define ACTIVATION_TANH 1
#define NUM_INTERVALS 12
#define DEGREE 5
#define INV_SPACING (NUM_INTERVALS/CUTOFF)
#define SCALE (1.0/120)
#define SLOPE_SCALE (INV_SPACING/24)
#endif
namespace group0 {
#include "schNet.cc"
}
#undef TILE_NEIGHBORS
namespace group1 {
#include "schNet.cc"
}

static const int N = 11, PADDED_N = 16, CAPACITY = 10, H = NUM_FEATURES, F = NUM_FILTERS, TYPES = 2;
static std::mt19937 generator(1);

static Array<real> numbers(size_t count, double scale) {
    std::normal_distribution<double> normal;
    Array<real> values(count);
    for (size_t k = 0; k < count; k++)
        values[k] = scale*normal(generator);
    return values;
}

/** [block][rows][columns] and the same with rows and columns exchanged. */
struct Matrices {
    Array<real> forward, transposed;
    Matrices(int blocks, int inputs, int outputs) : forward(numbers(blocks*inputs*outputs, 1/std::sqrt(inputs))), transposed(forward.size()) {
        for (int b = 0; b < blocks; b++)
            for (int in = 0; in < inputs; in++)
                for (int out = 0; out < outputs; out++)
                    transposed[(b*outputs+out)*inputs+in] = forward[(b*inputs+in)*outputs+out];
    }
};

struct Model {
    Array<int> types{N}, layerSizes{{H, 3, 1}};
    Array<real> embeddings = numbers(TYPES*H, 1), firstMessages{TYPES*F}, typeEnergies = numbers(TYPES, 1);
    Matrices lin1{NUM_BLOCKS, H, F}, lin2{NUM_BLOCKS, F, H}, lin3{NUM_BLOCKS, H, H}, first{1, H, 3}, last{1, 3, 1};
    Array<real> biases2 = numbers(NUM_BLOCKS*H, 0.1), biases3 = numbers(NUM_BLOCKS*H, 0.1), layerBiases = numbers(4, 0.1);
    Array<real> layerWeights{NUM_TRANSPOSED_WEIGHTS}, layerTransposed{NUM_TRANSPOSED_WEIGHTS};
    Array<real> y{N*H}, m{N*F}, g{N*F}, dUdh{N*F}, h{NUM_BLOCKS*N*F}, slopes{NUM_BLOCKS*N*H}, energies{N};
    Array<int> rowCount{N}, rows{N*CAPACITY};
    Array<real4> deltas{N*CAPACITY};
    Array<mm_ulong> forces{3*PADDED_N};
    double x[N][3];
#ifdef EXACT
    Array<real> centers = numbers(NUM_RADIAL_FUNCTIONS, 0.5), widths{NUM_RADIAL_FUNCTIONS, 5.0};
    Array<real> filter1 = numbers(NUM_BLOCKS*NUM_RADIAL_FUNCTIONS*F, 1), filterBiases1 = numbers(NUM_BLOCKS*F, 1);
    Array<real> filter2 = numbers(NUM_BLOCKS*F*F, 0.5), filterBiases2 = numbers(NUM_BLOCKS*F, 0.1);
#define FILTERS centers, widths, filter1, filterBiases1, filter2, filterBiases2
#else
    Array<real> tables = numbers(NUM_BLOCKS*(NUM_INTERVALS+DEGREE)*F, 0.5);
#define FILTERS tables
#endif

    Model() {
        std::normal_distribution<double> normal;
        for (int i = 0; i < N; i++) {
            types[i] = (i == 4 ? -1 : i%TYPES);
            for (double& component : x[i])
                component = 0.15*normal(generator);
        }
        for (int t = 0; t < TYPES; t++)
            for (int c = 0; c < F; c++)
                for (int k = 0; k < H; k++)
                    firstMessages[t*F+c] += embeddings[t*H+k]*lin1.forward[k*F+c];
        for (int k = 0; k < H*3; k++) {
            layerWeights[k] = first.forward[k];
            layerTransposed[k] = first.transposed[k];
        }
        for (int k = 0; k < 3; k++)
            layerWeights[H*3+k] = layerTransposed[H*3+k] = 10*last.forward[k];
    }
    double evaluate() {
#ifdef EXACT
        findRows(*this, N, CAPACITY, CUTOFF);
#else
        // The random splines do not vanish at the cutoff: keep neighbours on one side of it.
        findRows(*this, N, CAPACITY, 0.9*CUTOFF);
#endif
        forces = Array<mm_ulong>(3*PADDED_N);
        LAUNCH(embed, GROUP_SIZE, N, types, embeddings, firstMessages, y, h);
        for (int block = 0; block < NUM_BLOCKS; block++) {
            LAUNCH(passMessages, GROUP_SIZE, N, block, rowCount, rows, deltas, CAPACITY, FILTERS, h, m);
            LAUNCH(updateFeatures, GROUP_SIZE, N, block, lin1.forward, lin2.forward, biases2, lin3.forward, biases3, m, y, h, slopes);
        }
        LAUNCH(evaluateOutput, GROUP_SIZE, N, types, layerSizes, layerWeights, layerTransposed, layerBiases, typeEnergies, y, energies);
        for (int block = NUM_BLOCKS-1; block >= 0; block--) {
            LAUNCH(propagateGradients, GROUP_SIZE, N, block, lin1.transposed, lin2.transposed, lin3.transposed, dUdh, y, slopes, g);
            LAUNCH(passGradients, GROUP_SIZE, N, PADDED_N, block, rowCount, rows, deltas, CAPACITY, FILTERS, h, g, dUdh, forces);
        }
        return sumEnergies(*this, N);
    }
};

int main() {
    Model model;
    checkForces(model, N, PADDED_N, {{0, 0}, {4, 1}, {7, 1}});
    return 0;
}
