"""Python processes that start at once, forked from one that has imported the heavy libraries already.

    python warm_processes.py SOCKET MODULE...

is the process they are forked from; `WarmStart` starts it. Without it a test that runs many scripts or decoders spends
most of its time importing numpy, pandas or torch. A forked process still has its own files, memory, limits, signals and
exit code. Nothing of labels/ is imported before the fork: the script may belong to a copy of this tree.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

NUMBER_BYTES = 16  # of a number on the socket


class WarmStart:
    """Starts `[sys.executable, SCRIPT, *words]` and `[sys.executable, "-m", MODULE, *words]`."""

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._folder = tempfile.TemporaryDirectory()
        self.socket_path = str(Path(self._folder.name) / "socket")
        self._server: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """With the first that asks: most runs of a few tests need none."""
        with self._starting:
            if self._server is not None:
                return
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads would not survive the fork
            server = subprocess.Popen(
                [sys.executable, __file__, self.socket_path, *self._modules],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert server.stdout is not None and server.stdout.readline() == b"listening\n"
            self._server = server

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()  # it ends with its input
        self._folder.cleanup()

    def Popen(self, command: Sequence[str], **options: Any) -> "WarmProcess":
        self.start()
        return forked_at(self.socket_path, command, **options)

    def run(self, command: Sequence[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run(..., stdin=DEVNULL, capture_output=True, text=True)`."""
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as wrong:
            started = self.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=printed, stderr=wrong)
            code = started.wait()
            texts = [(each.seek(0), each.read().decode())[1] for each in (printed, wrong)]
        return subprocess.CompletedProcess(list(command), code, *texts)


def forked_at(socket_path: str, command: Sequence[str], **options: Any) -> "WarmProcess":
    """As `subprocess.Popen`, by the process that listens at a socket."""
    assert command[0] == sys.executable
    asked = socket.socket(socket.AF_UNIX)
    asked.connect(socket_path)
    return WarmProcess(asked, command[1:], **options)


class WarmProcess:
    """What `subprocess.Popen` offers, as far as it is asked for here."""

    def __init__(
        self, asked: socket.socket, words: Sequence[str], *, stdin: Any, stdout: Any, stderr: Any,
        env: dict[str, str], cwd: Path | None = None, pass_fds: Sequence[int] = (), bufsize: int = 0,
    ) -> None:  # fmt: skip
        assert bufsize == 0
        self._asked, self.returncode = asked, None
        self.stdin = self.stdout = None
        theirs = []
        if stdin == subprocess.DEVNULL:
            theirs.append(os.open(os.devnull, os.O_RDONLY))
        if stdin == subprocess.PIPE:
            given, mine = os.pipe()
            theirs.append(given)
            self.stdin = stdin = open(mine, "wb", buffering=0)  # noqa: SIM115
        if stdout == subprocess.PIPE:
            mine, taken = os.pipe()
            theirs.append(taken)
            self.stdout = stdout = open(mine, "rb", buffering=0)  # noqa: SIM115
        ends = iter(theirs)
        new = (subprocess.DEVNULL, self.stdin, self.stdout)
        standard = [next(ends) if each in new else each.fileno() for each in (stdin, stdout)]
        descriptors = dict(enumerate([*standard, stderr.fileno()])) | {fd: fd for fd in pass_fds}
        request = {"words": list(words), "env": env, "cwd": str(cwd or Path.cwd()), "descriptors": list(descriptors)}
        text = json.dumps(request).encode()
        socket.send_fds(asked, [len(text).to_bytes(NUMBER_BYTES)], list(descriptors.values()))
        asked.sendall(text)
        self.pid = self._read()
        for fd in theirs:
            os.close(fd)

    def _read(self) -> int:
        text = b""
        while len(text) < NUMBER_BYTES:
            more = self._asked.recv(NUMBER_BYTES - len(text))
            assert more, "the process that forks has ended"
            text += more
        return int.from_bytes(text, signed=True)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._asked], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._read()
            self._asked.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# The process they are forked from


def serve(path: str, modules: Sequence[str]) -> dict[str, Any]:
    """Fork for whoever asks, until standard input ends. Returns in the forked ones: what is asked of them."""
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # what is here is not looked at by the forked ones, which would copy its memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is pytest's
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("listening", flush=True)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells of the end: process, who asked
    while True:
        ready, _, _ = select.select([0, listener, *running], [], [])
        for each in ready:
            if each == 0:
                sys.exit()
            if each in running:
                pid, asked = running.pop(each)
                os.close(each)
                tell(asked, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                asked.close()
                continue
            asked, _ = listener.accept()
            size, descriptors, _, _ = socket.recv_fds(asked, NUMBER_BYTES, 64)
            with asked.makefile("rb") as rest:
                request = json.loads(rest.read(int.from_bytes(size)))
            pid = os.fork()
            if not pid:
                for other in (listener, asked, *(asked for _, asked in running.values())):
                    other.close()
                for told in running:
                    os.close(told)
                return request | {"received": descriptors}
            for fd in descriptors:
                os.close(fd)
            tell(asked, pid)
            running[os.pidfd_open(pid)] = pid, asked


def tell(asked: socket.socket, number: int) -> None:
    with suppress(OSError):  # whoever asked has gone
        asked.sendall(number.to_bytes(NUMBER_BYTES, signed=True))


def become(request: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    high = 1000
    lifted = [os.dup2(fd, high + at) for at, fd in enumerate(request["received"])]
    for fd in request["received"]:
        os.close(fd)
    for fd, wanted in zip(lifted, request["descriptors"], strict=True):
        os.dup2(fd, wanted)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = request["words"]
    own = "" if words[0] == "-m" else str(Path(words[0]).resolve().parent)
    sys.path[:1] = [own or os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    importlib.invalidate_caches()
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    request, code = serve(sys.argv[1], sys.argv[2:]), 0
    try:
        become(request)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to take down all that was imported would cost more than most scripts do


if __name__ == "__main__":
    main()
