// SPDX-License-Identifier: MIT
#include "meanforce/internal/FilterGridSearch.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Grids, from coarse to fine.  In single precision the slope of a cubic spline is noise beyond about 1024 intervals. */
static const vector<int> INTERVALS = {64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};
static constexpr int MAX_CUBIC = 1024;

FilterGridSearch::FilterGridSearch(const SchNetForce& force, const vector<Vec3>& positions, const vector<int>& types) : cutoff(force.getCutoff()),
        numTypes(force.getNumTypes()), numFilters(force.getNumFilters()), numBlocks(force.getNumBlocks()), temperature(force.getDefaultTemperature()),
        model(force), network(force) {
    model.setFilterTables({});
    // Beads with 4 to 50 neighbours on average; a sphere as wide as the cutoff holds 0.52 of this box.
    addRandomFrame(10, 0.1*cutoff);
    addRandomFrame(25, 0.15*cutoff);
    addRandomFrame(50, 0.2*cutoff);
    addRandomFrame(97, 0.25*cutoff);
    // Few pairs of a packing are where a cutoff function has a kink in its slope, if it has one.
    const double kink = force.getLowerCutoff();
    addSamples(kink > 0 ? 4096 : 512, kink > 0 ? min(0.9*kink, 0.2*cutoff) : 0.2*cutoff, cutoff);
    for (size_t first = 0; first < positions.size(); first += types.size())
        addFrame(vector<Vec3>(positions.begin()+first, positions.begin()+first+types.size()), types, numeric_limits<double>::infinity());
}

void FilterGridSearch::addRandomFrame(int numBeads, double distance) {
    const double side = 2*cutoff;
    mt19937_64 random(numBeads);
    // Not a standard distribution: those differ between libraries.
    auto uniform = [&] {
        return (random() >> 11)*0x1p-53;
    };
    vector<Vec3> positions;
    vector<int> types;
    while ((int) positions.size() < numBeads) {
        Vec3 trial(side*uniform(), side*uniform(), side*uniform());
        bool free = all_of(positions.begin(), positions.end(), [&](const Vec3& other) {
            Vec3 delta = other-trial;
            for (int k = 0; k < 3; k++)
                delta[k] -= side*round(delta[k]/side);
            return delta.dot(delta) > distance*distance;
        });
        if (free) {
            types.push_back((int) positions.size()%numTypes);
            positions.push_back(trial);
        }
    }
    addFrame(positions, types, side);
}

void FilterGridSearch::addFrame(const vector<Vec3>& positions, const vector<int>& types, double side) {
    Frame frame;
    frame.types = types;
    for (int i = 0; i < (int) positions.size(); i++)
        for (int j = i+1; j < (int) positions.size(); j++) {
            Vec3 delta = positions[j]-positions[i];
            if (isfinite(side))
                for (int k = 0; k < 3; k++)
                    delta[k] -= side*round(delta[k]/side);
            double r = sqrt(delta.dot(delta));
            if (r < cutoff)
                frame.edges.push_back({i, j, r, r > 0 ? delta/r : Vec3()});
        }
    evaluate(frame, frame.energy, frame.forces);
    frames.push_back(frame);
}

void FilterGridSearch::evaluate(const Frame& frame, double& energy, vector<Vec3>& forces) const {
    vector<double> A(frame.types.size()), B(frame.types.size(), 0.0);
    forces.assign(frame.types.size(), Vec3());
    model.evaluate(frame.edges, frame.types, temperature, A, B, &forces);
    energy = 0.0;
    for (size_t i = 0; i < A.size(); i++)
        energy += A[i]-temperature*B[i];
}

double FilterGridSearch::compare(const Frame& frame) const {
    double energy, difference = 0.0, size = 0.0;
    vector<Vec3> forces;
    evaluate(frame, energy, forces);
    for (size_t i = 0; i < forces.size(); i++) {
        Vec3 delta = forces[i]-frame.forces[i];
        difference += delta.dot(delta);
        size += frame.forces[i].dot(frame.forces[i]);
    }
    // Without forces there is nothing to compare with.
    if (size == 0)
        return 0.0;
    double rms = sqrt(size/(3*forces.size()));
    return max(sqrt(difference/size), fabs(energy-frame.energy)/(forces.size()*rms*cutoff));
}

void FilterGridSearch::addSamples(int count, double from, double to) {
    sampleSlopes.resize((size_t) count*numBlocks*numFilters);
    vector<double> W(numFilters);
    for (int k = 0; k < count; k++) {
        sampleDistances.push_back(from+(k+0.5)*(to-from)/count);
        for (int b = 0; b < numBlocks; b++)
            network.evaluate(b, sampleDistances[k], W.data(), &sampleSlopes[((size_t) k*numBlocks+b)*numFilters]);
    }
}

double FilterGridSearch::compareSlopes(const vector<FilterTable>& tables) const {
    double difference = 0.0, size = 0.0;
    vector<double> W(numFilters), dWdr(numFilters);
    for (size_t k = 0; k < sampleDistances.size(); k++)
        for (int b = 0; b < numBlocks; b++) {
            const double r = sampleDistances[k], *exact = &sampleSlopes[(k*numBlocks+b)*numFilters];
            tables[b].evaluate(r, W.data(), dWdr.data());
            for (int c = 0; c < numFilters; c++) {
                difference += r*r*(dWdr[c]-exact[c])*(dWdr[c]-exact[c]);
                size += r*r*exact[c]*exact[c];
            }
        }
    return size == 0 ? 0.0 : sqrt(difference/size);
}

double FilterGridSearch::measure(int degree, int intervals) {
    vector<FilterTable> tables;
    const size_t width = (size_t) numBlocks*numFilters;
    auto filters = [&](double r, double* W, double* dWdr) {
        if (values.count(r) == 0) {
            vector<double>& value = values[r];
            vector<double>& slope = slopes[r];
            value.resize(width);
            slope.resize(width);
            // Slopes are needed at both ends only.
            const bool isEnd = (r == 0 || r == cutoff);
            for (int b = 0; b < numBlocks; b++)
                network.evaluate(b, r, &value[b*numFilters], isEnd ? &slope[b*numFilters] : nullptr);
        }
        copy_n(values[r].begin(), width, W);
        copy_n(slopes[r].begin(), width, dWdr);
    };
    vector<double> all = FilterTable::interpolate(cutoff, degree, intervals, (int) width, filters);
    for (int b = 0; b < numBlocks; b++) {
        vector<double> coefficients;
        for (size_t row = 0; row < all.size(); row += width)
            coefficients.insert(coefficients.end(), all.begin()+row+b*numFilters, all.begin()+row+(b+1)*numFilters);
        tables.emplace_back(cutoff, degree, intervals, coefficients);
    }
    model.setFilterTables(tables);
    double error = compareSlopes(tables);
    for (const Frame& frame : frames) {
        double found = compare(frame);
        // NaN, from weights that overflow, must not pass for 0.
        if (!(found <= error))
            error = found;
    }
    return error;
}

FilterGridSearch::Result FilterGridSearch::run(double tolerance) {
    Result result = {3, 0, 0.0};
    for (int degree : {3, 5}) {
        double needed = 0.0;
        for (int intervals : INTERVALS) {
            if ((degree == 3 && intervals > MAX_CUBIC) || (intervals < needed && intervals != INTERVALS.back()))
                continue;
            result = {degree, intervals, measure(degree, intervals)};
            if (result.error < tolerance)
                return result;
            // Skip grids that cannot be enough: forces converge by no more than two orders above that of the derivative.
            needed = intervals*pow(tolerance/result.error, -1.0/(degree+2));
        }
    }
    return result;
}

}
