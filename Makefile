# SPDX-License-Identifier: Apache-2.0
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
HOST ?=
PORT ?=
DATA ?=
STARTERS ?= yes
PYTEST_ARGS ?=
BIN := $(VENV)/bin

# A new list of pins, or a new pyproject, installs again; nothing else does.
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

.PHONY: help serve aseprite test static quick check format benchmarks clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'
	@echo
	@echo 'settings: HOST=127.0.0.1 PORT=8190 DATA=/some/folder PYTHON=python3.12 STARTERS=no'

$(STAMP): pyproject.toml constraints.txt
	@echo 'Installing into $(VENV): a few minutes and about 7 GB the first time (PyTorch is most of it).'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Inglenook needs Python 3.11 or newer; this is' "$$($(PYTHON) --version)". 'hint: make PYTHON=python3.12 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(INSTALL) -e '.[all]' -c constraints.txt \
	  || { echo 'uv could not install it; trying pip, which honours pip.conf.' >&2; $(BIN)/python -m pip install --quiet -e '.[all]' -c constraints.txt; }
	@touch $@

$(DEV_STAMP): $(STAMP)
	@$(INSTALL) --group dev -c constraints.txt \
	  || { $(BIN)/python -m pip install --quiet --upgrade pip && $(BIN)/python -m pip install --quiet --group dev -c constraints.txt; }
	@touch $@

serve: $(STAMP) ## start the server with small models for everything, and print its address
	@exec $(BIN)/inglenook serve $(if $(filter no,$(STARTERS)),,--with-starters) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(DATA),--data $(DATA))

aseprite: ## pack the extension for Aseprite into dist/
	@$(PYTHON) clients/aseprite/pack.py dist/inglenook.aseprite-extension

# Files in their own order: the longest tests, those of the whole server, come first, so that no process waits at the end.
test: $(DEV_STAMP) ## all that CI runs: checks, the everyday tests, the slow tests
	@$(MAKE) --no-print-directory static
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q $(PYTEST_ARGS)

static: $(DEV_STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/inglenook config generate --check

quick: $(DEV_STAMP) ## the everyday tests alone (under five minutes)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q -m 'not slow' $(PYTEST_ARGS)

check: static quick ## format, lint, types, import law, generated files, quick tests

format: $(DEV_STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

benchmarks: $(DEV_STAMP) ## measure what docs/benchmarks.md claims, and write it there
	@$(BIN)/python -m benchmarks

clean: ## remove the environment and caches; data folders stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
