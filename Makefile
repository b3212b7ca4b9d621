# `make live` runs the engine, `make test` proves it; each makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= data
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help live test check audit fuzz format crash ha-demo bench docs clean

help:
	@echo "make live    start the engine on http://127.0.0.1:5000 (embedded PostgreSQL under ./$(DATA_DIR))"
	@echo "make test    the whole suite, in parallel, against real PostgreSQL"
	@echo "make crash   the crash matrix in full: kills, cuts, full disks, silent links, by seed (CRASH_SEED)"
	@echo "make ha-demo a PostgreSQL cluster, two instances and a load: what clients see of a switchover and a kill"
	@echo "make check   format, lint, types, import rules, SQL"
	@echo "make docs    the guides as a site in site/"
	@echo "make audit   known vulnerabilities of the pinned packages (needs a network), and ruff's security rules"
	@echo "make fuzz    a million bodies to the webhook, of every wrong kind: no 5xx, nothing changed, no growth"
	@echo "make bench   all figures, each beside a raw limit of the same run (docs/performance.md)"

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-ha.txt requirements-traces.txt requirements-book.txt requirements-risk.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)-audit/.installed: requirements-audit.txt $(VENV)/pyvenv.cfg
	$(BIN)/python -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-audit.txt
	@touch $@

live: $(VENV)/.installed
	exec $(BIN)/python portfolio_manager.py live --data-dir $(DATA_DIR) $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 4 --dist worksteal --cov --cov-report=term:skip-covered $(ARGS)
	$(BIN)/python -m tests.coverage_floor

crash: $(VENV)/.installed-dev
	CRASH_FULL=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests/crash tests/ha tests/partitions $(ARGS)

ha-demo: $(VENV)/.installed-dev
	$(BIN)/python -m tests.ha.demo

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar migrations core book risk

audit: $(VENV)/.installed-dev $(VENV)-audit/.installed
	$(BIN)/ruff check --select S .
	$(BIN)/python -m tests.audit $(VENV)-audit/bin/pip-audit

fuzz: $(VENV)/.installed-dev
	FUZZ_FULL=1 $(BIN)/python -m pytest -s tests/fuzz $(ARGS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench --json $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-audit site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
