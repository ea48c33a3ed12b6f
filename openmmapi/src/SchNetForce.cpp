// SPDX-License-Identifier: MIT
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/FilterGridSearch.h"
#include "meanforce/internal/FilterNetwork.h"
#include "meanforce/internal/FilterTable.h"
#include "meanforce/internal/LinearMap.h"
#include <cmath>
#include <limits>

using namespace OpenMM;
using namespace std;

namespace meanforce {

SchNetForce::SchNetForce(int numTypes, double cutoff, int features, int filters, int blocks) :
        NetworkForce("SchNetForce", numTypes, cutoff, 1, {"tanh", "silu", "ssp"}), features(features), filters(filters), typeEnergies(numTypes, 0.0) {
    check.require(features >= 1, "the number of features must be at least 1", features);
    check.require(filters >= 1, "the number of filters must be at least 1", filters);
    check.require(blocks >= 1 && blocks <= MaxBlocks, "the number of blocks must be from 1 to "+to_string(MaxBlocks), blocks);
    this->blocks.resize(blocks);
    forgetFilterError();
}

void SchNetForce::forgetFilterError() {
    filterError = numeric_limits<double>::quiet_NaN();
}

void SchNetForce::setRadialBasis(const string& kind, double exponent, const vector<double>& centers, const vector<double>& widths) {
    check.require(kind == "gaussian" || kind == "expnormal", "the radial basis must be 'gaussian' or 'expnormal'", "'"+kind+"'");
    check.require(isfinite(exponent) && exponent > 0, "the exponent of the radial basis must be positive (gamma in 1/nm^2, alpha in 1/nm)", exponent);
    check.require(!centers.empty(), "there must be at least 1 radial function", centers.size());
    check.requireArray("centers of the radial basis", "", centers, centers.size());
    check.requireArray("widths of the radial basis", (kind == "gaussian" ? "(a gaussian basis has none)" : "(radial functions)"), widths,
            kind == "gaussian" ? 0 : centers.size());
    for (double width : widths)
        check.require(width >= 0, "the widths of the radial basis must not be negative", width);
    if (centers.size() != basisCenters.size())
        blocks.assign(blocks.size(), Block());
    basis = kind;
    basisExponent = exponent;
    basisCenters = centers;
    basisWidths = widths;
    forgetFilterError();
}

void SchNetForce::setCutoffFunction(const string& kind, double lower) {
    check.require(kind == "cosine" || kind == "shifted_cosine" || kind == "polynomial",
            "the cutoff function must be 'cosine', 'shifted_cosine' or 'polynomial'", "'"+kind+"'");
    check.require(lower >= 0 && lower < getCutoff(), "the lower end of the cutoff function must be from 0 to less than the cutoff, "+toText(getCutoff())+" nm", lower);
    check.require(lower == 0 || kind != "polynomial", "the lower end of the cutoff function 'polynomial' must be 0", lower);
    cutoffFunction = kind;
    lowerCutoff = lower;
    forgetFilterError();
}

void SchNetForce::setActivation(const string& activation) {
    NetworkForce::setActivation(activation);
    forgetFilterError();
}

void SchNetForce::setEmbeddings(const vector<double>& embeddings) {
    check.requireArray("embeddings", "(types*features)", embeddings, (size_t) getNumTypes()*features);
    this->embeddings = embeddings;
    forgetFilterError();
}

void SchNetForce::setTypeEnergies(const vector<double>& energies) {
    check.requireArray("energies of the types", "(types)", energies, getNumTypes());
    typeEnergies = energies;
}

void SchNetForce::setBlockParameters(int index, const Block& block) {
    check.requireIndex("block", index, blocks.size());
    check.requireCalled(!basis.empty(), "setRadialBasis");
    const size_t H = features, F = filters, R = basisCenters.size();
    check.requireArray("weights of lin1", "(filters*features)", block.lin1Weights, F*H);
    check.requireArray("weights of filter1", "(filters*radial functions)", block.filter1Weights, F*R);
    check.requireArray("biases of filter1", "(filters)", block.filter1Biases, F);
    check.requireArray("weights of filter2", "(filters*filters)", block.filter2Weights, F*F);
    check.requireArray("biases of filter2", "(filters)", block.filter2Biases, F);
    check.requireArray("weights of lin2", "(features*filters)", block.lin2Weights, H*F);
    check.requireArray("biases of lin2", "(features)", block.lin2Biases, H);
    check.requireArray("weights of lin3", "(features*features)", block.lin3Weights, H*H);
    check.requireArray("biases of lin3", "(features)", block.lin3Biases, H);
    blocks[index] = block;
    forgetFilterError();
}

const SchNetForce::Block& SchNetForce::getBlockParameters(int index) const {
    check.requireIndex("block", index, blocks.size());
    return blocks[index];
}

void SchNetForce::checkGrid(int degree, int intervals) const {
    check.require(degree == 3 || degree == 5, "the degree of the filter grid must be 3 or 5", degree);
    check.require(intervals >= 4, "the number of intervals of the filter grid must be at least 4", intervals);
}

void SchNetForce::setFilterGrid(int degree, int intervals) {
    if (intervals != 0)
        checkGrid(degree, intervals);
    filterDegree = (intervals == 0 ? 3 : degree);
    filterIntervals = intervals;
    givenTables.clear();
    forgetFilterError();
}

void SchNetForce::setFilterTables(int degree, int intervals, const vector<double>& coefficients) {
    checkGrid(degree, intervals);
    check.requireArray("coefficients of the filters", "(blocks*(intervals+degree)*filters)", coefficients, blocks.size()*(intervals+degree)*filters);
    filterDegree = degree;
    filterIntervals = intervals;
    givenTables = coefficients;
    forgetFilterError();
}

vector<double> SchNetForce::getFilterTables() const {
    if (filterIntervals == 0 || !givenTables.empty())
        return givenTables;
    validateFilters();
    FilterNetwork network(*this);
    vector<double> tables;
    for (int b = 0; b < getNumBlocks(); b++) {
        vector<double> table = FilterTable::interpolate(getCutoff(), filterDegree, filterIntervals, filters, [&](double r, double* W, double* dWdr) {
            network.evaluate(b, r, W, dWdr);
        });
        tables.insert(tables.end(), table.begin(), table.end());
    }
    return tables;
}

double SchNetForce::tabulateFilters(double tolerance, const vector<Vec3>& positions, const vector<int>& types) {
    check.require(isfinite(tolerance) && tolerance > 0, "the tolerance must be positive", tolerance);
    check.require(types.empty() == positions.empty() && (types.empty() || positions.size()%types.size() == 0),
            "the number of positions must be a multiple of that of types, "+to_string(types.size()), positions.size());
    for (int type : types)
        check.require(type >= 0 && type < getNumTypes(), "a bead's type must be from 0 to "+to_string(getNumTypes()-1), type);
    for (const Vec3& x : positions)
        check.require(isfinite(x.dot(Vec3(1, 1, 1))), "the positions must be finite", x);
    validate();
    FilterGridSearch search(*this, positions, types);
    FilterGridSearch::Result best = search.run(tolerance);
    check.require(best.error < tolerance, "the error of tabulated filters must fall below the tolerance, "+toText(tolerance)+
            "; use exact filters or a larger one. With "+to_string(best.intervals)+" intervals of degree "+to_string(best.degree), best.error);
    setFilterGrid(best.degree, best.intervals);
    filterError = best.error;
    return best.error;
}

vector<double> SchNetForce::evaluateFilters(const vector<double>& distances) const {
    validateFilters();
    FilterNetwork network(*this);
    vector<double> values(blocks.size()*distances.size()*filters);
    double* next = values.data();
    for (int b = 0; b < getNumBlocks(); b++)
        for (double r : distances) {
            network.evaluate(b, r, next, nullptr);
            next += filters;
        }
    return values;
}

vector<double> SchNetForce::computeFirstMessages() const {
    const LinearMap lin1(filters, features, blocks[0].lin1Weights);
    vector<double> messages((size_t) getNumTypes()*filters);
    for (int type = 0; type < getNumTypes(); type++)
        lin1.apply(&embeddings[(size_t) type*features], &messages[(size_t) type*filters]);
    return messages;
}

void SchNetForce::validateFilters() const {
    check.requireCalled(!basis.empty(), "setRadialBasis");
    for (size_t b = 0; b < blocks.size(); b++)
        check.require(!blocks[b].lin1Weights.empty(), "setBlockParameters() must be called for each block", "none for block "+to_string(b));
}

void SchNetForce::validate() const {
    validateFilters();
    check.requireCalled(!embeddings.empty(), "setEmbeddings");
    NetworkForce::validate();
}

vector<pair<string, string> > SchNetForce::describeShape() const {
    vector<pair<string, string> > result = NetworkForce::describeShape();
    result.push_back({"radial basis", basis});
    result.push_back({"exponent of the radial basis", toText(basisExponent)});
    result.push_back({"number of radial functions", to_string(getNumRadialFunctions())});
    result.push_back({"cutoff function", cutoffFunction});
    result.push_back({"lower end of the cutoff function", toText(lowerCutoff)});
    result.push_back({"number of intervals of the filter grid", to_string(filterIntervals)});
    result.push_back({"degree of the filter grid", to_string(filterDegree)});
    return result;
}

}
