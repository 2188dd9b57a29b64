# `make train` and `make test` do everything from a bare machine with Python 3.11 to 3.13; a second call reuses .venv.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?= model=dsa
BIN     = $(VENV)/bin
EXTRAS  = dev,dlc,sleap,video,tracks,streaming,s3,export,serve,explore,joblib,sweep,slurm,docs,bench
# One thread per process, and none that spins: two processes share two cores.
PYTEST  = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal
# pip compiles no library, because most modules are never imported; each is compiled where it is imported first, and kept.
export PYTHONDONTWRITEBYTECODE =

.PHONY: train test check test-fast lint types format docs notebook wheel hashes clean

train: $(VENV)/installed
	$(BIN)/python scripts/train.py $(ARGS)

# Format, lint, types, documentation and every test: what CI runs.
test check: $(VENV)/installed lint types docs
	$(PYTEST)

# The tests of functions, layers, metrics, labels and the architecture: less than a minute in all.
test-fast: $(VENV)/installed
	$(PYTEST) -m "not slow" tests/functional tests/layers tests/metrics tests/labels tests/test_architecture.py

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# site/, without a network; a broken link is an error
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Run the notebook of the documentation and keep its outputs.
notebook: $(VENV)/installed
	$(BIN)/python examples/run_notebook.py

# dist/softpoint-VERSION-py3-none-any.whl
wheel: $(VENV)/installed
	$(BIN)/hatchling build -t wheel

# constraints-hashes.txt: the versions of constraints.txt with the hashes of all their files, for pip's --require-hashes
hashes: $(VENV)/installed
	$(PYTHON) -m venv --clear $(VENV)-hashes
	$(VENV)-hashes/bin/python -m pip install --quiet uv
	$(VENV)-hashes/bin/uv pip compile constraints.txt --quiet --generate-hashes --no-deps --no-annotate --no-header \
	  --python $(BIN)/python --output-file constraints-hashes.txt
	rm -rf $(VENV)-hashes

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "softpoint needs Python 3.11 or newer, but $(PYTHON) is older or missing; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$(EXTRAS)]' --constraint constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) dist site .pytest_cache .ruff_cache .mypy_cache
