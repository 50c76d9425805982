"""What was written is brought to disk soon, beside the work: a disk that is busy must not keep a person waiting."""

import threading
from collections.abc import Callable


class DiskSync:
    """Calls `sync` in a thread of its own after each `soon`, once for all that came while it was busy.

    What it raises is raised by the next `soon`, or by `close`. What a process wrote outlives its end either way; only a
    machine that loses its power between `soon` and the end of `sync`, a moment later, loses it.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._changed = threading.Condition()
        self._wanted = self._closed = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        with self._changed:
            self._raise()
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work_off, name="disk", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Wait until all of it is on disk."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work_off(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if not self._wanted:
                    return
                self._wanted = False
            try:
                self._sync()
            except OSError as error:
                with self._changed:
                    self._error = error
