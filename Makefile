# Every target sets up what it needs in .venv: with uv where there is one, with pip where there is not.
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
READY := $(VENV)/.ready

# Images: how they are built, and how they get to the nodes where no registry is between.
BUILD ?= docker build
LOAD ?= @true
IMAGES ?= docker.io/heavylift
TAG ?= $(shell sed -n 's/^appVersion: //p' helm/heavylift/Chart.yaml)

.DEFAULT_GOAL := help
.PHONY: help demo up load images manifests test test-slow chart-test cluster-test observe-test \
  bench-observability lint types fmt lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "heavylift needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
ifneq ($(UV),)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	@$(PYTHON) -m venv $(VENV)
	@echo "installing the locked requirements into $(VENV), once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	@touch $@

demo: $(READY) ## Run three heavy jobs on real input, with progress, and stop
	@$(BIN)/python -m demo

up: $(READY) ## Run the whole stack until Ctrl-C
	@$(BIN)/heavylift up

load: $(READY) ## A minute of load on a stack of its own, held against loadtests/slo.yaml
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

test: $(READY) ## Quick tests, on a real PostgreSQL and Redis
	@$(BIN)/python -m pytest -n auto -m "not slow and not chaos and not observe and not chart and not cluster"

test-slow: $(READY) ## Slow tests: killed workers, frozen databases, a million rows
	@$(BIN)/python -m pytest -n 4 -m chaos
	@$(BIN)/python -m pytest -m "slow and not chaos"

chart-test: $(READY) ## The Helm chart as it renders, against Kubernetes' schemas; needs helm, helm3, helm-docs, kube-score, kustomize
	@$(BIN)/python -m pytest -n auto -m chart

cluster-test: $(READY) ## All that is claimed of Kubernetes, on the cluster of KUBECONFIG; needs BUILD and LOAD, helm, kubectl
	@BUILD="$(BUILD)" LOAD="$(LOAD)" IMAGES=$(IMAGES) TAG=$(TAG) $(BIN)/python -m pytest -m cluster

observe-test: $(READY) ## The signals of a whole run: with a real Prometheus, and a receiver of traces
	@$(BIN)/python -m pytest -m observe

bench-observability: $(READY) ## What traces, metrics and logs cost a request: 60% of a bare one at most
	@$(BIN)/python -m bench.observability

lint: $(READY) ## ruff and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

fmt: $(READY) ## Format and fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Resolve the dependencies anew
	@$(BIN)/uv lock --upgrade --quiet
	@$(BIN)/uv export --quiet --locked --all-extras --group dev --no-emit-project --no-header \
	  --format requirements-txt --output-file requirements.lock

clean: ## Remove what set-up and runs left behind
	@rm -rf $(VENV) load-report .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
