# `make` on its own says what there is. `make demo` and `make test` need nothing but Python 3.11 and its venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamp carries what the environment was made from: the same again installs nothing, anything else does.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
PROTOS := $(shell find protos -name '*.proto' | sort)
PROTOC = $(BIN)/python -m grpc_tools.protoc -I protos --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) $(PROTOS)
ARGS ?=
TESTS ?= tests
# In two processes: one after another they keep less than one core busy. A file's tests stay together, in their order;
# tests/conftest.py has the order of the files.
PYTEST := $(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test lint types protos bench compose-check clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make .venv with everything in it (PYTHON=python3.12 picks another Python)
	@:

$(STAMP): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' > /dev/null \
		|| { echo 'make: no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=…' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: Isochrone needs Python 3.11 or newer; $(PYTHON) is $$('$(PYTHON)' --version 2>&1)." \
			'Name another: make PYTHON=python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2> /dev/null \
		|| { echo 'make: this Python lacks its venv module: sudo apt-get install python3-venv' >&2; exit 1; }
	@$(BIN)/python -c '' 2> /dev/null || { rm -rf $(VENV); '$(PYTHON)' -m venv $(VENV); }
	@echo 'Installing into $(VENV): a minute or two the first time'
	@$(BIN)/python -m pip install $$([ -t 1 ] && [ -z "$(CI)" ] || echo --quiet) --disable-pip-version-check \
		-e '.[dev]' -c constraints.txt
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: $(STAMP) ## See it: build the model, start a mesh, rank, load it, read the budgets
	@$(BIN)/isochrone demo $(ARGS)

test: $(STAMP) ## Run every test (ARGS='-k lane', or TESTS=tests/cli, for some)
	@$(PYTEST) $(ARGS) $(TESTS)

lint: $(STAMP) ## Check style, and that the generated stubs are those of protos/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@stubs=$$(mktemp -d); trap 'rm -rf "$$stubs"' EXIT; $(call PROTOC,"$$stubs"); cd "$$stubs"; \
		for stub in $$(find . -type f); do \
			cmp -s "$$stub" "$(CURDIR)/src/$$stub" || { echo "src/$${stub#./} is not of protos/: make protos" >&2; exit 1; }; \
		done

types: $(STAMP) ## Check the types
	@$(BIN)/mypy
	@$(BIN)/mypy bench deploy examples/python

protos: $(STAMP) ## Generate the stubs in src/ from protos/
	@$(call PROTOC,src)

bench: $(STAMP) ## Measure it against its floors: a table, JSON and a plot in bench/results
	@$(BIN)/python -m bench $(ARGS)

compose-check: $(STAMP) ## Build the images and run deploy/compose.yaml, without an engine or a registry (root, Debian)
	@$(BIN)/python -m deploy.check $(ARGS)

clean: ## Remove built models, results and caches
	@rm -rf .isochrone build dist bench/results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## And the environment
	@rm -rf $(VENV)
