// SPDX-License-Identifier: MIT
#include "meanforce/internal/SchNetEvaluator.h"
#include <algorithm>

using namespace OpenMM;
using namespace std;

namespace meanforce {

vector<FilterTable> makeFilterTables(double cutoff, int degree, int intervals, int numBlocks, const vector<double>& coefficients) {
    vector<FilterTable> tables;
    const size_t size = coefficients.size()/numBlocks;
    for (int b = 0; b < numBlocks && !coefficients.empty(); b++)
        tables.emplace_back(cutoff, degree, intervals, vector<double>(coefficients.begin()+b*size, coefficients.begin()+(b+1)*size));
    return tables;
}

SchNetEvaluator::SchNetEvaluator(const SchNetForce& force) : features(force.getNumFeatures()), filters(force.getNumFilters()),
        numReadouts(force.getNumReadouts()), embeddings(force.getEmbeddings()), typeEnergies(force.getTypeEnergies()),
        activation(activationOf(force.getActivation())), filterNetwork(force), network(force) {
    for (int b = 0; b < force.getNumBlocks(); b++) {
        const SchNetForce::Block& block = force.getBlockParameters(b);
        blocks.push_back({LinearMap(filters, features, block.lin1Weights), LinearMap(features, filters, block.lin2Weights, block.lin2Biases),
                LinearMap(features, features, block.lin3Weights, block.lin3Biases)});
    }
    tables = makeFilterTables(force.getCutoff(), force.getFilterDegree(), force.getNumFilterIntervals(), force.getNumBlocks(), force.getFilterTables());
}

void SchNetEvaluator::evaluateFilters(int block, double r, vector<double>& W, vector<double>* dWdr) const {
    double* slopes = (dWdr == nullptr ? nullptr : dWdr->data());
    if (tables.empty())
        filterNetwork.evaluate(block, r, W.data(), slopes);
    else
        tables[block].evaluate(r, W.data(), slopes);
}

void SchNetEvaluator::evaluate(const vector<Edge>& edges, const vector<int>& types, double temperature, vector<double>& A, vector<double>& B,
        vector<Vec3>* forces) const {
    const int numBeads = (int) types.size();
    vector<double> y(numBeads*features, 0.0), dUdy(numBeads*features, 0.0);
    for (int i = 0; i < numBeads; i++)
        if (types[i] >= 0)
            copy_n(embeddings.begin()+types[i]*features, features, y.begin()+i*features);
    vector<Trace> traces(blocks.size());
    for (int b = 0; b < (int) blocks.size(); b++) {
        traces[b].h.resize(numBeads*filters);
        for (int i = 0; i < numBeads; i++)
            blocks[b].lin1.apply(&y[i*features], &traces[b].h[i*filters]);
        updateFeatures(b, types, sumMessages(b, edges, traces[b].h), y, traces[b]);
    }
    // U_i = A_i - T B_i
    const vector<double> seed = (numReadouts == 2 ? vector<double>{1.0, -temperature} : vector<double>{1.0});
    for (int i = 0; i < numBeads; i++)
        if (types[i] >= 0) {
            vector<double> gradient;
            vector<double> outputs = network.evaluate(0, vector<double>(y.begin()+i*features, y.begin()+(i+1)*features), seed, gradient);
            A[i] = outputs[0]+typeEnergies[types[i]];
            if (numReadouts == 2)
                B[i] = outputs[1];
            copy(gradient.begin(), gradient.end(), dUdy.begin()+i*features);
        }
    if (forces == nullptr)
        return;
    vector<double> dUdr = propagateBack(edges, types, traces, dUdy);
    for (size_t e = 0; e < edges.size(); e++) {
        (*forces)[edges[e].i] += edges[e].direction*dUdr[e];
        (*forces)[edges[e].j] -= edges[e].direction*dUdr[e];
    }
}

vector<double> SchNetEvaluator::sumMessages(int block, const vector<Edge>& edges, const vector<double>& h) const {
    vector<double> m(h.size(), 0.0), W(filters);
    for (const Edge& edge : edges)
        if (edge.i < edge.j) {
            evaluateFilters(block, edge.r, W, nullptr);
            for (int c = 0; c < filters; c++) {
                m[edge.i*filters+c] += W[c]*h[edge.j*filters+c];
                m[edge.j*filters+c] += W[c]*h[edge.i*filters+c];
            }
        }
    return m;
}

void SchNetEvaluator::updateFeatures(int block, const vector<int>& types, const vector<double>& m, vector<double>& y, Trace& trace) const {
    trace.slopes.assign(y.size(), 0.0);
    vector<double> hidden(features), change(features);
    for (int i = 0; i < (int) types.size(); i++) {
        if (types[i] < 0)
            continue;
        blocks[block].lin2.apply(&m[i*filters], hidden.data());
        for (int k = 0; k < features; k++)
            hidden[k] = activate(activation, hidden[k], trace.slopes[i*features+k]);
        blocks[block].lin3.apply(hidden.data(), change.data());
        for (int k = 0; k < features; k++)
            y[i*features+k] += change[k];
    }
}

vector<double> SchNetEvaluator::propagateBack(const vector<Edge>& edges, const vector<int>& types, const vector<Trace>& traces,
        vector<double>& dUdy) const {
    vector<double> dUdr(edges.size(), 0.0);
    for (int b = (int) blocks.size()-1; b >= 0; b--) {
        vector<double> g(types.size()*filters, 0.0), hidden(features);
        for (size_t i = 0; i < types.size(); i++) {
            fill(hidden.begin(), hidden.end(), 0.0);
            blocks[b].lin3.addTransposed(&dUdy[i*features], hidden.data());
            for (int k = 0; k < features; k++)
                hidden[k] *= traces[b].slopes[i*features+k];
            blocks[b].lin2.addTransposed(hidden.data(), &g[i*filters]);
        }
        vector<double> dUdh = sumGradients(b, edges, traces[b].h, g, dUdr);
        for (size_t i = 0; i < types.size(); i++)
            blocks[b].lin1.addTransposed(&dUdh[i*filters], &dUdy[i*features]);
    }
    return dUdr;
}

vector<double> SchNetEvaluator::sumGradients(int block, const vector<Edge>& edges, const vector<double>& h, const vector<double>& g,
        vector<double>& dUdr) const {
    vector<double> dUdh(h.size(), 0.0), W(filters), dWdr(filters);
    for (size_t e = 0; e < edges.size(); e++) {
        const int i = edges[e].i*filters, j = edges[e].j*filters;
        if (i > j)
            continue;
        evaluateFilters(block, edges[e].r, W, &dWdr);
        for (int c = 0; c < filters; c++) {
            dUdr[e] += dWdr[c]*(g[i+c]*h[j+c]+g[j+c]*h[i+c]);
            dUdh[i+c] += W[c]*g[j+c];
            dUdh[j+c] += W[c]*g[i+c];
        }
    }
    return dUdh;
}

}
