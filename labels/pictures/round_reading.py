"""The rounds of a work folder as stage 5 sees them: their run records and their cleaned labels, a video at a time."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.mask_shards import with_masks
from labels.records.run_records import RunRecord, read_run_record, require_run_record
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import STAGES, RoundFolder, WorkFolder


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
        return self.records["cleaned"] is not None

    def has(self, video_id: str) -> bool:
        return self.folder.boxes("cleaned", video_id).is_file()

    def boxes(self, video_id: str) -> pd.DataFrame:
        """All decided boxes of a video in the order of their frames; empty when the round does not hold the video."""
        path = self.folder.boxes("cleaned", video_id)
        if not path.is_file():
            return tables.empty_table(tables.BOXES | tables.DECIDED)
        boxes = read_parquet(path)
        try:
            tables.check_boxes(boxes, str(path), decided=True)
        except ValueError as error:
            raise InputError(str(error)) from None
        return with_masks(boxes, self.folder, video_id)

    def judged_truth(self, truth: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
        """Truth of the classes this round looked for. A labeller of balls has missed no player.

        Rows of other classes are emptied, not left out: they still name their frame as one the truth speaks of.
        """
        record = self.records["labelled"]
        asked = set(((record.facts.get("labeller") if record else None) or {}).get("class_names") or ())
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
    """A round whose labels can be looked at; otherwise an InputError that names the command to run."""
    found = read_round(work, number)
    if not found.is_cleaned:
        script = "dataset_cleaner.py" if found.records["labelled"] else "dataset_processor.py"
        require_run_record(found.folder, "cleaned", f"python {script} {work.root} --round {number}")
    return found


def labelled_frames(boxes: pd.DataFrame, frame_count: int) -> np.ndarray:
    """The frames a labeller looked at, sorted: every `stride`-th, as the shard's metadata says."""
    count = int(boxes.attrs.get("frame_count", frame_count))
    return np.arange(0, count, max(1, int(boxes.attrs.get("stride", 1))))


def truth_of(work: WorkFolder, video_id: str) -> pd.DataFrame | None:
    """The truth of a video, checked; None where there is none."""
    truth = work.read_truth(video_id)
    if truth is not None:
        try:
            tables.check_columns(truth, tables.TRUTH, str(work.truth_boxes(video_id)))
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
