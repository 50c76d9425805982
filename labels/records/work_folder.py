"""Where everything lies in a work folder, and the lock that keeps it to one writer."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet, sweep_leftovers, write_parquet

# The folders of a round in the order they are made. Actions have records of their own: boxes that are cleaned give the
# players whose actions are labelled in the same round.
ACTIONS_LABELLED, ACTIONS_CLEANED, ACTIONS_TRAINED = "labelled/actions", "cleaned/actions", "trained/actions"
LOCK_FILE = ".lock"
STAGES = ("labelled", "cleaned", "trained", ACTIONS_LABELLED, ACTIONS_CLEANED, ACTIONS_TRAINED)


@dataclass(frozen=True)
class RoundFolder:
    """`rounds/NN/`: one round's labels, dataset, student and pictures."""

    path: Path
    number: int

    def stage(self, stage: str) -> Path:
        return self.path / stage

    def run_record(self, stage: str) -> Path:
        return self.path / stage / "run.json"

    def boxes(self, stage: str, video_id: str) -> Path:
        """The shard of one video; `stage` is labelled or cleaned."""
        return self.path / stage / "boxes" / f"{video_id}.parquet"

    def actions(self, stage: str, video_id: str) -> Path:
        return self.path / stage / "actions" / f"{video_id}.parquet"

    def masks(self, video_id: str) -> Path:
        """The masks of a video's cleaned labels, where a segmenter made some."""
        return self.path / "masks" / f"{video_id}.parquet"

    def camera(self, video_id: str) -> Path:
        return self.path / "labelled" / "camera" / f"{video_id}.parquet"

    @property
    def dataset(self) -> Path:
        return self.path / "cleaned" / "dataset"

    @property
    def detector(self) -> Path:
        return self.path / "trained" / "detector.pt"

    @property
    def recogniser(self) -> Path:
        return self.path / "trained" / "recogniser.pt"

    @property
    def folds(self) -> Path:
        """How far students that never saw a label's group agree with the boxes, where `--folds` was asked for."""
        return self.path / "trained" / "folds.json"

    @property
    def out_of_fold(self) -> Path:
        """What such students say of the actions."""
        return self.path / "trained" / "actions" / "out_of_fold.parquet"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"


@dataclass(frozen=True)
class WorkFolder:
    """A work folder. Making the object touches nothing on disk."""

    root: Path

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def videos_table(self) -> Path:
        return self.root / "videos.parquet"

    @property
    def split_table(self) -> Path:
        """Which group trains and which validates, frozen at round 0."""
        return self.root / "split.csv"

    @property
    def frames(self) -> Path:
        """JPEGs of single frames, shared by all rounds: `frames/<video_id>/<frame_index>.jpg`."""
        return self.root / "frames"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def truth_boxes(self, video_id: str) -> Path:
        return self.videos / "truth" / "boxes" / f"{video_id}.parquet"

    def truth_actions(self, video_id: str) -> Path:
        return self.videos / "truth" / "actions" / f"{video_id}.parquet"

    def truth_joints(self, video_id: str) -> Path:
        """The joints of its players that came with a clip."""
        return self.videos / "truth" / "poses" / f"{video_id}.parquet"

    def round(self, number: int) -> RoundFolder:
        return RoundFolder(self.root / "rounds" / f"{number:02d}", number)

    def round_numbers(self) -> list[int]:
        """The rounds that exist, in order."""
        return sorted(int(path.name) for path in (self.root / "rounds").glob("[0-9][0-9]") if path.is_dir())

    def read_videos(self) -> pd.DataFrame:
        """The videos table, all rows. Raises InputError when stage 1 has not run."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; start with: python dataset_downloader.py {self.root} …")
        if not self.videos_table.is_file():
            raise InputError(f"{self.root}: no videos.parquet; run first: python dataset_downloader.py {self.root} …")
        videos = read_parquet(self.videos_table)
        try:
            tables.check_columns(videos, tables.VIDEOS, str(self.videos_table))
        except ValueError as error:
            raise InputError(str(error)) from None
        return videos

    def usable_videos(self) -> pd.DataFrame:
        """The rows of the videos table whose status is ok, sorted by video_id. InputError when there is none."""
        videos = self.read_videos()
        usable = videos[videos["status"] == "ok"].sort_values("video_id", ignore_index=True)
        if not len(usable):
            raise InputError(f"{self.videos_table}: none of its {len(videos)} videos is usable")
        return usable

    def read_truth(self, video_id: str) -> pd.DataFrame | None:
        """The truth boxes of a video, or None where there is no truth."""
        path = self.truth_boxes(video_id)
        return read_parquet(path) if path.is_file() else None

    def write_videos(self, videos: pd.DataFrame) -> None:
        tables.check_columns(videos, tables.VIDEOS, "videos")
        tables.check_words(videos, "status", tables.VIDEO_STATUSES, "videos")
        if videos["video_id"].duplicated().any():
            raise ValueError(f"video_id twice: {videos['video_id'][videos['video_id'].duplicated()].iloc[0]}")
        write_parquet(self.videos_table, videos.sort_values("video_id", ignore_index=True))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock. InputError when another process is writing to it.

        A folder that this made, and in which a wrong input left nothing, is taken away again.
        """
        is_new = not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{self.root}: cannot be written to: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(f"{self.root}: another stage is writing to it; wait until it has ended") from None
        sweep_leftovers(self.root)
        try:
            yield
        except InputError:
            if is_new and [path.name for path in self.root.iterdir()] == [LOCK_FILE]:
                (self.root / LOCK_FILE).unlink()
                self.root.rmdir()
            raise
        finally:
            os.close(handle)
