// SPDX-License-Identifier: MIT
#include "meanforce/BeadForce.h"
#include "meanforce/internal/BeadForceImpl.h"
#include <algorithm>
#include <cmath>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace meanforce {

BeadForce::BeadForce(const string& className, int numTypes, double cutoff) : check(className), className(className), numTypes(numTypes), cutoff(cutoff) {
    check.require(numTypes >= 1, "the number of types must be at least 1", numTypes);
    check.require(isfinite(cutoff) && cutoff > 0, "the cutoff must be positive (nm)", cutoff);
    setName(className);
}

void BeadForce::requireType(int type) const {
    check.require(type >= -1 && type < numTypes, "a particle's type must be from 0 to "+to_string(numTypes-1)+", or -1 if it takes no part", type);
}

int BeadForce::addParticle(int type, int replica) {
    requireType(type);
    check.require(replica >= 0, "a particle's replica must be at least 0", replica);
    types.push_back(type);
    replicas.push_back(replica);
    numReplicas = max(numReplicas, replica+1);
    return (int) types.size()-1;
}

int BeadForce::getParticleType(int index) const {
    check.requireIndex("particle", index, types.size());
    return types[index];
}

void BeadForce::setParticleType(int index, int type) {
    check.requireIndex("particle", index, types.size());
    requireType(type);
    types[index] = type;
}

int BeadForce::getParticleReplica(int index) const {
    check.requireIndex("particle", index, types.size());
    return replicas[index];
}

void BeadForce::validate() const {
}

string BeadForce::toText(double value) {
    for (int digits = 6; ; digits++) {
        stringstream s;
        s.precision(digits);
        s << value;
        if (stod(s.str()) == value || digits == 17)
            return s.str();
    }
}

vector<pair<string, string> > BeadForce::describeShape() const {
    return {
        {"number of particles", to_string(getNumParticles())},
        {"number of replicas", to_string(numReplicas)},
        {"use of periodic boundary conditions", periodic ? "true" : "false"},
    };
}

void BeadForce::updateParametersInContext(Context& context) {
    dynamic_cast<BeadForceImpl&>(getImplInContext(context)).updateParametersInContext(getContextImpl(context));
}

vector<double> BeadForce::getReplicaEnergies(Context& context) const {
    // OpenMM's accessor is not const, and a const cast is what its own classes do.
    auto& self = const_cast<BeadForce&>(*this);
    return dynamic_cast<BeadForceImpl&>(getImplInContext(context)).getReplicaEnergies(self.getContextImpl(context));
}

ForceImpl* BeadForce::createImpl() const {
    return new BeadForceImpl(*this);
}

}
