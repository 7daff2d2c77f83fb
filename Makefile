# Two commands: `make reproduce` runs the main job to a verdict, `make test` runs every check.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: reproduce test lint system bundle-tools clean

reproduce: $(VENV)/.runtime
	$(BIN)/cryorepro reproduce empiar-10028

test: system bundle-tools $(VENV)/.development lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/check_house.py
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

# Readers of bundles that need other versions than ours (roc-validator: rich < 14), in an environment of their own.
bundle-tools: .venv-bundle/.ready

.venv-bundle/.ready: tests/bundle/tools-requirements.txt
	$(PYTHON) -m venv .venv-bundle
	.venv-bundle/bin/python -m pip install --quiet -r $<
	touch $@

# The tests drive the real RELION; on Debian it is two packages.
system:
	@sh tools/system-packages.sh relion_refine:relion mpirun:openmpi-bin

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt pip

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.development: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
