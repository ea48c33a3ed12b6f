// SPDX-License-Identifier: MIT
#include "NeighborList.h"
#include "CommonMeanForceKernelSources.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Rows have this much room at first: liquid water has 13 neighbours within 0.45 nm. */
static constexpr int INITIAL_CAPACITY = 32;
/** Where kernels take the five vectors that describe the box; assignCells and findNeighbors take the numbers of cells next. */
static constexpr int ASSIGN_BOX = 2, FIND_BOX = 1;

NeighborList::NeighborList(ComputeContext& cc, double cutoff, bool periodic, bool isOpenCL, function<void (int)> positionError) :
        cc(cc), cutoff(cutoff), periodic(periodic), isOpenCL(isOpenCL), positionError(positionError), capacity(INITIAL_CAPACITY) {
}

void NeighborList::initialize(ArrayInterface& types) {
    this->types = &types;
    int numAtoms = cc.getNumAtoms();
    maxCells = max(64, 2*numAtoms);
    scanSize = min(256, cc.getMaxThreadBlockSize());
    cellCount.initialize<int>(cc, maxCells, "cellCount");
    cellStart.initialize<int>(cc, maxCells+1, "cellStart");
    cellBeads.initialize<int>(cc, numAtoms, "cellBeads");
    cellOfBead.initialize<int>(cc, numAtoms, "cellOfBead");
    placeInCell.initialize<int>(cc, numAtoms, "placeInCell");
    rowCount.initialize<int>(cc, numAtoms, "rowCount");
    unsortedRows.initialize<int>(cc, (size_t) numAtoms*capacity, "unsortedRows");
    rows.initialize<int>(cc, (size_t) numAtoms*capacity, "rows");
    rowDeltas.initialize(cc, (size_t) numAtoms*capacity, 4*(cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float)), "rowDeltas");
    flags.initialize<int>(cc, 2, "neighborListFlags");
    event = cc.createEvent();
}

void NeighborList::compile() {
    compiled = true;
    map<string, string> defines;
    defines["CUTOFF_SQUARED"] = cc.doubleToString(cutoff*cutoff);
    defines["CUTOFF"] = cc.doubleToString(cutoff);
    defines["INV_CUTOFF"] = cc.doubleToString(1/cutoff);
    defines["LARGEST_POSITION"] = cc.doubleToString(1e18);
    defines["SCAN_SIZE"] = cc.intToString(scanSize);
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
    addPlaceholders(assignKernel, 5+3);
    assignKernel->addArg(*types);
    assignKernel->addArg(cc.getAtomIndexArray());
    assignKernel->addArg(cellCount);
    assignKernel->addArg(cellOfBead);
    assignKernel->addArg(placeInCell);
    assignKernel->addArg(rowCount);
    assignKernel->addArg(flags);
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
    findKernel = program->createKernel("findNeighbors");
    findKernel->addArg(cc.getPosq());
    addPlaceholders(findKernel, 5+3);
    findKernel->addArg(cellStart);
    findKernel->addArg(cellBeads);
    findKernel->addArg(cellOfBead);
    findKernel->addArg(rowCount);
    findKernel->addArg(unsortedRows);
    findKernel->addArg(capacity);                 // 14
    findKernel->addArg(flags);
    sortKernel = program->createKernel("sortRows");
    sortKernel->addArg(cc.getNumAtoms());
    sortKernel->addArg(cc.getPosq());
    if (cc.getUseMixedPrecision())
        sortKernel->addArg(cc.getPosqCorrection());
    sortBox = (cc.getUseMixedPrecision() ? 3 : 2);
    addPlaceholders(sortKernel, 5);
    sortKernel->addArg(cc.getAtomIndexArray());
    sortKernel->addArg(rowCount);
    sortKernel->addArg(unsortedRows);
    sortKernel->addArg(capacity);
    sortKernel->addArg(rows);
    sortKernel->addArg(rowDeltas);
}

void NeighborList::chooseCells(int numCells[3]) const {
    if (!periodic) {
        // The block of cells that space repeats; see assignCells.
        int n = max(3, (int) cbrt(cc.getNumAtoms()));
        fill(numCells, numCells+3, n);
        return;
    }
    Vec3 box[3];
    cc.getPeriodicBoxVectors(box[0], box[1], box[2]);
    double volume = box[0][0]*box[1][1]*box[2][2];
    double cells[3];
    for (int k = 0; k < 3; k++) {
        Vec3 face = box[(k+1)%3].cross(box[(k+2)%3]);
        cells[k] = max(1.0, floor(volume/sqrt(face.dot(face))/cutoff));
    }
    // A nearly empty box has more cells than there is room for: make them larger.
    double excess = cbrt(cells[0]*cells[1]*cells[2]/maxCells);
    for (int k = 0; k < 3; k++)
        numCells[k] = (excess > 1 ? max(1, min((int) (cells[k]/excess), (int) cbrt(maxCells))) : (int) cells[k]);
}

void NeighborList::setBoxArguments(ComputeKernel& kernel, int index, bool isDouble) const {
    Vec3 a, b, c;
    cc.getPeriodicBoxVectors(a, b, c);
    auto set = [&](double x, double y, double z) {
        if (isDouble)
            kernel->setArg(index++, mm_double4(x, y, z, 0.0));
        else
            kernel->setArg(index++, mm_float4((float) x, (float) y, (float) z, 0.0f));
    };
    set(a[0], b[1], c[2]);
    set(1/a[0], 1/b[1], 1/c[2]);
    set(a[0], a[1], a[2]);
    set(b[0], b[1], b[2]);
    set(c[0], c[1], c[2]);
}

void NeighborList::build() {
    if (!compiled)
        compile();
    int numCells[3];
    chooseCells(numCells);
    setBoxArguments(assignKernel, ASSIGN_BOX, cc.getUseDoublePrecision());
    setBoxArguments(findKernel, FIND_BOX, cc.getUseDoublePrecision());
    for (int k = 0; k < 3; k++) {
        assignKernel->setArg(ASSIGN_BOX+5+k, numCells[k]);
        findKernel->setArg(FIND_BOX+5+k, numCells[k]);
    }
    setBoxArguments(sortKernel, sortBox, cc.getUseDoublePrecision() || cc.getUseMixedPrecision());
    startsKernel->setArg(2, numCells[0]*numCells[1]*numCells[2]);
    findKernel->setArg(14, capacity);
    sortKernel->setArg(sortBox+8, capacity);
    int numAtoms = cc.getNumAtoms();
    cc.clearBuffer(cellCount);
    cc.clearBuffer(flags);
    assignKernel->execute(numAtoms);
    startsKernel->execute(scanSize, scanSize);
    fillKernel->execute(numAtoms);
    findKernel->execute(numAtoms);
    sortKernel->execute(numAtoms*capacity);
    // Copied while the kernels that follow run.
    flags.download(results, false);
    event->enqueue();
}

void NeighborList::finish() {
    event->wait();
    int longest = results[0], bad = results[1];
    if (bad > 0)
        positionError(cc.getNumAtoms()-bad);
    if (longest > capacity) {
        capacity = (int) (1.2*longest)+1;
        size_t size = (size_t) cc.getNumAtoms()*capacity;
        unsortedRows.resize(size);
        rows.resize(size);
        rowDeltas.resize(size);
        cc.setForcesValid(false);
    }
}

}
