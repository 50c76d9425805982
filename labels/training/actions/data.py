"""The windows that a round's recogniser is trained, validated and tested on, from the cleaned actions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice

import numpy as np
import pandas as pd

from labels.labelling.action_intervals import human_actions
from labels.labelling.action_windows import VideoWindows, WindowStore
from labels.labelling.masks import NoMasks, RoundMasks
from labels.labelling.player_tracks import PLAYER, tracks_of
from labels.labelling.poses import NoJoints
from labels.models.recognisers.recogniser import Recogniser
from labels.models.recognisers.settings import Preset
from labels.records import next_command
from labels.records.errors import InputError
from labels.records.run_records import require_run_record
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import ACTIONS_CLEANED, RoundFolder, WorkFolder
from labels.training.settings import RecognitionSettings, SplitSettings
from labels.training.splits import TEST, TRAIN, VAL, linked_groups, split_videos
from labels.videos.decoding.frames import DecodeError

EVALUATED_TOGETHER = 16


@dataclass(frozen=True)
class LabelledWindow:
    """One window and what it shows. `label` names the row it is of: all windows of a row are judged together."""

    label: str
    video_id: str
    group: str
    place: int  # among the windows of its video
    class_id: int
    weight: float = 1.0  # 0-1
    by_human: bool = True


@dataclass
class ActionData:
    """Windows by split: those to train and validate on by cleaned labels, those to test on by what humans said."""

    class_names: tuple[str, ...]
    windows: dict[str, list[LabelledWindow]]
    splits: dict[str, str]  # train, val or test for each usable video_id
    store: WindowStore
    labels: dict[str, int] = field(default_factory=dict)  # split -> labels
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> videos
    unknown: dict[str, int] = field(default_factory=dict)  # classes that only held-out clips show -> labels left out

    def not_shown(self, split: str) -> list[str]:
        """The classes that no label of a split is of; none where the split has no labels at all."""
        shown = {window.class_id for window in self.windows[split]}
        return [name for class_id, name in enumerate(self.class_names) if shown and class_id not in shown]

    def read(self, window: LabelledWindow) -> np.ndarray:
        return self.store.read(window.video_id, window.place)

    def predictions_of(self, recogniser: Recogniser, windows: Sequence[LabelledWindow], part: str = "") -> np.ndarray:
        """What a recogniser says of each window, (N, K).

        Args:
            part: of windows of both kinds, which it looks at.
        """
        parts = [np.zeros((0, len(self.class_names)))]
        for _, own in groupby(windows, key=lambda window: window.video_id):
            values = (self.read(window) for window in own)
            while together := list(islice(values, EVALUATED_TOGETHER)):
                parts.append(recogniser.recognise(np.stack([value[part] if part else value for value in together])))
        return np.concatenate(parts)


def by_label(windows: Sequence[LabelledWindow], probabilities: np.ndarray) -> tuple[list[LabelledWindow], np.ndarray]:
    """A window of each label, in their first order, and the mean probabilities over the label's windows."""
    firsts: dict[str, int] = {}
    members = [firsts.setdefault(window.label, len(firsts)) for window in windows]
    sums = np.zeros((len(firsts), probabilities.shape[1]))
    np.add.at(sums, members, probabilities)
    counts = np.bincount(members, minlength=len(firsts))
    chosen = {window.label: window for window in reversed(windows)}
    return [chosen[label] for label in firsts], sums / np.maximum(counts, 1)[:, None]


def gather_actions(
    work: WorkFolder, folder: RoundFolder, preset: Preset, settings: RecognitionSettings, device: str = "cpu"
) -> ActionData:
    """Read the cleaned actions, divide the videos by group, cut the windows. InputError when there is too little."""
    videos = work.usable_videos()
    command = next_command.clean(work, folder.number, actions=True)
    record = require_run_record(folder, ACTIONS_CLEANED, command)
    kept: dict[str, pd.DataFrame] = {}
    for video_id in videos["video_id"]:
        path = folder.actions("cleaned", video_id)
        table = read_parquet(path) if path.is_file() else None
        if table is not None and (table["decision"] == "keep").any():
            kept[str(video_id)] = table[table["decision"] == "keep"]
    if not kept:
        raise InputError(f"{folder.path / ACTIONS_CLEANED}: no action was kept, so there is nothing to learn")
    splits = split_videos(work.split_table, videos, set(kept), folder.number, SplitSettings())
    taught = {name for video_id, table in kept.items() if splits[video_id] == TRAIN for name in table["class_name"]}
    class_names = tuple(sorted(taught))
    if len(class_names) < 2:
        raise InputError(
            f"{folder.path / ACTIONS_CLEANED}: the clips to train on show {len(class_names)} class(es) "
            f"({', '.join(class_names)}); two are needed: keep more in dataset_cleaner.py, or add labelled clips"
        )
    masks = RoundMasks(work, folder.number) if preset.masked else None
    store = WindowStore(work, preset, device=device, masks=masks)
    data = ActionData(class_names, {TRAIN: [], VAL: [], TEST: []}, splits, store)
    groups = linked_groups(videos)
    for video in videos.itertuples():
        video_id = str(video.video_id)
        split = splits[video_id]
        actions = human_actions(work, video_id) if split == TEST else kept.get(video_id)
        if actions is None:
            reason = "test clips without a human label" if split == TEST else "without a kept action"
            data.skipped[reason] = data.skipped.get(reason, 0) + 1
            continue
        try:
            tracks = tracks_of(work, folder.number, video_id, video.fps) if record.facts.get("per") == PLAYER else None
            windows = store.ensure(video, tracks)
        except DecodeError as error:
            lacks = {NoJoints: "without joints", NoMasks: "without masks"}
            reason = lacks.get(type(error), "that could not be decoded")
            data.skipped[reason] = data.skipped.get(reason, 0) + 1
            continue
        found = label_windows(windows, actions, class_names, groups[video_id])
        for name in actions["class_name"]:
            if name not in class_names:
                data.unknown[name] = data.unknown.get(name, 0) + 1
        data.windows[split] += found
        data.labels[split] = data.labels.get(split, 0) + len({window.label for window in found})
    if any(window.by_human for window in data.windows[VAL]):
        # A student agrees with the labels of the one before it: what is right is what humans said.
        data.windows[VAL] = [window for window in data.windows[VAL] if window.by_human]
        data.labels[VAL] = len({window.label for window in data.windows[VAL]})
    if not data.windows[TRAIN]:
        why = "".join(f"; {count} videos {reason}" for reason, count in data.skipped.items())
        raise InputError(
            f"{folder.path / ACTIONS_CLEANED}: no window in the clips to train on (see {work.split_table}){why}"
        )
    return data


def label_windows(
    windows: VideoWindows, actions: pd.DataFrame, class_names: tuple[str, ...], group: str
) -> list[LabelledWindow]:
    """The windows of each action: those whose middle lies in it, and where none does the nearest of that time in sight.

    A pseudo-label weighs what its quality is. Actions of other classes have no windows, nor have those of players who
    are out of sight.
    """
    found = []
    for action in actions.itertuples():
        if action.class_name not in class_names:
            continue
        in_sight = (windows.frames[:, 0] < action.end_frame) & (windows.subject_end > action.start_frame)
        own = np.flatnonzero((windows.track_id == action.track_id) & in_sight)
        if not len(own):
            continue
        centre = windows.centre[own]
        inside = own[(centre >= action.start_frame) & (centre < action.end_frame)]
        if not len(inside):
            inside = own[[int(np.abs(centre - (action.start_frame + action.end_frame) / 2).argmin())]]
        human = action.origin == "human"
        weight = 1.0 if human else float(getattr(action, "quality", 1.0))
        class_id = class_names.index(str(action.class_name))
        found += [
            LabelledWindow(str(action.label_uid), windows.video_id, group, int(place), class_id, weight, human)
            for place in inside
        ]
    return found
