# `make` lists the targets. Nothing has to be installed first but Python 3.11 or newer, with its venv module.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PORT ?= 8000
ADDRESS ?= 127.0.0.1

VENV := .venv
PYTHON := $(VENV)/bin/python
MANAGE := $(PYTHON) manage.py
# A version manager leaves a python3.12 on the path that does not run: each is tried, not only looked for.
CANDIDATES := python3 python3.13 python3.12 python3.11

# Checks look at the site as it runs in production, and at nothing that a developer keeps in .env or in a database.
PRODUCTION := ENV_FILE= DEBUG=false ALLOWED_HOSTS=www.example.org DATABASE_URL=sqlite://:memory: \
              SECRET_KEY=for-checks-only-0123456789-abcdefghijklmnopqrstuvwxyz

# Four processes a core, as most of what tests do is wait; not so where they put the machine under load. Tests that have
# an expensive fixture in common have the mark xdist_group, and are run by one process.
AT_ONCE := -n $(or $(WORKERS),auto) --dist loadgroup --no-loadscope-reorder
AT_ONCE_LONG := -n $(or $(WORKERS),2) --dist loadgroup --no-loadscope-reorder

# The tests start hundreds of Pythons, each of which would compile all of the app again.
unexport PYTHONDONTWRITEBYTECODE

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run demo test test-long floors matrix djongo screenshots bench bench-docs bench-quick docs check format messages lock build wheel clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.site .env ## Serve the site on http://127.0.0.1:8000 (PORT=… and ADDRESS=… change that)
	@$(MANAGE) migrate --no-input --verbosity 0
	@echo
	@echo "Log in to the site and its admin:"
	@$(MANAGE) create_dev_staff
	@echo
	@$(MANAGE) runserver $(ADDRESS):$(PORT)

demo: $(VENV)/.dev ## Show two nodes that share real stores (ARGS=--tour: be led through it; --cluster, --sentinel or --replica-set: see one fail over)
	@$(PYTHON) -m project.demo $(ARGS)

test: $(VENV)/.dev ## Run the tests in minutes, several at once (WORKERS=3; ARGS="tests/site -x" for some, one by one)
	@$(PYTHON) -m pytest -m "not long" $(or $(ARGS),$(AT_ONCE))

test-long: $(VENV)/.dev ## Run what takes its time: long loads, large explorations, many examples (ARGS=… as above)
	@$(PYTHON) -m pytest -m "long or hypothesis" --hypothesis-profile=long $(or $(ARGS),$(AT_ONCE_LONG))

floors: $(VENV)/.floors ## Run the tests of the stores on the oldest versions that the wheel allows
	@build/floors/bin/python -m pytest $(or $(ARGS),tests/stores tests/probing tests/engine)

matrix: $(VENV)/.dev ## Run the tests on each Python and Django, on the newest and the oldest drivers (hours; ARGS=--list)
	@$(PYTHON) -m nox --noxfile noxfile.py --envdir build/matrix --reuse-existing-virtualenvs $(ARGS)

djongo: $(VENV)/.djongo ## Run the tests of a MongoDB database of the project on djongo's fork
	@build/djongo/bin/python -m pytest $(or $(ARGS),tests/stores/test_mongodb_alias.py)

screenshots: $(VENV)/.dev ## Take the pictures in docs/screenshots again (needs chromium)
	@UPDATE_SCREENSHOTS=1 REQUIRE_BROWSER=1 $(PYTHON) -m pytest tests/browser

bench: $(VENV)/.dev ## Measure speed beside Django's own engines (minutes; ARGS="--help")
	@$(PYTHON) -m benchmarks --json benchmarks.json $(ARGS)

bench-docs: $(VENV)/.dev ## Measure what docs/explanation/speed.md says, and write it, in under ten minutes
	@$(PYTHON) -m benchmarks --docs --json benchmarks.json $(ARGS)

bench-quick: $(VENV)/.dev ## The same with less of everything, in about a minute
	@$(PYTHON) -m benchmarks --quick $(ARGS)

docs: $(VENV)/.dev ## Build the documentation into build/docs (ARGS=serve shows it while you write)
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs --quiet $(or $(ARGS),build --strict)

check: $(VENV)/.dev ## Lint, formatting, types, migrations, Django's checks for production, the package, known vulnerabilities
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@echo mypy && $(PRODUCTION) $(VENV)/bin/mypy
	@echo makemigrations --check && $(PRODUCTION) $(MANAGE) makemigrations --check --dry-run
	@echo check --deploy && $(PRODUCTION) $(MANAGE) check --deploy --fail-level WARNING
	@rm -rf build/check && $(PYTHON) -m hatchling build --directory build/check >/dev/null
	$(VENV)/bin/twine check --strict build/check/*
	@$(PYTHON) -m project.audit requirements.lock

format: $(VENV)/.dev ## Format the code and mend what the linter can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

messages: $(VENV)/.dev ## Gather the messages of the app and of the site for the translators, and compile what they have written
	@for folder in sessionpersist templates; do (cd $$folder && \
	  ../$(PYTHON) -m django makemessages --all --no-obsolete --no-wrap --add-location never) || exit 1; done
	@$(PYTHON) -c 'import pathlib, polib; [polib.pofile(str(path)).save_as_mofile(path.with_suffix(".mo")) \
	  for folder in ("sessionpersist", "templates") for path in pathlib.Path(folder, "locale").rglob("*.po")]'

lock: $(VENV)/.dev ## Pin the newest releases that requirements.txt allows, with their hashes
	@$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-config --custom-compile-command "make lock" --output-file requirements.lock requirements.txt
	@echo "Wrote requirements.lock."

build: wheel ## The same as `make wheel`

wheel: $(VENV)/.dev ## Build the wheel of the app into dist/
	@$(PYTHON) -m build --wheel

clean: ## Remove what the other targets made; your .env, database and password stay
	rm -rf $(VENV) build dist static_root .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.env: | .env.example
	@install -m 600 .env.example .env
	@echo "Made .env from .env.example."

# The files .venv/.* are stamps: a step that is done and whose list has not changed is not done again.

$(VENV)/.site: requirements.lock $(VENV)/.made
	@echo "Installing requirements.lock into $(VENV) …"
	@$(PYTHON) -m pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@

# On top of what is locked: pip keeps what is there and fits, so that tests run on the releases that the site runs on.
$(VENV)/.dev: requirements-dev.txt requirements-test.txt requirements-docs.txt requirements.txt $(VENV)/.site
	@echo "Installing requirements-dev.txt into $(VENV) …"
	@$(PYTHON) -m pip install --quiet --requirement requirements-dev.txt
	@$(PYTHON) -m tests.engine.django_source || echo "NOTICE: the source of Django could not be fetched; its own tests are left out."
	@touch $@

$(VENV)/.floors: requirements-floors.txt requirements-test.txt pyproject.toml $(VENV)/.made
	@echo "Installing the oldest versions into build/floors …"
	@$(PYTHON) -m venv --clear build/floors
	@build/floors/bin/python -m pip install --quiet --constraint requirements-floors.txt \
	  --requirement requirements-test.txt django-environ '.[all]'
	@build/floors/bin/python -m tests.engine.django_source
	@touch $@

# Its fork pins an sqlparse that is older than the site's.
$(VENV)/.djongo: requirements-test.txt requirements.txt pyproject.toml $(VENV)/.made
	@echo "Installing djongo's fork into build/djongo …"
	@$(PYTHON) -m venv --clear build/djongo
	@build/djongo/bin/python -m pip install --quiet --requirement requirements-test.txt \
	  --requirement requirements.txt '.[djongo]'
	@touch $@

$(VENV)/.made:
	@recent=; complete=; \
	for candidate in $(CANDIDATES); do \
	  $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  recent=$$candidate; \
	  if $$candidate -c 'import ensurepip, venv' >/dev/null 2>&1; then complete=$$candidate; break; fi; \
	done; \
	if [ -z "$$recent" ]; then \
	  echo "This needs Python 3.11 or newer; none of these is: $(CANDIDATES)." >&2; exit 1; \
	elif [ -z "$$complete" ]; then \
	  package=$$($$recent -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  echo "$$recent has no venv module; on Debian and Ubuntu install it: apt-get install $$package" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$complete --version) …"; \
	$$complete -m venv --clear $(VENV)
	@touch $@
