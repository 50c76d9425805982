"""What killed processes left is taken away at the next start, and nothing else; a damaged run.json is made anew."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labels.records.errors import InputError
from labels.records.run_records import (
    RunRecord,
    out_of_date,
    read_run_record,
    require_run_record,
    write_run_record,
)
from labels.records.safe_writing import scratch_folder
from labels.records.work_folder import WorkFolder
from labels.videos.frame_store import FrameStore


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_half_written_files_go_at_the_next_start(tmp_path: Path, gone: int) -> None:
    work = WorkFolder(tmp_path)
    left = [
        put(work.videos / f".a.{gone}.aside.mp4"),
        put(tmp_path / f".videos.{gone}.aside.parquet"),
        put(work.round(0).stage("cleaned") / "dataset" / f".annotations.{gone}.aside.json"),
    ]
    kept = [
        put(work.videos / f".b.{os.getpid()}.aside.mp4"),  # someone is at it
        put(work.videos / "c.1.aside.mp4"),  # no temporary name
        put(work.videos / ".clips.json"),
    ]
    with work.writing():
        assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_half_written_pictures_go_when_their_video_is_next_labelled(tmp_path: Path, gone: int) -> None:
    store = FrameStore(tmp_path)
    store.renew("a", "digest")
    left = put(tmp_path / "a" / f".000003.{gone}.7.aside")
    picture = put(tmp_path / "a" / "000002.jpg")
    store.renew("a", "digest")
    assert not left.exists() and picture.exists()


def test_scratch_folders_of_killed_processes_go(tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = put(tmp_path / f"rally-review-{gone}-x1" / "frames" / "a.jpg").parents[1]
    outside = put(tmp_path / "elsewhere" / "mine.txt")
    (tmp_path / f"rally-unpacked-{gone}-x2").symlink_to(outside.parent)
    others = [put(tmp_path / f"rally-review-{os.getpid()}-x3" / "a"), put(tmp_path / "rally-notes" / "a"), outside]
    with scratch_folder("review") as folder:
        assert folder.is_dir() and f"-{os.getpid()}-" in folder.name
        assert not left.exists()
    assert not folder.exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("data", [b"", b'{"stage": "labelled", "rou', b"\0" * 40, b"[1]", b"{}"])
def test_a_damaged_record_is_told_and_made_anew(tmp_path: Path, data: bytes) -> None:
    folder = WorkFolder(tmp_path).round(0)
    record = RunRecord("labelled", 0, {}, {})
    write_run_record(folder, record)
    folder.run_record("labelled").write_bytes(data)
    assert read_run_record(folder, "labelled") is None
    assert out_of_date(WorkFolder(tmp_path)) == []
    with pytest.raises(InputError, match=r"run\.json: damaged; make it anew: COMMAND"):
        require_run_record(folder, "labelled", "COMMAND")
    write_run_record(folder, record)
    assert require_run_record(folder, "labelled", "COMMAND") == record


def test_a_record_of_another_version_is_not_damaged(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path).round(0)
    folder.stage("labelled").mkdir(parents=True)
    folder.run_record("labelled").write_text('{"stage": "labelled", "of_tomorrow": 1}')
    with pytest.raises(InputError, match="not a run record of this version"):
        read_run_record(folder, "labelled")
    with pytest.raises(InputError, match="not labelled yet"):
        require_run_record(WorkFolder(tmp_path).round(1), "labelled", "COMMAND")
