// SPDX-License-Identifier: MIT
#include "CpuSpatialOrder.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Put two zeros before each of the lowest ten bits. */
static unsigned int spreadBits(unsigned int n) {
    n = (n | (n << 16)) & 0x030000ff;
    n = (n | (n << 8)) & 0x0300f00f;
    n = (n | (n << 4)) & 0x030c30c3;
    return (n | (n << 2)) & 0x09249249;
}

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
        Vec3 s = positions[i]-low;
        if (box != nullptr) {
            s = positions[i];
            s[2] /= box[2][2];
            s[1] = (s[1]-s[2]*box[2][1])/box[1][1];
            s[0] = (s[0]-s[2]*box[2][0]-s[1]*box[1][0])/box[0][0];
        }
        unsigned int c[3];
        for (int k = 0; k < 3; k++) {
            const double fraction = (box != nullptr ? s[k]-floor(s[k]) : (high[k] > low[k] ? s[k]/(high[k]-low[k]) : 0.0));
            // At absurd positions the fraction is not a number.
            c[k] = (fraction > 0 ? (unsigned int) min(numCells-1.0, fraction*numCells) : 0);
        }
        cell[i] = ((size_t) replicas[i] << 3*bits)+(spreadBits(c[0]) | spreadBits(c[1]) << 1 | spreadBits(c[2]) << 2);
        start[cell[i]+1]++;
    }
    for (size_t c = 1; c < start.size(); c++)
        start[c] += start[c-1];
    for (int i = 0; i < numBeads; i++)
        order[start[cell[i]]++] = i;
}

}
