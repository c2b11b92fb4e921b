# Every target sets itself up: the first one you call makes .venv with the tested versions.
PYTHON ?= python3.11
BIN := .venv/bin
NAME ?= course
DATA ?= phantoms
PROFILE ?= quick
SEED ?= 0

.PHONY: help course test bench trouble lab lint clean
help:
	@echo "make course   run every notebook (DATA=$(DATA) PROFILE=$(PROFILE) SEED=$(SEED)) into runs/$(NAME)"
	@echo "make test     lint, types and all tests"
	@echo "make bench    measure training, loading, precision, waiting and start-up (DATA=$(DATA)); about 35 minutes, run it alone"
	@echo "make trouble  kill, double and fill up runs, and compare what stands there afterwards; about ten minutes"
	@echo "make lab      open the notebooks in JupyterLab"
	@echo "make lint     ruff, notebook hygiene, types and the one direction of imports alone"

# torch and torchvision go in first and as a pair: resolved alone, torch can pick a build torchvision does not fit.
.venv/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or say make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

course: .venv/.ready
	$(BIN)/brainssl course --data $(DATA) --profile $(PROFILE) --seed $(SEED) --out runs/$(NAME)

test: lint
	$(BIN)/python -m pytest

bench: .venv/.ready
	$(BIN)/python benchmarks/throughput.py $(DATA)
	$(BIN)/python benchmarks/loading.py $(DATA)
	$(BIN)/python benchmarks/precision.py $(DATA)
	$(BIN)/python benchmarks/waiting.py
	test ! -e runs/$(NAME)/run.json || $(BIN)/python benchmarks/notebook_times.py runs/$(NAME)

trouble: .venv/.ready
	$(BIN)/python benchmarks/interruptions.py

# Notebooks load torch first, too late for the package to say how its threads wait (brainssl_utils/compute/environment.py).
lab: .venv/.ready
	test "$$BRAINSSL_WAIT" = active || export OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}"; $(BIN)/jupyter lab notebooks

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
