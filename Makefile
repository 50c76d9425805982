.PHONY: setup demo test lint bench clean
PYTHON ?= python3
PY := .venv/bin/python
export OMP_NUM_THREADS ?= 2

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -m pip install --quiet pytest ruff mypy types-tqdm pycocotools onnx onnxruntime
	touch .venv/ready

setup: .venv/ready

test: .venv/ready
	OMP_NUM_THREADS=1 $(PY) -m pytest

lint: .venv/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache
