// SPDX-License-Identifier: MIT
#include "CommonCalcStillingerWeberForceKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/StillingerWeberForce.h"

using namespace OpenMM;
using namespace std;

namespace meanforce {

void CommonCalcStillingerWeberForceKernel::initializeModel(const BeadForce& force) {
    pairs.initialize(cc, numTypes*numTypes, 2*getRealSize(), "stillingerWeberPairs");
    triplets.initialize(cc, numTypes*numTypes*numTypes, 4*getRealSize(), "stillingerWeberTriplets");
}

void CommonCalcStillingerWeberForceKernel::uploadParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const StillingerWeberForce&>(beadForce);
    vector<mm_double2> pairValues;
    vector<mm_double4> tripletValues;
    const vector<double>& p = force.getAllPairParameters();
    for (size_t i = 0; i < p.size(); i += 2)
        pairValues.push_back(mm_double2(p[i], p[i+1]));
    const vector<double>& c = force.getAllTripletParameters();
    for (size_t i = 0; i < c.size(); i += 3)
        tripletValues.push_back(mm_double4(c[i], c[i+1], c[i+2], 0.0));
    pairs.upload(pairValues, true);
    triplets.upload(tripletValues, true);
}

void CommonCalcStillingerWeberForceKernel::compile() {
    map<string, string> defines;
    defines["NUM_TYPES"] = cc.intToString(numTypes);
    triplesKernel = cc.compileProgram(CommonMeanForceKernelSources::stillingerWeber, defines)->createKernel("computeTriples");
    triplesKernel->addArg(cc.getNumAtoms());
    triplesKernel->addArg(cc.getPaddedNumAtoms());
    addRowArguments(triplesKernel, 2);
    triplesKernel->addArg(types);
    triplesKernel->addArg(pairs);
    triplesKernel->addArg(triplets);
    triplesKernel->addArg(beadEnergies);
    triplesKernel->addArg(cc.getLongForceBuffer());
    triplesKernel->addArg();                      // 11: includeForces
}

void CommonCalcStillingerWeberForceKernel::compute(bool includeForces) {
    triplesKernel->setArg(11, (int) includeForces);
    triplesKernel->execute(cc.getNumAtoms());
}

}
