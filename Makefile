# SPDX-License-Identifier: MIT
# make demo      virtual environment, build, and the whole path once: atomistic water to coarse-grained water with memory
# make test      the same environment, every C++ and Python test on every platform present, kernel text compiled as CUDA
# make sanitize  C++ tests on Reference and CPU, and the kernel text as C++, under the address, undefined-behaviour and
#                thread sanitizers
# make lint      ruff, mypy
# make validate  the long physics runs whose figures stand in docs/validation.md
#
# Needs Python 3.11 or newer with its headers and venv module, and a C++ compiler. On Debian or Ubuntu:
#     apt-get install python3-venv python3-dev g++ make
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build/make
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := CMakeLists.txt pyproject.toml python/meanforce/_version.py $(shell find cmake openmmapi platforms serialization python/src tests/cpp -type f)

.PHONY: demo test sanitize lint validate clean

demo: $(VENV)/built
	$(BIN)/meanforce demo water

test: $(VENV)/built build/cuda-platform/installed
	rm -f $(BUILD)/ctest.xml $(BUILD)/pytest.xml
	status=0; \
	$(BIN)/ctest --test-dir $(BUILD) --output-on-failure --output-junit ctest.xml || status=1; \
	$(BIN)/python -m pytest tests/python --cuda-platform=build/cuda-platform --junitxml=$(BUILD)/pytest.xml || status=1; \
	$(BIN)/python tests/exercised.py $(BUILD)/ctest.xml $(BUILD)/pytest.xml || status=1; \
	exit $$status

# Optimised builds of the vector code take minutes under a sanitizer.  Reference has no threads: races are looked for on CPU.
sanitize: $(VENV)/built
	set -e; export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	for sanitizers in address,undefined thread; do \
	    folder=build/sanitize-$${sanitizers%%,*}; \
	    cmake -G Ninja -S . -B $$folder -DMEANFORCE_SANITIZE=$$sanitizers -DMEANFORCE_BUILD_TESTS=ON \
	        -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1 -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"; \
	    cmake --build $$folder; \
	    if [ $$sanitizers = thread ]; then labels=CPU; else labels='Reference|CPU'; fi; \
	    ctest --test-dir $$folder -L "$$labels" --output-on-failure; \
	done
	$(BIN)/python -m pytest tests/python/test_shim.py

lint: $(VENV)/built
	$(PIP) ruff mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

validate: $(VENV)/built
	$(BIN)/python -m pytest tests/validation -m validation

# OpenMM and the build tools come first, because the build finds OpenMM in this environment.
$(VENV)/tools: constraints.txt pyproject.toml
	@$(PYTHON) cmake/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) openmm numpy scikit-build-core pybind11 cmake ninja
	touch $@

$(VENV)/built: $(VENV)/tools $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation -e '.[train,data,test]' \
	    -C build-dir=$(BUILD) -C cmake.define.MEANFORCE_BUILD_TESTS=ON
	touch $@

# The kernel text is compiled behind the definitions inside OpenMM's own CUDA library. That and NVRTC are unpacked, not
# installed: torch may bring an NVRTC of its own.
build/cuda-platform/installed: $(VENV)/tools
	mkdir -p build/cuda-platform
	$(PIP) --no-deps --upgrade --target build/cuda-platform openmm-cuda-13 'nvidia-cuda-nvrtc==13.0.*' && touch $@ \
	    || echo "OpenMM's CUDA wheel or NVRTC is not available here: the CUDA compile check will be skipped"

clean:
	rm -rf build $(VENV)
