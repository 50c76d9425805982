"""The review page's server for tests: started as a user starts it, spoken to as a browser does, ended with Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_S = 60


class ReviewServer:
    """`visualise.py WORK --review` as a process of its own. `address` ends without a slash.

    `start`: `subprocess.Popen`, or one that starts sooner.
    """

    def __init__(self, work: Path, *arguments: str, start: Callable[..., Any] = subprocess.Popen) -> None:
        self._wrong = tempfile.TemporaryFile()  # noqa: SIM115, closed in __exit__
        self.process = start(
            [sys.executable, str(ROOT / "visualise.py"), str(work), "--review", "--set", "port=0", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._wrong, cwd=ROOT, env=dict(os.environ),
        )  # fmt: skip
        self.printed = ""
        for line in self.process.stdout:
            self.printed += line.decode()
            if line.startswith(b"http://"):
                break
        self.link = self.printed.rstrip().rsplit("\n", 1)[-1]
        self.address = self.link.partition("/?")[0]
        self.cookie = ""
        if self.link.startswith("http://"):
            self.cookie = self.open(self.link)

    def newest_link(self) -> str:
        """The next one-time link that the terminal shows: there is one after each that was used."""
        self.link = self.process.stdout.readline().decode().strip()
        return self.link

    def open(self, link: str) -> str:
        """Open a one-time link as a browser does; the cookie it gives, empty when the link is not good."""

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
        try:
            opener.open(link, timeout=START_S)
        except urllib.error.HTTPError as answer:
            return (answer.headers.get("set-cookie") or "").partition(";")[0]
        return ""

    def get(self, path: str, **headers: str) -> bytes:
        return self.ask("GET", path, None, headers)[1]

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def tell(self, path: str, said: object) -> tuple[int, Any]:
        status, body = self.ask("POST", path, json.dumps(said).encode(), {})
        return status, json.loads(body)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        headers = {"cookie": self.cookie} | headers
        request = urllib.request.Request(self.address + path, data=body, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=START_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def stop(self) -> tuple[int, str, str]:
        """Ctrl-C: the exit code, all that was printed, and what went wrong."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        printed, code = self.process.stdout.read().decode(), self.process.wait()
        late.cancel()
        self._wrong.seek(0)
        return code, self.printed + printed, self._wrong.read().decode()

    def __enter__(self) -> "ReviewServer":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._wrong.close()
