// SPDX-License-Identifier: MIT
#include "BeadForceSerialization.h"
#include "meanforce/PairSplineForce.h"
#include "meanforce/internal/Base64.h"
#include "openmm/serialization/SerializationProxy.h"
#include <memory>

using namespace OpenMM;
using namespace std;

namespace meanforce {

class PairSplineForceProxy : public SerializationProxy {
public:
    PairSplineForceProxy() : SerializationProxy("meanforce::PairSplineForce") {
    }
    void serialize(const void* object, SerializationNode& node) const override {
        const PairSplineForce& force = *static_cast<const PairSplineForce*>(static_cast<const Force*>(object));
        node.setIntProperty("version", 1);
        serializeBeads(force, node);
        node.createChildNode("Coefficients").setStringProperty("values", encodeDoubles(force.getCoefficients()));
        SerializationNode& exclusions = node.createChildNode("Exclusions");
        for (int i = 0; i < force.getNumExclusions(); i++) {
            pair<int, int> particles = force.getExclusionParticles(i);
            exclusions.createChildNode("Exclusion").setIntProperty("p1", particles.first).setIntProperty("p2", particles.second);
        }
    }
    void* deserialize(const SerializationNode& node) const override {
        checkXmlVersion(node, "PairSplineForce", 1);
        auto force = make_unique<PairSplineForce>(node.getIntProperty("numTypes"), node.getDoubleProperty("cutoff"));
        deserializeBeads(node, *force);
        // Anything may be missing: Python creates an empty force from the attributes alone.
        if (const SerializationNode* coefficients = findChild(node, "Coefficients")) {
            vector<double> values = decodeDoubles(coefficients->getStringProperty("values"));
            if (!values.empty())
                force->setCoefficients(values);
        }
        if (const SerializationNode* exclusions = findChild(node, "Exclusions"))
            for (const SerializationNode& exclusion : exclusions->getChildren())
                force->addExclusion(exclusion.getIntProperty("p1"), exclusion.getIntProperty("p2"));
        return static_cast<Force*>(force.release());
    }
};

}

/** Runs when the library is loaded. */
extern "C" MEANFORCE_EXPORT void __attribute__((constructor)) registerPairSplineForceProxy() {
    OpenMM::SerializationProxy::registerProxy(typeid(meanforce::PairSplineForce), new meanforce::PairSplineForceProxy());
}
