#!/bin/sh
# Each reader of foreign labels with 10,000 made-up files (minutes): sh tests/bench/foreign_fuzz.sh
cd "$(dirname "$0")/../.." && FUZZ_EXAMPLES="${FUZZ_EXAMPLES:-10000}" python -m pytest -q tests/test_foreign_fuzz.py
