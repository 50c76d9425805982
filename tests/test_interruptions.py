"""Ctrl-C waits for the end of the block, and is not lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from labels.engine.pools import interruption_waits


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_block_ends_before_the_interruption() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruption_waits():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("after the signal")
    assert done == ["after the signal"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_within_comes_through_and_the_handler_is_back() -> None:
    with pytest.raises(ValueError, match="wrong"), interruption_waits():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_nobody_listens_the_process_ends():
    script = (
        "import os, signal\n"
        "from labels.engine.pools import interruption_waits\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with interruption_waits():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('within', flush=True)\n"
        "print('after')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.stdout, ended.returncode) == ("within\n", -signal.SIGINT)


def test_in_a_thread_it_changes_nothing() -> None:
    seen = []

    def look() -> None:
        with interruption_waits():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
