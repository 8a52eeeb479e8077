# Every target sets up what it needs in .venv; the second time it is there already.
PYTHON ?= python3
TORCH ?= 2.13.0
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint docs bench clean

demo: $(READY)
	$(BIN)/python examples/demo.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean

bench: $(READY)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The CPU build of PyTorch has an index of its own; where that cannot be reached, whatever build
# the configured index has will do.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ulmfit needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --timeout 15 --retries 0 "torch==$(TORCH)" \
		--index-url https://download.pytorch.org/whl/cpu \
		|| $(BIN)/pip install --quiet "torch==$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@
