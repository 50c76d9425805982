"""Clips that a person gives to the review page: accepted within limits, run through the newest models one by one.

A clip is written under a name of our own into a temporary folder; its original name is only ever shown.
"""

import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_TRAINED, WorkFolder
from labels.videos.decoding.frames import REPOSITORY

MOTION = "motion"


@dataclass(frozen=True)
class CurrentModels:
    """The newest finished students: files of train.py, each empty where there is none, with the round that made it.

    `detector` is `motion`, of no round, where there is no student at all. `per` is what the recogniser was taught on:
    windows of each player, or of the whole frame.
    """

    detector: str = ""
    detector_round: int | None = None
    recogniser: str = ""
    recogniser_round: int | None = None
    per: str = "frame"


def current_models(work: WorkFolder) -> CurrentModels:
    """The newest student that finds boxes and the newest one that tells actions, each where there is one."""
    detector, detector_round = "", None
    recogniser, recogniser_round, per = "", None, "frame"
    for number in work.round_numbers():
        folder = work.round(number)
        if folder.detector.is_file() and read_run_record(folder, "trained") is not None:
            detector, detector_round = str(folder.detector), number
        if folder.recogniser.is_file() and read_run_record(folder, ACTIONS_TRAINED) is not None:
            recogniser, recogniser_round = str(folder.recogniser), number
            cleaned = read_run_record(folder, ACTIONS_CLEANED)
            per = (cleaned.facts.get("per") if cleaned is not None else None) or "frame"
    return CurrentModels(
        detector or ("" if recogniser else MOTION), detector_round, recogniser, recogniser_round, str(per)
    )


MOST_NAME = 80


@dataclass
class Clip:
    """One clip from outside. `state`: waiting, working, done, failed."""

    name: str  # as it was given, made harmless; shown only
    folder: Path
    state: str = "waiting"
    step: str = ""
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "clip"

    @property
    def overlay(self) -> Path:
        return self.folder / "overlay.mp4"

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "step": self.step, "error": self.error, "result": self.result}


class ClipService:
    """Takes clips in and has them looked at, one at a time, each in a process that can be ended."""

    def __init__(self, work: WorkFolder, folder: Path, settings: ReviewSettings = REVIEW) -> None:
        self._work, self._folder, self._settings = work, folder, settings
        self.clips: dict[str, Clip] = {}
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work_off, name="clips", daemon=True)
        self._thread.start()

    async def take(self, name: str, declared_bytes: int | None, chunks: AsyncIterator[bytes]) -> str:
        """Write a clip as it comes in; the key it is asked for by. InputError, and nothing left, if it is too large."""
        most = self._settings.clip_bytes
        too_large = InputError(
            f"{shown_name(name)}: larger than {most // 2**20} MB; cut it shorter, or lower its quality"
        )
        if declared_bytes is not None and declared_bytes > most:
            await self._let_pass(chunks)
            raise too_large
        if sum(clip.state in ("waiting", "working") for clip in self.clips.values()) >= self._settings.clips_kept:
            await self._let_pass(chunks)
            raise InputError("other clips are waiting already; give this one when they are done")
        key = secrets.token_hex(8)
        clip = Clip(shown_name(name), self._folder / key)
        clip.folder.mkdir(parents=True)
        written = 0
        try:
            with open(clip.path, "xb") as opened:
                async for chunk in chunks:
                    written += len(chunk)
                    if written > most:
                        opened.truncate(0)
                        await self._let_pass(chunks)
                        raise too_large
                    opened.write(chunk)
            if not written:
                raise InputError(f"{clip.name}: an empty file")
        except BaseException:
            shutil.rmtree(clip.folder, ignore_errors=True)
            raise
        self.clips[key] = clip
        self._waiting.put(key)
        self._forget_old()
        return key

    async def _let_pass(self, chunks: AsyncIterator[bytes]) -> None:
        """Hear out what is refused: a browser that is cut off while it sends shows no answer. Not for ever, though."""
        passed = 0
        async for chunk in chunks:
            passed += len(chunk)
            if passed > self._settings.clip_drained_bytes:
                return

    def close(self) -> None:
        self._closed = True
        self._waiting.put(None)
        self._end_process()
        self._thread.join(timeout=5)

    def _forget_old(self) -> None:
        done = [key for key, clip in self.clips.items() if clip.state in ("done", "failed")]
        for key in done[: max(0, len(self.clips) - self._settings.clips_kept)]:
            shutil.rmtree(self.clips.pop(key).folder, ignore_errors=True)

    def _work_off(self) -> None:
        while (key := self._waiting.get()) is not None and not self._closed:
            clip = self.clips[key]
            clip.state = "working"
            try:
                self._look_at(clip)
            except OSError as error:
                clip.error = f"{clip.name}: {error.strerror or error}"
            failed = bool(clip.error) or not clip.result
            if failed:
                clip.error = clip.error or f"{clip.name}: nothing came of it"
                shutil.rmtree(clip.folder, ignore_errors=True)
            else:
                clip.path.unlink(missing_ok=True)
            clip.state = "failed" if failed else "done"  # last: who reads it finds the rest as it says

    def _look_at(self, clip: Clip) -> None:
        models = current_models(self._work)
        search = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "labels.pictures.review.clip", str(clip.path), str(clip.folder)]
        with open(clip.folder / "said", "w+") as output:
            self._process = process = subprocess.Popen(
                [*command, json.dumps(asdict(models)), json.dumps(asdict(self._settings))],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, text=True,
                env={**os.environ, "PYTHONPATH": search}, start_new_session=True,
            )  # fmt: skip
            late = threading.Timer(self._settings.clip_wait_s, self._end_process)
            late.start()
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    with suppress(ValueError):
                        self._take_progress(clip, json.loads(line))
            process.wait()
            is_late = not late.is_alive()
            late.cancel()
            output.seek(0)
            last = output.read(2**20).strip().splitlines()
        if is_late:
            clip.error = f"{clip.name}: given up after {self._settings.clip_wait_s:g} s"
        elif process.returncode != 0 and not clip.error:
            clip.error = f"{clip.name}: the labeller stopped: {last[-1][:200] if last else process.returncode}"

    def _take_progress(self, clip: Clip, progress: dict[str, Any]) -> None:
        if "error" in progress:
            reason = str(progress["error"]).replace(str(clip.path), "the clip")
            clip.error = f"{clip.name}: {reason}"
        elif "result" in progress:
            clip.result = progress["result"]
        clip.step = progress.get("step", clip.step)

    def _end_process(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def shown_name(name: str) -> str:
    """A name from outside as it may be shown: its last part, printable, not long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(sign for sign in last if sign.isprintable() and unicodedata.category(sign) != "Cf")
    return printable.strip()[:MOST_NAME] or "the clip"
