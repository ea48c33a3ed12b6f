// SPDX-License-Identifier: MIT
#pragma once
#include "meanforce/Export.h"
#include "openmm/KernelImpl.h"

namespace meanforce {

/** A ForceImpl or Integrator that can show the kernel that serves it, so that tests can prove which platform's code runs. */
class MEANFORCE_EXPORT KernelOwner {
public:
    virtual ~KernelOwner() = default;
    virtual const OpenMM::KernelImpl& getKernelImpl() const = 0;
};

}
