"""Where everything lies in a work folder, and the lock that keeps it to one writer."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.frame_times import TIMES_FOLDER
from labels.records.safe_writing import read_parquet, sweep_leftovers, write_parquet

# The folders of a round in the order they are made. Actions have records of their own: boxes that are cleaned give the
# players whose actions are labelled in the same round.
ACTIONS_LABELLED, ACTIONS_CLEANED, ACTIONS_TRAINED = "labelled/actions", "cleaned/actions", "trained/actions"
LOCK_FILE = ".lock"
SHARES_LOOK_S = 5.0  # shares that start at once look at the folder's lock in turn
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

    def evidence(self, video_id: str) -> Path:
        """What the rules of cleaning saw of each box of a video, by label_uid."""
        return self.path / "cleaned" / "evidence" / f"{video_id}.parquet"

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


def typed_folder(root: object) -> str:
    """A work folder as a shell takes it; one whose name begins with «-» is no option."""
    return shlex.quote(f"./{root}" if str(root).startswith("-") else str(root))


@dataclass(frozen=True)
class WorkFolder:
    """A work folder. Making the object touches nothing on disk."""

    root: Path

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def frame_times(self) -> Path:
        """A table for each video whose frames are not evenly spaced."""
        return self.videos / TIMES_FOLDER

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
    def costs(self) -> Path:
        """What labelling took: a row for every video of every run, `labels.labelling.sample.COSTS`."""
        return self.root / "costs.csv"

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
        first = f"python dataset_downloader.py {typed_folder(self.root)}"
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; start with: {first} …")
        if not self.videos_table.is_file():
            raise InputError(f"{self.root}: no videos.parquet; run first: {first} …")
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

    def usable_rows(self) -> dict[str, SimpleNamespace]:
        """The same by video_id, the columns as attributes."""
        return {row["video_id"]: SimpleNamespace(**row) for row in self.usable_videos().to_dict("records")}

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
    def writing(self, share: str = "") -> Iterator[None]:
        """Hold the folder's lock. InputError when another process is writing to it.

        Whoever names a `share` of a stage's work, as `Placement.name` does, writes beside those who name others: each
        share has one writer, and none of them owns the rest of the folder (run.json and what is of all videos).
        A folder that this made, and in which a wrong input left nothing, is taken away again.
        """
        from filelock import FileLock, Timeout

        is_new = not self.root.exists()
        own = FileLock(self.root / (f"{LOCK_FILE}.{share}" if share else LOCK_FILE), timeout=0)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            own.acquire()
        except Timeout:
            raise InputError(f"{self.root}: another stage is writing to it; wait until it has ended") from None
        except OSError as error:
            raise InputError(f"{self.root}: cannot be written to: {error.strerror}") from None
        try:
            # Each side takes its own lock first and then looks at the other's, so that never both go on.
            others = [self.root / LOCK_FILE] if share else self.root.glob(f"{LOCK_FILE}.*")
            for path in others:
                with FileLock(path, timeout=SHARES_LOOK_S if share else 0):
                    pass
            if not share:
                sweep_leftovers(self.root)
            yield
        except Timeout:
            raise InputError(f"{self.root}: another stage is writing to it; wait until it has ended") from None
        except InputError:
            if is_new and [path.name for path in self.root.iterdir()] == [LOCK_FILE]:
                (self.root / LOCK_FILE).unlink()
                self.root.rmdir()
            raise
        finally:
            own.release()
