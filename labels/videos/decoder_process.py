"""The decoding process as seen by the one that asked for it: started, read from, watched, ended."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from labels.videos.frame_pipe import (
    END,
    FAILED,
    FREE,
    HEADER,
    SIZE,
    Header,
    make_shared_file,
    map_shared_file,
    slot_count,
)
from labels.videos.settings import DecodeLimits

REPOSITORY = Path(__file__).resolve().parent.parent.parent
STARTUP_S = 30.0  # what the process may take on a busy machine before its first sign of life, beside the limit
POLL_S = 0.2  # how soon a reader notices that nobody wants its frames any more


class DecodeError(Exception):
    """Why a video cannot be decoded, or not to its end, in one line."""


class Stopped(Exception):
    """Nobody wants the frames any more."""


class DecoderProcess:
    """A decoding process and the reading end of its pipe."""

    def __init__(self, path: Path, stride: int, limits: DecodeLimits, stop: threading.Event | None):
        self.limits, self.stop = limits, stop
        self.account: dict[str, Any] | None = None  # set when all was decoded
        self._slots: np.ndarray | None = None  # (slots, H, W, 3), shared with the process
        self._taken = 0
        self._shared = make_shared_file()
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115, closed in __exit__
        search = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "labels.videos.decoding_child"]
        self._process = subprocess.Popen(
            [*command, os.fspath(path), str(stride), json.dumps(asdict(limits)), str(self._shared)],
            pass_fds=(self._shared,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            env={**os.environ, "PYTHONPATH": search},
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._fd = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._header = bytearray(HEADER.size)
        self._patience_s = limits.stall_s + STARTUP_S

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None and self._process.stdin is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._last_words.close()
        self._slots = None
        os.close(self._shared)

    def read_header(self) -> Header | None:
        """The next message's header, or None after the last one (or when stopped). Raises DecodeError."""
        try:
            self._read_into(memoryview(self._header))
            header = Header(*HEADER.unpack(self._header))
            if header.kind == SIZE:
                self._share(header.width, header.height)
                return self.read_header()
            if header.kind not in (END, FAILED):
                return header
            payload = bytearray(header.payload_bytes)
            self._read_into(memoryview(payload))
        except Stopped:
            return None
        if header.kind == FAILED:
            raise DecodeError(payload.decode())
        self.account = json.loads(payload)
        return None

    def _share(self, width: int, height: int) -> None:
        frame_bytes = width * height * 3
        mapped = map_shared_file(self._shared, frame_bytes)
        self._slots = np.frombuffer(mapped, dtype=np.uint8).reshape(slot_count(frame_bytes), height, width, 3)
        self._free(len(self._slots))

    def take_frame(self) -> np.ndarray:
        """The pixels that the last FRAME header announced, (H, W, 3) uint8, as an array of their own."""
        assert self._slots is not None
        rgb = self._slots[self._taken % len(self._slots)].copy()
        self._taken += 1
        self._free(1)
        return rgb

    def _free(self, count: int) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has decoded all, or died, which its pipe will tell
            self._process.stdin.write(FREE * count)

    def _read_into(self, rest: memoryview) -> None:
        """Fill `rest` from the pipe. Raises DecodeError when the process dies or gives no sign of life."""
        deadline_s = time.monotonic() + self._patience_s
        while rest:
            if self.stop is not None and self.stop.is_set():
                raise Stopped
            if not self._poll.poll(POLL_S * 1000):
                if time.monotonic() > deadline_s:
                    raise DecodeError(f"the decoder gave no sign of life for {self._patience_s:g} s")
                continue
            count = os.readv(self._fd, [rest])
            if not count:
                raise DecodeError(self._why_it_died())
            rest = rest[count:]
            self._patience_s = self.limits.stall_s
            deadline_s = time.monotonic() + self._patience_s

    def _why_it_died(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return f"decoding it took more than {self.limits.cpu_s} s of processor time"
        if code < 0:
            with suppress(ValueError):
                return f"the decoder crashed ({signal.Signals(-code).name})"
        self._last_words.seek(0)
        last_words = self._last_words.read(2**20).decode("utf-8", "replace").strip().splitlines()
        return f"the decoder ended with code {code}: {last_words[-1][:200] if last_words else 'it said nothing'}"
