# `make demo` is the place to start. A machine needs Python 3.11 or later, make and a C compiler; nothing else.

# The first that runs and is new enough: a name may be there without an interpreter behind it.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin

.PHONY: demo run test nightly check check-deploy bench .venv

demo: .venv
	$(BIN)/candlewick demo $(ARGS)

run: .venv
	$(BIN)/candlewick run $(ARGS)

test: .venv
	$(BIN)/pytest -m "not slow" --numprocesses auto --maxprocesses 4 $(ARGS)

nightly: .venv
	$(BIN)/pytest -m slow $(ARGS)

check: .venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	deploy/check.sh

check-deploy: .venv
	deploy/check.sh

bench: .venv
	$(BIN)/python -m benchmarks $(ARGS)

.venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt hatch_build.py candlewick/stores/blocks/kernel.c candlewick/exchanges/binance/archive_kernel.c candlewick/certificates/leaf_kernel.c candlewick/stores/postgres/copy_kernel.c candlewick/stores/postgres/copied_kernel.c
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m candlewick.stores.blocks.kernel
	touch $@
