// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/NetworkForce.h"
#include "openmm/serialization/SerializationNode.h"
#include <string>

namespace meanforce {

/** Check the version of a force's XML; `newest` is the one that this class writes. */
void checkXmlVersion(const OpenMM::SerializationNode& node, const std::string& className, int newest);

/** Write what every BeadForce has, as properties and a child node "Particles". */
void serializeBeads(const BeadForce& force, OpenMM::SerializationNode& node);

/** Read it.  Particles may be missing: Python creates an empty force from the attributes alone. */
void deserializeBeads(const OpenMM::SerializationNode& node, BeadForce& force);

/** Write what every NetworkForce has besides, as properties and a child node "Layers". */
void serializeNetwork(const NetworkForce& force, OpenMM::SerializationNode& node);

/** Read it.  Whatever decides on getNumFeatures() must have been set before. */
void deserializeNetwork(const OpenMM::SerializationNode& node, NetworkForce& force);

/** The child node of this name, or null. */
const OpenMM::SerializationNode* findChild(const OpenMM::SerializationNode& node, const std::string& name);

}
