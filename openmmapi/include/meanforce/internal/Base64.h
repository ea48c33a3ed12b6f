// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include <string>
#include <vector>

namespace meanforce {

/** Base64 of the little-endian bytes of doubles: the form in which arrays are kept in XML, exact to the last bit. */
MEANFORCE_EXPORT std::string encodeDoubles(const std::vector<double>& values);
/** The inverse of encodeDoubles().  Throws OpenMMException if the text is not base64 or not a whole number of doubles. */
MEANFORCE_EXPORT std::vector<double> decodeDoubles(const std::string& text);

}
