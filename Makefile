# Everything a person or CI runs. `make help` lists it. All targets use .venv, made by `make setup` from locked versions.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export PYTHONPATH := operator
export PYTHONUNBUFFERED := 1
export TF_CPP_MIN_LOG_LEVEL ?= 2

STAMP := $(VENV)/.locked
PYTEST := $(RUN) -m pytest
# Two tests at a time: those on real nodes wait most of the time. A tier whose tests share a cluster stays in one process (tests/conftest.py).
BY_TWO := -n 2 --no-loadscope-reorder
KUBE ?= embedded

.PHONY: help setup prerequisites demo demo-down demo-env test test-unit test-api test-node contract-test agent-e2e bench-agent bench-comparison bench-rollout-latency bench-operator bench-operator-start bench-rollout bench-shared fuzz soak lint verify generate format images clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install the package python3" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0])'
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is needed: install the package python3-venv" >&2; exit 1; }
	echo "Installing the locked Python packages into $(VENV) (1 to 4 minutes)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/dev.txt
	touch $(STAMP)

setup: $(STAMP)  ## Make .venv from the locked versions

prerequisites: $(STAMP)  ## Install the Debian packages that the embedded cluster needs and this machine lacks
	@$(RUN) -m tests.cluster prerequisites --install

demo: $(STAMP)  ## Serve a model in a cluster made here (KUBE=current: in your kubeconfig's)
	@if [ "$(KUBE)" = embedded ]; then $(RUN) -m tests.cluster prerequisites --install; fi
	$(RUN) -m tests.demo up --kube $(KUBE)

demo-down: $(STAMP)  ## Stop the demo's cluster and remove all it made (KUBE=current: uninstall)
	@$(RUN) -m tests.demo down --kube $(KUBE)

demo-env: $(STAMP)  ## Print the export lines for using the demo's cluster by hand
	@$(RUN) -m tests.cluster env --name demo

test: $(STAMP) prerequisites lint verify  ## Run every tier, the cheap ones first
	@$(PYTEST) $(BY_TWO) tests/unit tests/golden tests/fuzz tests/cluster tests/e2e tests/api tests/contract tests/agent tests/bench

test-unit: $(STAMP)  ## Unit, property, golden and short fuzz tests: no network, nothing but Python
	@$(PYTEST) $(BY_TWO) tests/unit tests/golden tests/fuzz

contract-test: $(STAMP)  ## The model server's behaviour (BINARY=path or IMAGE=reference: of a real one)
	@BINARY="$(BINARY)" IMAGE="$(IMAGE)" $(PYTEST) tests/contract

agent-e2e: $(STAMP)  ## Agent and model server as plain processes, under load (BINARY=path or IMAGE=reference: a real server)
	@BINARY="$(BINARY)" IMAGE="$(IMAGE)" $(PYTEST) tests/agent

bench-agent: $(STAMP)  ## The agent's figures; the last line is one JSON object
	@$(RUN) -m tests.bench.agent

bench-comparison: $(STAMP)  ## What comparing large answers costs the agent; the last line is one JSON object
	@$(RUN) -m tests.bench.comparison

bench-rollout-latency: $(STAMP)  ## What a rollout costs the requests beside it, against a reload by hand; the last line is one JSON object
	@$(RUN) -m tests.bench.rollout_latency

bench-operator: $(STAMP)  ## The operator's figures with N TFModels (RUNS=, ARGS=); the last line is one JSON object
	@$(RUN) -m tests.bench.operator --models $(or $(N),400) --runs $(or $(RUNS),1) $(ARGS)

bench-operator-start: $(STAMP)  ## The operator's start where N TFModels are stored; the last line is one JSON object
	@$(RUN) -m tests.bench.operator --stored --models $(or $(N),10000) --runs $(or $(RUNS),1) $(ARGS)

bench-rollout: $(STAMP)  ## How long new versions take, one by one and N at once (N=, ARGS=); the last line is one JSON object
	@$(RUN) -m tests.bench.rollout --models $(or $(N),100) $(ARGS)

bench-shared: $(STAMP)  ## The figures of models on shared servers (ARGS=); the last line is one JSON object
	@$(RUN) -m tests.bench.operator.shared $(ARGS)

fuzz: $(STAMP)  ## Fuzz the readers of files for five minutes
	@$(RUN) -m tests.fuzz --seconds 300

soak: $(STAMP)  ## A million steps of random walks against the rollout planner (STEPS=); takes half an hour
	@ROLLOUT_STEPS=$(or $(STEPS),1000000) $(PYTEST) $(BY_TWO) --exitfirst --verbose --timeout=0 tests/unit/operator/rollout/test_walks.py

test-api: $(STAMP)  ## Tests against a real API server, without nodes
	@$(PYTEST) tests/api tests/cluster tests/bench -m api

test-node: $(STAMP)  ## End-to-end tests on a real node (root, Linux)
	@$(PYTEST) tests/e2e tests/cluster -m node

lint: $(STAMP)  ## ruff, mypy --strict, import contracts
	@$(RUN) -m ruff check .
	$(RUN) -m ruff format --check operator
	(cd operator && ../$(RUN) -m mypy --config-file ../pyproject.toml)
	$(VENV)/bin/lint-imports --no-cache | tail -4

format: $(STAMP)  ## Format and fix what ruff can
	@$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format operator

generate: $(STAMP)  ## Write generated files anew: protos, CRD copies, samples
	@$(RUN) -m tests.generate

verify: $(STAMP)  ## Fail if a generated file differs from its source
	@$(RUN) -m tests.generate --check

images: $(STAMP)  ## Build the images of operator and model server stand-in into the cache
	@$(RUN) -m tests.demo images

clean:  ## Remove what was made inside the checkout; the cache (TFMODEL_CACHE, ~/.cache/tfmodel) stays
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
