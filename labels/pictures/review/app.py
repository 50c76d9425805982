"""The review page as an ASGI application: its files, its requests, and who may send them. Needs the extra `review`.

The server listens on 127.0.0.1 only, but any page a browser has open can send requests there. A name that was made to
point here (DNS rebinding) is not ours in `Host`, another page is not ours in `Origin`, and nobody else knows the token.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from labels.pictures.palette import STYLES, hexadecimal
from labels.pictures.review.segments import StretchDesk
from labels.pictures.review.service import ReviewDesk
from labels.pictures.review.uploads import ClipDesk
from labels.records.errors import InputError

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


PAGE_FILES = {
    "review_page.html": "text/html; charset=utf-8",
    "review_page.css": "text/css; charset=utf-8",
    "review_page.js": "text/javascript; charset=utf-8",
    "review_asking.js": "text/javascript; charset=utf-8",
    "review_canvas.js": "text/javascript; charset=utf-8",
    "review_judging.js": "text/javascript; charset=utf-8",
    "review_showing.js": "text/javascript; charset=utf-8",
    "review_strip.js": "text/javascript; charset=utf-8",
    "review_facts.js": "text/javascript; charset=utf-8",
    "review_clip.js": "text/javascript; charset=utf-8",
    "review_actions.js": "text/javascript; charset=utf-8",
    "review_items.js": "text/javascript; charset=utf-8",
    "review_playing.js": "text/javascript; charset=utf-8",
    "review_stretches.js": "text/javascript; charset=utf-8",
    "review_browsing.js": "text/javascript; charset=utf-8",
}
TOKEN_PLACE = "{{ token }}"


def make_app(desk: ReviewDesk, stretches: StretchDesk, clips: ClipDesk, first_round: int, port: int, token: str) -> Any:
    """The whole page as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    def answered(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """What `answer` gives as JSON; what was wrong with the question as one line."""

        def asked(request: Request) -> Response:
            try:
                return JSONResponse(answer(request))
            except InputError as error:
                return JSONResponse({"error": str(error)}, 400)
            except OSError as error:
                return JSONResponse({"error": f"{error.filename or ''}: {error.strerror or error}"}, 500)

        return asked

    def number(request: Request, name: str, usual: int) -> int:
        text = request.query_params.get(name, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else usual

    def round_of(request: Request) -> int:
        return number(request, "round", first_round)

    def page_file(request: Request) -> Response:
        name = request.path_params.get("name") or "review_page.html"
        if name not in PAGE_FILES:
            return JSONResponse({"error": "no such page"}, 404)
        text = (Path(__file__).parent / name).read_text(encoding="utf-8").replace(TOKEN_PLACE, token)
        return Response(text, headers={"content-type": PAGE_FILES[name]})

    def palette(_: Request) -> Response:
        colours = "".join(f"--{name}: {hexadecimal(style.colour)}; " for name, style in STYLES.items())
        return Response(f":root {{ {colours}}}\n", headers={"content-type": "text/css"})

    def frame(request: Request) -> Response:
        video_id, frame_index = request.path_params["video"], request.path_params["frame"]
        try:
            jpeg = desk.frame(round_of(request), video_id, frame_index, number(request, "width", 0))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    async def posted(request: Request, answer: Callable[[dict[str, Any]], Any]) -> Response:
        from starlette.concurrency import run_in_threadpool

        try:
            if int(request.headers.get("content-length") or 0) > 65536:
                raise InputError("too much was sent")
            said = await request.json()
            if not isinstance(said, dict):
                raise InputError("an object is expected")
            return JSONResponse(await run_in_threadpool(answer, said))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except OSError as error:
            return JSONResponse({"error": f"not saved: {error.strerror or error}"}, 500)
        except ValueError:
            return JSONResponse({"error": "what was sent cannot be read"}, 400)

    async def verdict(request: Request) -> Response:
        return await posted(request, lambda said: desk.judge(round_of(request), said))

    async def action_verdict(request: Request) -> Response:
        return await posted(request, lambda said: stretches.judge(round_of(request), said))

    async def drawn(request: Request) -> Response:
        return await posted(request, lambda said: desk.draw(round_of(request), said))

    async def undone(request: Request) -> Response:
        return await posted(request, lambda said: desk.take_back())

    async def clip(request: Request) -> Response:
        name = unquote(request.headers.get("x-clip-name", ""))
        length = request.headers.get("content-length", "")
        try:
            said_bytes = int(length) if length.isdecimal() else None
            return JSONResponse({"clip": await clips.take(name, said_bytes, request.stream())})
        except InputError as error:
            # Should more still come, it is not read: the connection ends with this answer.
            return JSONResponse({"error": str(error)}, 413, headers={"connection": "close"})
        except ClientDisconnect:  # nobody is there to be told
            return Response(status_code=400)
        except OSError as error:
            return JSONResponse({"error": f"not taken in: {error.strerror or error}"}, 500)

    def clip_state(request: Request) -> dict[str, Any]:
        found = clips.clips.get(request.path_params["key"])
        if found is None:
            raise InputError("this clip is not here any more")
        return found.as_json()

    def overlay(request: Request) -> Response:
        found = clips.clips.get(request.path_params["key"])
        if found is None or found.state != "done":
            return JSONResponse({"error": "no such video"}, 404)
        return FileResponse(found.overlay, media_type="video/mp4")

    def strip(request: Request) -> Response:
        try:
            jpeg = desk.strip(round_of(request), request.path_params["video"], request.path_params["frame"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        if jpeg is None:
            return Response(status_code=202)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    def crop(request: Request) -> Response:
        try:
            jpeg = desk.crop(round_of(request), request.path_params["label"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    def filters(request: Request) -> dict[str, str]:
        return dict(request.query_params)

    def around(request: Request) -> dict[str, Any]:
        first, last = number(request, "first", 0), number(request, "last", 0)
        return desk.around(round_of(request), request.query_params.get("video", ""), first, last)

    def items(request: Request) -> dict[str, Any]:
        return desk.items(
            round_of(request), number(request, "offset", 0), number(request, "count", 40), filters(request)
        )

    def about(request: Request) -> dict[str, Any]:
        return desk.about(round_of(request)) | stretches.about(round_of(request))

    def actions(request: Request) -> dict[str, Any]:
        return stretches.items(round_of(request), number(request, "offset", 0), number(request, "count", 40))

    def action(request: Request) -> dict[str, Any]:
        return stretches.item(round_of(request), filters(request).get("label", ""))

    starlette = Starlette(
        routes=[
            Route("/", page_file),
            Route("/palette.css", palette),
            Route("/api/about", answered(about)),
            Route("/api/items", answered(items)),
            Route(
                "/api/item",
                answered(lambda request: desk.item_of(round_of(request), filters(request).get("label", ""))),
            ),
            Route("/api/actions", answered(actions)),
            Route("/api/action", answered(action)),
            Route("/api/around", answered(around)),
            Route("/api/browse", answered(lambda request: desk.browse(round_of(request), filters(request)))),
            Route("/api/verdict", verdict, methods=["POST"]),
            Route("/api/action-verdict", action_verdict, methods=["POST"]),
            Route("/api/drawn", drawn, methods=["POST"]),
            Route("/api/undo", undone, methods=["POST"]),
            Route("/api/clip", clip, methods=["POST"]),
            Route("/api/clip/{key}", answered(clip_state)),
            Route("/clips/{key}/overlay.mp4", overlay),
            Route("/frames/{video}/{frame:int}.jpg", frame),
            Route("/strips/{video}/{frame:int}.jpg", strip),
            Route("/crops/{label}.jpg", crop),
            Route("/{name}", page_file),
        ]
    )
    return Guard(starlette, port, token)
