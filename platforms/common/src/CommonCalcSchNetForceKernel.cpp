// SPDX-License-Identifier: MIT
#include "CommonCalcSchNetForceKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Every OpenCL device has at least this much local memory. */
static constexpr int LOCAL_MEMORY = 32768;
/** The largest work group. */
static constexpr int MAX_GROUP = 128;
/** Beads that share one reading of the weights; as many sums as registers hold. */
static constexpr int MAX_TILE_GPU = 8, MAX_TILE_CPU = 12;
/** On a CPU, numbers per vector, and vectors of messages that one work item sums at a time. */
static constexpr int CPU_VECTOR = 8, CPU_VECTORS_PER_ITEM = 8;

/** A matrix with rows of another length; what is new is 0. */
static vector<double> pad(const vector<double>& matrix, int rows, int stride) {
    const int columns = (int) matrix.size()/rows;
    vector<double> result(rows*stride, 0.0);
    for (int row = 0; row < rows; row++)
        copy_n(matrix.begin()+row*columns, columns, result.begin()+row*stride);
    return result;
}

static vector<double> transpose(const vector<double>& matrix, int rows) {
    const int columns = (int) matrix.size()/rows;
    vector<double> result(matrix.size());
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++)
            result[column*rows+row] = matrix[row*columns+column];
    return result;
}

static void append(vector<double>& values, const vector<double>& more) {
    values.insert(values.end(), more.begin(), more.end());
}

void CommonCalcSchNetForceKernel::initializeModel(const BeadForce& beadForce) {
    auto& force = static_cast<const SchNetForce&>(beadForce);
    features = force.getNumFeatures();
    filters = force.getNumFilters();
    numBlocks = force.getNumBlocks();
    numRadialFunctions = force.getNumRadialFunctions();
    degree = force.getFilterDegree();
    intervals = force.getNumFilterIntervals();
    exponent = force.getBasisExponent();
    lowerCutoff = force.getLowerCutoff();
    activation = force.getActivation();
    basis = force.getRadialBasis();
    cutoffFunction = force.getCutoffFunction();
    layerSizeValues = {features};
    for (int k = 0; k < force.getNumLayers(); k++)
        layerSizeValues.push_back(force.getNumLayerOutputs(k));
    chooseStrides();
    chooseTile();
    createArrays(force);
}

void CommonCalcSchNetForceKernel::chooseStrides() {
    const bool isCPU = cc.getIsCPU();
    vectorWidth = (isCPU ? CPU_VECTOR : 1);
    const int vectors = (filters+vectorWidth-1)/vectorWidth;
    const int passes = (isCPU ? (vectors+CPU_VECTORS_PER_ITEM-1)/CPU_VECTORS_PER_ITEM : vectors);
    vectorsPerItem = (vectors+passes-1)/passes;
    filterStride = passes*vectorsPerItem*vectorWidth;
    featureStride = padded(features);
    basisStride = padded(numRadialFunctions);
    groupSize = 1;
    const int largest = min(MAX_GROUP, cc.getMaxThreadBlockSize());
    while (!isCPU && groupSize < max(filters, features) && 2*groupSize <= largest)
        groupSize *= 2;
}

void CommonCalcSchNetForceKernel::chooseTile() {
    int units = 0;
    for (int size : layerSizeValues)
        units += padded(size);
    // The numbers for each row of a tile that the kernels keep in local memory.
    int numbers = 2*max(max(featureStride, filterStride), units);
    if (intervals == 0)
        numbers = max(numbers, basisStride+2*filterStride);
    const int bytes = numbers*(int) getRealSize();
    const int available = LOCAL_MEMORY-3*groupSize*(int) getRealSize();
    tile = min(available/bytes, cc.getIsCPU() ? MAX_TILE_CPU : MAX_TILE_GPU);
    // The kernels for exact filters divide a tile into values and derivatives.
    if (intervals == 0)
        tile -= tile%2;
    if (tile == 0)
        throw OpenMMException("SchNetForce: the features, filters and units of all layers must fit into "+to_string(LOCAL_MEMORY)+
                " bytes of local memory on this platform, found a need of "+to_string(LOCAL_MEMORY-available+bytes));
}

void CommonCalcSchNetForceKernel::createArrays(const SchNetForce& force) {
    const int size = (int) getRealSize();
    const size_t N = cc.getNumAtoms(), B = numBlocks;
    auto create = [&](ComputeArray& array, size_t length, const string& name) {
        array.initialize(cc, length, size, "schNet"+name);
    };
    create(embeddings, numTypes*featureStride, "Embeddings");
    create(firstMessages, numTypes*filterStride, "FirstMessages");
    create(typeEnergies, numTypes, "TypeEnergies");
    create(lin1, B*features*filterStride, "Lin1");
    create(lin2, B*filters*featureStride, "Lin2");
    create(lin3, B*features*featureStride, "Lin3");
    create(biases2, B*featureStride, "Biases2");
    create(biases3, B*featureStride, "Biases3");
    create(transposed1, B*filters*featureStride, "Transposed1");
    create(transposed2, B*features*filterStride, "Transposed2");
    create(transposed3, B*features*featureStride, "Transposed3");
    if (intervals > 0)
        create(tables, B*(intervals+degree)*filterStride, "Tables");
    else {
        create(centers, basisStride, "Centers");
        create(widths, basisStride, "Widths");
        create(filter1, B*numRadialFunctions*filterStride, "Filter1");
        create(filterBiases1, B*filterStride, "FilterBiases1");
        create(filter2, B*filters*filterStride, "Filter2");
        create(filterBiases2, B*filterStride, "FilterBiases2");
    }
    size_t numWeights = 0, numTransposed = 0, numBiases = 0;
    for (int k = 0; k < force.getNumLayers(); k++) {
        numWeights += (size_t) layerSizeValues[k]*padded(layerSizeValues[k+1]);
        numTransposed += (size_t) padded(layerSizeValues[k])*layerSizeValues[k+1];
        numBiases += padded(layerSizeValues[k+1]);
    }
    layerSizes.initialize<int>(cc, layerSizeValues.size(), "schNetLayerSizes");
    layerSizes.upload(layerSizeValues);
    create(layerWeights, numWeights, "LayerWeights");
    create(layerTransposed, numTransposed, "LayerTransposed");
    create(layerBiases, numBiases, "LayerBiases");
    create(y, N*featureStride, "Features");
    create(messages, N*filterStride, "Messages");
    create(gradients, N*filterStride, "Gradients");
    create(messageGradients, N*filterStride, "MessageGradients");
    create(h, B*N*filterStride, "H");
    create(slopes, B*N*featureStride, "Slopes");
}

void CommonCalcSchNetForceKernel::uploadParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const SchNetForce&>(beadForce);
    embeddings.upload(pad(force.getEmbeddings(), numTypes, featureStride), true);
    typeEnergies.upload(force.getTypeEnergies(), true);
    firstMessages.upload(pad(force.computeFirstMessages(), numTypes, filterStride), true);
    uploadBlocks(force);
    uploadFilters(force);
    uploadOutput(force);
}

void CommonCalcSchNetForceKernel::uploadBlocks(const SchNetForce& force) {
    vector<double> l1, l2, l3, b2, b3, t1, t2, t3;
    for (int b = 0; b < numBlocks; b++) {
        const SchNetForce::Block& block = force.getBlockParameters(b);
        append(l1, pad(transpose(block.lin1Weights, filters), features, filterStride));
        append(l2, pad(transpose(block.lin2Weights, features), filters, featureStride));
        append(l3, pad(transpose(block.lin3Weights, features), features, featureStride));
        append(b2, pad(block.lin2Biases, 1, featureStride));
        append(b3, pad(block.lin3Biases, 1, featureStride));
        append(t1, pad(block.lin1Weights, filters, featureStride));
        append(t2, pad(block.lin2Weights, features, filterStride));
        append(t3, pad(block.lin3Weights, features, featureStride));
    }
    lin1.upload(l1, true);
    lin2.upload(l2, true);
    lin3.upload(l3, true);
    biases2.upload(b2, true);
    biases3.upload(b3, true);
    transposed1.upload(t1, true);
    transposed2.upload(t2, true);
    transposed3.upload(t3, true);
}

void CommonCalcSchNetForceKernel::uploadFilters(const SchNetForce& force) {
    if (intervals > 0) {
        tables.upload(pad(force.getFilterTables(), numBlocks*(intervals+degree), filterStride), true);
        return;
    }
    centers.upload(pad(force.getBasisCenters(), 1, basisStride), true);
    const bool gaussian = (basis == "gaussian");
    widths.upload(pad(gaussian ? vector<double>(numRadialFunctions, exponent) : force.getBasisWidths(), 1, basisStride), true);
    vector<double> w1, b1, w2, b2;
    for (int b = 0; b < numBlocks; b++) {
        const SchNetForce::Block& block = force.getBlockParameters(b);
        append(w1, pad(transpose(block.filter1Weights, filters), numRadialFunctions, filterStride));
        append(b1, pad(block.filter1Biases, 1, filterStride));
        append(w2, pad(transpose(block.filter2Weights, filters), filters, filterStride));
        append(b2, pad(block.filter2Biases, 1, filterStride));
    }
    filter1.upload(w1, true);
    filterBiases1.upload(b1, true);
    filter2.upload(w2, true);
    filterBiases2.upload(b2, true);
}

void CommonCalcSchNetForceKernel::uploadOutput(const SchNetForce& force) {
    vector<double> weights, transposed, biases;
    for (int k = 0; k < force.getNumLayers(); k++) {
        const int inputs = layerSizeValues[k], outputs = layerSizeValues[k+1];
        append(weights, pad(transpose(force.getLayerWeights(k), outputs), inputs, padded(outputs)));
        append(transposed, pad(force.getLayerWeights(k), outputs, padded(inputs)));
        append(biases, pad(force.getLayerBiases(k), 1, padded(outputs)));
    }
    layerWeights.upload(weights, true);
    layerTransposed.upload(transposed, true);
    layerBiases.upload(biases, true);
}

map<string, string> CommonCalcSchNetForceKernel::defineFilters() const {
    map<string, string> defines;
    defines["CUTOFF"] = cc.doubleToString(cutoff);
    if (intervals > 0) {
        defines["NUM_INTERVALS"] = cc.intToString(intervals);
        defines["DEGREE"] = cc.intToString(degree);
        defines["INV_SPACING"] = cc.doubleToString(intervals/cutoff);
        defines["SCALE"] = cc.doubleToString(degree == 3 ? 1.0/6 : 1.0/120);
        defines["SLOPE_SCALE"] = cc.doubleToString((degree == 3 ? 1.0/2 : 1.0/24)*intervals/cutoff);
        return defines;
    }
    defines["NUM_RADIAL_FUNCTIONS"] = cc.intToString(numRadialFunctions);
    defines["BASIS_STRIDE"] = cc.intToString(basisStride);
    if (basis == "expnormal") {
        defines["BASIS_EXPNORMAL"] = "1";
        defines["EXPONENT"] = cc.doubleToString(exponent);
        defines["PI_OVER_CUTOFF"] = cc.doubleToString(M_PI/cutoff);
    }
    if (cutoffFunction == "polynomial") {
        defines["CUTOFF_POLYNOMIAL"] = "1";
        defines["INV_CUTOFF"] = cc.doubleToString(1/cutoff);
        return defines;
    }
    const bool rises = (cutoffFunction == "cosine" && lowerCutoff > 0);
    defines["LOWER_CUTOFF"] = cc.doubleToString(lowerCutoff);
    defines["CUTOFF_ANGLE"] = cc.doubleToString((rises ? 2 : 1)*M_PI/(cutoff-lowerCutoff));
    defines["CUTOFF_SIGN"] = (rises ? "(-1)" : "1");
    return defines;
}

/** The block is the argument with this index; those for rows and filters follow. */
void CommonCalcSchNetForceKernel::addFilterArguments(ComputeKernel& kernel, int index) {
    kernel->addArg();
    addRowArguments(kernel, index+1);
    if (intervals > 0) {
        kernel->addArg(tables);
        return;
    }
    for (ComputeArray* array : {&centers, &widths, &filter1, &filterBiases1, &filter2, &filterBiases2})
        kernel->addArg(*array);
}

void CommonCalcSchNetForceKernel::compile() {
    map<string, string> defines = defineFilters();
    defines["NUM_FEATURES"] = cc.intToString(features);
    defines["NUM_FILTERS"] = cc.intToString(filters);
    defines["NUM_BLOCKS"] = cc.intToString(numBlocks);
    defines["FEATURE_STRIDE"] = cc.intToString(featureStride);
    defines["FILTER_STRIDE"] = cc.intToString(filterStride);
    defines["LARGEST_STRIDE"] = cc.intToString(max(featureStride, filterStride));
    defines["TILE"] = cc.intToString(tile);
    defines["GROUP_SIZE"] = cc.intToString(groupSize);
    defines["VECTORS_PER_ITEM"] = cc.intToString(vectorsPerItem);
    defines["PADDED(size)"] = "(((size)+VECTOR_WIDTH-1)/VECTOR_WIDTH*VECTOR_WIDTH)";
    addVectorDefines(defines, vectorWidth);
    int numUnits = 0, numTransposed = 0;
    for (size_t k = 0; k < layerSizeValues.size(); k++) {
        numUnits += padded(layerSizeValues[k]);
        if (k > 0)
            numTransposed += padded(layerSizeValues[k-1])*layerSizeValues[k];
    }
    defines["NUM_LAYERS"] = cc.intToString((int) layerSizeValues.size()-1);
    defines["NUM_UNITS"] = cc.intToString(numUnits);
    defines["NUM_TRANSPOSED_WEIGHTS"] = cc.intToString(numTransposed);
    defines["READOUT_STRIDE"] = cc.intToString(padded(numReadouts));
    defines["LARGEST_EXPONENT"] = cc.doubleToString(80.0);
    defines["LOG_2"] = cc.doubleToString(log(2.0));
    defines[activation == "tanh" ? "ACTIVATION_TANH" : (activation == "silu" ? "ACTIVATION_SILU" : "ACTIVATION_SSP")] = "1";
    if (numReadouts == 2)
        defines["NUM_READOUTS_2"] = "1";
    ComputeProgram program = cc.compileProgram(CommonMeanForceKernelSources::schNet, defines);
    auto create = [&](const string& name) {
        ComputeKernel kernel = program->createKernel(name);
        kernel->addArg(cc.getNumAtoms());
        return kernel;
    };
    embedKernel = create("embed");
    for (ArrayInterface* array : vector<ArrayInterface*>{&types, &embeddings, &firstMessages, &y, &h})
        embedKernel->addArg(*array);
    messagesKernel = create("passMessages");
    addFilterArguments(messagesKernel, 1);
    messagesKernel->addArg(h);
    messagesKernel->addArg(messages);
    updateKernel = create("updateFeatures");
    updateKernel->addArg();                       // 1: block
    for (ComputeArray* array : {&lin1, &lin2, &biases2, &lin3, &biases3, &messages, &y, &h, &slopes})
        updateKernel->addArg(*array);
    outputKernel = create("evaluateOutput");
    for (ComputeArray* array : {&types, &layerSizes, &layerWeights, &layerTransposed, &layerBiases, &typeEnergies, &y, &beadEnergies})
        outputKernel->addArg(*array);
    if (numReadouts == 2)
        outputKernel->addArg();                   // 9: temperature
    propagateKernel = create("propagateGradients");
    propagateKernel->addArg();                    // 1: block
    for (ComputeArray* array : {&transposed1, &transposed2, &transposed3, &messageGradients, &y, &slopes, &gradients})
        propagateKernel->addArg(*array);
    gradientsKernel = create("passGradients");
    gradientsKernel->addArg(cc.getPaddedNumAtoms());
    addFilterArguments(gradientsKernel, 2);
    for (ComputeArray* array : {&h, &gradients, &messageGradients})
        gradientsKernel->addArg(*array);
    gradientsKernel->addArg(cc.getLongForceBuffer());
}

void CommonCalcSchNetForceKernel::compute(bool includeForces) {
    embed();
    for (int block = 0; block < numBlocks; block++) {
        passMessages(block);
        updateFeatures(block);
    }
    evaluateOutput();
    for (int block = numBlocks-1; includeForces && block >= 0; block--) {
        propagateGradients(block);
        passGradients(block);
    }
}

/** One work group for each tile of beads. */
void CommonCalcSchNetForceKernel::executeTiles(ComputeKernel& kernel) {
    kernel->execute((cc.getNumAtoms()+tile-1)/tile*groupSize, groupSize);
}

/** One work group for each bead. */
void CommonCalcSchNetForceKernel::executeBeads(ComputeKernel& kernel) {
    kernel->execute(cc.getNumAtoms()*groupSize, groupSize);
}

void CommonCalcSchNetForceKernel::embed() {
    embedKernel->execute(cc.getNumAtoms()*max(featureStride, filterStride)/vectorWidth);
}

void CommonCalcSchNetForceKernel::passMessages(int block) {
    messagesKernel->setArg(1, block);
    executeBeads(messagesKernel);
}

void CommonCalcSchNetForceKernel::updateFeatures(int block) {
    updateKernel->setArg(1, block);
    executeTiles(updateKernel);
}

void CommonCalcSchNetForceKernel::evaluateOutput() {
    if (numReadouts == 2)
        setRealArg(outputKernel, 9, temperature);
    executeTiles(outputKernel);
}

void CommonCalcSchNetForceKernel::propagateGradients(int block) {
    propagateKernel->setArg(1, block);
    executeTiles(propagateKernel);
}

void CommonCalcSchNetForceKernel::passGradients(int block) {
    gradientsKernel->setArg(2, block);
    executeBeads(gradientsKernel);
}

}
