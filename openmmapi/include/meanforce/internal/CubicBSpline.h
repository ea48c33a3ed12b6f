// SPDX-License-Identifier: MIT
#pragma once

namespace meanforce {

/**
 * The four cubic cardinal B-splines that are not zero at a point of a uniform grid.  T is double, float or a vector of
 * them, S the scalar type.
 *
 * Let f in [0, 1) be the distance of the point from the grid point before it, in units of the spacing.  With the grid
 * numbered so that function q covers the four intervals q .. q+3, the point in interval n sees the functions
 * n-3, n-2, n-1, n; weights[s] and slopes[s] (d/df) are those of function n-3+s.
 */
template <class T, class S>
inline void cubicBSplineWeights(const T& f, T weights[4], T slopes[4]) {
    const S sixth = S(1)/S(6), half = S(0.5);
    const T g = S(1)-f;
    weights[0] = sixth*g*g*g;
    weights[1] = S(4)*sixth-f*f*(S(1)-half*f);
    weights[2] = S(4)*sixth-g*g*(S(1)-half*g);
    weights[3] = sixth*f*f*f;
    slopes[0] = -half*g*g;
    slopes[1] = f*(S(1.5)*f-S(2));
    slopes[2] = -g*(S(1.5)*g-S(2));
    slopes[3] = half*f*f;
}

}
