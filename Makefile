# make demo    search the demo gallery with the shipped bundle; the runtime only, no PyTorch
# make test    everything that CI checks: linters, types, all tests
# make check   the same without the slow tests, for while you work
# make lowest  search the demo gallery with the lowest versions of everything that the package accepts
# make resolve prove that all extras resolve on every supported Python, with their lowest and newest versions
# make dist    wheel and source distribution of this commit with their hashes, in dist/
# make wheelhouse  what a box without a network installs from, in wheelhouse/; also EXTRAS=cpu,serve MACHINE=aarch64
#              PYTHON_VERSION=3.12
# make app     the same as a folder that Python runs, in sal-app/
# make site    the documents as a site, in site/
# make clean   remove what the others made
# make help    print this text
#
# Needs Python 3.11 or later with venv; PYTHON=python3.12 make test takes another one. Tests of cpp_bench need what its
# README lists: root on Debian or Ubuntu gets it, elsewhere they are skipped.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test check static lowest resolve dist wheelhouse app site clean help

PYTHON ?= python3
WORKERS ?= 2
ATTRS ?= upper=red,!backpack
PIP := bin/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
# two workers with one thread each: more threads than cores only wait for each other
PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --quiet
RUNTIME := $(shell find sal_runtime sal_cli bundles -type f -not -name '*.pyc' 2>/dev/null)

demo: .venv-demo/ready
	@mkdir -p demo/out
	.venv-demo/bin/sal search --attrs '$(ATTRS)' --gallery demo/gallery --top 10 \
		--html demo/out/hits.html --grid demo/out/hits.jpg
	@echo
	@echo "Look at the hits:  $(CURDIR)/demo/out/hits.html (browser), $(CURDIR)/demo/out/hits.jpg (picture)"
	@echo "Ask for others:    .venv-demo/bin/sal search --gallery demo/gallery --attrs 'female,!backpack'"

test: static
	$(PYTEST)

check: static
	$(PYTEST) -m "not slow"

static: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/clang-format --dry-run -Werror cpp_bench/*.[ch]pp cpp_bench/tests/*.[ch]pp

# an installation as a user has it, so that the demo also shows that the package is whole
.venv-demo/ready: pyproject.toml constraints.txt $(RUNTIME)
	@bash scripts/prepare_system.sh $(PYTHON)
	@echo "setting up .venv-demo: numpy, OpenCV, ONNX Runtime"
	@$(PYTHON) -m venv .venv-demo
	@rm -rf build
	@.venv-demo/$(PIP) '.[cpu]'
	@touch $@

# what only tests need of the system is fetched while pip fetches
.venv/ready: pyproject.toml constraints.txt
	@bash scripts/prepare_system.sh $(PYTHON)
	@echo "setting up .venv: the above, PyTorch, ONNX and the tools (some 300 MB to download)"
	@bash scripts/prepare_system.sh $(PYTHON) tests & \
		$(PYTHON) -m venv .venv && \
		.venv/$(PIP) --editable '.[cpu,train,export,plot,sign,milvus,ray,bench,video,serve,dev]' && \
		wait $$!
	@touch $@

# LOWEST=cpu,train,export,plot,sign,milvus,ray,bench,video installs more; then the tests can run there (CONTRIBUTING.md)
LOWEST ?= cpu
lowest: .venv-lowest/ready
	.venv-lowest/bin/sal search --attrs '$(ATTRS)' --gallery demo/gallery --top 3
	.venv-lowest/bin/sal doctor
	.venv-lowest/bin/python docs/examples/embed.py demo/gallery "$$(mktemp -d)/yard.sal" | tail -1

.venv-lowest/ready: pyproject.toml $(RUNTIME)
	@bash scripts/prepare_system.sh $(PYTHON)
	@$(PYTHON) -m venv .venv-lowest
	@$(PYTHON) scripts/lowest_versions.py > .venv-lowest/constraints.txt
	@.venv-lowest/bin/python -m pip --disable-pip-version-check install -qq --constraint .venv-lowest/constraints.txt \
		--editable '.[$(LOWEST)]'
	@touch $@

resolve: .venv-release/ready
	.venv-release/bin/python -m scripts.release.resolution

dist: .venv-release/ready
	.venv-release/bin/python -m scripts.release.distributions dist

EXTRAS ?= cpu
MACHINE ?= $(shell uname -m)
wheelhouse: .venv-release/ready
	rm -rf wheelhouse
	.venv-release/bin/python -m scripts.release.wheelhouse wheelhouse --extras '$(EXTRAS)' --machine $(MACHINE) \
		$(if $(PYTHON_VERSION),--python $(PYTHON_VERSION))

app: wheelhouse
	rm -rf sal-app
	.venv-release/bin/python -m scripts.release.application wheelhouse sal-app

# the tools of a release, and nothing of the package
.venv-release/ready: constraints.txt
	@$(PYTHON) -m venv .venv-release
	@.venv-release/$(PIP) build packaging setuptools setuptools-scm uv
	@touch $@

site: .venv/ready
	.venv/bin/python -m docs.build.site site

help:
	@sed '/^#/!Q; s/^# \?//' $(firstword $(MAKEFILE_LIST))

clean:
	rm -rf .venv .venv-demo .venv-lowest .venv-release build dist wheelhouse sal-app site lowest.log resolve.log *.egg-info demo/out demo/gallery.sal* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
