// SPDX-License-Identifier: MIT
#include "CommonIntegrateGLEStepKernel.h"
#include "CommonMeanForceKernelSources.h"
#include "meanforce/internal/GLEPropagator.h"
#include "meanforce/internal/RandomStreams.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/common/IntegrationUtilities.h"
#include "openmm/reference/SimTKOpenMMRealType.h"
#include <algorithm>
#include <cmath>
#include <map>

using namespace OpenMM;
using namespace std;

namespace meanforce {

/** Arguments of exchangeWithBath() that change from step to step. */
enum ExchangeArgument {SeedArgument = 12, StepLowArgument = 13, StepHighArgument = 14};

void CommonIntegrateGLEStepKernel::initialize(const System& system, const GLEIntegrator& integrator) {
    cc.initializeContexts();
    ContextSelector selector(cc);
    const int numParticles = system.getNumParticles();
    vector<int> kernelOfParticle(numParticles), modesOfKernel;
    for (int i = 0; i < numParticles; i++)
        kernelOfParticle[i] = integrator.getParticleKernel(i);
    for (int i = 0; i < integrator.getNumKernels(); i++) {
        drifts.push_back(integrator.getKernel(i));
        kernelDimensions.push_back(integrator.getKernelDimension(i));
        modesOfKernel.push_back(countComponents(matrixDimension(drifts[i].size()), kernelDimensions[i])-1);
        blockSize = max(blockSize, kernelDimensions[i]);
    }
    numModes = integrator.getNumModes();

    const bool mixedIsDouble = cc.getUseDoublePrecision() || cc.getUseMixedPrecision();
    const int mixedSize = mixedIsDouble ? sizeof(double) : sizeof(float);
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    const size_t matrixSize = (numModes+1)*(numModes+1)*blockSize*blockSize;
    auxiliary.initialize(cc, max<size_t>(1, 3*(size_t) numParticles*numModes), mixedSize, "gleAuxiliary");
    heat.initialize(cc, cc.getPaddedNumAtoms(), mixedSize, "gleHeat");
    oldDelta.initialize(cc, cc.getPaddedNumAtoms(), 4*mixedSize, "gleOldDelta");
    decay.initialize(cc, matrixSize*drifts.size(), mixedSize, "gleDecay");
    noise.initialize(cc, matrixSize*drifts.size(), realSize, "gleNoise");
    particleKernel.initialize<int>(cc, numParticles, "gleParticleKernel");
    kernelModes.initialize<int>(cc, modesOfKernel.size(), "gleKernelModes");
    cc.clearBuffer(heat);
    particleKernel.upload(kernelOfParticle);
    kernelModes.upload(modesOfKernel);

    // With one number of modes for all kernels, loops over modes have a constant length and can be unrolled.
    const bool sameModes = *min_element(modesOfKernel.begin(), modesOfKernel.end()) == numModes;
    map<string, string> defines;
    defines["BLOCK_SIZE"] = cc.intToString(blockSize);
    defines["MAX_MODES"] = cc.intToString(numModes);
    defines["NUM_MODES(bath)"] = sameModes ? "MAX_MODES" : "kernelModes[bath]";
    defines["NOISE_STREAM"] = cc.intToString((int) RandomStream::GLENoise);
    ComputeProgram program = cc.compileProgram(CommonMeanForceKernelSources::gle, defines);
    kickKernel = program->createKernel("kick");
    exchangeKernel = program->createKernel("exchangeWithBath");
    moveKernel = program->createKernel("move");
}

void CommonIntegrateGLEStepKernel::createKernels() {
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    const int numAtoms = cc.getNumAtoms();
    kickKernel->addArg(numAtoms);
    kickKernel->addArg(cc.getPaddedNumAtoms());
    kickKernel->addArg(cc.getVelm());
    kickKernel->addArg(cc.getLongForceBuffer());
    kickKernel->addArg(integration.getStepSize());
    exchangeKernel->addArg(numAtoms);
    exchangeKernel->addArg(cc.getVelm());
    exchangeKernel->addArg(integration.getPosDelta());
    exchangeKernel->addArg(oldDelta);
    exchangeKernel->addArg(auxiliary);
    exchangeKernel->addArg(heat);
    exchangeKernel->addArg(cc.getAtomIndexArray());
    exchangeKernel->addArg(particleKernel);
    exchangeKernel->addArg(kernelModes);
    exchangeKernel->addArg(decay);
    exchangeKernel->addArg(noise);
    exchangeKernel->addArg(integration.getStepSize());
    for (int i = SeedArgument; i <= StepHighArgument; i++)
        exchangeKernel->addArg();
    moveKernel->addArg(numAtoms);
    moveKernel->addArg(cc.getPosq());
    moveKernel->addArg(cc.getVelm());
    moveKernel->addArg(integration.getPosDelta());
    moveKernel->addArg(oldDelta);
    moveKernel->addArg(integration.getStepSize());
    if (cc.getUseMixedPrecision())
        moveKernel->addArg(cc.getPosqCorrection());
}

void CommonIntegrateGLEStepKernel::execute(ContextImpl& context, const GLEIntegrator& integrator, uint32_t seed, int64_t noiseStep) {
    ContextSelector selector(cc);
    IntegrationUtilities& integration = cc.getIntegrationUtilities();
    const int numAtoms = cc.getNumAtoms();
    const double h = integrator.getStepSize();
    if (propagatorStepSize == 0)
        createKernels();
    updatePropagators(h, integrator.getTemperature());
    integration.setNextStepSize(h);
    exchangeKernel->setArg(SeedArgument, seed);
    exchangeKernel->setArg(StepLowArgument, (uint32_t) noiseStep);
    exchangeKernel->setArg(StepHighArgument, (uint32_t) ((uint64_t) noiseStep >> 32));

    kickKernel->execute(numAtoms);
    integration.applyVelocityConstraints(integrator.getConstraintTolerance());
    exchangeKernel->execute(numAtoms);
    integration.applyConstraints(integrator.getConstraintTolerance());
    moveKernel->execute(numAtoms);
    integration.computeVirtualSites();

    cc.setTime(cc.getTime()+h);
    cc.setStepCount(cc.getStepCount()+1);
    cc.reorderAtoms();
}

void CommonIntegrateGLEStepKernel::updatePropagators(double h, double temperature) {
    if (h == propagatorStepSize && temperature == propagatorTemperature)
        return;
    propagatorStepSize = h;
    propagatorTemperature = temperature;
    const double sqrtkT = sqrt(BOLTZ*temperature);
    vector<double> decays, noises;
    for (size_t i = 0; i < drifts.size(); i++) {
        const GLEPropagator propagator(drifts[i], h);
        const vector<double> blocks = arrangeInBlocks(propagator.decay, kernelDimensions[i], numModes+1, blockSize);
        decays.insert(decays.end(), blocks.begin(), blocks.end());
        for (double element : arrangeInBlocks(propagator.noise, kernelDimensions[i], numModes+1, blockSize))
            noises.push_back(sqrtkT*element);
    }
    decay.upload(decays, true);
    noise.upload(noises, true);
}

double CommonIntegrateGLEStepKernel::computeKineticEnergy(ContextImpl& context, const GLEIntegrator& integrator) {
    return cc.getIntegrationUtilities().computeKineticEnergy(0.0);
}

void CommonIntegrateGLEStepKernel::getAuxiliaryVariables(ContextImpl& context, vector<double>& s) const {
    ContextSelector selector(cc);
    auxiliary.download(s, true);
    s.resize(3*(size_t) cc.getNumAtoms()*numModes);
}

void CommonIntegrateGLEStepKernel::setAuxiliaryVariables(ContextImpl& context, const vector<double>& s) {
    ContextSelector selector(cc);
    if (!s.empty())
        auxiliary.upload(s, true);
}

double CommonIntegrateGLEStepKernel::getBathHeat(ContextImpl& context) const {
    ContextSelector selector(cc);
    vector<double> heats;
    heat.download(heats, true);
    double total = 0;
    for (int i = 0; i < cc.getNumAtoms(); i++)
        total += heats[i];
    return total;
}

}
