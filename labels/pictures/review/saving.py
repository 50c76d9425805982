"""Saving the review page's verdicts: appended at once, recognised when repeated, undone on request.

Writes are synced to disk in the background, so that a busy disk does not keep a person waiting.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labels.records.run_records import VERDICTS_FILE
from labels.records.tables import BOX_COLUMNS
from labels.records.verdicts import (
    JUDGED_COLUMNS,
    Box,
    Verdict,
    append_verdicts,
    as_row,
    read_verdicts,
    sync_verdicts,
    verdict_from,
)
from labels.records.work_folder import WorkFolder


class DiskSync:
    """Calls `sync` in a thread of its own after each `soon`, once for all that came while it was busy.

    What it raises is raised by the next `soon`, or by `close`. What a process wrote outlives its end either way; only a
    machine that loses its power between `soon` and the end of `sync`, a moment later, loses it.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._changed = threading.Condition()
        self._wanted = self._closed = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        with self._changed:
            self._raise()
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work_off, name="disk", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Wait until all of it is on disk."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work_off(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if not self._wanted:
                    return
                self._wanted = False
            try:
                self._sync()
            except OSError as error:
                with self._changed:
                    self._error = error


@dataclass(frozen=True)
class TakenBack:
    """What was undone: the item it was on, its labels, whether they are actions. No labels: there was nothing."""

    name: str = ""
    label_uids: tuple[str, ...] = ()
    of_actions: bool = False


@dataclass(frozen=True)
class Judged:
    """One step of a client: the item, and what stood on each label before and after it."""

    name: str
    before: dict[str, Verdict | None]
    after: dict[str, Verdict]
    of_actions: bool


@dataclass
class VerdictService:
    """What was said so far, by whomever, and what this session said. May be used from many threads.

    Each browser (`client`) takes back its own verdicts only, and only where nobody judged the label again since.
    """

    work: WorkFolder
    saved: int = 0  # labels that stand judged by this session
    saved_actions: int = 0  # those of them that are actions
    judged_alone: set[str] = field(default_factory=set)  # these stand when their track is judged as one later
    _current: dict[str, Verdict] = field(default_factory=dict)
    _seen: tuple[int, int] | None = None
    _history: dict[str, list["Judged"]] = field(default_factory=dict)  # by client, the last one at the end
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._disk = DiskSync(lambda: sync_verdicts(self.work))

    def close(self) -> None:
        """Wait until every verdict is on disk. OSError when it cannot be."""
        self._disk.close()

    def latest(self) -> dict[str, Verdict]:
        """label_uid -> the verdict that stands, read anew when another process wrote."""
        with self._lock:
            now = self._state()
            if now != self._seen:
                self._current, self._seen = read_verdicts(self.work), now
            return dict(self._current)  # others read it while the next one is saved

    def judge(
        self,
        name: str,
        labels: Sequence[Mapping[str, Any]],
        word: str,
        class_name: str = "",
        boxes: dict[str, Box] | None = None,
        alone: bool = False,
        client: str = "",
    ) -> int:
        """Save one verdict on each of `labels`; how many.

        Args:
            labels: rows of the round's table, as they are there.
            name: of the item, to come back to when it is taken back.
            word: y or n.
            class_name: the right class of all of them; empty: as it is.
            boxes: the right boxes of some of them, by label_uid.
            alone: it was said of a single label of a track.
            client: which browser said it.
        """
        with self._lock:
            verdicts = self.latest()
            new = [
                _verdict_on(label, word, class_name, (boxes or {}).get(label["label_uid"]), verdicts)
                for label in labels
            ]
            saved = self._save(name, new, client)
            if alone:
                self.judged_alone.update(label["label_uid"] for label in labels)
            return saved

    def draw(self, video_id: str, frame_index: int, class_name: str, box: Box, client: str = "") -> str:
        """Save a box that no machine drew; its label_uid."""
        row: dict[str, Any] = {"verdict": "y", "class_name": class_name, "video_id": video_id}
        with self._lock:
            self.latest()
            verdict = verdict_from(row | {"frame_index": frame_index} | dict(zip(BOX_COLUMNS, box, strict=True)))
            self._save(verdict.label_uid, [verdict], client)
            return verdict.label_uid

    def judge_action(
        self, label_uid: str, judged_class: str, word: str, class_name: str = "", client: str = ""
    ) -> Verdict:
        """Save a verdict on an action of the class `judged_class`; `class_name` is the right one, empty: as it is."""
        with self._lock:
            self.latest()
            right = class_name if class_name != judged_class else ""
            verdict = verdict_from({"label_uid": label_uid, "verdict": word, "class_name": right})
            self._save(label_uid, [verdict], client, of_actions=True)
            return verdict

    def take_back(self, client: str = "") -> TakenBack:
        """Undo this client's last verdict, but for labels that were judged again since."""
        with self._lock:
            self.latest()
            history = self._history.get(client)
            if not history:
                return TakenBack()
            last = history[-1]
            before = {uid: old for uid, old in last.before.items() if self._current.get(uid) == last.after[uid]}
            empty = {"verdict": ""}
            self._append([as_row(old) if old else empty | {"label_uid": uid} for uid, old in before.items()])
            history.pop()
            self._count(before, last.of_actions, -1)
            self.judged_alone.difference_update(before)
            for uid, old in before.items():
                self._current.pop(uid, None)
                if old is not None:
                    self._current[uid] = old
            self._seen = self._state()
            return TakenBack(last.name, tuple(before), last.of_actions)

    def _save(self, name: str, new: Sequence[Verdict], client: str, of_actions: bool = False) -> int:
        self._append([as_row(verdict) for verdict in new])
        before = {verdict.label_uid: self._current.get(verdict.label_uid) for verdict in new}
        after = {verdict.label_uid: verdict for verdict in new}
        self._history.setdefault(client, []).append(Judged(name, before, after, of_actions))
        self._count(before, of_actions, 1)
        for verdict in new:
            self._current.pop(verdict.label_uid, None)
            self._current[verdict.label_uid] = verdict
        self._seen = self._state()
        return len(new)

    def _count(self, before: Mapping[str, Verdict | None], of_actions: bool, sign: int) -> None:
        new = sign * sum(old is None for old in before.values())
        self.saved += new
        self.saved_actions += new * of_actions

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        append_verdicts(self.work, rows, sync=False)  # in the file at once, so that it outlives this process
        self._disk.soon()

    def _state(self) -> tuple[int, int] | None:
        try:
            stat = (self.work.root / VERDICTS_FILE).stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size


def _verdict_on(
    label: Mapping[str, Any], word: str, class_name: str, box: Box | None, verdicts: dict[str, Verdict]
) -> Verdict:
    """A verdict on a label as it is in its round. What was corrected before stays corrected, unless it is denied."""
    uid, before = label["label_uid"], verdicts.get(label["label_uid"])
    judged_class, judged = label["class_name"], tuple(float(label[column]) for column in BOX_COLUMNS)
    if before is not None and before.judged_xyxy is not None:
        judged_class, judged = before.judged_class, before.judged_xyxy  # where the machine saw it
    if word == "y" and before is not None and before.verdict == "y":
        class_name, box = class_name or before.class_name, box or before.xyxy
    if class_name == judged_class:
        class_name = ""
    row = {
        "label_uid": uid, "verdict": word, "class_name": class_name, "video_id": label["video_id"],
        "frame_index": label["frame_index"], "judged_class": judged_class,
    }  # fmt: skip
    row |= dict(zip(JUDGED_COLUMNS, judged, strict=True))
    return verdict_from(row | (dict(zip(BOX_COLUMNS, box, strict=True)) if box else {}))
