# `make demo` is the place to start. A machine needs Python 3.11 or later, make and a C compiler; nothing else.

PYTHON ?= $(firstword $(shell command -v python3.13 python3.12 python3.11 python3))
BIN := .venv/bin

.PHONY: demo run test check bench .venv

demo: .venv
	$(BIN)/candlewick demo $(ARGS)

run: .venv
	$(BIN)/candlewick run $(ARGS)

test: .venv
	$(BIN)/pytest -m "not slow" $(ARGS)

check: .venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

bench: .venv
	$(BIN)/python -m benchmarks $(ARGS)

.venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
