# The first Python this package runs on; `make PYTHON=/path/to/python3.12 …` chooses another.
# 3.14 comes last: the server that ships with the package has no wheel for it yet.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && \
	echo $$python && exit; done; echo python3)

BIN := .venv/bin
# Stamps carry the checksum of their lock: what is installed is what is locked, whatever the files' times say.
CORE := .venv/.core-$(shell cat requirements.lock pyproject.toml | cksum | cut -d" " -f1)
DEPLOY := .venv-deploy/.locked-$(shell cat requirements-deploy.lock requirements-deploy-bare.lock | cksum | cut -d" " -f1)
DEV := .venv/.dev-$(shell cat requirements-dev.lock pyproject.toml | cksum | cut -d" " -f1)
# In no lock: its wheel for Linux brings several GB of CUDA along, and what an index has of it differs.
PYTORCH := torch==2.13.0
TORCH := .venv-torch/.locked-$(shell { cat requirements-dev.lock pyproject.toml; echo $(PYTORCH); } | cksum | cut -d" " -f1)
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# Installing the package itself takes its build backend from the lock too, hence no isolation.
EDITABLE := $(INSTALL) --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile pyproject.toml - --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --quiet --upgrade

# Tests wait more than they compute: two processes share them. A file stays whole, for what its tests share is started
# once for them.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

ENGINE ?= docker
LIBRARIES ?= deploy/images/cpu.lock
TAG ?= $(shell git describe --always --dirty)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
IMAGE_OPTIONS = --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(TAG) --build-arg REVISION=$(REVISION)

.DEFAULT_GOAL := help
.PHONY: help venv dev demo test lint types faults test-torch deploy-venv deploy-check soak bench images image-locks lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(CORE)  ## .venv with the locked libraries and this package

dev: $(DEV)  ## the same with all that tests need

demo: $(CORE)  ## the paper's LMS grid through a local queue and real workers
	$(BIN)/optml-submit examples/lms-sunspots.yaml

test: $(DEV) $(DEPLOY)  ## every test but the soak
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not soak"

lint: $(DEV)  ## style, format, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV)  ## mypy, strict
	$(BIN)/mypy

faults: $(DEV)  ## the tests that kill real processes
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m faults

test-torch: $(TORCH)  ## the tests that need PyTorch, in .venv-torch
	OMP_NUM_THREADS=1 .venv-torch/bin/python -m pytest -k "gp or torch" tests/contracts tests/integration tests/test_examples.py

deploy-venv: $(DEPLOY)  ## Terraform and the other programs that check deployment files

deploy-check: $(DEV) $(DEPLOY)  ## deployment files: manifests, images, Terraform, scripts of nodes, checkov; a planted fault for each gate
	$(BIN)/python -m pytest -m deploy

soak: $(DEV)  ## the long fault runs; SOAK_TRIALS=1000 for shorter ones, SOAK_SEED=2 for others
	$(BIN)/python -m pytest -m soak --timeout 3600

bench: $(DEV)  ## serial against queued, into benchmarks/results
	$(BIN)/python benchmarks/serial_vs_queued.py examples/lms-sunspots.yaml --output benchmarks/results

images:  ## both images; BASE_IMAGE=debian@sha256:… (a Debian 12 by its digest), LIBRARIES=…, REGISTRY=…/, TAG=…, ENGINE=docker
	@case "$(BASE_IMAGE)" in *@sha256:*) ;; *) \
		echo "name the base by its digest: BASE_IMAGE=debian@sha256:… (docker buildx imagetools inspect debian:bookworm-slim tells it);" >&2; \
		echo "without a container engine or registry: deploy/images/build.sh" >&2; exit 1;; esac
	$(ENGINE) build -f Dockerfile.worker $(IMAGE_OPTIONS) --build-arg LIBRARIES=$(LIBRARIES) -t $(REGISTRY)optml-worker:$(TAG) .
	$(ENGINE) build -f Dockerfile.api $(IMAGE_OPTIONS) -t $(REGISTRY)optml-api:$(TAG) .

image-locks: $(DEV)  ## what images install, chosen anew within requirements.lock
	printf 'hatchling>=1.27\neditables\n' | $(COMPILE) --extra tensorflow --extra sklearn --extra search \
		--constraint requirements.lock -o deploy/images/cpu.lock
	printf 'hatchling>=1.27\neditables\ntensorflow[and-cuda]>=2.20; sys_platform == "linux"\n' | $(COMPILE) --extra tensorflow \
		--extra sklearn --extra search --constraint deploy/images/cpu.lock -o deploy/images/cuda.lock
	printf 'hatchling>=1.27\neditables\n' | $(COMPILE) --extra api --extra monitor --extra search \
		--constraint requirements.lock -o deploy/images/api.lock

lock: $(DEV)  ## choose the newest versions anew
	printf 'hatchling>=1.27\neditables\n' | $(COMPILE) -o requirements.lock
	$(BIN)/uv pip compile requirements-deploy.in --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --quiet --upgrade -o requirements-deploy.lock
	printf 'hatchling>=1.27\neditables\nuv\n' | $(COMPILE) --extra api --extra dev --extra monitor --extra search --extra sklearn --extra tensorflow \
		--constraint requirements.lock -o requirements-dev.lock

clean:  ## remove all that make, tests and tools made here
	rm -rf .venv .venv-deploy .venv-torch .deploy-tools .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is what a Python without ensurepip leaves out of the environment that it half makes.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "OptML Queue needs Python 3.11 or later; name one with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv

$(CORE): $(BIN)/pip
	$(INSTALL) --require-hashes --requirement requirements.lock
	$(EDITABLE)
	@rm -f .venv/.core-* && touch $@

$(DEV): $(BIN)/pip
	$(INSTALL) --require-hashes --requirement requirements-dev.lock
	$(EDITABLE)
	@rm -f .venv/.core-* .venv/.dev-* && touch $(CORE) $@

$(TORCH):
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	.venv-torch/bin/pip install --quiet --disable-pip-version-check $(PYTORCH)
	.venv-torch/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f .venv-torch/.locked-* && touch $@

# Apart: Terraform's protocol and checkov need older libraries than the package does. The schema of AWS's provider is
# downloaded here, so that no test spends its time on it.
$(DEPLOY):
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-deploy.lock
	.venv-deploy/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --ignore-requires-python \
		--requirement requirements-deploy-bare.lock
	.venv-deploy/bin/python tests/deploy/aws_schema.py .cache/terraform
	@rm -f .venv-deploy/.locked-* && touch $@
