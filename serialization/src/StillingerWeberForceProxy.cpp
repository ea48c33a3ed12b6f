// SPDX-License-Identifier: MIT
#include "BeadForceSerialization.h"
#include "meanforce/StillingerWeberForce.h"
#include "meanforce/internal/Base64.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationProxy.h"
#include <memory>

using namespace OpenMM;
using namespace std;

namespace meanforce {

class StillingerWeberForceProxy : public SerializationProxy {
public:
    StillingerWeberForceProxy() : SerializationProxy("meanforce::StillingerWeberForce") {
    }
    void serialize(const void* object, SerializationNode& node) const override {
        const StillingerWeberForce& force = *static_cast<const StillingerWeberForce*>(static_cast<const Force*>(object));
        node.setIntProperty("version", 1);
        serializeBeads(force, node);
        node.createChildNode("Pairs").setStringProperty("parameters", encodeDoubles(force.getAllPairParameters()));
        node.createChildNode("Triplets").setStringProperty("parameters", encodeDoubles(force.getAllTripletParameters()));
    }
    void* deserialize(const SerializationNode& node) const override {
        checkXmlVersion(node, "StillingerWeberForce", 1);
        auto force = make_unique<StillingerWeberForce>(node.getIntProperty("numTypes"), node.getDoubleProperty("cutoff"));
        deserializeBeads(node, *force);
        // Anything may be missing: Python creates an empty force from the attributes alone.
        const int T = force->getNumTypes();
        if (const SerializationNode* pairs = findChild(node, "Pairs")) {
            const vector<double> values = readParameters(*pairs, force->getAllPairParameters().size());
            for (int i = 0; i < T*T; i++)
                if (values[2*i] != 0)
                    force->setPairParameters(i/T, i%T, values[2*i], values[2*i+1]);
        }
        if (const SerializationNode* triplets = findChild(node, "Triplets")) {
            const vector<double> values = readParameters(*triplets, force->getAllTripletParameters().size());
            for (int i = 0; i < T*T*T; i++)
                force->setTripletParameters(i/(T*T), i/T%T, i%T, values[3*i], values[3*i+1], values[3*i+2]);
        }
        return static_cast<Force*>(force.release());
    }
private:
    static vector<double> readParameters(const SerializationNode& node, size_t size) {
        vector<double> values = decodeDoubles(node.getStringProperty("parameters"));
        if (values.size() != size)
            throw OpenMMException("StillingerWeberForce: the XML must have "+to_string(size)+" parameters in '"+node.getName()+"', found "+to_string(values.size()));
        return values;
    }
};

}

/** Runs when the library is loaded. */
extern "C" MEANFORCE_EXPORT void __attribute__((constructor)) registerStillingerWeberForceProxy() {
    OpenMM::SerializationProxy::registerProxy(typeid(meanforce::StillingerWeberForce), new meanforce::StillingerWeberForceProxy());
}
