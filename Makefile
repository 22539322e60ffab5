# Every target works on a fresh checkout. PYTHON=python3.12 chooses the interpreter and gets a virtual environment of its own.

CHOSEN := $(origin PYTHON)
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
VENV ?= $(if $(filter undefined,$(CHOSEN)),.venv-dev,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Tests that run at the same time. Many wait for processes and clocks: more than one to a core makes them slow, not quick.
JOBS ?= 2

SHARED ?= $(or $(HOLDFAST_SHARED),../shared)

.PHONY: help demo test check bench fit fault fuzz soak all clean python

help:
	@echo 'make demo    set up, then sync the sample vault and ask it three questions'
	@echo 'make test    all tests'
	@echo 'make check   lint, format, types, layers'
	@echo 'make fault   fault and property tests, with many more examples'
	@echo 'make fuzz    fuzz each parser for a while (FUZZ_S=60 seconds each)'
	@echo 'make soak    an hour of everything at once, and the growth report in its size (SOAK_MIN=60 minutes)'
	@echo 'make bench   measure what docs/promises.md states'
	@echo 'make fit     fit the second look anew, cross-validated first (FIT=--cv writes nothing)'
	@echo 'make all     test, check, fault, bench'
	@echo 'make clean   remove what these made'

demo: $(VENV)/.ready
	@sh tools/demo.sh '$(BIN)'

test: $(VENV)/.ready-test
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(VENV)/.ready-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

bench: $(VENV)/.ready-fit
	@$(BIN)/python -m tests.bench

# Figures first, then src/holdfast/engine/weights. The vault is made of the development half of LoCoMo.
FIT ?= --cv --write

fit: $(VENV)/.ready-fit
	@set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	$(BIN)/python -B '$(SHARED)/bench/locomo.py' '$(SHARED)/bench/locomo-dev.json' "$$made"; \
	$(BIN)/python tools/fit.py --vault "$$made/vault" --golden "$$made/golden-turn.jsonl" $(FIT)

fault: $(VENV)/.ready-test
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/fault tests/property

# Guided by coverage where atheris has a wheel for this Python (3.12 has: make fuzz PYTHON=python3.12).
FUZZ_S ?= 60

fuzz: $(VENV)/.ready-test
	@$(PIP) --only-binary=:all: atheris 2>/dev/null || true
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S)

SOAK_MIN ?= 60

soak: $(VENV)/.ready-test
	@$(BIN)/python -m tests.soak --minutes $(SOAK_MIN)

all: test check fault bench

clean:
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter that the virtual environment is made with.
python:
	@echo '$(PYTHON)'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Holdfast needs Python 3.11 or newer. Name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Making $(VENV) with $(PYTHON) ...'
	@$(PYTHON) -m venv '$(VENV)'

$(VENV)/.ready: pyproject.toml | $(BIN)/python
	@echo 'Installing Holdfast into $(VENV) ...'
	@$(PIP) -e .
	@touch $@

$(VENV)/.ready-test: pyproject.toml | $(BIN)/python
	@echo 'Installing Holdfast and its test tools into $(VENV) ...'
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-fit: pyproject.toml | $(BIN)/python
	@echo 'Installing Holdfast with its tools for tests and fitting into $(VENV) ...'
	@$(PIP) -e '.[test,fit]'
	@touch $@ $(VENV)/.ready-test $(VENV)/.ready
