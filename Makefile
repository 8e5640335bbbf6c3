# Every recipe works on a fresh machine with Python 3.11 or newer: what it needs, it installs into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Two test processes share two cores; each fits on one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.DEFAULT_GOAL := help
# Boucle's own code is compiled once, not by every command.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 demo"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev --group demo --group docs
	@touch $@

install: .venv/.installed ## Install Boucle and its development tools into .venv

demo: .venv/.installed ## Run the whole loop on a year of flights, and write examples/flights/report.html
	$(BIN)/boucle --project examples/flights check
	$(BIN)/boucle --project examples/flights run
	$(BIN)/boucle --project examples/flights replay
	$(BIN)/boucle --project examples/flights report
	$(BIN)/boucle --project examples/flights audit verify

format: .venv/.installed ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.installed ## Check format, lint, imports between the rooms, and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint ## Everything quick: lint and the fast tests (under three minutes)
	$(PYTEST) -q -n 2 -m "not slow and not long"

test: .venv/.installed ## What CI runs: all tests but the long ones (under fifteen minutes)
	./tests/install-browser
	./tests/install-shells
	$(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder -m "not long"

test-all: test ## The long proofs as well: many kills, many simulated years, other tools as judges (under seventy)
	./tests/install-faketime
	./tests/install-alertmanager
	./tests/mlflow/install-mlflow
	./tests/frameworks/install-frameworks torch
	./tests/frameworks/install-frameworks tensorflow
	./tests/install-docker
	./tests/install-prometheus
	$(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder -m long

bench: .venv/.installed ## Measure Boucle beside its peers, print the ratios and write docs/performance.md
	$(BIN)/python benchmarks/run.py $(MEMBERS)

compile-matrix: .venv/.installed ## Ask of every estimator, on every kind of data, how each compiler does, and write docs/compile.md
	$(BIN)/python benchmarks/compiling/matrix.py

docs: .venv/.installed ## Build the documentation site, which opens without a network, into build/docs
	$(BIN)/python -m sphinx -q -E -W --keep-going docs build/docs
	@echo "build/docs/index.html"

clean: ## Remove the environment and what the demo stored
	rm -rf .venv build examples/flights/.boucle examples/flights/report.html

.PHONY: help install demo format lint check test test-all bench compile-matrix docs clean
