// SPDX-License-Identifier: MIT
#include "BeadForceSerialization.h"
#include "meanforce/internal/Base64.h"
#include "openmm/OpenMMException.h"

using namespace OpenMM;
using namespace std;

namespace meanforce {

void checkXmlVersion(const SerializationNode& node, const string& className, int newest) {
    int version = node.getIntProperty("version");
    if (version < 1 || version > newest)
        throw OpenMMException(className+": this version of meanforce reads versions 1 to "+to_string(newest)+" of its XML, found version "+to_string(version));
}

const SerializationNode* findChild(const SerializationNode& node, const string& name) {
    for (const SerializationNode& child : node.getChildren())
        if (child.getName() == name)
            return &child;
    return nullptr;
}

void serializeBeads(const BeadForce& force, SerializationNode& node) {
    node.setIntProperty("forceGroup", force.getForceGroup());
    node.setStringProperty("name", force.getName());
    node.setIntProperty("numTypes", force.getNumTypes());
    node.setDoubleProperty("cutoff", force.getCutoff());
    node.setBoolProperty("usesPeriodic", force.usesPeriodicBoundaryConditions());
    vector<double> types, replicas;
    for (int i = 0; i < force.getNumParticles(); i++) {
        types.push_back(force.getParticleType(i));
        replicas.push_back(force.getParticleReplica(i));
    }
    SerializationNode& particles = node.createChildNode("Particles");
    particles.setStringProperty("types", encodeDoubles(types));
    if (force.getNumReplicas() > 1)
        particles.setStringProperty("replicas", encodeDoubles(replicas));
}

void deserializeBeads(const SerializationNode& node, BeadForce& force) {
    force.setForceGroup(node.getIntProperty("forceGroup", 0));
    force.setName(node.getStringProperty("name", force.getName()));
    force.setUsesPeriodicBoundaryConditions(node.getBoolProperty("usesPeriodic", false));
    const SerializationNode* particles = findChild(node, "Particles");
    if (particles == nullptr)
        return;
    vector<double> types = decodeDoubles(particles->getStringProperty("types"));
    vector<double> replicas(types.size(), 0.0);
    if (particles->hasProperty("replicas"))
        replicas = decodeDoubles(particles->getStringProperty("replicas"));
    if (replicas.size() != types.size())
        throw OpenMMException(force.getName()+": the XML must have one replica for each of the "+to_string(types.size())+" particles, found "+to_string(replicas.size()));
    for (size_t i = 0; i < types.size(); i++)
        force.addParticle((int) types[i], (int) replicas[i]);
}

void serializeNetwork(const NetworkForce& force, SerializationNode& node) {
    node.setStringProperty("activation", force.getActivation());
    node.setBoolProperty("temperatureDependent", force.isTemperatureDependent());
    node.setBoolProperty("temperatureDerivative", force.hasTemperatureDerivative());
    node.setDoubleProperty("defaultTemperature", force.getDefaultTemperature());
    node.setStringProperty("offset", encodeDoubles(force.getOffset()));
    SerializationNode& layers = node.createChildNode("Layers");
    for (int i = 0; i < force.getNumLayers(); i++) {
        SerializationNode& layer = layers.createChildNode("Layer");
        layer.setIntProperty("outputs", force.getNumLayerOutputs(i));
        layer.setStringProperty("weights", encodeDoubles(force.getLayerWeights(i)));
        layer.setStringProperty("biases", encodeDoubles(force.getLayerBiases(i)));
    }
}

void deserializeNetwork(const SerializationNode& node, NetworkForce& force) {
    force.setActivation(node.getStringProperty("activation", force.getActivation()));
    force.setTemperatureDependent(node.getBoolProperty("temperatureDependent", false));
    if (node.getBoolProperty("temperatureDerivative", false))
        force.addEnergyParameterDerivative(NetworkForce::TemperatureParameter());
    if (node.getDoubleProperty("defaultTemperature", 0.0) != 0.0)
        force.setDefaultTemperature(node.getDoubleProperty("defaultTemperature"));
    if (node.hasProperty("offset"))
        force.setOffset(decodeDoubles(node.getStringProperty("offset")));
    if (const SerializationNode* layers = findChild(node, "Layers"))
        for (const SerializationNode& layer : layers->getChildren())
            force.addLayer(layer.getIntProperty("outputs"), decodeDoubles(layer.getStringProperty("weights")),
                    decodeDoubles(layer.getStringProperty("biases")));
}

}
