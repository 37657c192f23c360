# make demo   install into .venv and run the main job on a real data set that comes along
# make test   install if needed; lint, types, import contract, tests
# make test-all   the same with the slow tests (every group of the largest networks)
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-all lint clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: Python 3.11 or newer is needed; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: setup
	$(BIN)/workbench adapt --source digits --target digits-3v8 --seeds 3 \
	  --source-epochs 6 --epochs 10 --schedule one-cycle --batch-size 64
	@echo "demo: done"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint
	$(BIN)/python -m pytest
	@echo "test: lint, types, import contract and tests passed"

test-all: lint
	$(BIN)/python -m pytest -m ""
	@echo "test-all: everything passed"

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
