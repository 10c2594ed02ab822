# make run        sets up, then runs the published comparisons that take only minutes
# make reproduce  runs all published comparisons, in about an hour on two cores
# make test       sets up, then runs the tests
# make test-backends  runs the tests that need no TensorFlow on Keras's other backends
# make lab        opens the notebooks in JupyterLab
# make app        serves the panels as a page
# make docs       builds the documentation into build/site
# make notebooks  runs the notebooks in full and keeps their outputs
# make lint       checks style and types
#
# Needs Python 3.10 to 3.13 and nothing else; PYTHON=python3.12 chooses one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUTPUT ?= results
# PyTorch is large; make test-backends BACKENDS=jax does not install it.
BACKENDS ?= jax torch
BACKEND_TESTS := tests/test_backends.py tests/schedules tests/optimizers tests/callbacks
# TensorFlow's start-up messages would hide the output of the programs.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# With this variable, each of dozens of processes would compile its imports again.
unexport PYTHONDONTWRITEBYTECODE

# An environment without its Python, or an unfinished one, is created again.
ifneq ($(wildcard $(VENV)),)
ifneq ($(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && echo whole),whole)
$(shell rm -rf $(VENV))
endif
endif

.PHONY: run reproduce test test-backends test-jax test-torch lab app docs notebooks lint clean

run: $(VENV)/.run
	$(BIN)/python -m keraslr reproduce --quick --output $(OUTPUT)

reproduce: $(VENV)/.run
	$(BIN)/python -m keraslr reproduce --output $(OUTPUT)-full

# In the order of tests/conftest.py, not with the files that have most tests first.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile \
	    --no-loadscope-reorder --durations 15 $(TESTS)

test-backends: $(BACKENDS:%=test-%)

test-jax test-torch: test-%: $(VENV)/.%
	KERAS_BACKEND=$* $(BIN)/python -m pytest --numprocesses logical --dist loadfile \
	    --durations 5 $(BACKEND_TESTS)

lab: $(VENV)/.notebooks
	$(BIN)/jupyter lab notebooks

app: $(VENV)/.notebooks
	$(BIN)/voila notebooks/app.ipynb

# The theme announces its successor on every start; the pages are not at fault.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html, or: $(BIN)/python -m mkdocs serve"

notebooks: $(VENV)/.test
	$(BIN)/python notebooks/execute.py $(NAMES)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info

# One environment, to which each target adds its packages. A stamp is stale when pyproject.toml has
# changed; the stamps are deleted together with the environment.
$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable ".[test,notebooks]"
	touch $@ $(VENV)/.run $(VENV)/.notebooks $(VENV)/.docs

$(VENV)/.notebooks: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable ".[notebooks]"
	touch $@ $(VENV)/.run

$(VENV)/.jax $(VENV)/.torch: $(VENV)/.%: $(VENV)/.test
	$(PIP) install --quiet --editable ".[$*]"
	touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable ".[docs]"
	touch $@ $(VENV)/.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) \
	    else "keraslr needs Python 3.10 to 3.13; $(PYTHON) is %d.%d. Try make PYTHON=python3.12" % v)'
	@echo "Setting up $(VENV) (once; some minutes)"
	$(PYTHON) -m venv $(VENV)
