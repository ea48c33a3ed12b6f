// SPDX-License-Identifier: MIT
#include "CpuNeighborList.h"
#include "CpuCells.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The shortest loops over beads that are worth a thread: a search for neighbours, and a few operations. */
static constexpr int MIN_SEARCHES = 200, MIN_BEADS = 10000;
/** Rounding is small against this fraction of the range, which beads may not use up by moving. */
static constexpr double MARGIN = 1e-6;

const int CpuNeighborList::SHIFTS[27][3] = {
    {-1, -1, -1}, {0, -1, -1}, {1, -1, -1}, {-1, 0, -1}, {0, 0, -1}, {1, 0, -1}, {-1, 1, -1}, {0, 1, -1}, {1, 1, -1},
    {-1, -1, 0}, {0, -1, 0}, {1, -1, 0}, {-1, 0, 0}, {0, 0, 0}, {1, 0, 0}, {-1, 1, 0}, {0, 1, 0}, {1, 1, 0},
    {-1, -1, 1}, {0, -1, 1}, {1, -1, 1}, {-1, 0, 1}, {0, 0, 1}, {1, 0, 1}, {-1, 1, 1}, {0, 1, 1}, {1, 1, 1}};

bool CpuNeighborList::update(const vector<Vec3>& positions, const Vec3* boxVectors, CpuParallel& parallel) {
    const int numBeads = (int) positions.size();
    const bool rebuild = !isValid(positions, boxVectors);
    if (rebuild) {
        copy(boxVectors, boxVectors+3, box);
        builtAt = positions;
        numReplicas = (replicas.empty() ? 1 : 1+*max_element(replicas.begin(), replicas.end()));
        chooseCells(positions);
        assignCells(positions, parallel);
        choosePlaces();
    }
    parallel.run(numBeads, MIN_BEADS, [&](int thread, int begin, int end) {
        for (int place = begin; place < end; place++)
            beads[place].position = positions[order[place]];
    });
    if (rebuild)
        findNeighbors(parallel);
    return rebuild;
}

bool CpuNeighborList::isValid(const vector<Vec3>& positions, const Vec3* boxVectors) const {
    if (positions.size() != builtAt.size() || range == 0.0)
        return false;
    if (periodic && !equal(box, box+3, boxVectors))
        return false;
    double largest = 0.0;
    for (size_t i = 0; i < positions.size(); i++) {
        Vec3 moved = positions[i]-builtAt[i];
        largest = max(largest, moved.dot(moved));
    }
    // range-cutoff is the skin that was used.
    return 2*sqrt(largest) < (1-MARGIN)*range-cutoff;
}

void CpuNeighborList::chooseCells(const vector<Vec3>& positions) {
    range = cutoff+skin;
    // More cells than beads would only take memory, and in a nearly empty box any amount of it.
    const double most = 3+2*floor(cbrt(positions.size()/numReplicas));
    int chosen[3] = {3, 3, 3};
    if (periodic) {
        // The perpendicular width of the box along each direction bounds how many cells of size `range` fit.
        double volume = box[0][0]*box[1][1]*box[2][2];
        double width[3];
        for (int k = 0; k < 3; k++) {
            Vec3 face = box[(k+1)%3].cross(box[(k+2)%3]);
            width[k] = volume/sqrt(face.dot(face));
            range = min(range, width[k]);
        }
        for (int k = 0; k < 3; k++)
            chosen[k] = (int) max(1.0, min(most, floor(width[k]/range)));
    }
    else if (!positions.empty()) {
        // Space is an endless repetition of a block of cells: it need not hold beads that have flown far away.  At least three
        // in each direction, so that a bead and its neighbours never share a cell through the repetition alone.
        for (int k = 0; k < 3; k++) {
            auto [low, high] = minmax_element(positions.begin(), positions.end(), [k](const Vec3& x, const Vec3& y) { return x[k] < y[k]; });
            chosen[k] = (int) max(3.0, min(most, 1+floor(((*high)[k]-(*low)[k])/range)));
        }
    }
    if (!equal(chosen, chosen+3, numCells)) {
        copy(chosen, chosen+3, numCells);
        sortCells();
    }
}

/** Number the cells along Morton's curve. */
void CpuNeighborList::sortCells() {
    vector<pair<uint64_t, int> > codes;
    for (int z = 0; z < numCells[2]; z++)
        for (int y = 0; y < numCells[1]; y++)
            for (int x = 0; x < numCells[0]; x++)
                codes.push_back({mortonCode(x, y, z), (int) codes.size()});
    sort(codes.begin(), codes.end());
    cellOfRank.resize(codes.size());
    rankOfCell.resize(codes.size());
    for (size_t rank = 0; rank < codes.size(); rank++) {
        cellOfRank[rank] = codes[rank].second;
        rankOfCell[codes[rank].second] = (int) rank;
    }
}

void CpuNeighborList::assignCells(const vector<Vec3>& positions, CpuParallel& parallel) {
    const int numBeads = (int) positions.size(), cellsPerReplica = (int) rankOfCell.size();
    cell.resize(numBeads);
    image.resize(3*numBeads);
    parallel.run(numBeads, MIN_BEADS, [&](int thread, int begin, int end) {
        for (int i = begin; i < end; i++) {
            const Vec3& x = positions[i];
            Vec3 s;
            if (periodic)
                s = toFractions(x, box);
            else
                for (int k = 0; k < 3; k++)
                    s[k] = x[k]/(range*numCells[k]);
            int c[3];
            for (int k = 0; k < 3; k++) {
                double whole = floor(s[k]);
                image[3*i+k] = (periodic ? (int) -whole : 0);
                // The fraction can round to 1; at absurd positions it is not even a number.
                double position = (s[k]-whole)*numCells[k];
                c[k] = (position >= 0 ? (int) min(position, numCells[k]-1.0) : 0);
            }
            cell[i] = (replicas.empty() ? 0 : replicas[i]*cellsPerReplica)+rankOfCell[(c[2]*numCells[1]+c[1])*numCells[0]+c[0]];
        }
    });
}

/** Sort indices 0..n-1 by their keys, 0..numKeys-1, and by themselves; returns where each key begins. */
static vector<int> countingSort(const vector<int>& indices, const vector<int>& keys, int numKeys, vector<int>& sorted) {
    vector<int> start(numKeys+1, 0);
    for (int key : keys)
        start[key+1]++;
    partial_sum(start.begin(), start.end(), start.begin());
    vector<int> next(start.begin(), start.end()-1);
    sorted.resize(indices.size());
    for (int i : indices)
        sorted[next[keys[i]]++] = i;
    return start;
}

void CpuNeighborList::choosePlaces() {
    const int numBeads = (int) cell.size(), numCellsInAll = numReplicas*(int) rankOfCell.size();
    vector<int> identity(numBeads);
    iota(identity.begin(), identity.end(), 0);
    countingSort(identity, cell, numCellsInAll, order);
    if (!types.empty()) {
        vector<int> byCell(order);
        countingSort(byCell, types, 1+*max_element(types.begin(), types.end()), order);
    }
    beads.resize(numBeads);
    vector<int> cellOfPlace(numBeads);
    for (int place = 0; place < numBeads; place++) {
        int i = order[place];
        cellOfPlace[place] = cell[i];
        copy(&image[3*i], &image[3*i]+3, beads[place].image);
    }
    cellStart = countingSort(identity, cellOfPlace, numCellsInAll, cellPlaces);
}

/** What one thread needs to find the neighbours of all beads in a cell: everything in the 27 cells around it. */
class CpuNeighborList::Search {
public:
    explicit Search(const CpuNeighborList& list) : list(list) {
    }
    /** Collect the beads around a cell. */
    void visit(int cell);
    /** Append the neighbours of a bead in that cell. */
    void find(int place, vector<Neighbor>& found);
private:
    /** Where the bead at a place is in the box. */
    Vec3 locate(int place) const {
        const Bead& bead = list.beads[place];
        return list.periodic ? bead.position+list.box[0]*bead.image[0]+list.box[1]*bead.image[1]+list.box[2]*bead.image[2] : bead.position;
    }
    /** Sort the first entries of nearBead and nearNeighbor by bead, and append the neighbours. */
    void appendSorted(size_t count, vector<Neighbor>& found);
    const CpuNeighborList& list;
    size_t size = 0;
    vector<double> x, y, z, r2;
    vector<int> bead, nearBead;
    vector<uint32_t> neighbor, nearNeighbor;
};

void CpuNeighborList::Search::visit(int cell) {
    const int* numCells = list.numCells;
    const int cellsPerReplica = (int) list.rankOfCell.size();
    const int first = cell-cell%cellsPerReplica, home = list.cellOfRank[cell%cellsPerReplica];
    const int c[3] = {home%numCells[0], home/numCells[0]%numCells[1], home/(numCells[0]*numCells[1])};
    size = 0;
    for (const int* step : SHIFTS) {
        int other[3], shift[3];
        for (int k = 0; k < 3; k++) {
            // A cell beyond the edge is a cell of the next image: with few cells the same one is visited once for each
            // image, so nothing is missed or counted twice.
            int beyond = c[k]+step[k];
            shift[k] = (beyond < 0 ? -1 : (beyond >= numCells[k] ? 1 : 0));
            other[k] = beyond-shift[k]*numCells[k];
            if (!list.periodic)
                shift[k] = 0;
        }
        const int image = 9*(shift[2]+1)+3*(shift[1]+1)+shift[0]+1;
        const Vec3 offset = list.box[0]*shift[0]+list.box[1]*shift[1]+list.box[2]*shift[2];
        const int index = first+list.rankOfCell[(other[2]*numCells[1]+other[1])*numCells[0]+other[0]];
        const int* places = list.cellPlaces.data()+list.cellStart[index];
        const int count = list.cellStart[index+1]-list.cellStart[index];
        if (size+count > x.size())
            for (auto* array : {&x, &y, &z, &r2})
                array->resize(2*(size+count));
        bead.resize(x.size());
        neighbor.resize(x.size());
        for (int s = 0; s < count; s++, size++) {
            const Vec3 position = locate(places[s])+offset;
            x[size] = position[0];
            y[size] = position[1];
            z[size] = position[2];
            bead[size] = list.order[places[s]];
            neighbor[size] = (uint32_t) places[s]<<5 | (uint32_t) image;
        }
    }
    nearBead.resize(x.size());
    nearNeighbor.resize(x.size());
}

void CpuNeighborList::Search::find(int place, vector<Neighbor>& found) {
    const Vec3 origin = locate(place);
    const double limit = list.range*list.range;
    for (size_t k = 0; k < size; k++) {
        const double dx = x[k]-origin[0], dy = y[k]-origin[1], dz = z[k]-origin[2];
        r2[k] = dx*dx+dy*dy+dz*dz;
    }
    size_t count = 0;
    const int self = list.order[place];
    for (size_t k = 0; k < size; k++) {
        nearBead[count] = bead[k];
        nearNeighbor[count] = neighbor[k];
        count += (r2[k] < limit) & (bead[k] != self);
    }
    appendSorted(count, found);
}

void CpuNeighborList::Search::appendSorted(size_t count, vector<Neighbor>& found) {
    // Comparing all with all has no branches and is the fastest up to about a hundred.
    const int* beads = nearBead.data();
    const size_t first = found.size();
    found.resize(first+count, Neighbor(0));
    if (count > 128) {
        vector<pair<int, uint32_t> > pairs;
        for (size_t k = 0; k < count; k++)
            pairs.push_back({nearBead[k], nearNeighbor[k]});
        sort(pairs.begin(), pairs.end());
        for (size_t k = 0; k < count; k++)
            found[first+k] = Neighbor(pairs[k].second);
        return;
    }
    for (size_t k = 0; k < count; k++) {
        const int own = beads[k];
        int smaller = 0;
        for (size_t other = 0; other < k; other++)
            smaller += (beads[other] <= own ? 1 : 0);
        for (size_t other = k+1; other < count; other++)
            smaller += (beads[other] < own ? 1 : 0);
        found[first+smaller] = Neighbor(nearNeighbor[k]);
    }
}

void CpuNeighborList::findNeighbors(CpuParallel& parallel) {
    const int numBeads = (int) order.size();
    found.resize(parallel.getNumThreads());
    for (auto& part : found)
        part.clear();
    // Threads share the beads in the order of cells; a cell on the border of two parts is visited by both.
    struct Entry {
        int thread;
        size_t first, last;
    };
    vector<Entry> entries(numBeads);
    parallel.run(numBeads, MIN_SEARCHES, [&](int thread, int begin, int end) {
        Search search(*this);
        int visited = -1;
        for (int s = begin; s < end; s++) {
            const int place = cellPlaces[s], home = cell[order[place]];
            if (home != visited)
                search.visit(home);
            visited = home;
            const size_t first = found[thread].size();
            search.find(place, found[thread]);
            entries[place] = {thread, first, found[thread].size()};
        }
    });
    rows.resize(numBeads);
    for (int place = 0; place < numBeads; place++) {
        const Neighbor* part = found[entries[place].thread].data();
        rows[place] = {part+entries[place].first, part+entries[place].last};
    }
}

}
