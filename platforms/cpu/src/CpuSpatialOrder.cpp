// SPDX-License-Identifier: MIT
#include "CpuSpatialOrder.h"
#include "CpuCells.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

void sortSpatially(const vector<Vec3>& positions, const vector<int>& replicas, int numReplicas, const Vec3* box, vector<int>& order) {
    const int numBeads = (int) positions.size();
    order.resize(numBeads);
    if (numBeads == 0)
        return;
    Vec3 low = positions[0], high = positions[0];
    if (box == nullptr)
        for (const Vec3& x : positions)
            for (int k = 0; k < 3; k++) {
                low[k] = min(low[k], x[k]);
                high[k] = max(high[k], x[k]);
            }
    int bits = 0;
    while (bits < 7 && (8LL << 3*bits)*numReplicas <= numBeads)
        bits++;
    const int numCells = 1 << bits;
    vector<size_t> cell(numBeads);
    vector<int> start(((size_t) numReplicas << 3*bits)+1, 0);
    for (int i = 0; i < numBeads; i++) {
        const Vec3 s = (box != nullptr ? toFractions(positions[i], box) : positions[i]-low);
        unsigned int c[3];
        for (int k = 0; k < 3; k++) {
            const double fraction = (box != nullptr ? s[k]-floor(s[k]) : (high[k] > low[k] ? s[k]/(high[k]-low[k]) : 0.0));
            // At absurd positions the fraction is not a number.
            c[k] = (fraction > 0 ? (unsigned int) min(numCells-1.0, fraction*numCells) : 0);
        }
        cell[i] = ((size_t) replicas[i] << 3*bits)+mortonCode(c[0], c[1], c[2]);
        start[cell[i]+1]++;
    }
    for (size_t c = 1; c < start.size(); c++)
        start[c] += start[c-1];
    for (int i = 0; i < numBeads; i++)
        order[start[cell[i]]++] = i;
}

}
