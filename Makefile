# make demo    the whole job on the embedded micro-world, ending in demo/report.html
# make test    the default test run
# make check   what CI runs: lint, types, tests
PYTHON ?= python3
VENV   ?= .venv
SCALE  ?= micro
BIN    := $(VENV)/bin

.PHONY: help setup demo test lint types check bench microworld-weights
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 20

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

# table1 .. table6, fig2, fig4, fig5, fig6, fig9 .. fig12; more words, such as --seeds 3, in ARGS.
reproduce-%: setup  ## a table or figure of the paper, as in reproduce-table1; SCALE=full: its own size
	$(BIN)/viral reproduce $* --scale $(SCALE) $(ARGS)
