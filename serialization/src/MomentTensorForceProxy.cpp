// SPDX-License-Identifier: MIT
#include "BeadForceSerialization.h"
#include "meanforce/MomentTensorForce.h"
#include "meanforce/internal/Base64.h"
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
        serializeBeads(force, node);
        node.setIntProperty("maxL", force.getMaxL());
        node.setIntProperty("channels", force.getNumChannels());
        SerializationNode& products = node.createChildNode("Products");
        for (int i = 0; i < force.getNumProducts(); i++) {
            vector<int> degrees, shifts;
            force.getProduct(i, degrees, shifts);
            SerializationNode& product = products.createChildNode("Product");
            for (size_t n = 0; n < degrees.size(); n++)
                product.createChildNode("Factor").setIntProperty("degree", degrees[n]).setIntProperty("shift", shifts[n]);
        }
        SerializationNode& filters = node.createChildNode("Filters");
        filters.setDoubleProperty("spacing", force.getFilterSpacing());
        filters.setStringProperty("coefficients", encodeDoubles(force.getFilterCoefficients()));
        node.createChildNode("TypeWeights").setStringProperty("values", encodeDoubles(force.getTypeWeights()));
        serializeNetwork(force, node);
    }
    void* deserialize(const SerializationNode& node) const override {
        checkXmlVersion(node, "MomentTensorForce", 1);
        auto force = make_unique<MomentTensorForce>(node.getIntProperty("numTypes"), node.getDoubleProperty("cutoff"),
                node.getIntProperty("maxL"), node.getIntProperty("channels"));
        deserializeBeads(node, *force);
        // Anything may be missing: Python creates an empty force from the attributes alone.
        if (const SerializationNode* products = findChild(node, "Products"))
            for (const SerializationNode& product : products->getChildren()) {
                vector<int> degrees, shifts;
                for (const SerializationNode& factor : product.getChildren()) {
                    degrees.push_back(factor.getIntProperty("degree"));
                    shifts.push_back(factor.getIntProperty("shift"));
                }
                force->addProduct(degrees, shifts);
            }
        if (const SerializationNode* filters = findChild(node, "Filters")) {
            vector<double> coefficients = decodeDoubles(filters->getStringProperty("coefficients"));
            if (!coefficients.empty())
                force->setFilters(filters->getDoubleProperty("spacing"), coefficients);
        }
        if (const SerializationNode* typeWeights = findChild(node, "TypeWeights")) {
            vector<double> weights = decodeDoubles(typeWeights->getStringProperty("values"));
            if (!weights.empty())
                force->setTypeWeights(weights);
        }
        deserializeNetwork(node, *force);
        return static_cast<Force*>(force.release());
    }
};

}

/** Runs when the library is loaded. */
extern "C" MEANFORCE_EXPORT void __attribute__((constructor)) registerMomentTensorForceProxy() {
    OpenMM::SerializationProxy::registerProxy(typeid(meanforce::MomentTensorForce), new meanforce::MomentTensorForceProxy());
}
