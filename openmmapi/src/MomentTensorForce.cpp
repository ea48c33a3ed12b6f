// SPDX-License-Identifier: MIT
#include "meanforce/MomentTensorForce.h"
#include <cmath>

using namespace std;

namespace meanforce {

MomentTensorForce::MomentTensorForce(int numTypes, double cutoff, int maxL, int channels) :
        NetworkForce("MomentTensorForce", numTypes, cutoff, numTypes, {"tanh", "silu"}), maxL(maxL), channels(channels) {
    check.require(maxL >= 0 && maxL <= MaxDegree, "the largest degree must be from 0 to "+to_string(MaxDegree), maxL);
    check.require(channels >= 1, "the number of channels must be at least 1", channels);
}

void MomentTensorForce::setFilters(double spacing, const vector<double>& coefficients) {
    check.require(isfinite(spacing) && spacing > 0, "the spacing of the filters must be positive (nm)", spacing);
    size_t perFunction = (maxL+1)*channels;
    check.require(!coefficients.empty() && coefficients.size()%perFunction == 0, "the number of filter coefficients must be a positive multiple of "
            "(degrees)*(channels) = "+to_string(perFunction), coefficients.size());
    check.requireArray("filter coefficients", "", coefficients, coefficients.size());
    this->spacing = spacing;
    this->coefficients = coefficients;
}

void MomentTensorForce::setTypeWeights(const vector<double>& weights) {
    check.requireArray("type weights", "(types*channels)", weights, getNumTypes()*channels);
    typeWeights = weights;
}

void MomentTensorForce::validate() const {
    check.requireCalled(!coefficients.empty(), "setFilters");
    check.requireCalled(!typeWeights.empty(), "setTypeWeights");
    NetworkForce::validate();
}

vector<pair<string, string> > MomentTensorForce::describeShape() const {
    vector<pair<string, string> > result = NetworkForce::describeShape();
    result.push_back({"number of basis functions", to_string(getNumFilterFunctions())});
    result.push_back({"spacing of the filters", toText(spacing)});
    return result;
}

}
