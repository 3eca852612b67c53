PYTHON ?= python3
DIR ?= ../shared/conformance
DATA ?= ../shared/data
ARGS ?=
MAX_WORKERS ?= 4
SEEDS ?= 5000
KILLS ?= 1000
CUTS ?= 100
TAMPER ?= 1000
STORAGE ?= 100
OUT ?= build/prove.json

BIN := .venv/bin
RUN := .venv/.run
STAMP := .venv/.installed
SOURCES := $(shell find src -name '*.py')
COMPILED_BIN := .venv-compiled/bin
COMPILED := .venv-compiled/.installed
LOCK_BIN := .cache/lock/bin
LOCK := $(LOCK_BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo serve test lint format conformance bench prove compiled compiled-test mutate lock \
	clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Create .venv and install the locked dependencies and qtinfra into it

$(RUN): requirements-run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "qtinfra needs Python 3.11 or newer, and '$(PYTHON)' is not: try 'make PYTHON=python3.11 ...'" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(STAMP): $(RUN) requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(RUN) ## Run a trading session on the synthetic market (ARGS="..." is passed on)
	$(BIN)/qtinfra demo $(ARGS)

serve: $(RUN) ## Serve the REST API on a simulated market (ARGS="--port 8080")
	$(BIN)/qtinfra serve $(ARGS)

test: $(STAMP) ## Run all tests; the summary counts what was skipped and why (ARGS="...")
	$(BIN)/pytest -n auto --maxprocesses $(MAX_WORKERS) --dist loadgroup $(ARGS)

lint: $(STAMP) ## Check style, format, types and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: $(STAMP) ## Play the conformance scenarios of DIR (default ../shared/conformance)
	$(BIN)/python -m qtinfra.testing.conformance $(DIR)

bench: $(STAMP) ## Run the benchmarks, each against its control (ARGS="parse journal --json")
	$(BIN)/python -m qtinfra.bench $(ARGS)

prove: $(STAMP) ## Simulate faults, kill, cut power, tamper; figures in OUT (SEEDS, KILLS, CUTS, TAMPER, STORAGE)
	$(BIN)/python -m qtinfra.testing.prove --seeds $(SEEDS) --kills $(KILLS) --cuts $(CUTS) --tamper $(TAMPER) \
		--storage $(STORAGE) --out $(OUT)

compiled: $(COMPILED) ## Create .venv-compiled with the order's way compiled to C (see docs/compiled.md)
	$(COMPILED_BIN)/qtinfra --version

$(COMPILED): requirements-dev.txt requirements-compile.txt pyproject.toml $(wildcard compiled/*) $(SOURCES)
	$(PYTHON) -m venv .venv-compiled
	$(COMPILED_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-dev.txt -r requirements-compile.txt
	QTINFRA_COMPILE=1 $(COMPILED_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --force-reinstall .
	@touch $@

compiled-test: $(COMPILED) $(STAMP) ## Hold the compiled build against the plain one: hashes, conformance, tests (ARGS="...")
	@mkdir -p build
	$(BIN)/python compiled/hashes.py $(DATA) > build/hashes-plain.txt
	$(COMPILED_BIN)/python compiled/hashes.py $(DATA) > build/hashes-compiled.txt
	diff build/hashes-plain.txt build/hashes-compiled.txt
	$(COMPILED_BIN)/python -m qtinfra.testing.conformance $(DIR)
	$(COMPILED_BIN)/pytest -q -n auto --maxprocesses $(MAX_WORKERS) --dist loadgroup tests/unit/core tests/unit/engine \
		tests/unit/risk tests/unit/router tests/unit/positions tests/unit/journal tests/unit/venues tests/unit/runtime \
		tests/unit/test_compiled_build.py tests/simulation $(ARGS)

mutate: $(STAMP) ## Mutation testing of order states, risk checks and journal codec (see docs/reliability.md)
	@test ! -d mutants || $(BIN)/mutmut results | sed -n 's/^ *\(.*\): survived$$/\1/p' | \
		xargs -r $(BIN)/mutmut run --max-children $(MAX_WORKERS)
	$(BIN)/mutmut run --max-children $(MAX_WORKERS)
	$(BIN)/mutmut export-cicd-stats
	@cat mutants/mutmut-cicd-stats.json

lock: ## Resolve the dependencies again and rewrite the hashed requirements files
	$(PYTHON) -m venv .cache/lock
	$(LOCK_BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) pyproject.toml --output-file requirements.txt
	$(LOCK) pyproject.toml --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	$(LOCK) pyproject.toml --extra analytics --group build --constraint requirements-dev.txt \
		--output-file requirements-run.txt
	$(LOCK) --group compile --constraint requirements-dev.txt --output-file requirements-compile.txt

clean: ## Remove everything that the other targets made, .venv included
	rm -rf .venv .venv-compiled .cache .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		build dist htmlcov mutants
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
