"""Intervals of actions: what people said of an archive's clips, and what the probabilities of windows become.

These are averaged by frame, smoothed over time and cut with hysteresis.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.tracks.players import smooth
from labels.videos.synthetic.settings import SOURCE

TEST = "test"  # the split of what is held out


@dataclass(frozen=True)
class IntervalSettings:
    smooth_s: float = 0.15  # standard deviation of the smoothing
    # Low on purpose: stage 3 decides, and can only decide on what was written.
    begin: float = 0.25  # an interval needs a frame whose class is this probable
    stay: float = 0.15  # and goes on in both directions while it is at least this
    least_s: float = 0.0  # shorter intervals are not written


@dataclass(frozen=True)
class FrameProbabilities:
    """Of one track, or the whole frame: (F,) frame numbers in a row, and (F, K) probabilities that add up to 1."""

    track_id: int
    frame_index: np.ndarray
    probabilities: np.ndarray


def average_by_frame(
    track_id: int, spans: Sequence[tuple[int, int]], probabilities: np.ndarray, end_frame: int | None = None
) -> FrameProbabilities:
    """Probabilities of windows (N, K), each of the frames from its span's first to before its end, meant by frame.

    A window was taught what its middle shows, so there it counts most, and towards its ends less and less (a Hann
    window): a plain mean would smear a short move over its neighbours. A frame between two windows that none of them
    holds has what the nearest frame has. `end_frame` lets the last window reach to the end of the source.
    """
    first = min(start for start, _ in spans)
    last = max(end for _, end in spans)
    total = np.zeros((last - first, probabilities.shape[1]))
    weight = np.zeros(last - first)
    for (start, end), row in zip(spans, probabilities, strict=True):
        bell = np.sin(np.pi * (np.arange(end - start) + 0.5) / (end - start)) ** 2
        total[start - first : end - first] += bell[:, None] * row
        weight[start - first : end - first] += bell
    known = np.flatnonzero(weight)
    every = np.arange(len(weight))
    after = np.clip(np.searchsorted(known, every), 0, len(known) - 1)
    before = np.clip(after - 1, 0, None)
    nearest = np.where(np.abs(every - known[before]) <= np.abs(known[after] - every), known[before], known[after])
    mean = total[nearest] / weight[nearest, None]
    if end_frame is not None and end_frame > last:
        mean = np.concatenate([mean, np.repeat(mean[-1:], end_frame - last, axis=0)])
    return FrameProbabilities(track_id, np.arange(first, first + len(mean)), mean)


def cut_intervals(frames: FrameProbabilities, fps: float, settings: IntervalSettings) -> list[tuple[int, int, int]]:
    """(class id, start, end) of the intervals, places in `frames`, half-open, in order and disjoint.

    In each frame only its most probable class counts: a run of one class, nowhere below `stay`, that somewhere
    reaches `begin`.
    """
    likely = smooth(frames.probabilities, settings.smooth_s * fps)
    best = likely.argmax(axis=1)
    value = likely[np.arange(len(best)), best]
    running = np.where(value >= settings.stay, best, -1)
    edges = np.flatnonzero(np.diff(running)) + 1
    found = []
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(running)], strict=True):
        long_enough = (end - start) / fps >= settings.least_s
        if running[start] >= 0 and value[start:end].max() >= settings.begin and long_enough:
            found.append((int(running[start]), start, end))
    return found


def action_rows(
    video_id: str,
    round_born: int,
    class_names: Sequence[str],
    subjects: Sequence[FrameProbabilities],
    fps: float,
    settings: IntervalSettings,
) -> pd.DataFrame:
    """The ACTIONS rows of a video. Its score is the class's mean probability over the interval."""
    rows = []
    for frames in subjects:
        for class_id, start, end in cut_intervals(frames, fps, settings):
            mean = frames.probabilities[start:end].mean(axis=0)
            first = int(frames.frame_index[start])
            rows.append((frames.track_id, first, first + end - start, class_id, mean))
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [action_uid(video_id, round_born, *row[:3], class_names[row[3]], "detected") for row in rows],
            "video_id": [video_id] * len(rows),
            "track_id": [row[0] for row in rows],
            "start_frame": [row[1] for row in rows],
            "end_frame": [row[2] for row in rows],
            "start_s": [row[1] / fps for row in rows],
            "end_s": [row[2] / fps for row in rows],
            "class_name": [class_names[row[3]] for row in rows],
            "score": [min(1.0, float(row[4][row[3]])) for row in rows],
            "probabilities": [probabilities_json(class_names, row[4]) for row in rows],
            "origin": "detected",
            "round_born": round_born,
        },
    )


def action_uid(
    video_id: str, round_born: int, track_id: int, start_frame: int, end_frame: int, class_name: str, origin: str
) -> str:
    """A name for a new label, the same whenever the same label is made again: 16 hex digits."""
    text = f"{video_id}|{round_born}|{track_id}|{start_frame}|{end_frame}|{class_name}|{origin}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def probabilities_json(class_names: Sequence[str], probabilities: np.ndarray) -> str:
    return json.dumps(
        {name: round(float(value), 4) for name, value in zip(class_names, probabilities, strict=True)},
        ensure_ascii=False,
    )


def human_actions(work: WorkFolder, video_id: str) -> pd.DataFrame | None:
    """The human ACTIONS of a video, or None where nobody labelled it."""
    path = work.truth_actions(video_id)
    if not path.is_file():
        return None
    try:
        actions = tables.check_actions(read_parquet(path), str(path))
    except ValueError as error:
        raise InputError(str(error)) from None
    named = actions[(actions["class_name"] != "") & (actions["origin"] == "human")]
    return named.reset_index(drop=True) if len(named) else None


def begins_with_actions(work: WorkFolder) -> bool:
    """Whether people labelled the actions of a clip that is not held out, and no boxes were labelled yet.

    What a renderer knows of its clips nobody said.
    """
    if read_run_record(work.round(0), "labelled") is not None:
        return False
    videos = work.usable_videos()
    videos = videos[videos["source"] != SOURCE]
    return any(human_actions(work, video_id) is not None for video_id in videos["video_id"][videos["split"] != TEST])


def videos_taught(work: WorkFolder, videos: pd.DataFrame, share: float) -> set[str]:
    """The video_ids whose human labels are for training: not those held out, and of the others a share of the groups.

    A clip without a group is its own.
    """
    own = videos[videos["split"] != TEST]
    if share < 1:
        own = own[own["video_id"].isin([name for name in own["video_id"] if human_actions(work, name) is not None])]
    groups = own["group"].where(own["group"] != "", own["video_id"])
    return set(own["video_id"][groups.isin(share_of(groups, share))])


def share_of(groups: Iterable[str], share: float) -> set[str]:
    """A share of the different names, rounded and one at least: a larger share takes what a smaller one took.

    The draw depends on the names alone; where more names come, they may take another's place.
    """
    order = sorted(set(groups), key=lambda group: hashlib.blake2b(f"human|{group}".encode(), digest_size=6).digest())
    return set(order[: max(1, round(share * len(order)))])
