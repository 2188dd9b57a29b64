# `make train` and `make test` do everything from a bare machine with Python 3.11+; a second call reuses .venv.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?= model=dsa
BIN     = $(VENV)/bin

.PHONY: train test check format lint types clean

train: $(VENV)/installed
	$(BIN)/python scripts/train.py $(ARGS)

# One thread a process, and none that spins: two processes share two cores.
test: export OMP_NUM_THREADS = 1
test: export OMP_WAIT_POLICY = PASSIVE
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/installed lint types test

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "softpoint needs Python 3.11 or newer, but $(PYTHON) is older or missing; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,dlc,sleap,video,streaming,export,serve,joblib]' --constraint constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
