// SPDX-License-Identifier: MIT
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/Base64.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"
#include <memory>

using namespace OpenMM;
using namespace std;

namespace meanforce {

class MomentTensorForceProxy : public SerializationProxy {
public:
    MomentTensorForceProxy() : SerializationProxy("meanforce::MomentTensorForce") {
    }
    void serialize(const void* object, SerializationNode& node) const override {
        const MomentTensorForce& force = *static_cast<const MomentTensorForce*>(static_cast<const Force*>(object));
        node.setIntProperty("version", 1);
        node.setIntProperty("forceGroup", force.getForceGroup());
        node.setStringProperty("name", force.getName());
        node.setIntProperty("numTypes", force.getNumTypes());
        node.setDoubleProperty("cutoff", force.getCutoff());
        node.setIntProperty("maxL", force.getMaxL());
        node.setIntProperty("channels", force.getNumChannels());
        node.setStringProperty("activation", force.getActivation());
        node.setBoolProperty("usesPeriodic", force.usesPeriodicBoundaryConditions());
        SerializationNode& filters = node.createChildNode("Filters");
        filters.setDoubleProperty("spacing", force.getFilterSpacing());
        filters.setStringProperty("coefficients", encodeDoubles(force.getFilterCoefficients()));
        node.createChildNode("TypeWeights").setStringProperty("values", encodeDoubles(force.getTypeWeights()));
        SerializationNode& layers = node.createChildNode("Layers");
        for (int i = 0; i < force.getNumLayers(); i++) {
            SerializationNode& layer = layers.createChildNode("Layer");
            layer.setIntProperty("outputs", force.getNumLayerOutputs(i));
            layer.setStringProperty("weights", encodeDoubles(force.getLayerWeights(i)));
            layer.setStringProperty("biases", encodeDoubles(force.getLayerBiases(i)));
        }
        vector<double> types;
        for (int i = 0; i < force.getNumParticles(); i++)
            types.push_back(force.getParticleType(i));
        node.createChildNode("Particles").setStringProperty("types", encodeDoubles(types));
    }
    void* deserialize(const SerializationNode& node) const override {
        int version = node.getIntProperty("version");
        if (version != 1)
            throw OpenMMException("MomentTensorForce: this version of meanforce reads version 1 of its XML, found version "+to_string(version));
        auto force = make_unique<MomentTensorForce>(node.getIntProperty("numTypes"), node.getDoubleProperty("cutoff"),
                node.getIntProperty("maxL"), node.getIntProperty("channels"));
        force->setForceGroup(node.getIntProperty("forceGroup", 0));
        force->setName(node.getStringProperty("name", force->getName()));
        force->setActivation(node.getStringProperty("activation", force->getActivation()));
        force->setUsesPeriodicBoundaryConditions(node.getBoolProperty("usesPeriodic", false));
        // Anything may be missing: Python creates an empty force from the attributes alone.
        for (const SerializationNode& child : node.getChildren()) {
            if (child.getName() == "Filters") {
                vector<double> coefficients = decodeDoubles(child.getStringProperty("coefficients"));
                if (!coefficients.empty())
                    force->setFilters(child.getDoubleProperty("spacing"), coefficients);
            }
            else if (child.getName() == "TypeWeights") {
                vector<double> weights = decodeDoubles(child.getStringProperty("values"));
                if (!weights.empty())
                    force->setTypeWeights(weights);
            }
            else if (child.getName() == "Layers") {
                for (const SerializationNode& layer : child.getChildren())
                    force->addLayer(layer.getIntProperty("outputs"), decodeDoubles(layer.getStringProperty("weights")),
                            decodeDoubles(layer.getStringProperty("biases")));
            }
            else if (child.getName() == "Particles") {
                for (double type : decodeDoubles(child.getStringProperty("types")))
                    force->addParticle((int) type);
            }
        }
        return static_cast<Force*>(force.release());
    }
};

}

/** Runs when the library is loaded. */
extern "C" MEANFORCE_EXPORT void __attribute__((constructor)) registerMomentTensorForceProxy() {
    OpenMM::SerializationProxy::registerProxy(typeid(meanforce::MomentTensorForce), new meanforce::MomentTensorForceProxy());
}
