// SPDX-License-Identifier: MIT
#include "CommonCalcPairSplineForceKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/SplinePieces.h"

using namespace OpenMM;
using namespace std;

namespace meanforce {

void CommonCalcPairSplineForceKernel::initializeModel(const BeadForce& beadForce) {
    auto& force = static_cast<const PairSplineForce&>(beadForce);
    numFunctions = force.getNumFunctions();
    pieces.initialize(cc, force.getNumPairs()*numFunctions, 4*getRealSize(), "pairSplinePieces");
    vector<int> start = {0}, particles;
    for (const vector<int>& row : force.listExclusions()) {
        particles.insert(particles.end(), row.begin(), row.end());
        start.push_back((int) particles.size());
    }
    if (particles.empty())
        particles.push_back(0);    // an array cannot be empty
    exclusionStart.initialize<int>(cc, start.size(), "pairSplineExclusionStart");
    exclusionStart.upload(start);
    exclusions.initialize<int>(cc, particles.size(), "pairSplineExclusions");
    exclusions.upload(particles);
}

void CommonCalcPairSplineForceKernel::uploadParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const PairSplineForce&>(beadForce);
    vector<double> values = splinePieces(force.getCoefficients(), numFunctions, numFunctions);
    vector<mm_double4> quadruples;
    for (size_t i = 0; i < values.size(); i += 4)
        quadruples.push_back(mm_double4(values[i], values[i+1], values[i+2], values[i+3]));
    pieces.upload(quadruples, true);
}

void CommonCalcPairSplineForceKernel::compile() {
    map<string, string> defines;
    defines["NUM_FUNCTIONS"] = cc.intToString(numFunctions);
    defines["CUTOFF"] = cc.doubleToString(cutoff);
    defines["INV_SPACING"] = cc.doubleToString(numFunctions/cutoff);
    pairsKernel = cc.compileProgram(CommonMeanForceKernelSources::pairSpline, defines)->createKernel("computePairs");
    pairsKernel->addArg(cc.getNumAtoms());
    pairsKernel->addArg(cc.getPaddedNumAtoms());
    addRowArguments(pairsKernel, 2);
    pairsKernel->addArg(types);
    pairsKernel->addArg(cc.getAtomIndexArray());
    pairsKernel->addArg(exclusionStart);
    pairsKernel->addArg(exclusions);
    pairsKernel->addArg(pieces);
    pairsKernel->addArg(beadEnergies);
    pairsKernel->addArg(cc.getLongForceBuffer());
    pairsKernel->addArg();                        // 13: includeForces
}

void CommonCalcPairSplineForceKernel::compute(bool includeForces) {
    pairsKernel->setArg(13, (int) includeForces);
    pairsKernel->execute(cc.getNumAtoms());
}

}
