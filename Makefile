# The only commands to remember: make demo, make test, make lint, make bench, make docs, make clean.
.PHONY: setup demo test lint bench docs clean

PYTHON ?= python3
PY := .venv/bin/python

# The demo's clips: another seed gives other clips.
SEED ?= 0
DEMO ?= demo

# Real clips with truth, where there are any.
REAL ?= $(LABELS_REAL_DATA)

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

# One ball is in play; nothing else is told to the stages.
demo: .venv/ready
	$(PY) dataset_downloader.py $(DEMO) --from synthetic --seed $(SEED) \
	    --clips 32 --held-out 10 --set sport=volleyball --set difficulty=easy --set frames=30
	$(PY) dataset_processor.py $(DEMO) --round 0 --detector motion
	$(PY) dataset_cleaner.py $(DEMO) --round 0 --set max_per_frame=1
	$(PY) train.py $(DEMO) --round 0 --epochs 6 --from-scratch
	$(PY) dataset_processor.py $(DEMO) --round 1
	$(PY) dataset_cleaner.py $(DEMO) --round 1 --set max_per_frame=1
	$(PY) train.py $(DEMO) --round 1 --epochs 6 --from-scratch
	$(PY) dataset_processor.py $(DEMO) --round 2
	$(PY) dataset_cleaner.py $(DEMO) --round 2 --set max_per_frame=1
	$(PY) visualise.py $(DEMO) --round 2

# One thread: two busy thread pools on a small machine slow each other down many times over. Byte code is kept even
# where the environment says not to: tests start the stages many times. Neighbouring tests share fixtures, so a worker
# takes a run of them (worksteal) and not every other one.
test: .venv/ready-dev
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n auto --dist worksteal

lint: .venv/ready-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: .venv/ready-dev
	$(PY) tests/bench/rounds_by_seed.py
	test -z "$(REAL)" || LABELS_REAL_DATA="$(REAL)" $(PY) tests/bench/real_rounds.py

# The pages of docs/ as a site in site/. A link that leads nowhere fails the build.
.venv/ready-docs: .venv/ready pyproject.toml
	$(PY) -m pip install --quiet --editable ".[docs]"
	touch .venv/ready-docs

docs: .venv/ready-docs
	$(PY) -m mkdocs build --strict

clean:
	rm -rf demo site .pytest_cache .mypy_cache .ruff_cache
