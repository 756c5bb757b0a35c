# demo and test need nothing but Python >= 3.11 and a package index; each installs what it needs into .venv.
#   PYTHON    the interpreter the environment is made with   make test PYTHON=python3.12
#   PIP_ARGS  further arguments for pip                      make demo PIP_ARGS="--extra-index-url URL"
#   WORKERS   processes that run the tests                   make test WORKERS=8

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint docs clean

VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
WORKERS ?= 2

# The first interpreter that runs, is new enough and can make an environment. A name on the PATH
# proves none of these: a version manager's shim may stand for a version that is not installed.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && echo $$p && break; done)

# The workers already use the cores; a pool of threads in each would only get in the way.
TESTS := OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n $(WORKERS)

help:
	@echo "make demo       train two networks on handwritten digits, connect them, draw the path"
	@echo "make test       linters, type checker, tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make lint       linters and type checker only"
	@echo "make docs       the documentation site, into site/; warnings are errors"
	@echo "make clean      remove the environment, caches and build products"

demo: $(VENV)/.installed
	$(BIN)/thalweg demo --out demo

test: lint
	$(TESTS)

test-slow: $(VENV)/.installed-dev
	$(TESTS) -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The tutorials run while it is built.
docs: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist demo site .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "thalweg needs Python >= 3.11 with its venv module, and found none on the PATH." >&2; \
	  echo "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c '$(SUITABLE)' || { \
	  echo "$(PYTHON) is not a Python >= 3.11 with its venv module; name another with PYTHON=..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make a change of the dependencies reinstall, and nothing else.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed
