// SPDX-License-Identifier: MIT
#include "meanforce/internal/Coupling.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdlib>
#include <sstream>
#include <string>

using namespace OpenMM;
using namespace std;

namespace meanforce {

static double factorial(int n) {
    return n <= 1 ? 1.0 : n*factorial(n-1);
}

static bool isTriangle(int l1, int l2, int l3) {
    return l3 >= abs(l1-l2) && l3 <= l1+l2;
}

/** The Wigner 3j symbol for m1+m2+m3 = 0, by Racah's formula. */
static double wigner3j(int l1, int l2, int l3, int m1, int m2, int m3) {
    double sum = 0.0;
    for (int t = max({0, l2-l3-m1, l1-l3+m2}); t <= min({l1+l2-l3, l1-m1, l2+m2}); t++)
        sum += (t%2 == 0 ? 1 : -1)/(factorial(t)*factorial(l3-l2+t+m1)*factorial(l3-l1+t-m2)*factorial(l1+l2-l3-t)*factorial(l1-t-m1)*factorial(l2-t+m2));
    const double triangle = factorial(l1+l2-l3)*factorial(l1-l2+l3)*factorial(l2+l3-l1)/factorial(l1+l2+l3+1);
    const double orders = factorial(l1+m1)*factorial(l1-m1)*factorial(l2+m2)*factorial(l2-m2)*factorial(l3+m3)*factorial(l3-m3);
    return (abs(l1-l2-m3)%2 == 0 ? 1 : -1)*sqrt(triangle*orders)*sum;
}

/** The coefficient of the complex harmonic of order mu, with Condon and Shortley's phase, in the real harmonic of order m. */
static complex<double> realBasis(int m, int mu) {
    if (abs(m) != abs(mu))
        return 0.0;
    if (m == 0)
        return 1.0;
    const double half = sqrt(0.5), phase = (m%2 == 0 ? half : -half);
    if (m > 0)
        return mu > 0 ? phase : half;
    return complex<double>(0.0, mu > 0 ? -phase : half);
}

static double realCoupling(int l1, int l2, int l3, int m1, int m2, int m3) {
    complex<double> sum = 0.0;
    for (int mu1 = -abs(m1); mu1 <= abs(m1); mu1++)
        for (int mu2 = -abs(m2); mu2 <= abs(m2); mu2++)
            if (abs(mu1+mu2) == abs(m3))
                sum += conj(realBasis(m1, mu1)*realBasis(m2, mu2)*realBasis(m3, -mu1-mu2))*wigner3j(l1, l2, l3, mu1, mu2, -mu1-mu2);
    // In the real basis the symbols are real for an even sum of degrees and imaginary for an odd one.
    return (l1+l2+l3)%2 == 0 ? sum.real() : sum.imag();
}

vector<CouplingTerm> coupleMoments(const vector<int>& degrees) {
    vector<CouplingTerm> terms;
    const int l1 = degrees[0], l2 = degrees[1];
    if (degrees.size() == 2) {
        for (int lm = l1*l1; lm < (l1+1)*(l1+1) && l1 == l2; lm++)
            terms.push_back({{lm, lm, 0}, 1.0});
        return terms;
    }
    const int l3 = degrees[2];
    if (!isTriangle(l1, l2, l3))
        return terms;
    for (int m1 = -l1; m1 <= l1; m1++)
        for (int m2 = -l2; m2 <= l2; m2++)
            for (int m3 = -l3; m3 <= l3; m3++) {
                const double value = realCoupling(l1, l2, l3, m1, m2, m3);
                if (abs(value) > 1e-10)
                    terms.push_back({{l1*l1+l1+m1, l2*l2+l2+m2, l3*l3+l3+m3}, value});
            }
    double square = 0.0;
    for (const CouplingTerm& term : terms)
        square += term.value*term.value;
    const double scale = (terms[0].value > 0 ? 1 : -1)/sqrt(square);
    for (CouplingTerm& term : terms)
        term.value *= scale;
    return terms;
}

void checkProduct(int maxL, int channels, const vector<int>& degrees, const vector<int>& shifts) {
    const size_t order = degrees.size();
    auto require = [&](bool condition, const string& rule) {
        if (condition)
            return;
        stringstream message;
        message << "a product of moments must " << rule << ", found the degrees (";
        for (size_t n = 0; n < order; n++)
            message << (n > 0 ? ", " : "") << degrees[n];
        message << ") with the shifts (";
        for (size_t n = 0; n < shifts.size(); n++)
            message << (n > 0 ? ", " : "") << shifts[n];
        message << ")";
        throw OpenMMException(message.str());
    };
    require((order == 2 || order == 3) && shifts.size() == order, "have two or three degrees and as many shifts");
    for (int l : degrees)
        require(l >= 0 && l <= maxL, "have degrees from 0 to "+to_string(maxL));
    require(shifts[0] == 0, "have 0 as its first shift");
    for (int shift : shifts)
        require(shift >= 0 && shift < channels, "have shifts from 0 to "+to_string(channels-1));
    if (order == 2) {
        require(degrees[0] == degrees[1], "have equal degrees if there are two of them");
        return;
    }
    require(isTriangle(degrees[0], degrees[1], degrees[2]), "have degrees that form a triangle, |l1-l2| <= l3 <= l1+l2");
    // Exchanging two factors of an odd product changes its sign.
    if ((degrees[0]+degrees[1]+degrees[2])%2 == 1)
        for (size_t n = 0; n < 3; n++)
            require(degrees[n] != degrees[(n+1)%3] || shifts[n] != shifts[(n+1)%3],
                    "not vanish identically: if the sum of the degrees is odd, factors of the same degree need different shifts");
}

}
