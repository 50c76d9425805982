"""Ctrl-C waits for the end of the block, and is not lost."""

import os
import signal
import threading

import pytest

from labels.records.interruptions import interruption_waits


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


def test_in_a_thread_it_changes_nothing() -> None:
    seen = []

    def look() -> None:
        with interruption_waits():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
