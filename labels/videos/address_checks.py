"""Which addresses may be asked: http and https on the public internet, nothing inside the user's own network."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

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
