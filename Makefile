# make train installs reludyn, runs the paper's main experiment and prints where its files are.
# make help lists all targets.
# Each target installs what it needs, once.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# the same pins in this environment and in the ones that builds make for themselves
# (a URL, since pip splits the value at blanks)
empty :=
comma := ,
PINS := file://$(subst $(empty) $(empty),%20,$(CURDIR))/constraints.txt
export PIP_CONSTRAINT := $(PINS)
export PIP_BUILD_CONSTRAINT := $(PINS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# LOCKED=1, as continuous integration has it: everything but JAX at once, and only files whose hashes
# are in requirements-ci.txt; else what $(1) names
ifdef LOCKED
install = $(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-ci.txt && \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
else
install = $(BIN)/python -m pip install --quiet --editable '.$(1)'
endif

# the tests of the science rooms, and of what runs them
SCIENCE := numerics network data dynamics risk optim theory training

.PHONY: train test test-ray test-browser golden screenshots gallery paper bench coverage lock lint reference docs clean help

help:
	@echo "Each target installs what it needs into $(VENV), once; PyTorch is large."
	@echo "PYTHON=python3.12 chooses an interpreter (3.10 or later)."
	@echo
	@echo "Run"
	@echo "make train         the main experiment          ARGS='init.scale=1e-8 seed=7' changes it"
	@echo "make paper         every figure and claim of the paper, as a report   ARGS='rows=[fig3]'"
	@echo "make bench         the speed beside that of PyTorch and JAX (large)   ARGS='--quick'"
	@echo
	@echo "Test"
	@echo "make test          all tests but those that are slow, kill processes or need a browser"
	@echo "                   ARGS='-k kernels' chooses some, ARGS='-m \"\"' takes all"
	@echo "make test-ray      the tests that need Ray (large)"
	@echo "make test-browser  the tests that look at TensorBoard; skipped without Chromium"
	@echo "make coverage      branches of the science rooms that tests take; fails below 90%"
	@echo "make lint          ruff, mypy"
	@echo
	@echo "Document"
	@echo "make docs          build the documentation site, strictly, into site/"
	@echo
	@echo "Write files of the repository anew"
	@echo "make reference     docs/reference.md and the tags in docs/glossary.md, from the program"
	@echo "make gallery       the pictures of docs/gallery.md, in minutes"
	@echo "make screenshots   the pictures of TensorBoard in docs/; needs Chromium"
	@echo "make golden        tests/oracles/golden/, from the oracle, in a minute and a half"
	@echo "make lock          requirements-ci.txt, from constraints.txt and the package index"
	@echo
	@echo "Clean"
	@echo "make clean         remove the environment (outputs/ stays)"

train: $(VENV)/.ready
	@$(BIN)/reludyn $(ARGS)

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not faults and not browser" $(ARGS)

test-ray: $(VENV)/.ready-ray
	$(BIN)/python -m pytest tests/sweep/test_launchers.py -k ray $(ARGS)

test-browser: $(VENV)/.ready-browser
	$(BIN)/python -m pytest -m browser $(ARGS)

golden: $(VENV)/.ready-test
	@$(BIN)/python -m scripts.golden

screenshots: $(VENV)/.ready-browser
	@$(BIN)/python scripts/screenshots.py

gallery: $(VENV)/.ready
	@$(BIN)/python scripts/gallery.py

paper: $(VENV)/.ready
	@$(BIN)/python -m reludyn.paper $(ARGS)

bench: $(VENV)/.ready-bench
	@$(BIN)/python -m scripts.benchmark $(ARGS)

coverage: $(VENV)/.ready-test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow and not faults and not browser" $(SCIENCE:%=tests/%) $(ARGS)
	$(BIN)/coverage report

lock: $(VENV)/.ready-lock
	@$(BIN)/python scripts/lock.py

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reference: $(VENV)/.ready
	$(BIN)/python -m scripts.reference

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.ready-docs
	@$(BIN)/mkdocs build
	@echo "site     $(CURDIR)/site/index.html"
	@echo "search   needs a server: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "reludyn needs Python 3.10 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)"; rm -rf $(VENV); exit 1; }

# with scikit-learn: the paper has experiments on its digits
$(VENV)/.ready: Makefile pyproject.toml constraints.txt $(if $(LOCKED),requirements-ci.txt) | $(VENV)/bin/python
	@echo "installing reludyn and its dependencies into $(VENV) (once; PyTorch is large)"
	@$(call install,[digits])
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "installing the test and lint tools into $(VENV) (once)"
	@$(call install,[test$(comma)lint])
	@touch $@

$(VENV)/.ready-ray: $(VENV)/.ready-test
	@echo "installing Ray into $(VENV) (once)"
	@$(call install,[test$(comma)ray])
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.ready
	@echo "installing MkDocs into $(VENV) (once)"
	@$(call install,[docs])
	@touch $@

$(VENV)/.ready-browser: $(VENV)/.ready-test
	@echo "installing Playwright into $(VENV) (once)"
	@$(call install,[test$(comma)browser])
	@touch $@

$(VENV)/.ready-lock: $(VENV)/.ready
	@echo "installing uv into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --editable '.[lock]'
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@echo "installing JAX into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@
