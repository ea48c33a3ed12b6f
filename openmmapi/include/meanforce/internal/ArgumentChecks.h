// SPDX-License-Identifier: MIT
#pragma once
#include "openmm/OpenMMException.h"
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace meanforce {

/** Checks at the door: each throws an exception that names the class, the rule and what was found. */
class ArgumentChecks {
public:
    explicit ArgumentChecks(const std::string& className) : className(className) {
    }
    template <class T>
    void require(bool condition, const std::string& rule, const T& found) const {
        if (condition)
            return;
        std::stringstream message;
        message << className << ": " << rule << ", found " << found;
        throw OpenMM::OpenMMException(message.str());
    }
    /** The array must have this length, which the text `shape` explains, and finite values. */
    void requireArray(const std::string& name, const std::string& shape, const std::vector<double>& values, size_t size) const {
        require(values.size() == size, "the length of the "+name+" must be "+std::to_string(size)+" "+shape, values.size());
        for (size_t i = 0; i < size; i++)
            require(std::isfinite(values[i]), "the "+name+" must be finite", std::to_string(values[i])+" at position "+std::to_string(i));
    }
    void requireIndex(const std::string& name, int index, size_t size) const {
        require(index >= 0 && index < (int) size, "the index of a "+name+" must be at least 0 and less than "+std::to_string(size), index);
    }
    /** What must have been called before a Context is created. */
    void requireCalled(bool condition, const std::string& method) const {
        if (!condition)
            throw OpenMM::OpenMMException(className+": "+method+"() must be called before a Context is created");
    }
private:
    std::string className;
};

}
