# The commands that a developer or a newcomer types.  Everything happens in .venv; nothing is installed elsewhere.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-pythons fuzz test-lowest audit lint format schemas reference site lock dist benchmarks clean help

help:  ## show this help
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: .venv/demo  ## run the MNIST box end to end; no container engine needed
	$(BIN)/mlbox run examples/mnist --all --platform=local

# Side by side, as many wait for a host or a queue; which may not run beside which is said by the tests.
test: .venv/dev  ## run every test, linters and type checks included
	$(BIN)/python -m pytest -n 3

# The quick tests; what they need beyond the software itself is small enough to install for each Python.
QUICK := tests/unit tests/golden tests/contract
OTHER_PYTHONS := 3.10 3.11 3.12 3.13

# Where pyenv is, it shows all its versions and not only the one that is set.
test-pythons: .venv/dev  ## run the quick tests on every Python that is supported
	versions=$$(pyenv versions --bare 2>/dev/null | paste -sd: -); \
	if [ -n "$$versions" ]; then export PYENV_VERSION="$$versions"; fi; \
	for version in $(OTHER_PYTHONS); do \
	    echo "Python $$version" && \
	    $(BIN)/uv run --quiet --isolated --no-project --python $$version --with-requirements requirements-dev.lock \
	        --with-editable . python -m pytest -q -p no:cacheprovider -n 2 $(QUICK) || exit 1; \
	done

# Every reader of what others write, with TIMES as many inputs as in the ordinary tests (some 6000), and other ones.
FUZZED := tests/unit/test_any_*.py tests/unit/definition/test_any_input.py
TIMES ?= 20

fuzz: .venv/dev  ## try the readers of all files and answers with many more inputs; TIMES=100 for more still
	HYPOTHESIS_PROFILE=fuzz MLBOX_FUZZ_TIMES=$(TIMES) $(BIN)/python -m pytest -q -p no:cacheprovider \
	    --hypothesis-show-statistics $(FUZZED)

# The oldest versions of what users need that pyproject.toml allows, on the oldest Python.
FOR_TESTS := pytest pytest-xdist hypothesis jsonschema kubernetes-validate optuna

test-lowest: .venv/dev  ## run the quick tests with the lowest versions of the dependencies
	$(BIN)/uv pip compile --quiet --python-version 3.10 --resolution lowest-direct --no-header pyproject.toml \
	    --output-file .venv/lowest.txt
	PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | grep '^3\.10' | head -n 1)" \
	$(BIN)/uv run --quiet --isolated --no-project --python 3.10 --with-requirements .venv/lowest.txt \
	    $(FOR_TESTS:%=--with %) --with-editable . python -m pytest -q -p no:cacheprovider -n 2 $(QUICK)

audit: .venv/dev  ## look for known weaknesses in the dependencies; needs a network that reaches an advisory service
	$(BIN)/uv tool run --quiet pip-audit --strict --disable-pip --require-hashes -r requirements-dev.lock

lint: .venv/dev  ## run the linters and the type checks alone
	$(BIN)/python -m pytest -q tests/integration/test_house_rules.py

format: .venv/dev  ## bring the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schemas: .venv/dev  ## make the published JSON Schemas from the rules
	$(BIN)/python -m mlcommons_box.definition.json_schema

reference: .venv/dev  ## renew what the reference shows of the JSON Schemas, of --help and of docstrings
	$(BIN)/python tools/update_reference.py

# The theme's own advertisement is left out.
site: .venv/dev  ## build the documents as a site into site/, which a browser can open from there
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: .venv/dev  ## resolve the development dependencies again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --upgrade \
	    --no-header --no-emit-index-url --group dev --extra uv pyproject.toml --output-file requirements-dev.lock

dist: .venv/dev  ## build all distributions into dist/
	for project in . packages/*; do \
	    $(BIN)/python -m build --no-isolation --wheel --outdir dist $$project || exit 1; \
	done

# Without other tools and without downloads, and short enough for every change; docs/reference/benchmarks.md has the rest.
benchmarks: .venv/dev  ## measure what our commands cost, beside the bare ones
	$(BIN)/python -m benchmarks --only start,validate,task,pipelines,hashing,sync \
	    --rounds 11 --seconds 4 --boxes 100 --tasks 1,100,1000

clean:  ## remove what these commands made
	rm -rf .venv dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml | .venv/bin/python
	$(PIP) --editable '.[uv]'
	touch $@

.venv/dev: pyproject.toml requirements-dev.lock | .venv/bin/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@ .venv/demo
