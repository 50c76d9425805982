"""The rounds of a work folder as stage 5 sees them: their run records and their cleaned labels, a video at a time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from labels.records import next_command, tables
from labels.records.errors import InputError
from labels.records.masks import with_masks
from labels.records.matching import in_names_of
from labels.records.run_records import RunRecord, read_run_record, require_run_record
from labels.records.safe_writing import read_parquet, read_parquet_metadata
from labels.records.video_labels import in_stretches
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, STAGES, RoundFolder, WorkFolder


@dataclass(frozen=True)
class CleanedRound:
    """One round: the records of its finished stages (None: not finished) and, if it is cleaned, its labels."""

    folder: RoundFolder
    records: dict[str, RunRecord | None]

    @property
    def number(self) -> int:
        return self.folder.number

    @property
    def is_cleaned(self) -> bool:
        """Whether its boxes are, or its actions."""
        return self.has_boxes or self.records[ACTIONS_CLEANED] is not None

    @property
    def has_boxes(self) -> bool:
        return self.records["cleaned"] is not None

    def has(self, video_id: str) -> bool:
        """Whether the round holds labels of a video, of boxes or of actions."""
        return any(path.is_file() for path in self._shards(video_id))

    def _shards(self, video_id: str) -> list[Path]:
        return [self.folder.boxes("cleaned", video_id), self.folder.actions("cleaned", video_id)]

    def boxes(self, video_id: str) -> pd.DataFrame:
        """All decided boxes of a video in the order of their frames; empty where the round has none."""
        path = self.folder.boxes("cleaned", video_id)
        if not self.has_boxes or not path.is_file():
            return tables.empty_table(tables.BOXES | tables.DECIDED)
        boxes = read_parquet(path)
        try:
            tables.check_boxes(boxes, str(path), decided=True)
        except ValueError as error:
            raise InputError(str(error)) from None
        return with_masks(boxes, self.folder, video_id)

    def stride(self, video_id: str) -> int:
        """Every how many frames of a video its labeller looked at, as the shard of its boxes says; else 1."""
        found = read_parquet_metadata(self.folder.boxes("cleaned", video_id)) if self.has_boxes else None
        return max(1, int((found or {}).get("stride", 1)))

    def labelled_frames(self, video_id: str, frame_count: int) -> np.ndarray:
        """The frames of a video that a labeller looked at, sorted: every `stride`-th, of a sample in its stretches."""
        found = (read_parquet_metadata(self.folder.boxes("cleaned", video_id)) if self.has_boxes else None) or {}
        frames = np.arange(0, int(found.get("frame_count", frame_count)), self.stride(video_id))
        stretches = found.get("stretches")
        return frames if stretches is None else frames[in_stretches(frames, stretches)]

    def actions(self, video_id: str) -> pd.DataFrame:
        """All decided actions of a video; empty when the round does not hold any."""
        path = self.folder.actions("cleaned", video_id)
        if not path.is_file():
            return tables.empty_table(tables.ACTIONS | tables.DECIDED)
        actions = read_parquet(path)
        try:
            tables.check_columns(actions, tables.ACTIONS | tables.DECIDED, str(path))
            tables.check_words(actions, "decision", tables.DECISIONS, str(path))
        except ValueError as error:
            raise InputError(str(error)) from None
        return actions

    def judged_truth(self, truth: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
        """Truth of the classes this round looked for. A labeller of balls has missed no player.

        Rows of other classes are emptied, not left out: they still name their frame as one the truth speaks of.
        """
        record = self.records["labelled"]
        asked = set(((record.facts.get("labeller") if record else None) or {}).get("class_names") or ())
        truth = in_names_of(truth, asked | set(boxes["class_name"]))
        if not asked:
            return truth
        other = ~truth["class_name"].isin(asked | set(boxes["class_name"]) | {""}).to_numpy()
        judged = truth.copy()
        judged.loc[other, tables.BOX_COLUMNS] = np.nan
        judged.loc[other, "class_name"] = ""
        return judged


def read_round(work: WorkFolder, number: int) -> CleanedRound:
    folder = work.round(number)
    return CleanedRound(folder, {stage: read_run_record(folder, stage) for stage in STAGES})


def require_cleaned_round(work: WorkFolder, number: int) -> CleanedRound:
    """A round whose labels can be looked at; otherwise an InputError names the rounds there are, or the command."""
    numbers = work.round_numbers()
    if numbers and number not in numbers:
        raise InputError(f"{work.root}: there is no round {number}; {rounds_in_words(numbers)}")
    found = read_round(work, number)
    if not found.is_cleaned:
        labelled = found.records["labelled"] or found.records[ACTIONS_LABELLED]
        script = "dataset_cleaner.py" if labelled else "dataset_processor.py"
        require_run_record(found.folder, "cleaned", next_command.command(script, work.root, number))
    return found


def require_cleaned_boxes(work: WorkFolder, number: int) -> CleanedRound:
    """The same of a round whose boxes can be looked at."""
    found = require_cleaned_round(work, number)
    if not found.has_boxes:
        raise InputError(f"{found.folder.path}: round {number} has actions alone, and this shows boxes")
    return found


def rounds_in_words(numbers: list[int]) -> str:
    """«there is round 0 only», «there are rounds 0 to 2», or all of them where one is missing between."""
    if len(numbers) == 1:
        return f"there is round {numbers[0]} only"
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"there are rounds {f'{numbers[0]} to {numbers[-1]}' if whole else ', '.join(map(str, numbers))}"


def truth_of(work: WorkFolder, video_id: str) -> pd.DataFrame | None:
    """The truth of a video, checked; None where there is none."""
    truth = work.read_truth(video_id)
    if truth is not None:
        try:
            tables.check_columns(truth, tables.TRUTH, str(work.truth_boxes(video_id)))
        except ValueError as error:
            raise InputError(str(error)) from None
    return truth


def truth_actions_of(work: WorkFolder, video_id: str, actions: pd.DataFrame) -> pd.DataFrame | None:
    """The true actions of a video, checked; None where there are none, or where they are among its labels.

    What people said of a clip is a label there, which may be denied or corrected, and judges nothing then.
    """
    path = work.truth_actions(video_id)
    if not path.is_file() or (actions["origin"] == "human").any():
        return None
    truth = read_parquet(path)
    try:
        tables.check_columns(truth, tables.ACTIONS, str(path))
    except ValueError as error:
        raise InputError(str(error)) from None
    return truth


def as_truth(labels: pd.DataFrame, frame_indices: np.ndarray) -> pd.DataFrame:
    """Labels in the form of a truth table that names these frames, to compare one round with another."""
    without = np.setdiff1d(frame_indices, labels["frame_index"].to_numpy())
    named = pd.concat([labels["frame_index"], pd.Series(without, dtype="int64")], ignore_index=True)
    boxes = np.full((len(named), 4), np.nan, dtype=np.float32)
    boxes[: len(labels)] = labels[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)
    return tables.make_table(
        tables.TRUTH,
        {
            "frame_index": named,
            **{column: boxes[:, position] for position, column in enumerate(tables.BOX_COLUMNS)},
            "class_name": [*labels["class_name"], *[""] * len(without)],
            "track_id": tables.NO_TRACK,
            "visibility": 1.0,
        },
    )
