// SPDX-License-Identifier: MIT
#include "ReferenceCalcStillingerWeberForceKernel.h"
#include "meanforce/StillingerWeberForce.h"
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

void ReferenceCalcStillingerWeberForceKernel::readParameters(const BeadForce& beadForce) {
    auto& force = static_cast<const StillingerWeberForce&>(beadForce);
    numTypes = force.getNumTypes();
    pairParameters = force.getAllPairParameters();
    tripletParameters = force.getAllTripletParameters();
}

void ReferenceCalcStillingerWeberForceKernel::compute(const vector<Edge>& edges, double temperature, vector<double>& A, vector<double>& B,
        vector<Vec3>* forces) {
    // Edges are ordered by their first bead, so the pairs of neighbours of a bead are pairs in a run of edges.
    for (size_t first = 0, last; first < edges.size(); first = last) {
        for (last = first; last < edges.size() && edges[last].i == edges[first].i; last++);
        for (size_t j = first; j < last; j++)
            for (size_t k = j+1; k < last; k++)
                A[edges[first].i] += computeTriple(edges[j], edges[k], forces);
    }
}

double ReferenceCalcStillingerWeberForceKernel::fade(const Edge& edge, double& derivative) const {
    const double* parameters = &pairParameters[2*(types[edge.i]*numTypes+types[edge.j])];
    const double range = parameters[0], gamma = parameters[1];
    if (edge.r >= range) {
        derivative = 0.0;
        return 0.0;
    }
    double g = exp(gamma/(edge.r-range));
    derivative = -g*gamma/((edge.r-range)*(edge.r-range));
    return g;
}

double ReferenceCalcStillingerWeberForceKernel::computeTriple(const Edge& ij, const Edge& ik, vector<Vec3>* forces) const {
    double dgj, dgk, gj = fade(ij, dgj), gk = fade(ik, dgk);
    if (gj == 0.0 || gk == 0.0)
        return 0.0;
    const double* c = &tripletParameters[3*((types[ij.i]*numTypes+types[ij.j])*numTypes+types[ik.j])];
    double cosine = ij.direction.dot(ik.direction);
    double h = c[0]+c[1]*cosine+c[2]*cosine*cosine;
    if (forces != nullptr) {
        // The gradients with respect to the vectors from i to j and from i to k.
        double dh = (c[1]+2*c[2]*cosine)*gj*gk;
        double inverseRj = (ij.r > 0 ? 1/ij.r : 0.0), inverseRk = (ik.r > 0 ? 1/ik.r : 0.0);
        Vec3 gradientJ = ij.direction*(h*dgj*gk)+(ik.direction-ij.direction*cosine)*(dh*inverseRj);
        Vec3 gradientK = ik.direction*(h*gj*dgk)+(ij.direction-ik.direction*cosine)*(dh*inverseRk);
        (*forces)[ij.j] -= gradientJ;
        (*forces)[ik.j] -= gradientK;
        (*forces)[ij.i] += gradientJ+gradientK;
    }
    return h*gj*gk;
}

}
