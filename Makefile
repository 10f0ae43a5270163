# Everything a machine with Python 3.11 and make needs to run: `make demo`, `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format weights

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Made once; made again only when a dependency changes.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: .venv/.installed ## create .venv with the pinned packages

demo: setup ## render, shard, score and report the embedded dataset; prints the page's path
	$(BIN)/lightning-vista demo --out demo

test: setup ## the quick tests (about 5 minutes on 2 cores)
	$(BIN)/pytest

test-slow: setup ## the tests that take minutes: studies, faults, the browser
	$(BIN)/pytest -m slow

check: setup ## format, lint, types, doctests, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --doctest-modules -m '' lightning_vista tests/test_architecture.py

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
	$(BIN)/python tests/lightning_vista/scorers/test_shipped.py
