"""A process that asked for it keeps what it frees; one that did not gives large blocks back."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
from labels.models.detectors.loading import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "keep":
    keep_freed_memory()
block = np.ones(24 << 20, dtype=np.uint8)
with_it = resident()
del block
print(with_it - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told anything")
def test_freed_memory_is_kept_where_it_was_asked_for():
    given_back = {
        said: int(
            subprocess.run([sys.executable, "-c", SCRIPT, said], capture_output=True, text=True, check=True).stdout
        )
        for said in ("keep", "leave")
    }
    assert given_back["leave"] > 20 << 20 and given_back["keep"] < 1 << 20
