// SPDX-License-Identifier: MIT
#include "CpuNeighborList.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The shortest loop over beads that is worth a thread. */
static constexpr int MIN_BEADS_PER_THREAD = 200;

void CpuNeighborList::update(const vector<Vec3>& positions, const Vec3* boxVectors, CpuParallel& parallel) {
    if (isValid(positions, boxVectors))
        return;
    for (int k = 0; k < 3; k++)
        box[k] = boxVectors[k];
    builtAt = positions;
    sortIntoCells(positions);
    int numBeads = (int) positions.size();
    vector<vector<Neighbor> > found(parallel.getNumThreads());
    vector<int> numFound(numBeads);
    parallel.run(numBeads, MIN_BEADS_PER_THREAD, [&](int thread, int begin, int end) {
        for (int bead = begin; bead < end; bead++) {
            size_t before = found[thread].size();
            findNeighbors(bead, found[thread]);
            sort(found[thread].begin()+before, found[thread].end());
            numFound[bead] = (int) (found[thread].size()-before);
        }
    });
    rowStart.assign(1, 0);
    for (int n : numFound)
        rowStart.push_back(rowStart.back()+n);
    neighbors.clear();
    for (auto& part : found)
        neighbors.insert(neighbors.end(), part.begin(), part.end());
}

bool CpuNeighborList::isValid(const vector<Vec3>& positions, const Vec3* boxVectors) const {
    if (positions.size() != builtAt.size())
        return false;
    if (periodic)
        for (int k = 0; k < 3; k++)
            if (box[k] != boxVectors[k])
                return false;
    double largest = 0.0;
    for (size_t i = 0; i < positions.size(); i++) {
        Vec3 moved = positions[i]-builtAt[i];
        largest = max(largest, moved.dot(moved));
    }
    // range-cutoff is the skin that was used.
    return 2*sqrt(largest) < range-cutoff;
}

void CpuNeighborList::sortIntoCells(const vector<Vec3>& positions) {
    int numBeads = (int) positions.size();
    range = cutoff+skin;
    wrapped = positions;
    image.assign(3*numBeads, 0);
    vector<Vec3> fraction(numBeads);
    // More cells than beads would only take memory, and in a nearly empty box any amount of it.
    double most = 1+2*floor(cbrt(numBeads));
    if (periodic) {
        // The perpendicular width of the box along each direction bounds how many cells of size `range` fit.
        double volume = box[0][0]*box[1][1]*box[2][2];
        for (int k = 0; k < 3; k++) {
            Vec3 face = box[(k+1)%3].cross(box[(k+2)%3]);
            double width = volume/sqrt(face.dot(face));
            range = min(range, width);
            numCells[k] = (int) max(1.0, min(most, floor(width/range)));
        }
        for (int i = 0; i < numBeads; i++) {
            // OpenMM's boxes are lower triangular.
            Vec3& f = fraction[i];
            f[2] = wrapped[i][2]/box[2][2];
            f[1] = (wrapped[i][1]-f[2]*box[2][1])/box[1][1];
            f[0] = (wrapped[i][0]-f[2]*box[2][0]-f[1]*box[1][0])/box[0][0];
            for (int k = 0; k < 3; k++) {
                double s = floor(f[k]);
                f[k] -= s;
                image[3*i+k] = (int) -s;
                wrapped[i] -= box[k]*s;
            }
        }
    }
    else if (numBeads > 0) {
        Vec3 low = positions[0], high = positions[0];
        for (const Vec3& x : positions)
            for (int k = 0; k < 3; k++) {
                low[k] = min(low[k], x[k]);
                high[k] = max(high[k], x[k]);
            }
        for (int k = 0; k < 3; k++) {
            double extent = high[k]-low[k];
            numCells[k] = (int) max(1.0, min(most, floor(extent/range)));
            for (int i = 0; i < numBeads; i++)
                fraction[i][k] = (extent > 0 ? (positions[i][k]-low[k])/extent : 0.0);
        }
    }
    else
        numCells[0] = numCells[1] = numCells[2] = 1;
    cell.resize(numBeads);
    cellStart.assign((size_t) numCells[0]*numCells[1]*numCells[2]+1, 0);
    for (int i = 0; i < numBeads; i++) {
        int c[3];
        for (int k = 0; k < 3; k++) {
            // The fraction can round to 1; at absurd positions it is not even a number.
            double position = fraction[i][k]*numCells[k];
            c[k] = (position >= 0 ? (int) min(position, numCells[k]-1.0) : 0);
        }
        cell[i] = (c[2]*numCells[1]+c[1])*numCells[0]+c[0];
        cellStart[cell[i]+1]++;
    }
    for (size_t c = 1; c < cellStart.size(); c++)
        cellStart[c] += cellStart[c-1];
    cellBeads.resize(numBeads);
    vector<int> next(cellStart);
    for (int i = 0; i < numBeads; i++)
        cellBeads[next[cell[i]]++] = i;
}

void CpuNeighborList::findNeighbors(int bead, vector<Neighbor>& found) const {
    int home[3] = {cell[bead]%numCells[0], cell[bead]/numCells[0]%numCells[1], cell[bead]/(numCells[0]*numCells[1])};
    int offset[3], shift[3];
    for (offset[2] = -1; offset[2] <= 1; offset[2]++)
        for (offset[1] = -1; offset[1] <= 1; offset[1]++)
            for (offset[0] = -1; offset[0] <= 1; offset[0]++) {
                // A cell beyond the edge is a cell of the next image: with few cells the same one is visited once for each
                // image, so nothing is missed or counted twice.
                int c[3];
                bool exists = true;
                for (int k = 0; k < 3; k++) {
                    c[k] = home[k]+offset[k];
                    shift[k] = (c[k] < 0 ? -1 : (c[k] >= numCells[k] ? 1 : 0));
                    c[k] -= shift[k]*numCells[k];
                    exists &= (periodic || shift[k] == 0);
                }
                if (!exists)
                    continue;
                Vec3 origin = wrapped[bead]-box[0]*shift[0]-box[1]*shift[1]-box[2]*shift[2];
                int index = (c[2]*numCells[1]+c[1])*numCells[0]+c[0];
                for (int s = cellStart[index]; s < cellStart[index+1]; s++) {
                    int other = cellBeads[s];
                    Vec3 delta = wrapped[other]-origin;
                    if (other == bead || delta.dot(delta) >= range*range)
                        continue;
                    Neighbor neighbor = {other, {}};
                    for (int k = 0; k < 3; k++)
                        neighbor.image[k] = image[3*other+k]+shift[k]-image[3*bead+k];
                    found.push_back(neighbor);
                }
            }
}

}
