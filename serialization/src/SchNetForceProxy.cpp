// SPDX-License-Identifier: MIT
#include "BeadForceSerialization.h"
#include "meanforce/SchNetForce.h"
#include "meanforce/internal/Base64.h"
#include "openmm/serialization/SerializationProxy.h"
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** The arrays of a block, and their names in XML. */
static const vector<pair<string, vector<double> SchNetForce::Block::*> > BLOCK_ARRAYS = {
    {"lin1Weights", &SchNetForce::Block::lin1Weights},
    {"filter1Weights", &SchNetForce::Block::filter1Weights},
    {"filter1Biases", &SchNetForce::Block::filter1Biases},
    {"filter2Weights", &SchNetForce::Block::filter2Weights},
    {"filter2Biases", &SchNetForce::Block::filter2Biases},
    {"lin2Weights", &SchNetForce::Block::lin2Weights},
    {"lin2Biases", &SchNetForce::Block::lin2Biases},
    {"lin3Weights", &SchNetForce::Block::lin3Weights},
    {"lin3Biases", &SchNetForce::Block::lin3Biases},
};

class SchNetForceProxy : public SerializationProxy {
public:
    SchNetForceProxy() : SerializationProxy("meanforce::SchNetForce") {
    }
    void serialize(const void* object, SerializationNode& node) const override {
        const SchNetForce& force = *static_cast<const SchNetForce*>(static_cast<const Force*>(object));
        node.setIntProperty("version", 1);
        serializeBeads(force, node);
        node.setIntProperty("features", force.getNumFeatures());
        node.setIntProperty("filters", force.getNumFilters());
        node.setIntProperty("blocks", force.getNumBlocks());
        SerializationNode& cutoff = node.createChildNode("CutoffFunction");
        cutoff.setStringProperty("kind", force.getCutoffFunction());
        cutoff.setDoubleProperty("lower", force.getLowerCutoff());
        if (!force.getRadialBasis().empty()) {
            SerializationNode& basis = node.createChildNode("RadialBasis");
            basis.setStringProperty("kind", force.getRadialBasis());
            basis.setDoubleProperty("exponent", force.getBasisExponent());
            basis.setStringProperty("centers", encodeDoubles(force.getBasisCenters()));
            basis.setStringProperty("widths", encodeDoubles(force.getBasisWidths()));
        }
        if (!force.getEmbeddings().empty())
            node.createChildNode("Embeddings").setStringProperty("values", encodeDoubles(force.getEmbeddings()));
        node.createChildNode("TypeEnergies").setStringProperty("values", encodeDoubles(force.getTypeEnergies()));
        for (int b = 0; b < force.getNumBlocks(); b++) {
            const SchNetForce::Block& block = force.getBlockParameters(b);
            if (block.lin1Weights.empty())
                continue;
            SerializationNode& child = node.createChildNode("Block");
            child.setIntProperty("index", b);
            for (const auto& array : BLOCK_ARRAYS)
                child.setStringProperty(array.first, encodeDoubles(block.*array.second));
        }
        SerializationNode& grid = node.createChildNode("FilterGrid");
        grid.setIntProperty("degree", force.getFilterDegree());
        grid.setIntProperty("intervals", force.getNumFilterIntervals());
        if (!std::isnan(force.getFilterError()))
            grid.setDoubleProperty("error", force.getFilterError());
        if (force.hasGivenFilterTables())
            grid.setStringProperty("coefficients", encodeDoubles(force.getFilterTables()));
        serializeNetwork(force, node);
    }
    void* deserialize(const SerializationNode& node) const override {
        checkXmlVersion(node, "SchNetForce", 1);
        auto force = make_unique<SchNetForce>(node.getIntProperty("numTypes"), node.getDoubleProperty("cutoff"), node.getIntProperty("features"),
                node.getIntProperty("filters"), node.getIntProperty("blocks"));
        deserializeBeads(node, *force);
        // Anything may be missing: Python creates an empty force from the attributes alone.
        if (const SerializationNode* cutoff = findChild(node, "CutoffFunction"))
            force->setCutoffFunction(cutoff->getStringProperty("kind"), cutoff->getDoubleProperty("lower"));
        if (const SerializationNode* basis = findChild(node, "RadialBasis"))
            force->setRadialBasis(basis->getStringProperty("kind"), basis->getDoubleProperty("exponent"), decodeDoubles(basis->getStringProperty("centers")),
                    decodeDoubles(basis->getStringProperty("widths")));
        if (const SerializationNode* embeddings = findChild(node, "Embeddings"))
            force->setEmbeddings(decodeDoubles(embeddings->getStringProperty("values")));
        if (const SerializationNode* energies = findChild(node, "TypeEnergies"))
            force->setTypeEnergies(decodeDoubles(energies->getStringProperty("values")));
        for (const SerializationNode& child : node.getChildren())
            if (child.getName() == "Block") {
                SchNetForce::Block block;
                for (const auto& array : BLOCK_ARRAYS)
                    block.*array.second = decodeDoubles(child.getStringProperty(array.first));
                force->setBlockParameters(child.getIntProperty("index"), block);
            }
        deserializeNetwork(node, *force);
        if (const SerializationNode* grid = findChild(node, "FilterGrid"))
            readGrid(*grid, *force);
        return static_cast<Force*>(force.release());
    }
private:
    static void readGrid(const SerializationNode& grid, SchNetForce& force) {
        int degree = grid.getIntProperty("degree"), intervals = grid.getIntProperty("intervals");
        if (grid.hasProperty("coefficients"))
            force.setFilterTables(degree, intervals, decodeDoubles(grid.getStringProperty("coefficients")));
        else
            force.setFilterGrid(degree, intervals);
        if (grid.hasProperty("error"))
            force.setFilterError(grid.getDoubleProperty("error"));
    }
};

}

/** Runs when the library is loaded. */
extern "C" MEANFORCE_EXPORT void __attribute__((constructor)) registerSchNetForceProxy() {
    OpenMM::SerializationProxy::registerProxy(typeid(meanforce::SchNetForce), new meanforce::SchNetForceProxy());
}
