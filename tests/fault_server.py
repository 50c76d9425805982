"""A local web server that serves videos, and everything that goes wrong on the way to one.

The last part of a path says what happens: `/clip.mp4` is the file of that name in the server's folder, and with a
fault before it, `/cut/clip.mp4`, it is served that way. `hits` counts requests by path.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = b"<!doctype html><html><head><title>Gone</title></head><body>This page has no film.</body></html>"
PRIVATE = b"<html><body>Private video. Sign in if you have been granted access.</body></html>"


class FaultServer:
    """Use `url("cut/clip.mp4")` for an address on it and `address` for its "host:port"."""

    def __init__(self, folder: Path, redirect_to: str = ""):
        self.folder, self.redirect_to = folder, redirect_to
        self.hits: Counter[str] = Counter()
        self.blocks_left = 0  # how many more requests to /limited/ are answered with 429
        self._closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://{self.address}/{path}"

    def fetches(self, name: str) -> int:
        """How often a body was asked for, by GET, whatever way it was served."""
        return sum(count for path, count in self.hits.items() if path.endswith(f"/{name}"))

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(False)

            def do_GET(self) -> None:
                server.hits[self.path] += 1
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.answer(True)

            def answer(self, with_body: bool) -> None:
                fault, _, name = self.path.strip("/").rpartition("/")
                path = server.folder / name
                if fault in ("404", "403", "500", "451"):
                    return self.say(int(fault), b"no", "text/plain", with_body)
                if fault == "limited" and server.blocks_left > 0:
                    server.blocks_left -= with_body
                    return self.say(429, b"slow down", "text/plain", with_body)
                if fault == "html":
                    return self.say(200, HTML, "text/html", with_body)
                if fault == "page-as-video":
                    return self.say(200, HTML, "video/mp4", with_body)
                if fault == "redirect":
                    self.send_response(302)
                    self.send_header("Location", server.redirect_to)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                if fault == "drop":  # the connection ends without an answer
                    self.close_connection = True
                    return self.connection.close()
                if not path.is_file():
                    return self.say(404, b"no such file", "text/plain", with_body)
                body = path.read_bytes()
                if fault == "empty":
                    body = b""
                if fault == "slow" and with_body:
                    return self.drip()
                if fault == "longer":  # more is promised than comes
                    self.head(len(body) + 1000)
                    self.close_connection = True
                    return self.send(body, with_body)
                if fault == "shorter":  # less is promised than the video needs: it ends in the middle
                    return self.say(200, body[: len(body) // 2], "video/mp4", with_body)
                if fault == "cut":
                    self.head(len(body))
                    self.close_connection = True
                    return self.send(body[: len(body) // 2], with_body)
                return self.say(200, body, "video/mp4", with_body)

            def head(self, length: int | None, status: int = 200, kind: str = "video/mp4") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()

            def say(self, status: int, body: bytes, kind: str, with_body: bool) -> None:
                self.head(len(body), status, kind)
                self.send(body, with_body)

            def send(self, body: bytes, with_body: bool) -> None:
                if with_body:
                    self.wfile.write(body)

            def drip(self) -> None:
                self.head(10**9)
                while not server._closing.is_set():
                    self.wfile.write(b"\0" * 64)
                    self.wfile.flush()
                    time.sleep(0.02)

        return Handler


@contextmanager
def fault_server(folder: Path, redirect_to: str = "") -> Iterator[FaultServer]:
    server = FaultServer(folder, redirect_to)
    try:
        yield server
    finally:
        server.close()
