// SPDX-License-Identifier: MIT
#include "CommonCalcMomentTensorForceKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/internal/Coupling.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <array>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Every OpenCL device has at least this much local memory. */
static constexpr int LOCAL_MEMORY = 32768;
/** The largest work group of the network. */
static constexpr int MAX_NETWORK_BLOCK = 128;

void CommonCalcMomentTensorForceKernel::initializeModel(const BeadForce& beadForce) {
    auto& force = static_cast<const MomentTensorForce&>(beadForce);
    maxL = force.getMaxL();
    channels = force.getNumChannels();
    numProducts = force.getNumProducts();
    numFunctions = force.getNumFilterFunctions();
    spacing = force.getFilterSpacing();
    silu = (force.getActivation() == "silu");
    layerSizeValues = {force.getNumFeatures()};
    numUnits = force.getNumFeatures();
    int numWeights = 0, numBiases = 0, widest = force.getNumFeatures();
    for (int k = 0; k < force.getNumLayers(); k++) {
        int outputs = force.getNumLayerOutputs(k);
        layerSizeValues.push_back(outputs);
        numUnits += outputs;
        widest = max(widest, outputs);
        numWeights += (int) force.getLayerWeights(k).size();
        numBiases += (int) force.getLayerBiases(k).size();
    }
    const int realSize = (int) getRealSize();
    const int available = LOCAL_MEMORY/realSize-(numProducts > 0 ? (maxL+1)*(maxL+1)*channels : 0);
    if (2*numUnits > available)
        throw OpenMMException("MomentTensorForce: the features and units of all layers must be at most "+to_string(available/2)+
                " on this platform, found "+to_string(numUnits));
    // On a CPU the largest vectors that make up all channels.
    for (vectorWidth = (cc.getIsCPU() ? 8 : 1); channels%vectorWidth != 0; vectorWidth /= 2);
    networkBlockSize = (cc.getIsCPU() ? 1 : min({(widest+31)/32*32, MAX_NETWORK_BLOCK, cc.getMaxThreadBlockSize()}));
    int numAtoms = cc.getNumAtoms();
    filters.initialize(cc, (numFunctions+7)*(maxL+1)*channels, realSize, "momentTensorFilters");
    typeWeights.initialize(cc, numTypes*channels, realSize, "momentTensorTypeWeights");
    layerSizes.initialize<int>(cc, layerSizeValues.size(), "momentTensorLayerSizes");
    layerSizes.upload(layerSizeValues);
    weights.initialize(cc, numWeights, realSize, "momentTensorWeights");
    transposed.initialize(cc, numWeights, realSize, "momentTensorTransposedWeights");
    biases.initialize(cc, numBiases, realSize, "momentTensorBiases");
    moments.initialize(cc, (size_t) numAtoms*(maxL+1)*(maxL+1)*channels, realSize, "moments");
    if (numProducts > 0)
        createProducts(force);
}

void CommonCalcMomentTensorForceKernel::createProducts(const MomentTensorForce& force) {
    const int numMoments = (maxL+1)*(maxL+1);
    struct Entry {
        array<int, 6> factors;
        double value;
    };
    vector<vector<Entry> > sums(numProducts+numMoments);    // the products, then dU/dM of each component
    for (int p = 0; p < numProducts; p++) {
        vector<int> degrees, shifts;
        force.getProduct(p, degrees, shifts);
        const size_t order = degrees.size();
        for (const CouplingTerm& term : coupleMoments(degrees)) {
            Entry product = {{0, 0, 0, 0, -1, 0}, term.value};
            for (size_t n = 0; n < order; n++) {
                product.factors[2*n] = term.lm[n]*channels;
                product.factors[2*n+1] = shifts[n];
                // Channel c is factor n of the product's channel c-shifts[n].
                Entry derivative = {{(maxL+2+p)*channels, (channels-shifts[n])%channels, 0, 0, -1, 0}, term.value};
                size_t place = 2;
                for (size_t k = 0; k < order; k++)
                    if (k != n) {
                        derivative.factors[place++] = term.lm[k]*channels;
                        derivative.factors[place++] = (channels+shifts[k]-shifts[n])%channels;
                    }
                sums[numProducts+term.lm[n]].push_back(derivative);
            }
            sums[p].push_back(product);
        }
    }
    vector<int> starts = {0}, entries;
    vector<double> values;
    for (const vector<Entry>& sum : sums) {
        for (const Entry& entry : sum) {
            entries.insert(entries.end(), entry.factors.begin(), entry.factors.end());
            values.push_back(entry.value);
        }
        starts.push_back((int) values.size());
    }
    productStart.initialize<int>(cc, starts.size(), "momentTensorProductStart");
    productStart.upload(starts);
    productEntries.initialize<int>(cc, entries.size(), "momentTensorProductEntries");
    productEntries.upload(entries);
    productValues.initialize(cc, values.size(), getRealSize(), "momentTensorProductValues");
    productValues.upload(values, true);
}

void CommonCalcMomentTensorForceKernel::uploadParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const MomentTensorForce&>(beadForce);
    typeWeights.upload(force.getTypeWeights(), true);
    // Functions are counted from the cutoff inwards, q = G-1-k, and interval n needs functions n-3..n: three rows of zeros
    // come first.  The last interval kept is G+3, which sees only zeros.
    int stride = (maxL+1)*channels;
    vector<double> values((numFunctions+7)*stride, 0.0);
    for (int q = 0; q < numFunctions; q++)
        copy_n(force.getFilterCoefficients().begin()+(numFunctions-1-q)*stride, stride, values.begin()+(q+3)*stride);
    filters.upload(values, true);
    vector<double> allWeights, allTransposed, allBiases;
    for (int k = 0; k < force.getNumLayers(); k++) {
        const vector<double>& w = force.getLayerWeights(k);
        const vector<double>& b = force.getLayerBiases(k);
        int inputs = force.getNumLayerInputs(k), outputs = force.getNumLayerOutputs(k);
        allTransposed.insert(allTransposed.end(), w.begin(), w.end());
        allBiases.insert(allBiases.end(), b.begin(), b.end());
        for (int type = 0; type < numTypes; type++)
            for (int in = 0; in < inputs; in++)
                for (int out = 0; out < outputs; out++)
                    allWeights.push_back(w[(type*outputs+out)*inputs+in]);
    }
    weights.upload(allWeights, true);
    transposed.upload(allTransposed, true);
    biases.upload(allBiases, true);
}

void CommonCalcMomentTensorForceKernel::compile() {
    map<string, string> defines;
    defines["MAX_L"] = cc.intToString(maxL);
    defines["CHANNELS"] = cc.intToString(channels);
    addVectorDefines(defines, vectorWidth);
    defines["NUM_TYPES"] = cc.intToString(numTypes);
    defines["NUM_FUNCTIONS"] = cc.intToString(numFunctions);
    defines["FILTER_STRIDE"] = cc.intToString((maxL+1)*channels);
    defines["NUM_LAYERS"] = cc.intToString((int) layerSizeValues.size()-1);
    defines["NUM_UNITS"] = cc.intToString(numUnits);
    defines["CUTOFF"] = cc.doubleToString(cutoff);
    defines["INV_SPACING"] = cc.doubleToString(1/spacing);
    defines["LARGEST_EXPONENT"] = cc.doubleToString(80.0);
    defines["ONE_SIXTH"] = cc.doubleToString(1.0/6.0);
    defines["ROOT_3"] = cc.doubleToString(sqrt(3.0));
    defines["ROOT_5"] = cc.doubleToString(sqrt(5.0));
    defines["ROOT_15"] = cc.doubleToString(sqrt(15.0));
    defines["ROOT_35"] = cc.doubleToString(sqrt(35.0));
    defines["ROOT_70"] = cc.doubleToString(sqrt(70.0));
    defines["ROOT_3_8"] = cc.doubleToString(sqrt(3.0/8.0));
    defines["ROOT_5_8"] = cc.doubleToString(sqrt(5.0/8.0));
    if (silu)
        defines["SILU"] = "1";
    if (numReadouts == 2)
        defines["NUM_READOUTS_2"] = "1";
    if (numProducts > 0)
        defines["NUM_PRODUCTS"] = cc.intToString(numProducts);
    ComputeProgram program = cc.compileProgram(CommonMeanForceKernelSources::momentTensor, defines);
    momentsKernel = program->createKernel("computeMoments");
    forceKernel = program->createKernel("computeForces");
    momentsKernel->addArg(cc.getNumAtoms());
    forceKernel->addArg(cc.getNumAtoms());
    forceKernel->addArg(cc.getPaddedNumAtoms());
    addRowArguments(momentsKernel, 1);
    addRowArguments(forceKernel, 2);
    for (ComputeKernel kernel : {momentsKernel, forceKernel}) {
        kernel->addArg(types);
        kernel->addArg(filters);
        kernel->addArg(typeWeights);
        kernel->addArg(moments);
    }
    forceKernel->addArg(cc.getLongForceBuffer());
    networkKernel = program->createKernel("evaluateNetwork");
    networkKernel->addArg(cc.getNumAtoms());
    networkKernel->addArg(types);
    networkKernel->addArg(layerSizes);
    networkKernel->addArg(weights);
    networkKernel->addArg(transposed);
    networkKernel->addArg(biases);
    networkKernel->addArg(moments);
    networkKernel->addArg(beadEnergies);
    if (numReadouts == 2)
        networkKernel->addArg();                  // 8
    if (numProducts > 0) {
        networkKernel->addArg(productStart);
        networkKernel->addArg(productEntries);
        networkKernel->addArg(productValues);
    }
}

void CommonCalcMomentTensorForceKernel::compute(bool includeForces) {
    computeMoments();
    evaluateNetwork();
    if (includeForces)
        computeForces();
}

void CommonCalcMomentTensorForceKernel::computeMoments() {
    momentsKernel->execute(cc.getNumAtoms()*channels/vectorWidth);
}

void CommonCalcMomentTensorForceKernel::evaluateNetwork() {
    if (numReadouts == 2)
        setRealArg(networkKernel, 8, temperature);
    networkKernel->execute(cc.getNumAtoms()*networkBlockSize, networkBlockSize);
}

void CommonCalcMomentTensorForceKernel::computeForces() {
    forceKernel->execute(cc.getNumAtoms()*channels/vectorWidth);
}

}
