"""The review page's server: started, listening on 127.0.0.1 only, ended.

Needs the extra `review` (starlette and uvicorn). The server does not hold the work folder's lock: a stage may run
beside it; each verdict is written under a lock of its own.
"""

import signal
import socket
import threading
from pathlib import Path

from labels.pictures.report.rounds import read_round, require_cleaned_round
from labels.pictures.review.app import Sessions, make_app
from labels.pictures.review.frames import ReviewFrames
from labels.pictures.review.segments import SegmentService
from labels.pictures.review.service import ReviewService
from labels.pictures.review.settings import REVIEW, ReviewSettings
from labels.pictures.review.uploads import ClipService
from labels.records import next_command
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.safe_writing import scratch_folder
from labels.records.work_folder import WorkFolder


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
        raise InputError(f"--port {port}: {reason}; say another, or 0 for any that is free") from None
    return listening
