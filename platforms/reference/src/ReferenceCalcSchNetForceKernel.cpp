// SPDX-License-Identifier: MIT
#include "ReferenceCalcSchNetForceKernel.h"
#include "meanforce/SchNetForce.h"

using namespace OpenMM;
using namespace std;

namespace meanforce {

void ReferenceCalcSchNetForceKernel::readParameters(const BeadForce& force) {
    model = SchNetEvaluator(static_cast<const SchNetForce&>(force));
}

void ReferenceCalcSchNetForceKernel::compute(const vector<Edge>& edges, double temperature, vector<double>& A, vector<double>& B,
        vector<Vec3>* forces) {
    model.evaluate(edges, types, temperature, A, B, forces);
}

}
