# `make run` and `make test` need make and a Python of 3.11 to 3.14; everything else they install
# into .venv/. All paths are relative, so that the checkout may lie below a folder with spaces.

PORT ?= 8000
SANDBOX_PORT ?= 9009
ARGS ?=
PYTHONS = python3 python3.14 python3.13 python3.12 python3.11
PY = .venv/bin/python
PIP = $(PY) -m pip --disable-pip-version-check --quiet --quiet --cache-dir var/pip install

.PHONY: help run worker reset-demo test check lint format bench fuzz chaos-kill e2e \
  screenshots translations chaos soak
.DEFAULT_GOAL := help

help:
	@echo "make run           install, then start everything: http://localhost:$(PORT) (PORT=8000)"
	@echo "make test          the test suite on every engine at hand (ARGS='leads -k import')"
	@echo "make check         format, lint, types, stairs, templates, migrations, texts, then test"
	@echo "make format lint   mend the format; look for mistakes"
	@echo "make bench         figures, three runs each, into README (ONLY=dispatch N=20000: once)"
	@echo "make worker        the workers alone, beside a web server of your own"
	@echo "make reset-demo    forget the demo's data; the next 'make run' begins anew"
	@echo "make fuzz          the API against its own document, at length (N=200)"
	@echo "make chaos-kill    the long kill test (minutes)"
	@echo "make chaos         break all of it while it works, and count (N=30 SEED=1 HOSTS=1)"
	@echo "make soak          half an hour of ordinary work, and what has grown (MINUTES=30)"
	@echo "make e2e           people at a browser over a demo, with axe (ARGS='--looks quick')"
	@echo "make screenshots translations   renew docs/screenshots/ and the language files"

# --- The environment --------------------------------------------------------------------------
# A .venv whose Python is gone (an upgrade, another machine) is made again.
ifneq ($(shell $(PY) -c "import sys; print(sys.version_info >= (3, 11))" 2>/dev/null),True)
.PHONY: .venv/runtime.stamp
endif

.venv/runtime.stamp: requirements.txt
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "AgenticOS needs Python 3.11 to 3.14, and none is installed (python3 is: $$(python3 --version 2>&1))." >&2; \
	  exit 1; \
	fi; \
	echo "Installing with $$($$found --version) into .venv/ (a minute, once) ..."; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  rm -rf .venv && "$$found" -m venv .venv || exit 1; \
	fi
	@$(PIP) -r requirements.txt
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements-dev.txt
	@echo "Installing what tests and checks need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

# --- Running ----------------------------------------------------------------------------------
run: .venv/runtime.stamp
	@$(PY) -m agenticos.bootstrap --sandbox-port $(SANDBOX_PORT)
	@exec $(PY) manage.py up --port $(PORT)

worker: .venv/runtime.stamp
	@exec $(PY) manage.py runworkers $(ARGS)

reset-demo: .venv/runtime.stamp
	@$(PY) manage.py reset_demo $(if $(FORCE),--force)

# --- Looking after the code -------------------------------------------------------------------
test: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.run_engines $(ARGS)

format: .venv/dev.stamp
	@$(PY) -m ruff check --quiet --select I --fix .
	@$(PY) -m ruff format --quiet .

lint: .venv/dev.stamp
	@$(PY) -m ruff check .

check: .venv/dev.stamp
	@$(PY) -m agenticos.tests.checks
	@exec $(PY) -m agenticos.tests.run_engines $(ARGS)

# All of them: three runs each, whose medians go into README's table. One: once, unless TIMES=3.
bench: .venv/dev.stamp $(if $(PEERS),var/peers/stamp)
	@exec $(PY) -m agenticos.bench $(or $(ONLY),$(if $(PEERS),peers)) $(if $(N),-n $(N)) \
	  --times $(or $(TIMES),$(if $(ONLY)$(PEERS),1,3)) $(ARGS)

# Celery and FastAPI are no part of the project: an environment of their own.
var/peers/stamp: agenticos/bench/peers/requirements.txt .venv/dev.stamp
	@$(PY) -m venv --clear var/peers
	@var/peers/bin/python -m pip --disable-pip-version-check --quiet --cache-dir var/pip install -r $<
	@touch $@

fuzz: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.fuzzing_api $(or $(N),200) $(ARGS)

chaos-kill: .venv/dev.stamp
	@exec $(PY) -m campaigns.tests.killing $(ARGS)

# Needs PostgreSQL's and Redis' binaries, and starts its own: the machine's servers are left alone.
chaos: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.chaos $(or $(N),30) --seed $(or $(SEED),1) $(if $(HOSTS),--hosts) $(ARGS)

# Half an hour of ordinary work on the same stage, and what has grown.
soak: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.chaos.soak $(or $(MINUTES),30) $(ARGS)

# Chromium is the machine's; as root on Debian it is installed when missing.
e2e: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.e2e $(ARGS)

screenshots: .venv/dev.stamp
	@exec $(PY) -m agenticos.tests.e2e.pictures

translations: .venv/dev.stamp
	@$(PY) -m agenticos.bootstrap
	@exec $(PY) manage.py translations update
