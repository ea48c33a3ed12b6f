// SPDX-License-Identifier: MIT
#pragma once

namespace meanforce {

/**
 * Real spherical harmonics up to degree L <= 4 as polynomials of the unit vector (x, y, z), in the order
 * (l, m) = (0,0), (1,-1), (1,0), (1,1), (2,-2), ...: entry l*l+l+m.  They are normalised so that
 * sum_m Y_lm(u) Y_lm(v) = P_l(u.v).  T is double, float or a vector of them, S the scalar type.
 */
template <int L, class T, class S>
inline void sphericalHarmonics(const T& x, const T& y, const T& z, T* Y) {
    Y[0] = x*S(0)+S(1);
    if constexpr (L >= 1) {
        Y[1] = y;
        Y[2] = z;
        Y[3] = x;
    }
    [[maybe_unused]] const T x2 = x*x, y2 = y*y, z2 = z*z;
    if constexpr (L >= 2) {
        const S root3 = S(1.7320508075688772);
        Y[4] = root3*x*y;
        Y[5] = root3*y*z;
        Y[6] = S(1.5)*z2-S(0.5);
        Y[7] = root3*x*z;
        Y[8] = S(0.5)*root3*(x2-y2);
    }
    if constexpr (L >= 3) {
        const S a = S(0.7905694150420949);    // sqrt(5/8)
        const S b = S(3.872983346207417);     // sqrt(15)
        const S c = S(0.6123724356957945);    // sqrt(3/8)
        Y[9] = a*y*(S(3)*x2-y2);
        Y[10] = b*x*y*z;
        Y[11] = c*y*(S(5)*z2-S(1));
        Y[12] = z*(S(2.5)*z2-S(1.5));
        Y[13] = c*x*(S(5)*z2-S(1));
        Y[14] = S(0.5)*b*z*(x2-y2);
        Y[15] = a*x*(x2-S(3)*y2);
    }
    if constexpr (L >= 4) {
        const S a = S(2.958039891549808);     // sqrt(35)/2
        const S b = S(2.091650066335189);     // sqrt(70)/4
        const S c = S(1.118033988749895);     // sqrt(5)/2
        const S d = S(0.7905694150420949);    // sqrt(10)/4
        Y[16] = a*x*y*(x2-y2);
        Y[17] = b*y*z*(S(3)*x2-y2);
        Y[18] = c*x*y*(S(7)*z2-S(1));
        Y[19] = d*y*z*(S(7)*z2-S(3));
        Y[20] = z2*(S(4.375)*z2-S(3.75))+S(0.375);
        Y[21] = d*x*z*(S(7)*z2-S(3));
        Y[22] = S(0.5)*c*(x2-y2)*(S(7)*z2-S(1));
        Y[23] = b*x*z*(x2-S(3)*y2);
        Y[24] = S(0.25)*a*(x2*(x2-S(6)*y2)+y2*y2);
    }
}

/**
 * The partial derivatives of the polynomials of sphericalHarmonics() with respect to x, y and z.  The derivative of
 * Y_lm(rhat) with respect to the vector r is the part perpendicular to rhat, divided by r: see projectGradient().
 */
template <int L, class T, class S>
inline void sphericalHarmonicGradients(const T& x, const T& y, const T& z, T* Yx, T* Yy, T* Yz) {
    const T zero = x*S(0), one = zero+S(1);
    auto set = [&](int i, const T& dx, const T& dy, const T& dz) {
        Yx[i] = dx;
        Yy[i] = dy;
        Yz[i] = dz;
    };
    set(0, zero, zero, zero);
    if constexpr (L >= 1) {
        set(1, zero, one, zero);
        set(2, zero, zero, one);
        set(3, one, zero, zero);
    }
    [[maybe_unused]] const T x2 = x*x, y2 = y*y, z2 = z*z;
    if constexpr (L >= 2) {
        const S root3 = S(1.7320508075688772);
        set(4, root3*y, root3*x, zero);
        set(5, zero, root3*z, root3*y);
        set(6, zero, zero, S(3)*z);
        set(7, root3*z, zero, root3*x);
        set(8, root3*x, -root3*y, zero);
    }
    if constexpr (L >= 3) {
        const S a = S(0.7905694150420949), b = S(3.872983346207417), c = S(0.6123724356957945);
        const T d = c*(S(5)*z2-S(1));
        set(9, S(6)*a*x*y, S(3)*a*(x2-y2), zero);
        set(10, b*y*z, b*x*z, b*x*y);
        set(11, zero, d, S(10)*c*y*z);
        set(12, zero, zero, S(7.5)*z2-S(1.5));
        set(13, d, zero, S(10)*c*x*z);
        set(14, b*x*z, -b*y*z, S(0.5)*b*(x2-y2));
        set(15, S(3)*a*(x2-y2), S(-6)*a*x*y, zero);
    }
    if constexpr (L >= 4) {
        const S a = S(2.958039891549808), b = S(2.091650066335189), c = S(1.118033988749895), d = S(0.7905694150420949);
        const T e = S(7)*z2-S(1), f = S(7)*z2-S(3), g = S(21)*z2-S(3);
        set(16, a*y*(S(3)*x2-y2), a*x*(x2-S(3)*y2), zero);
        set(17, S(6)*b*x*y*z, S(3)*b*z*(x2-y2), b*y*(S(3)*x2-y2));
        set(18, c*y*e, c*x*e, S(14)*c*x*y*z);
        set(19, zero, d*z*f, d*y*g);
        set(20, zero, zero, z*(S(17.5)*z2-S(7.5)));
        set(21, d*z*f, zero, d*x*g);
        set(22, c*x*e, -c*y*e, S(7)*c*z*(x2-y2));
        set(23, S(3)*b*z*(x2-y2), S(-6)*b*x*y*z, b*x*(x2-S(3)*y2));
        set(24, a*x*(x2-S(3)*y2), a*y*(y2-S(3)*x2), zero);
    }
}

/** Turn the gradient of a polynomial at the unit vector (x, y, z) into the derivative with respect to r = (x, y, z)/inverseR. */
template <class T>
inline void projectGradient(const T& x, const T& y, const T& z, const T& inverseR, T& gx, T& gy, T& gz) {
    const T along = x*gx+y*gy+z*gz;
    gx = (gx-x*along)*inverseR;
    gy = (gy-y*along)*inverseR;
    gz = (gz-z*along)*inverseR;
}

}
