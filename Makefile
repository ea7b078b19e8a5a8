# Every command a contributor needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
VISION_VENV := .venv-vllm-vision
DRIVER_VENV := .venv-driver
DRIVER_PYTHON ?= python3.13
# What of tests/ needs no more than the base install and these tools; trainings and services need extras.
DRIVER_TESTS := tests/clients tests/pipeline --ignore=tests/pipeline/training --ignore=tests/pipeline/preferences --ignore=tests/pipeline/serving/test_services.py
DRIVER_TOOLS := cryptography hypothesis kubernetes-validate psutil pytest pytest-asyncio pytest-timeout pytest-xdist uv

# Machines with an NVIDIA GPU install the CUDA builds (locked, not run yet); others the CPU builds.
HAS_GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo 1)
LOCK := requirements/$(if $(HAS_GPU),gpu,cpu).lock
# torch's CPU build is not on PyPI: PIP_FIND_LINKS may name a folder that has it. It is never looked for
# where the GPU lock is installed: uv would take it for the CUDA build, and its hash is another.
CPU_TORCH := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)

TORCH_SOURCE := $(if $(HAS_GPU),,$(CPU_TORCH))

.PHONY: help install venv-vllm-vision demo test cases fuzz attack check fix lint types imports proto proto-check test-driver models model-base model-question model-answer model-inner-llm bento k8s-tools k8s-check lock clean clean-runs

help: ## This list
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-28s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## The environment in .venv, from the lock file

$(VENV)/.installed: $(LOCK) pyproject.toml
	@echo "installing torch, vllm and the rest into $(VENV): one to five minutes" >&2
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes $(TORCH_SOURCE) --no-deps -r $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

venv-vllm-vision: $(VISION_VENV)/.installed ## A second environment, in which vLLM serves the reward models on CPU

$(VISION_VENV)/.installed: requirements/vllm-vision.lock pyproject.toml | install
	test -x $(VISION_VENV)/bin/python || $(PYTHON) -m venv $(VISION_VENV)
	$(BIN)/uv pip install --quiet --python $(VISION_VENV)/bin/python --require-hashes $(CPU_TORCH) --no-deps -r $<
	$(BIN)/uv pip install --quiet --python $(VISION_VENV)/bin/python --no-deps --no-build-isolation -e .
	touch $@

demo: install ## Three services on CPU curate the blocks world into runs/demo, with a report
	$(BIN)/python -m examples.blocks.demo

test: install k8s-tools .venv-schemathesis/.installed ## All tests, slow ones too; those of k8s/ are `make k8s-check`
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/house.py
	$(BIN)/basedpyright
	$(BIN)/basedpyright --pythonpath $(BIN)/python -p tests
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/generate_stubs.py --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

test-driver: install ## Clients and driver on another Python, without the extras (DRIVER_PYTHON=python3.13)
	$(BIN)/uv venv --quiet --clear --python $(DRIVER_PYTHON) $(DRIVER_VENV)
	$(BIN)/uv pip install --quiet --python $(DRIVER_VENV)/bin/python --require-hashes -r requirements/driver.lock
	$(BIN)/uv pip install --quiet --python $(DRIVER_VENV)/bin/python -c requirements/cpu.lock $(DRIVER_TOOLS)
	$(BIN)/uv pip install --quiet --python $(DRIVER_VENV)/bin/python --no-deps -e .
	OMP_NUM_THREADS=1 $(DRIVER_VENV)/bin/python -m pytest $(DRIVER_TESTS) -m "not slow" -n 2

cases: install ## Each case of ../shared/cases: what was seen before, what happens now (needs that folder)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cases

fuzz: install ## 100,000 and more damaged inputs against each parser at a trust boundary (about an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

attack: install .venv-schemathesis/.installed ## The campaign of attacks on live services, a liar's driver and a2l serve (about 40 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.attacks

check: install lint types imports proto-check ## What must pass before each commit (2 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

fix: install ## Formats, and repairs what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install ## Format and lint, and the shape of the tree (tools/house.py)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/house.py

types: install ## Types: strict, and of the tests what their helpers and fakes promise
	$(BIN)/basedpyright & strict=$$!; $(BIN)/basedpyright --pythonpath $(BIN)/python -p tests && wait $$strict

imports: install ## Import direction
	$(BIN)/lint-imports --no-cache

proto: install ## gRPC stubs from clients/wire/align2llava.proto
	$(BIN)/python tools/generate_stubs.py

proto-check: install ## Fails where the stubs are out of date
	$(BIN)/python tools/generate_stubs.py --check

models: model-base model-question model-answer model-inner-llm ## The small checkpoints of examples/blocks, from scratch; each part resumes

model-base: install ## The middle model, which both reward models start from
	$(BIN)/python -m examples.blocks.generate
	$(BIN)/python -m examples.blocks.train_base

model-question model-answer: model-%: install ## A reward model, from preferences
	$(BIN)/a2l train $* examples/blocks/train-$*.yaml --resume auto
	$(BIN)/python -m examples.blocks.evaluate_reward $*

model-inner-llm: install ## The inner LLM: rewrites and reviews
	$(BIN)/python -m examples.blocks.train_inner_llm
	$(BIN)/python -m examples.blocks.evaluate_inner_llm

bento: install ## One Bento of the three services
	$(BIN)/bentoml build

k8s-tools: install .venv-checkov/.installed
	$(BIN)/python tools/kubectl.py version --client

.venv-checkov/.installed .venv-schemathesis/.installed: .venv-%/.installed: requirements/%.lock | $(VENV)/.installed
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --require-hashes --no-deps -r $<
	touch $@

k8s-check: install k8s-tools ## k8s/: renders, schemas, checkov, lint, alert rules, and its commands run here
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/k8s

lock: install ## Resolves the lock files again
	$(BIN)/python tools/lock.py

clean: ## Removes the environments and what tests left; runs stay
	rm -rf $(VENV) $(VISION_VENV) $(DRIVER_VENV) .venv-checkov .venv-schemathesis .tools .pytest_cache .ruff_cache .hypothesis

clean-runs: ## Removes runs/: curations, snapshots of trainings, the demo
	rm -rf runs
