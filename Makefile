# make demo   install into .venv and run the main job on a real data set that comes along
# make test   install if needed; lint, types, import contract, tests
# make test-all   the same with the slow tests (every group of the largest networks, a Ray cluster)
# make chaos   inject faults into trainings on all engines, and read 10,000 damaged files (CHAOS_SEED=N)
# make docs   build the documentation site into build/site
# make pictures   make the pictures of the documentation again (needs a Chromium)
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
READY := .venv/.ready
# One thread each: two workers on two cores, and sums in the same order everywhere.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 25 --durations-min 3

.PHONY: setup demo test test-all chaos lint docs pictures clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: Python 3.11 or newer is needed; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: setup
	$(BIN)/workbench adapt --source digits --target digits-3v8 --seeds 3 \
	  --source-epochs 6 --epochs 10 --schedule one-cycle --batch-size 64 --stages int8
	$(BIN)/workbench shrink --source digits --target digits-3v8 --seeds 2 \
	  --source-epochs 6 --epochs 8 --schedule one-cycle --batch-size 32
	@echo "demo: done"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint
	$(PYTEST)
	@echo "test: lint, types, import contract and tests passed"

test-all: lint
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(PYTEST) -m ""
	@echo "test-all: everything passed"

chaos: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	OMP_NUM_THREADS=1 FUZZ_MUTANTS=10000 $(BIN)/python -m pytest -m "" tests/chaos tests/fuzz
	@echo "chaos: done"

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "docs: open build/site/index.html"

pictures: setup
	$(BIN)/python docs/make_pictures.py

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
