# `make run` and `make test` need Python 3.11+ and make, nothing else. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
TESTS ?= tests
# Three processes, each with stores of its own, as many tests wait for others to die; one where a store is given: tests empty it.
PARALLEL ?= $(if $(FNTX_REDIS_URL)$(FNTX_DATABASE_URL),,-n 3 --dist loadfile --no-loadscope-reorder)
# What unpickles, parses XML or speaks in plain text to strangers is not even imported in what is shipped.
IMPORTS := S401,S402,S403,S405,S406,S407,S408,S409,S411,S412,S413,S415
SHIPPED := fntx_sessions tasks beat_schedule.py flowerconfig.py

.DEFAULT_GOAL := help
.PHONY: help run up down test fuzz check audit format bench pictures lock clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

run: $(READY)  ## Run a trading day through the real system, on a stack of its own
	$(BIN)/fntx demo

up: $(READY)  ## Bring up a stack to explore; Ctrl-C ends it
	$(BIN)/fntx up

down: $(READY)  ## End that stack
	$(BIN)/fntx down

test: $(READY)  ## Run the tests on real servers; TESTS=tests/unit for a part
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)

fuzz: $(READY)  ## Throw garbage at every decoder, FUZZ_EXAMPLES=2000 inputs each
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-2000} $(BIN)/python -m pytest $(PARALLEL) tests/fuzz

check: $(READY)  ## Format, lint, types, imports, models against migrations, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m fntx_sessions.stack.schema_check
	$(BIN)/python -m fntx_sessions.lifecycle.states_doc --check
	$(BIN)/python -m fntx_sessions.lifecycle.events_doc --check
	$(BIN)/python -m fntx_sessions.security.roles_doc --check
	$(BIN)/python -m fntx_sessions.settings_doc --check
	$(BIN)/python -m fntx_sessions.stack.redis_acl --check
	$(BIN)/ruff check --isolated --preview --select $(IMPORTS) $(SHIPPED)
	$(BIN)/python -m tools.advisories --unless-away

audit: $(READY)  ## Ask for advisories about all that is locked; fails where nobody can be asked
	$(BIN)/python -m tools.advisories

format: $(READY)  ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_READY)  ## Measure against peers and the physical limit
	$(BIN)/python -m benchmarks

pictures: $(READY)  ## Take the pictures of docs/images anew; needs chromium
	$(BIN)/python -m pytest -p no:randomly tests/browser/pictures.py

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra otel --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --upgrade -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra bench -c requirements.lock --universal --generate-hashes \
	  --python-version 3.11 --no-emit-index-url -q -o requirements-bench.lock

clean:  ## Remove the environment and everything generated; data folders stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Done again when what is installed changes. `venv` keeps an environment that is there; a broken one is made anew.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python's venv is missing: install it (Debian: python3-venv)"; exit 1; }
	$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(BENCH_READY): $(READY) requirements-bench.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@
