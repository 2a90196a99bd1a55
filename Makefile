SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup docs images bench demo test lint types test-slow test-hostile fuzz test-gpu test-browser bench-gpu format clean

help: ## list every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv and install gigacount with its development tools

# constraints.txt pins what the tests pass with. pip chooses torch's build by its indexes: for the CPU build, without
# gigabytes of CUDA, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu (docs/guide/getting-started.md).
$(STAMP): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,plots]'
	touch $@

demo: $(STAMP) ## draw a gigapixel scene with known truth, count it, leave pictures in demo/
	$(PY) -m gigacount.demo demo

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP)
	$(PY) -m mypy

# Two processes of one thread each: most tests wait for other processes, or use one core.
test: $(STAMP) lint types ## lint, types and the fast tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile

test-slow: $(STAMP) ## full-size scenes, soaks, short trainings
	$(PY) -m pytest -q -m slow
	$(PY) -m pytest -q --crowded tests/test_image*.py

test-hostile: $(STAMP) ## kills, full disks, crowds and mutated files by the thousand (hours)
	$(PY) tests/campaign/run.py

fuzz: $(STAMP) ## mutated files of every kind for an hour (MINUTES=60)
	$(PY) tests/campaign/run.py --minutes $(or $(MINUTES),60) --seed $$RANDOM

test-gpu: $(STAMP) ## tests that need a CUDA device
	$(PY) -m pytest -q -m gpu

test-browser: $(STAMP) ## the viewer in Chromium (apt-get install chromium)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[browser]'
	$(PY) -m pytest -q -m browser

bench: $(STAMP) ## ratios, floors and memory on full-size scenes, against docs/experiments/performance.json
	$(PY) tests/benchmarks/bench.py .work/bench --json .work/bench/figures.json --kept docs/experiments/performance.json

bench-gpu: $(STAMP) ## where the time of a count on a GPU goes, in some minutes
	$(PY) tests/benchmarks/gpu.py .work/bench

docs: $(STAMP) ## rewrite the reference of commands and options from the code
	$(PY) docs/make_commands.py
	$(PY) docs/make_options.py

images: demo ## rewrite the pages' images: the demonstration's overlay, drawn images that are counted worst
	$(PY) docs/make_images.py demo

format: $(STAMP) ## rewrite the source in the house style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove what make made
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
