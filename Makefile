# Everything a machine with Python 3.11 to 3.14 and make needs to run: `make demo`, `make test`.

# Interpreters to try, the newest first. `make setup PYTHON=python3.12` names one.
PYTHON ?= python3.14 python3.13 python3.12 python3.11 python3
# Each is run before it is chosen: a version manager's shim can exist and still fail.
WORKS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
# Where the packages go; .ci/run uses a second place for a second Python.
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo figures test test-slow test-portable faults gpu check format weights docs

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

$(BIN)/python:
	@for python in $(PYTHON); do \
		if "$$python" -c "$(WORKS)" 2>/dev/null; then exec "$$python" -m venv --clear $(VENV); fi; \
	done; \
	echo "make: expected Python 3.11 to 3.14 with its venv module, but none of these runs: $(PYTHON)." \
		"Install one, or name it: make setup PYTHON=/path/to/python" >&2; exit 1

# Made once; made again only when a dependency or the interpreter changes. Byte code is written here, once: where
# PYTHONDONTWRITEBYTECODE is set, every process would compile torch and polars anew.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt \
		--editable '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## create .venv with the pinned packages

demo: setup ## render, shard, score and report the embedded dataset; prints the page's path
	$(BIN)/lightning-vista demo --out demo

figures: setup ## draw the figures of docs/results and README from the committed CSV files
	$(BIN)/python docs/figures/draw_results.py
	$(BIN)/python docs/figures/draw_readme.py

# A worker per core, each with one thread. No more than 8: each imports torch, and takes about a gigabyte. Whole files
# go to a worker, so that what their fixtures make is made once: 8 % less work than with single tests.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile

test: setup ## the quick tests, a worker per core (about 10 minutes on 2 cores)
	$(BIN)/pytest $(PARALLEL)

test-slow: setup ## the tests that take minutes: studies, faults, the browser
	$(BIN)/pytest -m slow $(PARALLEL)

test-portable: setup ## about 130 quick tests of all rooms, for another Python: make test-portable VENV=/tmp/venv
	$(BIN)/pytest -m 'portable and not slow' $(PARALLEL)

# The log keeps what is done, so that the same command resumes. ARGS="--kinds mutations --seed 1" does another part.
faults: setup ## the whole campaign of faults (hours), and its table: see docs/reliability.md
	$(BIN)/python tests/faults $(ARGS)

gpu: setup ## everything that needs a GPU, at most 20 minutes: writes docs/results/gpu.md
	$(BIN)/python benchmarks/gpu.py $(ARGS)

check: setup ## format, lint, types, doctests, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --doctest-modules -m '' lightning_vista tests/test_architecture.py

docs: setup ## build the docs site into build/site; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

format: setup ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Another SEED trains other weights from the same data.
weights: SEED ?= 0
weights: setup ## train the shipped judges anew, see docs/model_card.md
	$(BIN)/lightning-vista fit --config configs/vista/frames.yaml --seed_everything $(SEED)
	cp runs/frames/encoder.safetensors lightning_vista/scorers/weights/frames.safetensors
	for head in mean temporal slot; do \
		$(BIN)/lightning-vista fit --config configs/vista/dual_encoder.yaml --seed_everything $(SEED) \
			--model.head $$head --model.out lightning_vista/scorers/weights/$$head.safetensors || exit 1; \
	done
	$(BIN)/lightning-vista fit --config configs/vista/regions/base.yaml --config configs/vista/regions/order.yaml \
		--seed_everything $(SEED) --data.draw_seed $(SEED) \
		--model.out lightning_vista/scorers/weights/temporal-order.safetensors
	$(BIN)/python tests/lightning_vista/scorers/test_shipped.py
