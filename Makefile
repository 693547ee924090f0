# The front door. `make demo` and `make test` need only Python 3.11+ and make; everything else they install into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help install demo test test-fast lint bench lock clean

# Two processes take a file of tests each. The order of the files is kept (the longest first, see tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Compiled once: where Python is told to write no bytecode, each command would compile all of Bascule again.
install: $(STAMP) ## Make .venv with all that the demo and the tests need
	@$(BIN)/python -m compileall -q src

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Bascule needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

demo: install ## A year of flights, end to end, in about three minutes (ARGS=--exit ends by itself)
	@$(BIN)/python examples/flights/demo.py $(ARGS)

test: install lint ## Everything: lint, types, layers and all tests
	@$(PYTEST) $(ARGS)

test-fast: install ## The everyday tests, under two minutes
	@$(PYTEST) -m 'not slow' $(ARGS)

lint: install ## Style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: install ## Every benchmark, with ratios
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: ## Resolve all dependencies anew into requirements.lock
	@$(BIN)/uv lock --quiet
	@$(BIN)/uv export --quiet --all-extras --all-groups --no-emit-project --no-header --output-file requirements.lock > /dev/null
	@rm uv.lock

clean: ## Remove what was made here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
