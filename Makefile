# Every target runs in .venv, which is made from the lock when it is first needed.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
RUN := $(VENV)/bin/python
PEERS ?= $(RUN)

# Where the stored drawings were made, their bytes are compared too; elsewhere, what they say.
ifeq ($(shell uname -sm)$(COMPANION_ARRAY_MODULE),Linux x86_64)
DRAWINGS := --nbval-sanitize-with=/dev/null
endif

# The notebooks run without coverage: a kernel that opens the data file of the process that measures
# can wait for its lock for ever.
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help book bundle pdf serve test notebooks lint mutants bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: $(READY) ## build the book into _build/html; a warning is an error
	rm -rf _build
	$(VENV)/bin/jupyter-book build . -W -n --keep-going

bundle: book ## put the book, its notebooks, their data and the library into one archive in _build
	$(RUN) book/bundle.py

pdf: book ## print the whole book into one PDF in _build (needs a Chromium)
	$(RUN) book/pdf.py

serve: book ## build the book and serve it at http://localhost:8000
	$(RUN) -m http.server 8000 --bind localhost --directory _build/html

test: $(READY) ## run the tests, every notebook, and the book in a browser where there is one
	$(RUN) -m pytest tests --ignore=tests/site --cov $(PARALLEL)
	$(RUN) -m pytest notebooks $(PARALLEL) $(DRAWINGS)
	$(RUN) -m pytest tests/site -rs $(PARALLEL)

notebooks: $(READY) ## execute the notebooks in place, or one: NOTEBOOK=notebooks/01_packing.ipynb
	$(RUN) notebooks/execute.py $(NOTEBOOK)

lint: $(READY) ## check style and format of code and notebooks
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

mutants: $(READY) ## break the library one line at a time; some test must notice each
	$(RUN) tests/mutants.py

bench: $(READY) ## measure side by side; PEERS names a Python that has the other libraries
	$(PEERS) -m benchmarks.cost
	$(PEERS) -m benchmarks.attention --output benchmarks/results
	$(PEERS) -m benchmarks.steps --output benchmarks/results
	$(PEERS) -m benchmarks.grid --output benchmarks/results
	$(PEERS) -m benchmarks.encoder --output benchmarks/results

lock: ## choose versions anew where pyproject.toml asks for it (needs uv)
	uv pip compile pyproject.toml --extra encoder --extra book --extra test --group build \
	    --universal --python-version 3.11 --fork-strategy fewest \
	    --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	    --quiet --output-file requirements.lock

clean: ## go back to a bare checkout
	rm -rf $(VENV) _build .coverage* .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock requirements-model.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is none of them: name one, as in make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "'$(PYTHON)' has no venv module: install it, on Debian or Ubuntu with apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# The lock is whole, so nothing is left to resolve; pip before 24 trips over an extra in it.
	$(RUN) -m pip install --quiet --no-deps --requirement requirements.lock --requirement requirements-model.lock
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(RUN) -c 'import matplotlib.font_manager' # or the first notebook would report its font cache
	@touch $@
