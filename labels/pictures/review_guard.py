"""Who may speak to the review page: a browser on this machine that loaded the page from us, and nobody else.

The server listens on 127.0.0.1 only, but any page a browser has open can send requests there. A name that was made to
point here (DNS rebinding) is not ours in `Host`; another page is not ours in `Origin`; and nobody else knows the token.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
TOKEN_HEADER = b"x-rally-token"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Refuses what does not come from our own page, and says on every answer what a browser may do with it."""

    def __init__(self, app: App, port: int, token: str) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self.refusal(scope["method"], dict(scope["headers"]))
        if refusal:
            await _answer(send, 403, refusal)
            return

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = HEADERS | {b"cache-control": b"no-store"}
                message["headers"] = [*message["headers"], *(pair for pair in more.items() if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, marked)

    def refusal(self, method: str, headers: dict[bytes, bytes]) -> str:
        """Why a request is not answered; empty when it is."""
        if headers.get(b"host", b"").lower() not in self._hosts:
            return "this address is not the review page's"
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in {b"http://" + host for host in self._hosts}:
            return "another page asked"
        if method not in ("GET", "HEAD") and not hmac.compare_digest(headers.get(TOKEN_HEADER, b""), self._token):
            return "the page is of an earlier run; load it again"
        return ""


async def _answer(send: Send, status: int, text: str) -> None:
    body = f'{{"error": "{text}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS.items()]})
    await send({"type": "http.response.body", "body": body})
