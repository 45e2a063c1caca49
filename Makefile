# Every target runs in .venv, which gets from the locks what the target needs when it is first needed:
# the book, the chapters in JupyterLab, or all that the tests use, the book's part included.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/ready
READY_BOOK := $(VENV)/ready-book
READY_LAB := $(VENV)/ready-lab
PEERS ?= $(RUN)

# Where the stored drawings were made, their bytes are compared too; elsewhere, what they say.
ifeq ($(shell uname -sm)$(COMPANION_ARRAY_MODULE),Linux x86_64)
DRAWINGS := --nbval-sanitize-with=/dev/null
endif

PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# A checkout may lie under any path. Before 3.13 Python reads the one in the editable install in the
# encoding of the locale, and only without LC_ALL does it take UTF-8 where that says C.
unexport LC_ALL

# From a checkout that may not be written to, what only reads it runs all the same; what writes says so.
ifneq ($(shell test -w . && echo yes),yes)
export RUFF_NO_CACHE := true
export MYPY_CACHE_DIR := /dev/null
export COVERAGE_FILE := $(shell mktemp -d)/coverage
UNWRITABLE := echo "nothing can be written into '$(CURDIR)': copy it to where you may write"; exit 1;
endif

.NOTPARALLEL: # all share one environment
.DEFAULT_GOAL := help
.PHONY: help book bundle pdf serve lab test coverage notebooks lint mutants bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: $(READY_BOOK) ## build the book into _build/html; a warning is an error
	@$(UNWRITABLE)
	rm -rf _build
	$(VENV)/bin/jupyter-book build . -W -n --keep-going

bundle: book ## put the book, its notebooks, their data and the library into one archive in _build
	$(RUN) book/bundle.py

pdf: book $(READY) ## print the whole book into one PDF in _build (needs a Chromium)
	$(RUN) book/pdf.py

serve: book ## build the book and serve it at http://localhost:8000
	$(RUN) book/serve.py

lab: $(READY_LAB) ## open the chapters in JupyterLab, with OPTIONS if there are any
	$(VENV)/bin/jupyter lab $(OPTIONS) notebooks

test: $(READY) ## run the tests, every notebook, and the book in a browser where there is one
	$(RUN) -m pytest tests -rs $(PARALLEL)
	@# Several notebooks run at a time, so a thread of BLAS for each is enough.
	OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest notebooks $(PARALLEL) $(DRAWINGS)

coverage: $(READY) ## run the library's tests once more, and see that they reach nearly all of its lines
	$(RUN) -m pytest tests --ignore=tests/site --cov $(PARALLEL)

notebooks: $(READY) ## execute the notebooks in place, or one: NOTEBOOK=notebooks/01_packing.ipynb
	$(RUN) notebooks/execute.py $(NOTEBOOK)

lint: $(READY) ## check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

mutants: $(READY) ## break the library one line at a time; some test must notice each
	$(RUN) -m tests.mutants

bench: $(READY) ## measure side by side; PEERS names a Python that has the other libraries
	$(PEERS) -m benchmarks.cost
	$(PEERS) -m benchmarks.attention --output benchmarks/results
	$(PEERS) -m benchmarks.steps --output benchmarks/results
	$(PEERS) -m benchmarks.grid --output benchmarks/results
	$(PEERS) -m benchmarks.encoder --output benchmarks/results
	$(PEERS) -m benchmarks.generation --output benchmarks/results
	$(PEERS) -m benchmarks.training --output benchmarks/results
	$(PEERS) -m benchmarks.small_calls --output benchmarks/results

COMPILE = uv pip compile pyproject.toml --group build $(addprefix --upgrade-package ,$(UPGRADE)) \
    --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet

lock: ## choose versions anew where pyproject.toml asks for it, or one: UPGRADE=numpy (needs uv)
	$(COMPILE) --extra figures --extra encoder --extra language-model --extra distributed --extra book --extra test --output-file requirements.lock
	@# The other two keep to its versions, so that one environment can hold all three.
	$(COMPILE) --extra figures --extra book --constraint requirements.lock --output-file requirements-book.lock
	$(COMPILE) --extra figures --extra encoder --extra language-model --extra distributed --extra lab --constraint requirements.lock --output-file requirements-lab.lock

clean: ## go back to a bare checkout
	rm -rf $(VENV) _build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/activate: # what venv writes last
	@$(UNWRITABLE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: name one, as in make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "'$(PYTHON)' has no venv module: install it, on Debian or Ubuntu with apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): requirements.lock requirements-model.lock
$(READY_BOOK): requirements-book.lock
$(READY_LAB): requirements-lab.lock requirements-model.lock
$(READY) $(READY_BOOK) $(READY_LAB): pyproject.toml | $(VENV)/bin/activate
	@$(UNWRITABLE)
	@# A lock is whole, so nothing is left to resolve; pip before 24 trips over an extra in it.
	$(RUN) -m pip install --quiet --no-deps $(addprefix --requirement ,$(filter %.lock,$^))
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(RUN) -c 'import matplotlib.font_manager' # or the first notebook would report its font cache
	@touch $@
