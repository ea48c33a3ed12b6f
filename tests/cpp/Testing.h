// SPDX-License-Identifier: MIT
// Shared by all C++ tests.  A test file writes its checks against a TestPlatform and ends with
//     int main(int argc, char* argv[]) { return meanforce::testing::run(argc, argv, runTests); }
#pragma once
#include "openmm/Context.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/VerletIntegrator.h"
#include "openmm/internal/AssertionUtilities.h"
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace meanforce {
namespace testing {

/** Tells CTest that the platform is not on this machine. */
constexpr int SKIPPED = 77;

/** The platform and precision that CTest asked for. */
class TestPlatform {
public:
    TestPlatform(OpenMM::Platform& platform, const std::string& precision) : platform(platform), precision(precision) {
        if (!precision.empty())
            properties["Precision"] = precision;
    }
    const std::string& getName() const {
        return platform.getName();
    }
    /** True where the Reference kernels or their threaded equivalents run: doubles throughout. */
    bool isDouble() const {
        return precision.empty() || precision == "double";
    }
    /** A tolerance for each precision; Reference and CPU count as double. */
    double tolerance(double single, double mixed, double forDouble) const {
        return precision == "single" ? single : (precision == "mixed" ? mixed : forDouble);
    }
    OpenMM::Platform& platform;
    const std::string precision;
    std::map<std::string, std::string> properties;
};

/** Fails unless the function throws an OpenMMException whose message contains the text. */
inline void assertThrows(const std::function<void()>& function, const std::string& text) {
    try {
        function();
    }
    catch (const OpenMM::OpenMMException& exception) {
        if (std::string(exception.what()).find(text) == std::string::npos)
            throw OpenMM::OpenMMException("Expected a message with '"+text+"', found '"+exception.what()+"'");
        return;
    }
    throw OpenMM::OpenMMException("Expected an exception with '"+text+"', found none");
}

/** Fails unless no Context can be created, with a message that contains the text. */
inline void assertNoContext(const OpenMM::System& system, OpenMM::Integrator& integrator, const TestPlatform& test, const std::string& text) {
#ifdef __SANITIZE_ADDRESS__
    __lsan::ScopedDisabler openmmNeverFreesWhatItCreatedBefore;
#endif
    assertThrows([&] { OpenMM::Context(system, integrator, test.platform, test.properties); }, text);
}

/** Fails if |found-expected| exceeds the given number of standard errors. */
inline void assertWithinErrors(const std::string& name, double expected, double found, double standardError, double numErrors) {
    if (!(std::abs(found-expected) <= numErrors*standardError)) {
        std::stringstream message;
        message << name << ": expected " << expected << ", found " << found << ", which is " << (found-expected)/standardError << " standard errors off";
        throw OpenMM::OpenMMException(message.str());
    }
}

inline OpenMM::Platform* findPlatform(const std::string& name) {
    for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++)
        if (OpenMM::Platform::getPlatform(i).getName() == name)
            return &OpenMM::Platform::getPlatform(i);
    return nullptr;
}

/** Whether OpenMM itself, without our kernels, can make a Context: false on a machine without the device. */
inline bool works(const TestPlatform& test) {
    OpenMM::System system;
    system.addParticle(1.0);
    OpenMM::VerletIntegrator integrator(0.001);
    try {
        OpenMM::Context context(system, integrator, test.platform, test.properties);
    }
    catch (const OpenMM::OpenMMException& exception) {
        std::printf("%s is not usable here: %s\n", test.getName().c_str(), exception.what());
        return false;
    }
    return true;
}

inline int run(int argc, char* argv[], const std::function<void(const TestPlatform&)>& tests) {
    using OpenMM::Platform;
    try {
        const std::string name = argc > 1 ? argv[1] : "Reference", precision = argc > 2 ? argv[2] : "";
        if (name != "Reference")
            Platform::loadPluginsFromDirectory(OPENMM_PLUGIN_FOLDER);
        Platform* platform = findPlatform(name);
        if (platform == nullptr || !works(TestPlatform(*platform, precision)))
            return SKIPPED;
        // The Reference kernels are always there: they are what the others are compared with.
        Platform::loadPluginLibrary(std::string(MEANFORCE_PLUGIN_FOLDER)+"/libMeanForceReference.so");
        if (name != "Reference")
            Platform::loadPluginLibrary(std::string(MEANFORCE_PLUGIN_FOLDER)+"/libMeanForce"+name+".so");
        tests(TestPlatform(*platform, precision));
    }
    catch (const std::exception& exception) {
        std::printf("FAILED: %s\n", exception.what());
        return 1;
    }
    std::printf("Done\n");
    return 0;
}

}
}
