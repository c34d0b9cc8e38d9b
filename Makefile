# `make setup` happens by itself before the other targets, once; it is repeated
# from the step whose input changed. Interrupted, it resumes at that step.

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
PY := $(VENV)/bin/python
# -qq: errors only.
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --no-input \
	-c requirements/constraints.txt

# One stamp for each finished step. Those of torch and mmcv carry the pinned
# versions, so that no other change of a requirement compiles mmcv again.
TORCH := $(shell sed -n 's/^torch==//p' requirements/constraints.txt)
TORCHVISION := $(shell sed -n 's/^torchvision==//p' requirements/constraints.txt)
MMCV := $(shell sed -n 's/^onedl-mmcv==//p' requirements/constraints.txt)
DONE := $(VENV)/.done
VENV_DONE := $(DONE)/venv
TORCH_DONE := $(DONE)/torch-$(TORCH)
MMCV_DONE := $(DONE)/mmcv-$(MMCV)-for-torch-$(TORCH)
SETUP_DONE := $(DONE)/setup
MMCV_OPS_LOAD := $(PY) -c 'from mmcv.ops import nms'

TORCHVISION_LOADS := $(PY) -c 'import torchvision'
# torch says which build it is: 2.13.0+cpu, 2.13.0+cu130, or the index's own.
TORCHVISION_INDEX = $(shell $(PY) -c "import torch; b = torch.__version__.partition('+')[2]; print(b and f'--index-url https://download.pytorch.org/whl/{b}')")

# A file's tests stay together: they share what is slow to make. In the order of
# tests/conftest.py, long files first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help setup test demo lint clean

help:  ## Show this help
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

setup: $(SETUP_DONE)  ## Make .venv with everything in it (about 20 minutes, once)

test: setup  ## Run the tests; PYTEST_ARGS='-k name -m "not slow"' picks some, PARALLEL= runs one at a time
	$(PY) -m pytest $(PARALLEL) $(PYTEST_ARGS)

demo: setup  ## Train and compare on small generated scenes; TASK=segmentation, classification or instance for another task than detection, TASK=budget for inference under a latency budget, DEMO_ARGS=… are passed on
	$(PY) tools/demo.py $(if $(TASK),--task $(TASK)) $(DEMO_ARGS)

lint: setup  ## Check style (ruff) and types (mypy)
	$(PY) -m ruff check .
	$(PY) -m mypy mmrlkd

clean:  ## Remove build results and caches; .venv, data and work_dirs stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mmrlkd tools tests configs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV_DONE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'mmrlkd needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	    echo 'set-up 1/4: virtual environment in $(VENV)'; $(PYTHON) -m venv --clear $(VENV); }
	@$(INSTALL) -r requirements/build.txt
	@mkdir -p $(DONE) && touch $@

# Before anything else may ask for torch: an unpinned one brings another CUDA.
$(TORCH_DONE): $(VENV_DONE)
	@echo 'set-up 2/4: torch $(TORCH)'
	@$(INSTALL) torch==$(TORCH)
	@rm -f $(DONE)/torch-* && touch $@

# An isolated build, or a wheel that pip kept from another torch, installs
# without an error and has no working operators: only loading them tells.
$(MMCV_DONE): export MMCV_WITH_OPS = 1
$(MMCV_DONE): $(TORCH_DONE)
	@echo 'set-up 3/4: mmcv $(MMCV), compiled here: 10 to 20 minutes on two cores, once (pip keeps the result)'
	@$(INSTALL) --no-build-isolation onedl-mmcv==$(MMCV)
	@$(PY) -c 'import mmcv'
	@$(MMCV_OPS_LOAD) 2>/dev/null || { \
	    echo 'set-up 3/4: the mmcv at hand does not fit this torch, compiling it again'; \
	    $(PY) -m pip cache remove -qq onedl_mmcv 2>/dev/null; \
	    $(INSTALL) --no-build-isolation --no-deps --force-reinstall onedl-mmcv==$(MMCV); }
	@$(MMCV_OPS_LOAD) || { \
	    echo 'mmcv was installed without its compiled operators: it needs a C++ compiler, and nvcc where torch sees a GPU' >&2; exit 1; }
	@rm -f $(DONE)/mmcv-* && touch $@

$(SETUP_DONE): $(MMCV_DONE) $(wildcard requirements/*.txt) setup.py pyproject.toml mmrlkd/version.py
	@echo 'set-up 4/4: mmdet, mmseg and mmpretrain'
	@$(INSTALL) -r requirements/runtime.txt -r requirements/seg.txt -r requirements/cls.txt
	@$(TORCHVISION_LOADS) 2>/dev/null || { \
	    echo 'set-up 4/4: torchvision does not fit this torch, installing the build that does'; \
	    $(INSTALL) --retries 1 --timeout 15 --no-deps --force-reinstall $(TORCHVISION_INDEX) torchvision==$(TORCHVISION) 2>/dev/null; \
	    $(TORCHVISION_LOADS) 2>/dev/null || \
	    echo 'set-up 4/4: the torchvision build that fits could not be installed. mmrlkd works without it; plain mmdet and mmpretrain need a torchvision of the same build as torch (CPU with CPU, CUDA with the same CUDA), see https://pytorch.org' >&2; }
	@echo 'set-up 4/4: the demo, the tools for testing, and mmrlkd itself'
	@$(INSTALL) -r requirements/demo.txt -r requirements/budget.txt -r requirements/cache.txt \
	    -r requirements/tests.txt
	@$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@
