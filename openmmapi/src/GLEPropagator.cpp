// SPDX-License-Identifier: MIT
#include "meanforce/internal/GLEPropagator.h"
#include <algorithm>
#include <cmath>
#include <complex>

using namespace std;

namespace meanforce {

using Matrix = vector<double>;

static Matrix multiply(const Matrix& a, const Matrix& b, int n) {
    Matrix c(n*n, 0.0);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++)
            for (int j = 0; j < n; j++)
                c[i*n+j] += a[i*n+k]*b[k*n+j];
    return c;
}

static double largestElement(const Matrix& a) {
    double largest = 0;
    for (double element : a)
        largest = max(largest, fabs(element));
    return largest;
}

/** exp(M)-1 by scaling, Taylor series and squaring; 1 is never added, so small M lose no digits. */
static Matrix exponentialMinusOne(const Matrix& m, int n) {
    // Halve M until its norm is below 1/2: 16 terms then leave 1e-20.
    const double norm = n*largestElement(m);
    const int squarings = norm > 0.5 ? (int) ceil(log2(norm))+1 : 0;
    Matrix scaled(m);
    for (double& element : scaled)
        element = ldexp(element, -squarings);
    Matrix power(scaled), sum(scaled);
    for (int order = 2; order <= 16; order++) {
        power = multiply(power, scaled, n);
        for (int i = 0; i < n*n; i++) {
            power[i] /= order;
            sum[i] += power[i];
        }
    }
    for (int i = 0; i < squarings; i++) {
        // (1+E)^2 - 1 = 2E + E^2
        const Matrix square = multiply(sum, sum, n);
        for (int j = 0; j < n*n; j++)
            sum[j] = 2*sum[j]+square[j];
    }
    return sum;
}

/** Eigenvalues, and eigenvectors as columns of v, of a symmetric matrix by Jacobi rotations: slow, simple and accurate. */
static vector<double> symmetricEigenvalues(Matrix a, int n, Matrix& v) {
    v.assign(n*n, 0.0);
    for (int i = 0; i < n; i++)
        v[i*n+i] = 1;
    const double negligible = 1e-18*largestElement(a);
    for (int sweep = 0; sweep < 100; sweep++) {
        double offDiagonal = 0;
        for (int p = 0; p < n; p++)
            for (int q = p+1; q < n; q++) {
                const double apq = a[p*n+q];
                if (fabs(apq) <= negligible)
                    continue;
                offDiagonal = max(offDiagonal, fabs(apq));
                const double theta = 0.5*(a[q*n+q]-a[p*n+p])/apq;
                const double t = (theta < 0 ? -1 : 1)/(fabs(theta)+sqrt(theta*theta+1));
                const double c = 1/sqrt(t*t+1), s = t*c;
                for (int k = 0; k < n; k++) {
                    const double akp = a[k*n+p], akq = a[k*n+q];
                    a[k*n+p] = c*akp-s*akq;
                    a[k*n+q] = s*akp+c*akq;
                }
                for (int k = 0; k < n; k++) {
                    const double apk = a[p*n+k], aqk = a[q*n+k];
                    a[p*n+k] = c*apk-s*aqk;
                    a[q*n+k] = s*apk+c*aqk;
                    const double vkp = v[k*n+p], vkq = v[k*n+q];
                    v[k*n+p] = c*vkp-s*vkq;
                    v[k*n+q] = s*vkp+c*vkq;
                }
            }
        if (offDiagonal == 0)
            break;
    }
    vector<double> eigenvalues(n);
    for (int i = 0; i < n; i++)
        eigenvalues[i] = a[i*n+i];
    return eigenvalues;
}

/** The symmetric square root of a symmetric matrix.  Roundoff can make its zero eigenvalues negative: they are clipped. */
static Matrix squareRoot(const Matrix& a, int n) {
    Matrix v, root(n*n, 0.0);
    const vector<double> eigenvalues = symmetricEigenvalues(a, n, v);
    for (int k = 0; k < n; k++) {
        const double scale = sqrt(max(0.0, eigenvalues[k]));
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++)
                root[i*n+j] += v[i*n+k]*scale*v[j*n+k];
    }
    return root;
}

GLEPropagator::GLEPropagator(const vector<double>& drift, double stepSize) : dimension(matrixDimension(drift.size())) {
    const int n = dimension;
    Matrix exponent(drift);
    for (double& element : exponent)
        element *= -stepSize;
    decay = exponentialMinusOne(exponent, n);
    // 1 - T T^T = -(E + E^T + E E^T) with E = T-1
    Matrix covariance(n*n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = decay[i*n+j]+decay[j*n+i];
            for (int k = 0; k < n; k++)
                sum += decay[i*n+k]*decay[j*n+k];
            covariance[i*n+j] = -sum;
        }
    noise = squareRoot(covariance, n);
}

vector<double> arrangeInBlocks(const vector<double>& matrix, int kernelDimension, int numComponents, int blockSize) {
    const int n = matrixDimension(matrix.size());
    vector<double> blocks(numComponents*numComponents*blockSize*blockSize, 0.0);
    for (int row = 0; row < n; row++)
        for (int column = 0; column < n; column++) {
            const int a = row/kernelDimension, b = column/kernelDimension, block = (a*numComponents+b)*blockSize*blockSize;
            if (kernelDimension == blockSize)
                blocks[block+row%kernelDimension*blockSize+column%kernelDimension] = matrix[row*n+column];
            else // the same for each direction
                for (int i = 0; i < blockSize; i++)
                    blocks[block+i*blockSize+i] = matrix[row*n+column];
        }
    return blocks;
}

int matrixDimension(size_t numElements) {
    const int n = (int) lround(sqrt((double) numElements));
    return n > 0 && (size_t) n*n == numElements ? n : -1;
}

double smallestDissipation(const vector<double>& drift) {
    const int n = matrixDimension(drift.size());
    Matrix symmetric(n*n), v;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            symmetric[i*n+j] = 0.5*(drift[i*n+j]+drift[j*n+i]);
    const vector<double> eigenvalues = symmetricEigenvalues(symmetric, n, v);
    return *min_element(eigenvalues.begin(), eigenvalues.end());
}

/** X of (i omega + A) X = B for d columns, by elimination with pivots; both matrices are destroyed.  False if singular. */
static bool solve(vector<complex<double> >& a, vector<complex<double> >& b, int n, int d) {
    for (int k = 0; k < n; k++) {
        int pivot = k;
        for (int i = k+1; i < n; i++)
            if (abs(a[i*n+k]) > abs(a[pivot*n+k]))
                pivot = i;
        if (abs(a[pivot*n+k]) == 0)
            return false;
        swap_ranges(a.begin()+k*n, a.begin()+(k+1)*n, a.begin()+pivot*n);
        swap_ranges(b.begin()+k*d, b.begin()+(k+1)*d, b.begin()+pivot*d);
        for (int i = 0; i < n; i++) {
            if (i == k)
                continue;
            const complex<double> factor = a[i*n+k]/a[k*n+k];
            for (int j = k; j < n; j++)
                a[i*n+j] -= factor*a[k*n+j];
            for (int j = 0; j < d; j++)
                b[i*d+j] -= factor*b[k*d+j];
        }
    }
    for (int k = 0; k < n; k++)
        for (int j = 0; j < d; j++)
            b[k*d+j] /= a[k*n+k];
    return true;
}

static double frictionAt(const vector<double>& drift, int d, double frequency) {
    const int dimension = matrixDimension(drift.size()), n = dimension-d;
    vector<complex<double> > a(n*n), x(n*d), k(d*d);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            a[i*n+j] = complex<double>(drift[(d+i)*dimension+d+j], i == j ? frequency : 0);
        for (int j = 0; j < d; j++)
            x[i*d+j] = drift[(d+i)*dimension+j];
    }
    if (!solve(a, x, n, d))
        return 0;
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            k[i*d+j] = drift[i*dimension+j];
            for (int l = 0; l < n; l++)
                k[i*d+j] -= drift[i*dimension+d+l]*x[l*d+j];
        }
    // The eigenvalues of a Hermitian matrix H are those of [[Re H, -Im H], [Im H, Re H]].
    Matrix hermitian(4*d*d), v;
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            const complex<double> h = 0.5*(k[i*d+j]+conj(k[j*d+i]));
            hermitian[i*2*d+j] = hermitian[(d+i)*2*d+d+j] = h.real();
            hermitian[(d+i)*2*d+j] = h.imag();
            hermitian[i*2*d+d+j] = -h.imag();
        }
    const vector<double> eigenvalues = symmetricEigenvalues(hermitian, 2*d, v);
    return *min_element(eigenvalues.begin(), eigenvalues.end());
}

SpectrumPoint smallestSpectrum(const vector<double>& drift, int kernelDimension) {
    SpectrumPoint smallest = {0, frictionAt(drift, kernelDimension, 0)};
    const auto probe = [&](double frequency) {
        const double friction = frictionAt(drift, kernelDimension, frequency);
        if (friction < smallest.friction)
            smallest = {frequency, friction};
    };
    const double scale = largestElement(drift);
    const int pointsPerDecade = 50;
    for (int i = -5*pointsPerDecade; i <= 2*pointsPerDecade; i++)
        probe(scale*pow(10.0, i/(double) pointsPerDecade));
    // Ever closer to the best so far.
    for (double factor = pow(10.0, 0.5/pointsPerDecade); factor > 1+1e-6; factor = sqrt(factor)) {
        const double centre = smallest.frequency;
        probe(centre*factor);
        probe(centre/factor);
    }
    return smallest;
}

}
