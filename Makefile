# Every target sets itself up: the first one you call makes .venv with the tested versions.
PYTHON ?= python3.11
BIN := .venv/bin
NAME ?= course
DATA ?= phantoms
PROFILE ?= quick
SEED ?= 0
# cpu: PyTorch without NVIDIA's libraries, for Linux machines without a GPU; counts when .venv is made.
TORCH ?=

.PHONY: help course test bench trouble lab shell site browse lint clean
help:
	@echo "make course   run every notebook (DATA=$(DATA) PROFILE=$(PROFILE) SEED=$(SEED)) into runs/$(NAME)"
	@echo "make test     lint, types and all tests"
	@echo "make bench    measure training, loading, precision, waiting and start-up (DATA=$(DATA)); about 35 minutes, run it alone"
	@echo "make trouble  kill, double and fill up runs, and compare what stands there afterwards; about ten minutes"
	@echo "make lab      open the course in JupyterLab"
	@echo "make shell    a shell in which brainssl is at hand; exit leaves it"
	@echo "make site     the course as a site in build/site/html, from the lessons as runs/$(NAME) executed them"
	@echo "make browse   look at that site and at JupyterLab with a browser (Chromium), as tests"
	@echo "make lint     ruff, notebook hygiene, types and the one direction of imports alone"
	@echo "On Linux without a GPU: make lab TORCH=cpu takes a third of the disk"

.venv/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or say make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m brainssl_utils.setup $(if $(TORCH),--torch $(TORCH))
	touch $@

.venv/.docs .venv/.browser: .venv/.%: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

course: .venv/.ready
	$(BIN)/brainssl course --data $(DATA) --profile $(PROFILE) --seed $(SEED) --out runs/$(NAME)

# As many tests at a time as there are cores, each on one thread: most of their time is Python's. Tests of a file share
# what it trained, so they stay in one process; conftest.py puts the longest files first.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

bench: .venv/.ready
	$(BIN)/python benchmarks/throughput.py $(DATA)
	$(BIN)/python benchmarks/loading.py $(DATA)
	$(BIN)/python benchmarks/precision.py $(DATA)
	$(BIN)/python benchmarks/waiting.py
	test ! -e runs/$(NAME)/run.json || $(BIN)/python benchmarks/notebook_times.py runs/$(NAME)

trouble: .venv/.ready
	$(BIN)/python benchmarks/interruptions.py

# Notebooks load torch first, too late for the package to say how its threads wait (brainssl_utils/compute/environment.py).
# Jupyter refuses to run as root unless told; in a container root is often the only user.
lab: .venv/.ready
	test "$$BRAINSSL_WAIT" = active || export OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}"; \
	if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; $(BIN)/jupyter lab $$root

shell: .venv/.ready
	@echo "brainssl is at hand in this shell; exit leaves it."
	@VIRTUAL_ENV="$(CURDIR)/.venv" PATH="$(CURDIR)/.venv/bin:$$PATH" $${SHELL:-sh}

site: .venv/.docs course
	$(BIN)/python docs/make_site.py --run runs/$(NAME) --out build/site

browse: .venv/.docs .venv/.browser
	$(BIN)/python -m pytest tests/docs

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
