// SPDX-License-Identifier: MIT
#pragma once
#include "CpuParallel.h"
#include "ReferenceIntegrateGLEStepKernel.h"
#include <vector>

namespace meanforce {

/** Eight particles with the same kernel, or fewer: the lanes that remain repeat the first particle. */
struct CpuGLEBlock {
    int kernel, count, particle[8];
    double mass[8];
};

/** T-1 and sqrt(kT) S of a kernel of dimension 1 or 3, see arrangeInBlocks(). */
struct CpuGLEBath {
    int dimension, numComponents;
    std::vector<double> decay, noise;
};

struct CpuGLEArguments;

/**
 * The Reference kernel with its inner loops vectorised and threaded.  Particles with the same kernel are taken in blocks of
 * eight, one in each lane of a vector.  Lanes never mix, so results do not depend on the number of threads.  Noise is that of
 * Reference to 1e-14; without constraints, kicks, drifts and bath are one pass over the particles.
 */
class CpuIntegrateGLEStepKernel : public ReferenceIntegrateGLEStepKernel {
public:
    CpuIntegrateGLEStepKernel(std::string name, const OpenMM::Platform& platform, OpenMM::ThreadPool& pool) :
            ReferenceIntegrateGLEStepKernel(name, platform), parallel(pool) {
    }
    void initialize(const OpenMM::System& system, const GLEIntegrator& integrator) override;
    void getAuxiliaryVariables(OpenMM::ContextImpl& context, std::vector<double>& s) const override;
    void setAuxiliaryVariables(OpenMM::ContextImpl& context, const std::vector<double>& s) override;
    double getBathHeat(OpenMM::ContextImpl& context) const override;
protected:
    void stepFreely(std::vector<OpenMM::Vec3>& x, std::vector<OpenMM::Vec3>& v, std::vector<OpenMM::Vec3>& f, const Step& step) override;
    void exchangeWithBath(std::vector<OpenMM::Vec3>& v, const Step& step) override;
private:
    void updateBaths(const Step& step);
    CpuGLEArguments prepare(std::vector<OpenMM::Vec3>& v, const Step& step);
    CpuParallel parallel;
    std::vector<CpuGLEBlock> blocks;
    std::vector<CpuGLEBath> baths;
    double bathStepSize = 0, bathkT = -1;
    /** Element ((block*modes+mode)*3+direction)*8+lane. */
    std::vector<double> s;
    /** Element block*8+lane. */
    std::vector<double> heat;
};

}
