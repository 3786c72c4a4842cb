# make demo    the whole job on the embedded micro-world, ending in demo/report.html
# make test    the default test run
# make check   what CI runs: lint, types, tests
PYTHON ?= python3
VENV   ?= .venv
SCALE  ?= micro
BIN    := $(VENV)/bin

.PHONY: help setup demo test lint types check bench reproduce-table1 microworld-weights
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 20

setup: $(VENV)/.installed  ## create the environment, if there is none

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup  ## cache, train twice, evaluate, report (minutes on a laptop)
	$(BIN)/viral demo --out demo

test: setup  ## run the default tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

check: lint types test  ## lint, types and tests: what CI runs

bench: setup  ## stage one, store reads, training overhead and codecs on this machine
	$(BIN)/python bench/stage_one.py
	$(BIN)/python bench/store_rates.py --peers ""
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/codecs.py --out docs

microworld-weights: setup  ## train the micro-world's shipped parts again
	$(BIN)/python -m viral.microworld.pretrain all --out build/microworld

# The benchmarks that exist so far are two of the paper's six columns.
ifeq ($(SCALE),micro)
reproduce-table1: demo  ## baseline vs VIRAL; SCALE=full needs the paper's weights and data
else
reproduce-table1: setup
	$(BIN)/viral cache build --vfm dinov2 --out caches/dinov2
	for recipe in llava15_7b_baseline llava15_7b_viral; do \
	  resume=$$(test -e runs/$$recipe/config.yaml && echo --resume); \
	  $(BIN)/viral train --recipe $$recipe --cache caches/dinov2 --output runs/$$recipe $$resume && \
	  { test -e models/$$recipe || $(BIN)/viral export --run runs/$$recipe --out models/$$recipe; } && \
	  $(BIN)/viral eval --model models/$$recipe --benchmarks cvbench,pope --data playground/benchmarks \
	    --output results/$$recipe || exit $$?; \
	done
endif
