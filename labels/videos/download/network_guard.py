"""Limits on the process that runs yt-dlp, enforced below yt-dlp by Python's audit events.

A list, a redirect, a page or a manifest may name any address. What counts is the address that is connected to, so that
is checked at the moment of connecting: http and https on the public internet, nothing inside the user's own network.
So is every URL that is opened, every program that is started and every file that is opened for writing. An audit hook
cannot be removed: only worker processes install it.
"""

import ipaddress
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from labels.videos.settings import DownloadSettings

MAX_URL_LENGTH = 2048
NOT_IN_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\<>\"`{}|^]|\s")
LOCAL_NAMES = re.compile(r"(^|\.)(localhost|local|internal|intranet|lan|home|corp|home\.arpa)$")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fault_of_address(address: str) -> str:
    """Why a numeric IP address may not be connected to; empty when it may."""
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return f"{address[:60]!r} is no IP address"
    inner = [ip]
    if isinstance(ip, ipaddress.IPv6Address):  # an IPv4 address may hide in one of IPv6
        inner += [hidden for hidden in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())) if hidden is not None]
        if ip in NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if ip.ipv4_mapped:
            inner.remove(ip)
    if all(each.is_global and not each.is_multicast for each in inner):
        return ""
    return f"{address} is not on the public internet"


def fault_of_url(url: str, allowed: tuple[str, ...] = ()) -> str:
    """Why a URL may not be asked, as far as its text tells; empty when it may. Names are resolved when connecting.

    `allowed` are "host:port" pairs that may be private.
    """
    if len(url) > MAX_URL_LENGTH:
        return f"the address is longer than {MAX_URL_LENGTH} characters"
    if NOT_IN_URL.search(url):
        return "the address holds a character that no URL has"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return f"no URL: {error}"
    if parts.scheme not in ("http", "https"):
        return f"only http and https are fetched, not {parts.scheme[:20] or 'an address without a scheme'}"
    if not host:
        return "the URL names no host"
    if parts.username is not None or parts.password is not None:
        return "the URL holds a user name or a password"
    if f"{host}:{port or (443 if parts.scheme == 'https' else 80)}" in allowed:
        return ""
    numeric = _as_address(host)
    if numeric is not None:
        return fault_of_address(numeric)
    if "." not in host or LOCAL_NAMES.search(host.rstrip(".")):
        return f"{host} is not on the public internet"
    return ""


def _as_address(host: str) -> str | None:
    """The IP address a host is, also in the spellings that only the system's resolver knows (127.1, 0x7f.0.0.1)."""
    if ":" in host:
        return host
    if not re.fullmatch(r"[0-9a-fx.]+", host) or not host[-1].isalnum():
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


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
        sys.addaudithook(self._check_event)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Refuse what is not allowed while the block runs; files may be written in `folder` alone."""
        self.refused, self._folder, self._watching = "", os.path.realpath(folder), True
        try:
            yield
        finally:
            self._watching = False

    def _check_event(self, event: str, arguments: tuple[Any, ...]) -> None:
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
