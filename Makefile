# Each target sets up what it needs; `make install` is implied by the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VOICES := $(VENV)/.voices

# Model files and real clips, where this checkout has them beside it; tests that need them skip otherwise and say so.
ifneq ($(wildcard ../shared/models),)
export REALTALK_MODELS ?= $(realpath ../shared/models)
endif
ifneq ($(wildcard ../shared/data),)
export REALTALK_DATA ?= $(realpath ../shared/data)
endif

.PHONY: install demo demo-train priors test test-fast lint bench docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "RealTalk needs Python 3.11 or newer; try: make install PYTHON=python3.12")'
	@echo "Setting up $(VENV); downloading takes a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@
	@echo "Installed. Try: $(BIN)/realtalk doctor"

# The shipped avatar speaks: out/demo.mp4 and out/demo.png within a minute.
demo: install
	@$(BIN)/realtalk demo -o out

# A new person, from nothing to a talking avatar, in a quarter of an hour: make demo-train SEED=3
SEED ?= 7
demo-train: install
	@$(BIN)/python recipes/demo_avatar.py train --seed $(SEED) --work out/actor-$(SEED)

# The weights that `realtalk train` starts from, made anew (half an hour on one core; needs eSpeak NG, which is GPL).
priors: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[espeak]"
	OMP_NUM_THREADS=1 $(BIN)/python recipes/priors.py

# What the tests of optional voices and audio encoders need; one of them is GPL, so that only testing brings it.
$(VOICES): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group voices
	@touch $@

test: install $(VOICES)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-fast: install $(VOICES)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/splatting.py

docs: install
	$(BIN)/realtalk schema > docs/registry.schema.json

clean:
	rm -rf $(VENV) dist out .pytest_cache .mypy_cache .ruff_cache
