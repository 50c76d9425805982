"""Ctrl-C that waits for what must not be left half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruption_waits() -> Iterator[None]:
    """Within the block Ctrl-C is only noted; KeyboardInterrupt comes at its end. In a thread Ctrl-C never comes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if noted:
        signal.raise_signal(signal.SIGINT)
