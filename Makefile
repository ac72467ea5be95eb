# Everything starts here: `make help`. Nothing has to be installed but make and
# Python >= 3.11 with its venv module; each target sets up .venv when it needs to.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCKS := requirements/build.txt requirements/dev.txt
PROJECTS := pyproject.toml clients/sdk/pyproject.toml clients/cli/pyproject.toml \
	clients/auditor/pyproject.toml

# What a formatter, a linter and a type checker look at.
SOURCES := liaison clients tests $(wildcard demo migrations bench)

# Nothing younger than this goes into the locks: a poisoned release is mostly found in its first days.
LOCK_BEFORE ?= $(shell date -u -d '7 days ago' +%Y-%m-%d)
UV ?= uv
LOCK = $(UV) --no-config pip compile --quiet --universal --generate-hashes \
	--python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command 'make lock' --exclude-newer $(LOCK_BEFORE)

# It would make each of the many processes compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

TEST_FLAGS ?= -q -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help setup demo serve test check fmt faults vectors fuzz bench lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | awk -F'\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: $(STAMP) ## make .venv from the hash-locked requirements

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The build tools come first, so that nothing is built with others than the locked ones; pip checks
# every file against the locks, and our own packages bring nothing with them.
$(STAMP): $(LOCKS) $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: Python 3.11 or later is needed; try make PYTHON=python3.13" >&2; exit 1; }
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/build.txt
	@$(PIP) --require-hashes --no-build-isolation --use-pep517 -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation -e . -e clients/sdk -e clients/cli \
		-e clients/auditor
	@touch $@

demo: $(STAMP) ## two nations exchange messages; everything it makes is kept in .demo/
	@$(BIN)/python demo/run.py

serve: $(STAMP) ## run a relay for trials on https://127.0.0.1:8443; its files are kept in .relay/
	@test -e .relay/liaison-relay.toml \
		|| $(BIN)/liaison-relay init --data .relay --origin https://127.0.0.1:8443
	@$(BIN)/liaison-relay migrate --data .relay
	@$(BIN)/liaison-relay serve --data .relay --listen 127.0.0.1:8443 --dev-tls

test: $(STAMP) ## run the tests, with short seeded rounds of the long ones
	@$(BIN)/python -m pytest $(TEST_FLAGS)

check: $(STAMP) ## format, lint, types, layers; changes nothing
	@$(BIN)/ruff format --quiet --check $(SOURCES) \
		|| { echo "make check: not formatted; run make fmt" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/codespell
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports --no-cache --no-logo >$(VENV)/layers.txt \
		|| { cat $(VENV)/layers.txt >&2; exit 1; }
	@echo "make check: format, lint, spelling, types and layers are in order"

fmt: $(STAMP) ## format, and mend what the linter can
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet --fix $(SOURCES)

faults: $(STAMP) ## kill, cut the power, fill disks, break wires: nothing may be lost (LIAISON_FAULT_ROUNDS)
	@LIAISON_FAULT_ROUNDS=$${LIAISON_FAULT_ROUNDS:-100} $(BIN)/python -m pytest -m faults tests/faults

vectors: $(STAMP) ## check the published test vectors, which have to be there (LIAISON_VECTORS)
	@$(BIN)/python -m tests.vectors_runner

fuzz: $(STAMP) ## feed every decoder a million changed inputs (LIAISON_FUZZ_INPUTS, LIAISON_FUZZ_SEED)
	@$(BIN)/python -m tests.fuzz.run $${LIAISON_FUZZ_INPUTS:-1000000} $${LIAISON_FUZZ_SEED:-0}

bench: $(STAMP) ## measure MLS, the log, its bundles, the relay and how programs start against their goals
	@$(BIN)/python -m bench.all

lock: ## compile requirements/*.txt anew (needs uv; nothing else here does)
	@cd requirements && $(LOCK) dev.in -o dev.txt
	@cd requirements && $(LOCK) -c dev.txt build.in -o build.txt
	@cd requirements && $(LOCK) -c dev.txt relay.in -o relay.txt
	@cd requirements && $(LOCK) -c dev.txt clients.in -o clients.txt
	@cd requirements && $(LOCK) -c dev.txt auditor.in -o auditor.txt

clean: ## remove what make made, but not the relay of `make serve`
	@rm -rf $(VENV) .venv-313 .demo build dist bench/results .hypothesis .interop_cache .mypy_cache \
		.pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
