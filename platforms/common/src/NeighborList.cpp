// SPDX-License-Identifier: MIT
#include "NeighborList.h"
#include "CommonMeanForceKernelSources.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The skin, in units of the cutoff. */
static constexpr double SKIN = 0.25;
/** Rounding in single precision is small against this fraction of the cutoff, and of the distance that beads may move. */
static constexpr double MARGIN = 1e-3, MOVE_MARGIN = 0.02;
/** Beads are expected to move this much faster in the next evaluation than they did on average. */
static constexpr double HASTE = 1.5;
/** Rows have this much room at first: liquid water has 13 neighbours within 0.45 nm. */
static constexpr int INITIAL_CAPACITY = 32;
/** Digits of box vectors in single precision, of 24: the others are for sums of several. */
static constexpr int COARSE_BITS = 13;
/** Where kernels take the five vectors that describe the box; assignCells and findCandidates take the numbers of cells next. */
static constexpr int ASSIGN_BOX = 2, CANDIDATES_BOX = 1;

class NeighborList::Listener : public ComputeContext::ReorderListener {
public:
    explicit Listener(shared_ptr<bool> reordered) : reordered(reordered) {
    }
    void execute() override {
        *reordered = true;
    }
private:
    shared_ptr<bool> reordered;
};

NeighborList::NeighborList(ComputeContext& cc, double cutoff, bool periodic, bool isOpenCL, function<void (int)> positionError) :
        cc(cc), cutoff(cutoff), periodic(periodic), isOpenCL(isOpenCL), positionError(positionError), capacity(INITIAL_CAPACITY),
        candidateCapacity(2*INITIAL_CAPACITY), reordered(make_shared<bool>(false)) {
}

void NeighborList::initialize(ArrayInterface& types, ArrayInterface* replicas) {
    int numAtoms = cc.getNumAtoms();
    this->types = &types;
    this->replicas = (replicas == nullptr ? &noReplicas : replicas);
    if (replicas == nullptr) {
        noReplicas.initialize<int>(cc, numAtoms, "noReplicas");
        cc.clearBuffer(noReplicas);
    }
    maxCells = max(64, 2*numAtoms);
    scanSize = min(256, cc.getMaxThreadBlockSize());
    // On a GPU many work items share a bead, so that they read and write consecutive numbers.
    width = (cc.getIsCPU() ? 1 : 32);
    blockSize = (cc.getIsCPU() ? -1 : 128);
    cellCount.initialize<int>(cc, maxCells, "cellCount");
    cc.clearBuffer(cellCount);
    cellStart.initialize<int>(cc, maxCells+1, "cellStart");
    cellBeads.initialize<int>(cc, numAtoms, "cellBeads");
    cellOfBead.initialize<int>(cc, numAtoms, "cellOfBead");
    placeInCell.initialize<int>(cc, numAtoms, "placeInCell");
    slotOfAtom.initialize<int>(cc, numAtoms, "slotOfAtom");
    const int real4Size = 4*(cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float));
    builtAt.initialize(cc, numAtoms, real4Size, "builtAt");
    cc.clearBuffer(builtAt);
    candidateCount.initialize<int>(cc, numAtoms, "candidateCount");
    unsorted.initialize<int>(cc, (size_t) numAtoms*candidateCapacity, "unsortedCandidates");
    candidates.initialize<int>(cc, (size_t) numAtoms*candidateCapacity, "candidates");
    rowCount.initialize<int>(cc, numAtoms, "rowCount");
    rows.initialize<int>(cc, (size_t) numAtoms*capacity, "rows");
    rowDeltas.initialize(cc, (size_t) numAtoms*capacity, real4Size, "rowDeltas");
    results.initialize<Results>(cc, 2, "neighborListResults");
    cc.clearBuffer(results);
    downloadQueue = cc.createQueue();
    rowsFound = cc.createEvent();
    downloaded = cc.createEvent();
    cc.addReorderListener(new Listener(reordered));
}

void NeighborList::compile() {
    compiled = true;
    // More replicas than now would only share cells.
    vector<int> values;
    replicas->download(values);
    numReplicas = max(1, 1+*max_element(values.begin(), values.end()));
    map<string, string> defines;
    // In mixed precision a constant of single precision would move the cutoff.
    defines["CUTOFF_SQUARED"] = cc.doubleToString(cutoff*cutoff, true);
    defines["CUTOFF"] = cc.doubleToString(cutoff);
    defines["LARGEST_POSITION"] = cc.doubleToString(1e18);
    defines["SCAN_SIZE"] = cc.intToString(scanSize);
    defines["WIDTH"] = cc.intToString(width);
    defines["BLOCK_SIZE"] = cc.intToString(blockSize);
    defines["ATOMIC_MAX_INT(p, v)"] = (isOpenCL ? "atomic_max(p, v)" : "atomicMax(p, v)");
    if (periodic)
        defines["USE_PERIODIC"] = "1";
    ComputeProgram program = cc.compileProgram(CommonMeanForceKernelSources::neighborList, defines);
    auto addPlaceholders = [](ComputeKernel& kernel, int count) {
        for (int i = 0; i < count; i++)
            kernel->addArg();
    };
    assignKernel = program->createKernel("assignCells");
    assignKernel->addArg(cc.getNumAtoms());
    assignKernel->addArg(cc.getPosq());
    addPlaceholders(assignKernel, 5+3+4);
    assignKernel->addArg(*types);
    assignKernel->addArg(*replicas);
    assignKernel->addArg(cc.getAtomIndexArray());
    assignKernel->addArg(cellCount);
    assignKernel->addArg(cellOfBead);
    assignKernel->addArg(placeInCell);
    assignKernel->addArg(slotOfAtom);
    assignKernel->addArg(candidateCount);
    assignKernel->addArg(builtAt);
    assignKernel->addArg(results);
    startsKernel = program->createKernel("findCellStarts");
    startsKernel->addArg(cellCount);
    startsKernel->addArg(cellStart);
    startsKernel->addArg();
    fillKernel = program->createKernel("fillCells");
    fillKernel->addArg(cc.getNumAtoms());
    fillKernel->addArg(cellStart);
    fillKernel->addArg(cellOfBead);
    fillKernel->addArg(placeInCell);
    fillKernel->addArg(cellBeads);
    candidatesKernel = program->createKernel("findCandidates");
    candidatesKernel->addArg(cc.getPosq());
    addPlaceholders(candidatesKernel, 5+3+4);
    candidatesKernel->addArg(*replicas);
    candidatesKernel->addArg(cc.getAtomIndexArray());
    candidatesKernel->addArg(cellStart);
    candidatesKernel->addArg(cellBeads);
    candidatesKernel->addArg(cellOfBead);
    candidatesKernel->addArg(candidateCount);
    candidatesKernel->addArg(unsorted);
    candidatesKernel->addArg(results);
    sortKernel = program->createKernel("sortCandidates");
    sortKernel->addArg(cc.getNumAtoms());
    sortKernel->addArg();
    sortKernel->addArg(slotOfAtom);
    sortKernel->addArg(candidateCount);
    sortKernel->addArg(unsorted);
    sortKernel->addArg(candidates);
    rowsKernel = program->createKernel("findRows");
    rowsKernel->addArg(cc.getNumAtoms());
    rowsKernel->addArg(cc.getPosq());
    if (cc.getUseMixedPrecision())
        rowsKernel->addArg(cc.getPosqCorrection());
    rowsBox = (cc.getUseMixedPrecision() ? 3 : 2);
    addPlaceholders(rowsKernel, 5+2+4);
    rowsKernel->addArg(*types);
    rowsKernel->addArg(*replicas);
    rowsKernel->addArg(cc.getAtomIndexArray());
    rowsKernel->addArg(builtAt);
    rowsKernel->addArg(candidateCount);
    rowsKernel->addArg(candidates);
    rowsKernel->addArg(rowCount);
    rowsKernel->addArg(rows);
    rowsKernel->addArg(rowDeltas);
    rowsKernel->addArg(results);
}

void NeighborList::chooseRange(const Vec3* box) {
    // The nearest image of a triclinic box is found by one rounding in each direction, which is right up to half its size.
    double nearest = numeric_limits<double>::max();
    if (periodic && cc.getBoxIsTriclinic())
        nearest = 0.5*min({box[0][0], box[1][1], box[2][2]});
    range = max((1+MARGIN)*cutoff, min((1+SKIN)*cutoff, nearest));
    allowed = max(0.5*(1-MOVE_MARGIN)*(min(range, nearest)-cutoff), 1e-6*cutoff);
}

void NeighborList::chooseCells(const Vec3* box, int numCells[3]) const {
    int most = maxCells/numReplicas;
    if (!periodic) {
        // The block of cells that space repeats; see assignCells.
        int n = max(3, (int) cbrt(cc.getNumAtoms()/numReplicas));
        fill(numCells, numCells+3, n);
        return;
    }
    double volume = box[0][0]*box[1][1]*box[2][2];
    double cells[3];
    for (int k = 0; k < 3; k++) {
        Vec3 face = box[(k+1)%3].cross(box[(k+2)%3]);
        cells[k] = max(1.0, floor(volume/sqrt(face.dot(face))/((1+MARGIN)*range)));
    }
    // A nearly empty box has more cells than there is room for: make them larger.
    double excess = cbrt(cells[0]*cells[1]*cells[2]/most);
    for (int k = 0; k < 3; k++)
        numCells[k] = (excess > 1 ? max(1, min((int) (cells[k]/excess), (int) cbrt(most))) : (int) cells[k]);
}

static void setVectorArg(ComputeKernel& kernel, int index, double x, double y, double z, bool isDouble) {
    if (isDouble)
        kernel->setArg(index, mm_double4(x, y, z, 0.0));
    else
        kernel->setArg(index, mm_float4((float) x, (float) y, (float) z, 0.0f));
}

void NeighborList::setBoxArguments(ComputeKernel& kernel, int index, const Vec3* box, bool isDouble) const {
    setVectorArg(kernel, index, box[0][0], box[1][1], box[2][2], isDouble);
    setVectorArg(kernel, index+1, 1/box[0][0], 1/box[1][1], 1/box[2][2], isDouble);
    for (int k = 0; k < 3; k++)
        setVectorArg(kernel, index+2+k, box[k][0], box[k][1], box[k][2], isDouble);
}

void NeighborList::setRowsBox(const Vec3* box) {
    Vec3 coarse[3] = {box[0], box[1], box[2]}, rest[3];
    const bool isDouble = cc.getUseDoublePrecision(), isSingle = !isDouble && !cc.getUseMixedPrecision();
    if (isSingle) {
        // Multiples of a power of two, so large that the sum of some box vectors is exact in single precision.
        const double unit = ldexp(1.0, ilogb(max({box[0][0], box[1][1], box[2][2]}))-COARSE_BITS);
        for (int k = 0; k < 3; k++)
            for (int m = 0; m < 3; m++) {
                coarse[k][m] = unit*round(box[k][m]/unit);
                rest[k][m] = box[k][m]-coarse[k][m];
            }
    }
    setBoxArguments(rowsKernel, rowsBox, coarse, !isSingle);
    setVectorArg(rowsKernel, rowsBox+5, rest[0][0], rest[1][1], rest[2][2], isDouble);
    setVectorArg(rowsKernel, rowsBox+6, rest[1][0], rest[2][0], rest[2][1], isDouble);
}

void NeighborList::build() {
    if (!compiled)
        compile();
    Vec3 box[3];
    cc.getPeriodicBoxVectors(box[0], box[1], box[2]);
    if (*reordered || (periodic && !equal(box, box+3, builtBox)))
        stale = true;
    *reordered = false;
    resultSet = 1-resultSet;
    builtNow = (stale || moved+HASTE*movedPerEvaluation >= 1);
    if (builtNow) {
        copy(box, box+3, builtBox);
        findCandidates();
    }
    setRowsBox(box);
    rowsKernel->setArg(rowsBox+7, (float) (1/(allowed*allowed)));
    rowsKernel->setArg(rowsBox+8, resultSet);
    rowsKernel->setArg(rowsBox+9, candidateCapacity);
    rowsKernel->setArg(rowsBox+10, capacity);
    rowsKernel->execute(cc.getNumAtoms()*width, blockSize);
    rowsFound->enqueue();
}

void NeighborList::findCandidates() {
    // The distance that beads moved since the build before is measured by what was allowed then.
    const float invAllowedSquared = (float) (1/(allowed*allowed));
    chooseRange(builtBox);
    int numCells[3];
    chooseCells(builtBox, numCells);
    setBoxArguments(assignKernel, ASSIGN_BOX, builtBox, cc.getUseDoublePrecision());
    setBoxArguments(candidatesKernel, CANDIDATES_BOX, builtBox, cc.getUseDoublePrecision());
    for (int k = 0; k < 3; k++) {
        assignKernel->setArg(ASSIGN_BOX+5+k, numCells[k]);
        candidatesKernel->setArg(CANDIDATES_BOX+5+k, numCells[k]);
    }
    assignKernel->setArg(ASSIGN_BOX+8, (float) (1/((1+MARGIN)*range)));
    assignKernel->setArg(ASSIGN_BOX+9, numReplicas);
    assignKernel->setArg(ASSIGN_BOX+10, invAllowedSquared);
    assignKernel->setArg(ASSIGN_BOX+11, resultSet);
    startsKernel->setArg(2, numReplicas*numCells[0]*numCells[1]*numCells[2]);
    candidatesKernel->setArg(CANDIDATES_BOX+8, (float) (range*range));
    candidatesKernel->setArg(CANDIDATES_BOX+9, numReplicas);
    candidatesKernel->setArg(CANDIDATES_BOX+10, resultSet);
    candidatesKernel->setArg(CANDIDATES_BOX+11, candidateCapacity);
    sortKernel->setArg(1, candidateCapacity);
    const int numAtoms = cc.getNumAtoms();
    assignKernel->execute(numAtoms);
    startsKernel->execute(scanSize, scanSize);
    fillKernel->execute(numAtoms);
    candidatesKernel->execute(numAtoms);
    sortKernel->execute(numAtoms*candidateCapacity);
}

NeighborList::Results NeighborList::downloadResults() {
    // On a queue of its own the copy waits for the rows, but not for the kernels that read them.  Not into OpenMM's pinned
    // buffer: other forces' threads may use that.
    Results values[2];
    ComputeQueue queue = cc.getCurrentQueue();
    cc.flushQueue();
    rowsFound->queueWait(downloadQueue);
    cc.setCurrentQueue(downloadQueue);
    results.download(values, false);
    downloaded->enqueue();
    cc.setCurrentQueue(queue);
    downloaded->wait();
    return values[resultSet];
}

int NeighborList::enlarge(int longest) const {
    double size = 1.2*longest+1;
    if (size*cc.getNumAtoms() > numeric_limits<int>::max())
        throw OpenMMException("NeighborList: "+to_string(cc.getNumAtoms())+" beads cannot have "+to_string(longest)+" neighbours each: have particles collapsed?");
    return (int) size;
}

void NeighborList::finish() {
    const Results found = downloadResults();
    if (found.badPosition > 0)
        positionError(cc.getNumAtoms()-found.badPosition);
    const double distance = sqrt(1e-6*found.largestMove);
    bool valid = true;
    if (builtNow) {
        // The distance is that between this build and the one before.
        movedPerEvaluation = (everBuilt ? distance/(evaluations+1) : 0.0);
        moved = 0.0;
        evaluations = 0;
        everBuilt = true;
        stale = false;
    }
    else if (distance >= 1)
        stale = true;
    else {
        evaluations++;
        moved = distance;
        movedPerEvaluation = distance/evaluations;
    }
    if (found.longestCandidates > candidateCapacity) {
        candidateCapacity = enlarge(found.longestCandidates);
        unsorted.resize((size_t) cc.getNumAtoms()*candidateCapacity);
        candidates.resize((size_t) cc.getNumAtoms()*candidateCapacity);
        stale = true;
    }
    if (found.longestRow > capacity) {
        capacity = enlarge(found.longestRow);
        rows.resize((size_t) cc.getNumAtoms()*capacity);
        rowDeltas.resize((size_t) cc.getNumAtoms()*capacity);
        valid = false;
    }
    if (stale || !valid)
        cc.setForcesValid(false);
}

}
