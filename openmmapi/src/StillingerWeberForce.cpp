// SPDX-License-Identifier: MIT
#include "meanforce/StillingerWeberForce.h"
#include <cmath>

using namespace std;

namespace meanforce {

StillingerWeberForce::StillingerWeberForce(int numTypes, double cutoff) : BeadForce("StillingerWeberForce", numTypes, cutoff),
        pairParameters((size_t) 2*numTypes*numTypes, 0.0), tripletParameters((size_t) 3*numTypes*numTypes*numTypes, 0.0) {
}

void StillingerWeberForce::requireTypes(const vector<int>& types) const {
    for (int type : types)
        check.requireIndex("bead type", type, getNumTypes());
}

void StillingerWeberForce::setPairParameters(int center, int type, double range, double gamma) {
    requireTypes({center, type});
    check.require(range > 0 && range <= getCutoff(), "the range must be positive and at most the cutoff, "+toText(getCutoff())+" nm", range);
    check.require(isfinite(gamma) && gamma > 0, "gamma must be positive (nm)", gamma);
    double* values = &pairParameters[pairIndex(center, type)];
    values[0] = range;
    values[1] = gamma;
}

void StillingerWeberForce::getPairParameters(int center, int type, double& range, double& gamma) const {
    requireTypes({center, type});
    const double* values = &pairParameters[pairIndex(center, type)];
    range = values[0];
    gamma = values[1];
}

void StillingerWeberForce::setTripletParameters(int center, int type1, int type2, double c0, double c1, double c2) {
    requireTypes({center, type1, type2});
    check.requireArray("coefficients", "(1, cos, cos^2)", {c0, c1, c2}, 3);
    for (int index : {tripletIndex(center, type1, type2), tripletIndex(center, type2, type1)}) {
        tripletParameters[index] = c0;
        tripletParameters[index+1] = c1;
        tripletParameters[index+2] = c2;
    }
}

void StillingerWeberForce::getTripletParameters(int center, int type1, int type2, double& c0, double& c1, double& c2) const {
    requireTypes({center, type1, type2});
    const double* values = &tripletParameters[tripletIndex(center, type1, type2)];
    c0 = values[0];
    c1 = values[1];
    c2 = values[2];
}

void StillingerWeberForce::setTripletAngle(int center, int type1, int type2, double strength, double cosAngle) {
    check.require(cosAngle >= -1 && cosAngle <= 1, "the cosine of the angle must be from -1 to 1", cosAngle);
    setTripletParameters(center, type1, type2, strength*cosAngle*cosAngle, -2*strength*cosAngle, strength);
}

void StillingerWeberForce::validate() const {
    BeadForce::validate();
    const int T = getNumTypes();
    for (int center = 0; center < T; center++)
        for (int type1 = 0; type1 < T; type1++)
            for (int type2 = 0; type2 < T; type2++) {
                double c0, c1, c2;
                getTripletParameters(center, type1, type2, c0, c1, c2);
                check.require((c0 == 0 && c1 == 0 && c2 == 0) || pairParameters[pairIndex(center, type1)] > 0,
                        "a triplet with coefficients needs the pair parameters of its centre and each neighbour",
                        "none for a centre of type "+to_string(center)+" and a neighbour of type "+to_string(type1));
            }
}

}
