// SPDX-License-Identifier: MIT
#pragma once

namespace meanforce {

/** The six quintic cardinal B-splines that are not zero at a point of a uniform grid: see cubicBSplineWeights(). */
template <class T, class S>
inline void quinticBSplineWeights(const T& f, T weights[6], T slopes[6]) {
    const S scale = S(1)/S(120), slopeScale = S(1)/S(24);
    const T g = S(1)-f, f2 = f*f, g2 = g*g;
    weights[0] = scale*g2*g2*g;
    weights[1] = scale*(S(1)+g*(S(5)+g*(S(10)+g*(S(10)+g*(S(5)-S(5)*g)))));
    weights[2] = scale*(S(66)+f2*(S(-60)+f2*(S(30)-S(10)*f)));
    weights[3] = scale*(S(66)+g2*(S(-60)+g2*(S(30)-S(10)*g)));
    weights[4] = scale*(S(1)+f*(S(5)+f*(S(10)+f*(S(10)+f*(S(5)-S(5)*f)))));
    weights[5] = scale*f2*f2*f;
    slopes[0] = -slopeScale*g2*g2;
    slopes[1] = -slopeScale*(S(1)+g*(S(4)+g*(S(6)+g*(S(4)-S(5)*g))));
    slopes[2] = slopeScale*f*(S(-24)+f2*(S(24)-S(10)*f));
    slopes[3] = -slopeScale*g*(S(-24)+g2*(S(24)-S(10)*g));
    slopes[4] = slopeScale*(S(1)+f*(S(4)+f*(S(6)+f*(S(4)-S(5)*f))));
    slopes[5] = slopeScale*f2*f2;
}

}
