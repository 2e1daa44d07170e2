# `make run` and `make test` are all a newcomer needs; both set up what they use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test setup ui lint lock clean

run: setup
	@$(BIN)/fleetopt demo

test: setup
	@$(BIN)/python -m pytest -q

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fleetopt needs Python >= 3.11; name one with: make PYTHON=python3.12 setup" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing pinned dependencies into .venv (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

ui: setup
	@$(BIN)/fleetopt ui

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Resolve again; needs uv (https://docs.astral.sh/uv/). The lock carries hashes and no index address.
lock:
	uv pip compile pyproject.toml --group dev --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet -o requirements.lock

clean:
	rm -rf data/landing data/raw data/tables data/published data/reports data/gx data/dagster
