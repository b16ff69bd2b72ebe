# Every target makes the virtual environment it needs; `make demo` and `make test` are all that a newcomer types.

PYTHON ?= python3
VENV ?= .venv
# TensorFlow 2.15 and tensorflow-addons need Python 3.10 or 3.11.
ADDONS_PYTHON ?= $(PYTHON)
ADDONS_VENV ?= .venv-addons
READERS_VENV ?= .venv-readers

CHROMIUM ?= /usr/bin/chromium

# Material advertises its successor at every build, unless it is told not to.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs
# One process per processor; in each, tests/conftest.py limits TensorFlow to one thread.
PYTEST = -m pytest -n auto --dist worksteal -q
# `PART=2/16` runs the second sixteenth of the tests, in the targets that take it.
PART ?= 1/1

.PHONY: help demo test test-slow test-all test-addons test-crossing test-legacy test-readers test-docs test-writers \
	test-nightly test-dist test-release dist lint bench docs docs-serve figures clean

help:  ## List the targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-15s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-examples  ## Run the quickstart: pyramids, training, export and a picture, in a minute or two
	$(VENV)/bin/python examples/quickstart.py

# The tests that are not marked `slow`: all of the package at small sizes, in a few minutes.
test: $(VENV)/.installed-test  ## Run the fast tests: all of the package, in a few minutes
	$(VENV)/bin/python $(PYTEST) -m "not slow" $(COVERAGE)

test-slow: $(VENV)/.installed-test  ## Run the slow tests
	$(VENV)/bin/python $(PYTEST) -m slow --part $(PART)

# The slow tests, too. The fast ones must cover 95 % of the branches; coverage is not measured during the slow ones.
test-all: $(VENV)/.installed-test  ## Run the fast and the slow tests, and check the coverage
	$(VENV)/bin/python $(PYTEST) --cov

# The fast tests on TensorFlow 2.15 with Keras 2.15 and tensorflow-addons, then the slow tests of layers, models, training
# and export, and of what is saved. The scripts, the pictures and the README are for current TensorFlow; files, locks and
# sockets depend on neither version.
test-addons: $(ADDONS_VENV)/.installed-test,addons  ## Run the tests on TensorFlow 2.15 with tensorflow-addons (Python 3.10 or 3.11)
	$(ADDONS_VENV)/bin/python $(PYTEST) tests tfpyramid -m "not slow" --part $(PART) --ignore=tests/benchmarks --ignore=tests/examples \
		--ignore=tests/visualize --ignore=tests/test_readme.py --ignore=tests/test_files.py --ignore-glob='*_stores.py' \
		--ignore-glob='*test_beam_[ds]*.py' --ignore=tests/export/test_interrupted.py \
		--ignore=tests/training/test_multi_worker_strategy.py
	$(ADDONS_VENV)/bin/python $(PYTEST) -m slow --part $(PART) -k "not test_conformance or keras-" \
		tests/layers tests/losses tests/models tests/training tests/export tests/test_conformance.py \
		tests/devices/test_determinism.py \
		tests/test_moved_weights.py tests/test_stranger.py tests/test_empty_batch.py

# On tf_keras, Keras 2 for a current TensorFlow: what depends on Keras of the first case of each layer, and the losses and
# models that train or read the graph of another model. All cases run on the Keras 2 of `make test-addons`, and
# `make test-all` tests the operations on this TensorFlow.
test-legacy: $(VENV)/.installed-test,legacy  ## Run the checks of one case of each layer, and those of models, on tf_keras
	TF_USE_LEGACY_KERAS=1 $(VENV)/bin/python $(PYTEST) -m "not slow" --part $(PART) \
		-k "not test_conformance or (not gradient- and not reference- and not xla-)" tests/test_conformance.py \
		tests/layers/test_blur_pool_like_keras.py tests/losses/test_image_losses.py tests/models

# Models written under each of the three Kerases answer equally under the other two.
test-crossing: $(VENV)/.installed-test,legacy $(ADDONS_VENV)/.installed-test,addons  ## Check that models written under each Keras answer equally under the others
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	for action in write read; do \
		$(VENV)/bin/python -m tests.crossing $$action $$folder & one=$$!; \
		TF_USE_LEGACY_KERAS=1 $(VENV)/bin/python -m tests.crossing $$action $$folder & other=$$!; \
		$(ADDONS_VENV)/bin/python -m tests.crossing $$action $$folder & third=$$!; \
		wait $$one && wait $$other && wait $$third || exit 1; \
	done

# What reads exports elsewhere: converters and servers, with what they need, in an environment of their own.
test-readers: $(READERS_VENV)/.installed-readers  ## Check exports in converters and servers: TFLite, ONNX, OpenVINO, TensorFlow Serving and more
	TFPYRAMID_READERS=1 $(READERS_VENV)/bin/python $(PYTEST) tests/readers --part $(PART)

# The site, with Chromium from the distribution.
test-docs: docs  ## Build the site, run its code blocks and notebooks, and open every page in Chromium
	@test -x "$(CHROMIUM)" || { echo "test-docs opens the site in Chromium: apt-get install chromium, or CHROMIUM=path" >&2; exit 1; }
	TFPYRAMID_BROWSER=1 CHROMIUM="$(CHROMIUM)" $(VENV)/bin/python -m pytest -n auto --dist loadfile -q docs tests/browser

# Processes that write are killed at random moments and race each other; then nothing is lost, and nothing is left behind.
test-writers: $(VENV)/.installed-test  ## Kill and race processes that write, and check that nothing is lost
	TFPYRAMID_WRITERS=1 $(VENV)/bin/python $(PYTEST) tests/writers

# Thousands of random shapes, factors and borders; `make test-all` draws a few. XLA compiles with LLVM's optimisations.
test-nightly: $(VENV)/.installed-test  ## Draw thousands of random shapes, factors and borders (about an hour)
	XLA_FLAGS= $(VENV)/bin/python $(PYTEST) tests/test_properties.py --hypothesis-profile=nightly

# The archives of a release, and what `pip install` of them gives outside the checkout.
test-dist: $(VENV)/.installed-dev  ## Build the archives of a release, and check them outside the checkout
	TFPYRAMID_DIST=1 $(VENV)/bin/python -m pytest -q tests/distribution

dist: $(VENV)/.installed-dev  ## Build the archives of a release into dist/
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/python -m twine check --strict dist/*

test-release: test-all lint test-legacy test-addons test-crossing test-readers test-docs test-writers test-dist test-nightly  ## Run every test there is, and lint (hours)

lint: $(VENV)/.installed-dev  ## Check style, format and types
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check
	$(VENV)/bin/python -m mypy

# Time and memory of what is computed, beside what else computes it; the other benchmarks train networks.
bench: $(VENV)/.installed-bench  ## Measure time and memory against other libraries
	$(VENV)/bin/python benchmarks/bench_small.py
	$(VENV)/bin/python benchmarks/bench_pyramids.py
	$(VENV)/bin/python benchmarks/bench_sampling.py
	$(VENV)/bin/python benchmarks/bench_growth.py
	$(VENV)/bin/python benchmarks/bench_routing.py

# A warning, such as a link to a page that does not exist, is an error.
docs: $(VENV)/.installed-docs  ## Build the documentation into site/
	$(MKDOCS) build --strict

docs-serve: $(VENV)/.installed-docs  ## Serve the documentation on http://127.0.0.1:8000, and rebuild it at every change
	$(MKDOCS) serve

figures: $(VENV)/.installed-examples  ## Draw the figures of the documentation again, into docs/images/
	$(VENV)/bin/python docs/figures

$(VENV)/.installed-%: setup.cfg pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(ADDONS_VENV)/.installed-%: setup.cfg pyproject.toml
	test -x $(ADDONS_VENV)/bin/python || $(ADDONS_PYTHON) -m venv $(ADDONS_VENV)
	$(ADDONS_VENV)/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(READERS_VENV)/.installed-%: setup.cfg pyproject.toml
	test -x $(READERS_VENV)/bin/python || $(PYTHON) -m venv $(READERS_VENV)
	$(READERS_VENV)/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:  ## Remove virtual environments, archives, the site and the output of examples
	rm -rf .venv .venv-addons .venv-readers build dist site quickstart_output scale_robustness_output segmentation_output \
		blending_output super_resolution_output optical_flow_output visual_questions_output distributed_output benchmarks_output device_output \
		ask_output fovea_output predict_images_output*
