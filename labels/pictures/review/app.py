"""The review page as an ASGI application: its files, its requests, and who may send them. Needs the extra `review`.

The server listens on 127.0.0.1 only, but any page a browser has open, and any program on this machine, can send
requests there. A name that was made to point here (DNS rebinding) is not ours in `Host`, another page is not ours in
`Origin`, and only a browser that opened a one-time link of the terminal has a cookie that is answered.
"""

import hmac
import json
import secrets
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from labels.pictures.palette import STYLES, hexadecimal
from labels.pictures.report.rounds import read_round, require_cleaned_round
from labels.pictures.review.frames import ReviewFrames
from labels.pictures.review.segments import SegmentService
from labels.pictures.review.service import ReviewService
from labels.pictures.review.uploads import ClipService
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records import next_command
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.safe_writing import scratch_folder
from labels.records.work_folder import WorkFolder

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
MAX_JSON_BYTES = 65536
CLIENT = "rally.client"  # in the scope of a request: which browser sent it

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Sessions:
    """The browsers that may use the page. Each opened a one-time link and is known by a cookie from then on.

    `announce` is called with each new link's path: with the first at once, and with another whenever one was used.
    """

    def __init__(self, port: int, announce: Callable[[str], None] = lambda path: None) -> None:
        self.cookie_name = f"rally-review-{port}"  # browsers share cookies between the ports of a host
        self._announce = announce
        self._clients: list[bytes] = []
        self._lock = threading.Lock()
        self._new_link()

    def opened(self, key: str) -> str | None:
        """The cookie for the browser that opened the link with this key; None when that is not the one open link."""
        with self._lock:
            if not hmac.compare_digest(key.encode(), self.key.encode()):
                return None
            client = secrets.token_urlsafe(24)
            self._clients.append(client.encode())
            self._new_link()
        return f"{self.cookie_name}={client}; HttpOnly; SameSite=Strict; Path=/"

    def client(self, cookies: bytes) -> str | None:
        """Which browser sent this `Cookie` header; None for one that opened no link."""
        for pair in cookies.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name == self.cookie_name.encode() and any(hmac.compare_digest(value, known) for known in self._clients):
                return value.decode()
        return None

    def _new_link(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self._announce(f"/?key={self.key}")


class Guard:
    """Refuses what does not come from our own page, and says on every answer what a browser may do with it."""

    def __init__(self, app: App, port: int, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self.refusal(headers)
        if refusal:
            await _answer(send, 403, refusal)
            return
        key = parse_qs(scope["query_string"].decode("latin-1")).get("key") if scope["path"] == "/" else None
        cookie = self._sessions.opened(key[0]) if key else None
        if cookie is not None:
            more = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
            await _answer(send, 303, "the page is at /", more)
            return
        client = self._sessions.client(headers.get(b"cookie", b""))
        if client is None:
            await _answer(send, 403, "open the newest link that the terminal shows: each works once")
            return

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = HEADERS | {b"cache-control": b"no-store"}
                message["headers"] = [*message["headers"], *(pair for pair in more.items() if pair[0] not in given)]
            await send(message)

        await self._app({**scope, CLIENT: client}, receive, marked)

    def refusal(self, headers: dict[bytes, bytes]) -> str:
        """Why a request is not even looked at; empty when it is."""
        if headers.get(b"host", b"").lower() not in self._hosts:
            return "this address is not the review page's"
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in {b"http://" + host for host in self._hosts}:
            return "another page asked"
        return ""


async def _answer(send: Send, status: int, text: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS.items(), *(more or [])]}
    )
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
    "review_segments.js": "text/javascript; charset=utf-8",
    "review_browsing.js": "text/javascript; charset=utf-8",
}


def make_app(
    service: ReviewService,
    segments: SegmentService,
    clips: ClipService,
    first_round: int,
    port: int,
    sessions: Sessions,
) -> Any:
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

    def client_of(request: Request) -> str:
        return str(request.scope[CLIENT])

    def page_file(request: Request) -> Response:
        name = request.path_params.get("name") or "review_page.html"
        if name not in PAGE_FILES:
            return JSONResponse({"error": "no such page"}, 404)
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        return Response(text, headers={"content-type": PAGE_FILES[name]})

    def palette(_: Request) -> Response:
        colours = "".join(f"--{name}: {hexadecimal(style.colour)}; " for name, style in STYLES.items())
        return Response(f":root {{ {colours}}}\n", headers={"content-type": "text/css"})

    def frame(request: Request) -> Response:
        video_id, frame_index = request.path_params["video"], request.path_params["frame"]
        try:
            jpeg = service.frame(round_of(request), video_id, frame_index, number(request, "width", 0))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    async def posted(request: Request, answer: Callable[[dict[str, Any]], Any]) -> Response:
        from starlette.concurrency import run_in_threadpool

        try:
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_JSON_BYTES:
                    raise InputError("too much was sent")
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise InputError("an object is expected")
            return JSONResponse(await run_in_threadpool(answer, asked))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except OSError as error:
            return JSONResponse({"error": f"not saved: {error.strerror or error}"}, 500)
        except (ValueError, RecursionError):  # no JSON, or nested deeper than Python goes
            return JSONResponse({"error": "what was sent cannot be read"}, 400)
        except ClientDisconnect:  # nobody is there to be told
            return Response(status_code=400)

    async def verdict(request: Request) -> Response:
        return await posted(request, lambda asked: service.judge(round_of(request), asked, client_of(request)))

    async def action_verdict(request: Request) -> Response:
        return await posted(request, lambda asked: segments.judge(round_of(request), asked, client_of(request)))

    async def drawn(request: Request) -> Response:
        return await posted(request, lambda asked: service.draw(round_of(request), asked, client_of(request)))

    async def undone(request: Request) -> Response:
        return await posted(request, lambda asked: service.take_back(client_of(request)))

    async def clip(request: Request) -> Response:
        name = unquote(request.headers.get("x-clip-name", ""))
        length = request.headers.get("content-length", "")
        try:
            declared_bytes = int(length) if length.isdecimal() else None
            return JSONResponse({"clip": await clips.take(name, declared_bytes, request.stream())})
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
            jpeg = service.strip(round_of(request), request.path_params["video"], request.path_params["frame"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        if jpeg is None:
            return Response(status_code=202)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    def crop(request: Request) -> Response:
        try:
            jpeg = service.crop(round_of(request), request.path_params["label"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(jpeg, headers={"content-type": "image/jpeg", "cache-control": "private, max-age=600"})

    def filters(request: Request) -> dict[str, str]:
        return dict(request.query_params)

    def around(request: Request) -> dict[str, Any]:
        first, last = number(request, "first", 0), number(request, "last", 0)
        return service.around(round_of(request), request.query_params.get("video", ""), first, last)

    def items(request: Request) -> dict[str, Any]:
        return service.items(
            round_of(request), number(request, "offset", 0), number(request, "count", 40), filters(request)
        )

    def about(request: Request) -> dict[str, Any]:
        return service.about(round_of(request)) | segments.about(round_of(request))

    def actions(request: Request) -> dict[str, Any]:
        return segments.items(round_of(request), number(request, "offset", 0), number(request, "count", 40))

    def action(request: Request) -> dict[str, Any]:
        return segments.item(round_of(request), filters(request).get("label", ""))

    starlette = Starlette(
        routes=[
            Route("/", page_file),
            Route("/palette.css", palette),
            Route("/api/about", answered(about)),
            Route("/api/items", answered(items)),
            Route(
                "/api/item",
                answered(lambda request: service.item_of(round_of(request), filters(request).get("label", ""))),
            ),
            Route("/api/actions", answered(actions)),
            Route("/api/action", answered(action)),
            Route("/api/around", answered(around)),
            Route("/api/browse", answered(lambda request: service.browse(round_of(request), filters(request)))),
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
    return Guard(starlette, port, sessions)


def review(root: Path, number: int | None, port: int, settings: ReviewSettings = REVIEW) -> Summary:
    """Serve the page until Ctrl-C. InputError when it cannot be: no round, no library, no port."""
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        raise InputError(
            "--review needs two small libraries more; get them with: pip install starlette uvicorn"
        ) from None
    work = WorkFolder(root)
    work.usable_videos()
    cleaned = [each for each in work.round_numbers() if read_round(work, each).is_cleaned]
    here = require_cleaned_round(work, (cleaned[-1] if cleaned else 0) if number is None else number).number
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves nothing behind
    listening = _listen(port)
    port = listening.getsockname()[1]
    with scratch_folder("review") as folder:
        frames = ReviewFrames(work, folder / "frames", settings)
        service = ReviewService(work, frames, settings)
        segments = SegmentService(service)
        clips = ClipService(work, folder / "clips", settings)
        try:
            held, actions = service.round(here), segments.round(here)
            found = [f"{len(held.labels)} boxes in {len(held.items)} items"] if len(held.labels) else []
            found += [f"{len(actions.actions)} actions"] if len(actions.actions) else []
            print(f"round {here}: {' and '.join(found) or 'nothing'} to judge. Ctrl-C ends this page.")
            print("Open this link, it works once; for another browser, take the newest one:", flush=True)
            sessions = Sessions(port, lambda path: print(f"http://127.0.0.1:{port}{path}", flush=True))
            app = make_app(service, segments, clips, here, port, sessions)
            config = uvicorn.Config(
                app, log_level="error", access_log=False, timeout_graceful_shutdown=1, lifespan="off"
            )
            try:
                uvicorn.Server(config).run(sockets=[listening])
            except KeyboardInterrupt:
                print()
        finally:
            clips.close()
            frames.close()
            listening.close()
            service.verdicts.close()
        saved, of_actions = service.verdicts.saved, service.verdicts.saved_actions
    unreadable = held.unreadable | actions.unreadable
    lines = [f"{name}: not shown: {reason}" for name, reason in unreadable.items()]
    lines.append(f"verdicts on {saved} labels saved: {work.root / VERDICTS_FILE}")
    of_boxes = saved - of_actions
    command = next_command.clean(work, here, actions=not of_boxes)
    if of_boxes and of_actions:
        lines.append(f"of them actions: {of_actions}; clean these too: {next_command.clean(work, here, actions=True)}")
    videos = {*held.videos, *held.unreadable}
    refused = len(videos & set(unreadable))
    skipped = {"with labels that cannot be read": refused} if refused else {}
    return Summary("review", "videos", len(videos), len(videos) - refused, skipped, lines, command if saved else None)


def _listen(port: int) -> socket.socket:
    """A socket on this machine's own address. InputError when the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)  # who comes between the address being printed and the server's start waits
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "a port is a number from 0 to 65535"
        raise InputError(f"--set port={port}: {reason}; say another, or 0 for any that is free") from None
    return listening
