// SPDX-License-Identifier: MIT
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/Coupling.h"
#include <cmath>

using namespace std;

namespace meanforce {

MomentTensorForce::MomentTensorForce(int numTypes, double cutoff, int maxL, int channels) :
        NetworkForce("MomentTensorForce", numTypes, cutoff, numTypes, {"tanh", "silu"}), maxL(maxL), channels(channels) {
    check.require(maxL >= 0 && maxL <= MaxDegree, "the largest degree must be from 0 to "+to_string(MaxDegree), maxL);
    check.require(channels >= 1, "the number of channels must be at least 1", channels);
}

int MomentTensorForce::addProduct(const vector<int>& degrees, const vector<int>& shifts) {
    checkProduct(maxL, channels, degrees, shifts);
    check.require(getNumLayers() == 0, "addProduct() must be called before addLayer()", to_string(getNumLayers())+" layers");
    products.push_back({degrees, shifts});
    return (int) products.size()-1;
}

void MomentTensorForce::getProduct(int index, vector<int>& degrees, vector<int>& shifts) const {
    check.requireIndex("product", index, products.size());
    degrees = products[index].degrees;
    shifts = products[index].shifts;
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
    result.push_back({"number of products", to_string(products.size())});
    for (size_t i = 0; i < products.size(); i++) {
        string text;
        for (size_t n = 0; n < products[i].degrees.size(); n++)
            text += (n == 0 ? "" : " ")+to_string(products[i].degrees[n])+":"+to_string(products[i].shifts[n]);
        result.push_back({"degrees and shifts of product "+to_string(i), text});
    }
    return result;
}

}
