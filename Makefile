# The only commands to remember: make demo, make test, make lint, make bench, make clean.
.PHONY: setup demo test lint bench clean

PYTHON ?= python3
PY := .venv/bin/python

# The demo's clips: another seed gives other clips.
SEED ?= 0
DEMO ?= demo

setup: .venv/ready

.venv/ready: requirements.txt Makefile
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --requirement requirements.txt
	touch .venv/ready

# What tests and lint need beyond the stages themselves.
.venv/ready-dev: .venv/ready pyproject.toml
	$(PY) -m pip install --quiet --editable ".[dev]"
	touch .venv/ready-dev

demo: .venv/ready
	$(PY) dataset_downloader.py $(DEMO) --from synthetic --seed $(SEED)
	$(PY) dataset_processor.py $(DEMO) --round 0 --detector motion
	$(PY) dataset_cleaner.py $(DEMO) --round 0
	$(PY) train.py $(DEMO) --round 0
	$(PY) dataset_processor.py $(DEMO) --round 1
	$(PY) dataset_cleaner.py $(DEMO) --round 1
	$(PY) train.py $(DEMO) --round 1
	$(PY) dataset_processor.py $(DEMO) --round 2
	$(PY) dataset_cleaner.py $(DEMO) --round 2
	$(PY) visualise.py $(DEMO) --round 2

# One thread: two busy thread pools on a small machine slow each other down many times over.
test: .venv/ready-dev
	OMP_NUM_THREADS=1 $(PY) -m pytest

lint: .venv/ready-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: .venv/ready-dev
	for benchmark in tests/bench/*.py; do $(PY) $$benchmark || exit 1; done

clean:
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache
