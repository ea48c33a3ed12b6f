// SPDX-License-Identifier: MIT
#include "meanforce/internal/Base64.h"
#include "openmm/OpenMMException.h"
#include <cstdint>
#include <cstring>

using namespace OpenMM;
using namespace std;

namespace meanforce {

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

string encodeDoubles(const vector<double>& values) {
    const unsigned char* bytes = reinterpret_cast<const unsigned char*>(values.data());
    size_t size = values.size()*sizeof(double);
    string text;
    text.reserve(4*((size+2)/3));
    for (size_t i = 0; i < size; i += 3) {
        int available = (int) min<size_t>(3, size-i);
        uint32_t block = bytes[i] << 16;
        if (available > 1)
            block |= bytes[i+1] << 8;
        if (available > 2)
            block |= bytes[i+2];
        for (int k = 0; k < 4; k++)
            text += (k <= available ? ALPHABET[(block >> (18-6*k)) & 63] : '=');
    }
    return text;
}

vector<double> decodeDoubles(const string& text) {
    vector<unsigned char> bytes;
    bytes.reserve(3*text.size()/4);
    uint32_t block = 0;
    int digits = 0;
    for (char c : text) {
        if (c == '=')
            break;
        const char* position = (c == '\0' ? nullptr : strchr(ALPHABET, c));
        if (position == nullptr)
            throw OpenMMException(string("Expected base64, found the character '")+c+"'");
        block = (block << 6) | (uint32_t) (position-ALPHABET);
        if (++digits%4 == 0)
            for (int k = 0; k < 3; k++)
                bytes.push_back((block >> (16-8*k)) & 255);
    }
    int rest = digits%4;
    if (rest > 1) {
        block <<= 6*(4-rest);
        for (int k = 0; k < rest-1; k++)
            bytes.push_back((block >> (16-8*k)) & 255);
    }
    if (rest == 1 || bytes.size()%sizeof(double) != 0)
        throw OpenMMException("Expected base64 of 8-byte numbers, found "+to_string(bytes.size())+" bytes: the text is truncated");
    vector<double> values(bytes.size()/sizeof(double));
    if (!bytes.empty())
        memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

}
