// SPDX-License-Identifier: MIT
#include "meanforce/PairSplineForce.h"
#include <algorithm>

using namespace std;

namespace meanforce {

void PairSplineForce::setCoefficients(const vector<double>& coefficients) {
    size_t pairs = getNumPairs();
    check.require(coefficients.size() >= 4*pairs && coefficients.size()%pairs == 0, "the number of coefficients must be a multiple of the number of pairs of types, "+
            to_string(pairs)+", and at least 4 times as large", coefficients.size());
    check.requireArray("coefficients", "", coefficients, coefficients.size());
    this->coefficients = coefficients;
}

int PairSplineForce::addExclusion(int particle1, int particle2) {
    const string pair = to_string(particle1)+" and "+to_string(particle2);
    check.require(particle1 >= 0 && particle2 >= 0 && particle1 != particle2, "an exclusion must be of two different particles, with indices of at least 0", pair);
    check.require(known.insert(minmax({particle1, particle2})).second, "a pair of particles must be excluded only once", pair);
    exclusions.push_back({particle1, particle2});
    return (int) exclusions.size()-1;
}

pair<int, int> PairSplineForce::getExclusionParticles(int index) const {
    check.requireIndex("exclusion", index, exclusions.size());
    return exclusions[index];
}

void PairSplineForce::validate() const {
    BeadForce::validate();
    check.requireCalled(!coefficients.empty(), "setCoefficients");
    for (auto& exclusion : exclusions)
        check.require(max(exclusion.first, exclusion.second) < getNumParticles(), "an exclusion must be of particles with indices less than "+
                to_string(getNumParticles()), to_string(exclusion.first)+" and "+to_string(exclusion.second));
}

vector<pair<string, string> > PairSplineForce::describeShape() const {
    vector<pair<string, string> > result = BeadForce::describeShape();
    result.push_back({"number of functions", to_string(getNumFunctions())});
    result.push_back({"number of exclusions", to_string(getNumExclusions())});
    return result;
}

vector<vector<int> > PairSplineForce::listExclusions() const {
    vector<vector<int> > result(getNumParticles());
    for (auto& exclusion : exclusions) {
        result[exclusion.first].push_back(exclusion.second);
        result[exclusion.second].push_back(exclusion.first);
    }
    for (auto& row : result)
        sort(row.begin(), row.end());
    return result;
}

}
