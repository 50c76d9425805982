"""The labelled shards of a round cleaned, several at once: what becomes of one depends on it and its past alone."""

import multiprocessing
import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labels.cleaning.outliers import UsualLooks
from labels.cleaning.round_inputs import RoundInputs
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.video_cleaning import CleanedVideo, clean_video
from labels.records import tables
from labels.records.errors import InputError
from labels.records.interruptions import leave_to_parent
from labels.records.safe_writing import read_parquet

NEEDED_METADATA = ("frame_count", "stride", "fps", "width", "height")
LEAST_BYTES = 200_000  # of shards; less is done before other processes have started


@dataclass(frozen=True)
class ShardCleaner:
    """Cleans the shards of one round. `usual`: how the tracks look that the round before kept in all videos."""

    inputs: RoundInputs
    settings: CleaningSettings
    usual: UsualLooks | None

    def clean(self, video_id: str) -> tuple[pd.DataFrame, CleanedVideo]:
        """The labelled and the cleaned boxes of one video. InputError when its shard is missing or unsound."""
        inputs = self.inputs
        path = inputs.folder.boxes("labelled", video_id)
        if not path.is_file():
            raise InputError("was not labelled")
        labelled = _checked(path, decided=False)
        missing = [name for name in NEEDED_METADATA if name not in labelled.attrs]
        if missing:
            raise InputError(f"{path}: its metadata lacks {', '.join(missing)}")
        camera_path = inputs.folder.camera(video_id)
        camera = read_parquet(camera_path) if camera_path.is_file() else None
        old = None
        if inputs.before is not None and inputs.before.boxes("cleaned", video_id).is_file():
            old = _checked(inputs.before.boxes("cleaned", video_id), decided=True)
        cleaned = clean_video(
            labelled,
            inputs.folder.number,
            inputs.scales,
            self.settings,
            old,
            camera,
            verdicts=inputs.verdicts,
            usual=self.usual,
        )
        return labelled, cleaned

    def clean_all(self) -> Generator[tuple[pd.DataFrame, CleanedVideo] | InputError, None, None]:
        """For each video of the round, in order, what `clean` gives or raises."""
        video_ids = [str(video_id) for video_id in self.inputs.videos["video_id"]]
        paths = (self.inputs.folder.boxes("labelled", video_id) for video_id in video_ids)
        workers = min(os.cpu_count() or 1, len(video_ids))
        if workers < 2 or sum(path.stat().st_size for path in paths if path.is_file()) < LEAST_BYTES:
            yield from (_clean_or_tell(self, video_id) for video_id in video_ids)
            return
        # Not forked: a fork copies locks that threads of numpy or pyarrow may hold.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (self,))
        waiting: deque[Future[tuple[pd.DataFrame, CleanedVideo] | InputError]] = deque()
        try:
            for video_id in video_ids:
                waiting.append(pool.submit(_clean_in_worker, video_id))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError("a cleaning process died; is there enough memory?") from None
        except BaseException:  # they write nothing: there is nothing to wait for
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _clean_or_tell(cleaner: ShardCleaner, video_id: str) -> tuple[pd.DataFrame, CleanedVideo] | InputError:
    try:
        return cleaner.clean(video_id)
    except InputError as error:
        return error


_cleaner: ShardCleaner | None = None  # in a cleaning process


def _start_worker(cleaner: ShardCleaner) -> None:
    global _cleaner
    _cleaner = cleaner
    leave_to_parent()


def _clean_in_worker(video_id: str) -> tuple[pd.DataFrame, CleanedVideo] | InputError:
    assert _cleaner is not None
    return _clean_or_tell(_cleaner, video_id)


def _checked(path: Path, decided: bool) -> pd.DataFrame:
    boxes = read_parquet(path)
    try:
        return tables.check_boxes(boxes, str(path), decided)
    except ValueError as error:
        raise InputError(str(error)) from None
