"""Holds the process that runs yt-dlp to what we allow, below yt-dlp: through Python's audit events.

A list, a redirect, a page or a manifest may name any address. What counts is the address that is connected to, so
that is checked, at the moment of connecting; likewise every URL that is opened, every program that is started and
every file that is opened for writing. An audit hook cannot be taken off again: only worker processes install it.
"""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from labels.videos.address_checks import fault_of_address, fault_of_url
from labels.videos.download_settings import DownloadSettings

PROGRAM_EVENTS = ("os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn", "subprocess.Popen")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class RefusedByGuardError(PermissionError):
    """Something was tried that downloading has no business with."""


class NetworkGuard:
    """Watches this process while `watching`; `refused` says what was refused first, whatever yt-dlp made of it."""

    def __init__(self, settings: DownloadSettings):
        self.settings = settings
        self.refused = ""
        self._folder = ""
        self._watching = False
        self._inside = threading.local()  # the guard's own calls raise audit events too
        proxies = getproxies().values() if settings.proxy is None else filter(None, [settings.proxy])
        self._proxies = {address for proxy in proxies for address in _addresses_of(proxy)}
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Refuse what is not allowed while the block runs; files may be written in `folder` alone."""
        self.refused, self._folder, self._watching = "", os.path.realpath(folder), True
        try:
            yield
        finally:
            self._watching = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            fault = self._fault(event, arguments)
        finally:
            self._inside.busy = False
        if fault:
            self.refused = self.refused or fault
            raise RefusedByGuardError(fault)

    def _fault(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event == "socket.connect":
            address = arguments[1]
            if not isinstance(address, tuple):
                return f"no connection to the local socket {address!r}"
            host, port = str(address[0]), address[1]
            if f"{host}:{port}" in self.settings.allowed_addresses or (host, port) in self._proxies:
                return ""
            return fault_of_address(host)
        if event == "urllib.Request":
            return fault_of_url(arguments[0], self.settings.allowed_addresses)
        if event in PROGRAM_EVENTS:
            name = _program_of(arguments)
            return "" if name in self.settings.js_runtimes else f"no program is started, not {name!r} either"
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            path = arguments[0]
            if not isinstance(path, (str, bytes, os.PathLike)) or os.fspath(path) in (os.devnull, b"/dev/null"):
                return ""
            real = os.path.realpath(os.fsdecode(path))
            if os.path.commonpath([real, self._folder]) != self._folder:
                return f"no file is written outside the download folder, not {real!r} either"
        return ""


def _program_of(arguments: tuple[Any, ...]) -> str:
    program = arguments[0]
    if program is None and len(arguments) > 1 and arguments[1]:
        program = arguments[1][0] if isinstance(arguments[1], (list, tuple)) else arguments[1]
    with suppress(TypeError):
        return os.path.basename(os.fsdecode(program))
    return repr(program)


def _addresses_of(proxy: str) -> list[tuple[str, int]]:
    """Where a proxy of the user's own listens; it may stand in a private network."""
    with suppress(ValueError, OSError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        return [(str(each[4][0]), port) for each in found]
    return []
