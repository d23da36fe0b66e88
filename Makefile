# Everything a person does with Fathom from a checkout. `make help` lists it.
# On Linux without a GPU the smaller CPU build of PyTorch comes from its own index:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
RUN ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench readme format

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/ready  ## create .venv with tested versions of everything

# PyTorch comes first and pinned: a later release would pull gigabytes of CUDA onto a machine without a GPU.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Fathom needs Python 3.11 or newer; say  make PYTHON=/path/to/python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## the whole story on a built-in world: train, judge, show (about ten minutes on two cores)
	$(BIN)/fathom run recipes/demo.yaml --out $(RUN) --processes 0

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two processes of one thread each: threads that wait for each other on busy cores cost more than they bring.
test: setup  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# benchmarks/peers.py installs other packages into environments of their own and takes hours: it is run by itself.
bench: setup  ## the benchmarks, each beside a peer or a physical limit
	for file in $(filter-out benchmarks/peers.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

readme: setup  ## write the README's tables anew from the committed results
	$(BIN)/python scripts/readme.py

format: setup  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
