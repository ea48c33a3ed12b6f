# SPDX-License-Identifier: MIT
"""Say in one line what this Python lacks to build the package; make runs it before it makes an environment."""

import importlib.util
import os
import shutil
import sys
import sysconfig

missing = []
if sys.version_info < (3, 11):  # noqa: UP036  (other Pythons run this file too)
    sys.exit(f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.11")
if importlib.util.find_spec("ensurepip") is None:
    missing.append("python3-venv")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    missing.append("python3-dev")
if not any(shutil.which(compiler) for compiler in (os.environ.get("CXX", "c++"), "g++", "clang++")):
    missing.append("g++")
if missing:
    sys.exit(f"{sys.executable} lacks what the build needs. On Debian or Ubuntu: apt-get install {' '.join(missing)}")
