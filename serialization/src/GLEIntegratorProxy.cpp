// SPDX-License-Identifier: MIT
#include "meanforce/GLEIntegrator.h"
#include "meanforce/internal/Base64.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"
#include <memory>
#include <string>

using namespace OpenMM;
using namespace std;

namespace meanforce {

class GLEIntegratorProxy : public SerializationProxy {
public:
    GLEIntegratorProxy() : SerializationProxy("meanforce::GLEIntegrator") {
    }
    void serialize(const void* object, SerializationNode& node) const override {
        const GLEIntegrator& integrator = *reinterpret_cast<const GLEIntegrator*>(object);
        node.setIntProperty("version", 1);
        node.setDoubleProperty("temperature", integrator.getTemperature());
        node.setDoubleProperty("stepSize", integrator.getStepSize());
        node.setDoubleProperty("constraintTolerance", integrator.getConstraintTolerance());
        node.setIntProperty("randomSeed", integrator.getRandomNumberSeed());
        node.setIntProperty("integrationForceGroups", integrator.getIntegrationForceGroups());
        node.setIntProperty("auxiliaryInitialization", integrator.getAuxiliaryInitialization());
        SerializationNode& kernels = node.createChildNode("Kernels");
        for (int i = 0; i < integrator.getNumKernels(); i++)
            kernels.createChildNode("Kernel").setIntProperty("dimension", integrator.getKernelDimension(i))
                .setStringProperty("drift", encodeDoubles(integrator.getKernel(i)));
        vector<double> particles, indices;
        for (const auto& assignment : integrator.getParticleKernels()) {
            particles.push_back(assignment.first);
            indices.push_back(assignment.second);
        }
        node.createChildNode("ParticleKernels").setStringProperty("particles", encodeDoubles(particles)).setStringProperty("kernels", encodeDoubles(indices));
    }
    void* deserialize(const SerializationNode& node) const override {
        const int version = node.getIntProperty("version");
        if (version != 1)
            throw OpenMMException("GLEIntegrator: unsupported version number "+to_string(version));
        auto integrator = make_unique<GLEIntegrator>(node.getDoubleProperty("temperature"), node.getDoubleProperty("stepSize"));
        integrator->setConstraintTolerance(node.getDoubleProperty("constraintTolerance"));
        integrator->setRandomNumberSeed(node.getIntProperty("randomSeed"));
        integrator->setIntegrationForceGroups(node.getIntProperty("integrationForceGroups"));
        integrator->setAuxiliaryInitialization((GLEIntegrator::AuxiliaryInitialization) node.getIntProperty("auxiliaryInitialization"));
        for (const SerializationNode& kernel : node.getChildNode("Kernels").getChildren())
            integrator->addKernel(decodeDoubles(kernel.getStringProperty("drift")), kernel.getIntProperty("dimension", 1));
        const SerializationNode& assignments = node.getChildNode("ParticleKernels");
        const vector<double> particles = decodeDoubles(assignments.getStringProperty("particles"));
        const vector<double> indices = decodeDoubles(assignments.getStringProperty("kernels"));
        if (particles.size() != indices.size())
            throw OpenMMException("GLEIntegrator: as many kernels as particles expected");
        for (size_t i = 0; i < particles.size(); i++)
            integrator->setParticleKernel((int) particles[i], (int) indices[i]);
        return static_cast<Integrator*>(integrator.release());
    }
};

/** Runs when the library is loaded. */
__attribute__((constructor)) static void registerGLEIntegratorProxy() {
    SerializationProxy::registerProxy(typeid(GLEIntegrator), new GLEIntegratorProxy());
}

}
