# SPDX-License-Identifier: MIT
"""Load the native libraries: one plugin for each OpenMM platform that is present."""

import os

import openmm

_NEEDED = "8.6"


def _check_openmm_version(found: str) -> None:
    if ".".join(found.split(".")[:2]) != _NEEDED:
        raise ImportError(
            f"meanforce needs OpenMM {_NEEDED}.x, because OpenMM's C++ ABI changes between minor versions; "
            f"found OpenMM {found}: pip install 'openmm>={_NEEDED},<8.7'"
        )


_check_openmm_version(openmm.Platform.getOpenMMVersion())

from . import _meanforce  # noqa: E402  (loading it registers the XML proxies; it must come after the version check)

#: Platforms that have a plugin of ours, in OpenMM's order of speed.
_PLUGINS = ("Reference", "CPU", "OpenCL", "CUDA", "HIP")
_loaded: list[str] = []
_failures: dict[str, str] = {}


def _load() -> None:
    # Not os.path.dirname(__file__): in an editable install the libraries lie beside the extension module only.
    folder = os.path.join(os.path.dirname(os.path.abspath(_meanforce.__file__)), "lib", "plugins")
    present = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}
    for name in _PLUGINS:
        if name not in present:
            continue
        try:
            openmm.Platform.loadPluginLibrary(os.path.join(folder, f"libMeanForce{name}.so"))
            _loaded.append(name)
        except openmm.OpenMMException as error:
            _failures[name] = str(error)


_load()


def platforms() -> list[str]:
    """Return the names of the OpenMM platforms on which meanforce's native kernels are registered.

    Returns
    -------
    list of str
        A subset of ``["Reference", "CPU", "OpenCL", "CUDA", "HIP"]``.
    """
    return list(_loaded)


def platform_works(name: str, precision: str = "") -> bool:
    """Return whether OpenMM alone can use a platform: its library may be there without the device.

    Parameters
    ----------
    name : str
        Name of an OpenMM platform.
    precision : str
        ``"single"``, ``"mixed"`` or ``"double"``, which not every GPU has; empty for the platform's default.
    """
    system = openmm.System()
    system.addParticle(1.0)
    properties = {"Precision": precision} if precision else {}
    try:
        openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(name), properties)
    except openmm.OpenMMException:
        return False
    return True


def plugin_failures() -> dict[str, str]:
    """Return, for each platform that OpenMM has but whose plugin did not load, the loader's message."""
    return dict(_failures)


def find_platform(name: str) -> openmm.Platform:
    """Return the platform `name`, or for ``auto`` the fastest that is sure to be fast.

    OpenCL is never chosen by itself, since it may be an emulation on the CPU.

    Raises
    ------
    ValueError
        If there is no such platform; the message lists those present.
    """
    for candidate in ("CUDA", "HIP", "CPU") if name == "auto" else (name,):
        if candidate in platforms() and platform_works(candidate):
            return openmm.Platform.getPlatformByName(candidate)
    raise ValueError(f"platform {name!r} cannot be used here; those with meanforce's kernels: {', '.join(platforms())}")
