# make help lists the targets. Everything is installed into .venv, once; a changed pyproject.toml installs again.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format bench stress audit docs clean

# The first Python here that is 3.10 to 3.13; make PY=/path/to/python chooses another.
PY ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
# Tests on real data read this folder, and skip with a reason without it.
export BRIDGEX_TEST_DATA

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(STAMP) ## install, then run the main job on the shipped toy world
	$(BIN)/python evaluate.py

test: $(STAMP) ## install, then run all tests
	$(BIN)/python -m pytest -n 2

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff format and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## measure the claims of speed and of the toy world; one JSON line a case
	$(BIN)/python -m bench.hsic --estimator paper --neurons 60 --samples 300
	$(BIN)/python -m bench.hsic --estimator unbiased --neurons 143 --samples 1000
	$(BIN)/python -m bench.permutation
	$(BIN)/python -m bench.ranking
	$(BIN)/python -m bench.probe --prompts words
	$(BIN)/python -m bench.probe --prompts sentences
	for form in short long prefix; do $(BIN)/python -m bench.score --form $$form || exit 1; done
	$(BIN)/python -m bench.generate
	for shape in toy small mbert; do $(BIN)/python -m bench.drift --shape $$shape || exit 1; done
	$(BIN)/python -m bench.toy_world --world bridgex/toy

stress: $(STAMP) ## break runs in every way: kills, damage, full disks, signals; 15 minutes on 2 quiet cores
	$(BIN)/python -m bench.stress

audit: $(STAMP) ## advisories on what is installed, security rules, safety tests; one verdict
	@$(BIN)/python -c 'import pip_audit' 2>/dev/null || $(BIN)/python -m pip install -q -c constraints.txt pip-audit || true
	@$(BIN)/python -m tests.safety.audit

docs: $(STAMP) ## build the documentation into site/
	$(BIN)/python -c 'import mkdocs, nbconvert' 2>/dev/null || $(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/make_config_reference.py
	$(BIN)/python docs/make_licences.py
	$(BIN)/python docs/draw_concepts.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove everything that was installed or built
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# uv reads variables of its own; it is told where pip would look.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PY)" || { echo "bridgex needs Python 3.10 to 3.13; say where it is: make $(MAKECMDGOALS) PY=/path/to/python"; exit 1; }
	@$(PY) -c 'import venv, ensurepip' || { echo "this Python lacks venv; on Debian: apt install python3-venv"; exit 1; }
	$(PY) -m venv .venv
	@if command -v uv >/dev/null; then \
		echo "installing into .venv with uv"; \
		UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		echo "installing into .venv with pip (a few minutes, once)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@
