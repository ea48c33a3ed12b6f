// SPDX-License-Identifier: MIT
#include "meanforce/internal/GLEPropagator.h"
#include <algorithm>
#include <cmath>

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

}
