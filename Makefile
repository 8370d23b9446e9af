# bitwright: `make demo` shows the whole way, `make test` runs the tests; both set up .venv by themselves.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help env demo train-demo test lint prove bench mutants clean

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(READY) ## set up .venv with everything

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

demo: $(READY) ## a trained network to verified Verilog, on real digits
	$(BIN)/python -m examples.tfc.demo

train-demo: $(READY) ## train the demo's network again
	$(BIN)/python -m examples.tfc.train

test: $(READY) ## all tests (pure Python, then co-verification)
	$(BIN)/python -m pytest -n 2 --dist worksteal

prove: $(READY) ## proofs of the generated hardware, by solvers; `make prove ARGS="--only fifo --jobs 2"`
	$(BIN)/python -m sim_tests.proofs $(ARGS)

lint: $(READY) ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: $(READY) ## every benchmark; `make bench-NAME` runs one
	@status=0; for one in $(notdir $(patsubst %/,%,$(dir $(wildcard benchmarks/*/__main__.py)))); do \
	    $(BIN)/python -m benchmarks.$$one || status=1; done; exit $$status

bench-%: $(READY)
	$(BIN)/python -m benchmarks.$*

mutants: $(READY) ## how strong the benches are: mutants of every block
	$(BIN)/python -m sim_tests.mutants

clean: ## remove the environment and what was generated
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
