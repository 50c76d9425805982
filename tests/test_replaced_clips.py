"""A clip that is replaced after labelling stops every stage, until it is labelled again or the user insists."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from conftest import coded_frame, write_test_video

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
import visualise
from labels.records.work_folder import WorkFolder
from labels.videos import videos_table
from labels.videos.decoding import frames as decoding
from labels.videos.videos_table import KNOWN_CLIPS, refuse_replaced_clips


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    """A work folder whose two clips are copies, labelled in round 0."""
    for name, start in (("a", 0), ("b", 100)):
        write_test_video(tmp_path / "clips" / f"{name}.mp4", [coded_frame(start + at) for at in range(6)])
    work = WorkFolder(tmp_path / "work")
    assert bring(work, tmp_path) == 0
    assert label(work) == 0
    return work


def bring(work: WorkFolder, tmp_path: Path) -> int:
    return dataset_downloader.main(
        [str(work.root), "--from", "folder", "--path", str(tmp_path / "clips"), "--set", "copy=yes"]
    )


def label(work: WorkFolder, *more: str) -> int:
    return dataset_processor.main([str(work.root), "--round", "0", "--detector", "motion", *more])


def replace_clip(path: Path) -> None:
    path.unlink()
    write_test_video(path, [coded_frame(500 + at) for at in range(6)])


STAGES = [
    (dataset_processor, ["--round", "0", "--detector", "motion"]),
    (dataset_cleaner, ["--round", "0"]),
    (train, ["--round", "0"]),
    (visualise, []),
]


def test_every_stage_finds_a_clip_that_was_replaced(work: WorkFolder, capsys: pytest.CaptureFixture[str]) -> None:
    replace_clip(work.videos / "b.mp4")
    for stage, arguments in STAGES:
        assert stage.main([str(work.root), *arguments]) == 2
        error = capsys.readouterr().err
        assert "1 (b)" in error and "--force" in error
    assert label(work, "--force") == 0
    assert "--force: " in capsys.readouterr().out


def test_labels_of_the_clip_before_are_not_used(work: WorkFolder, tmp_path: Path, capsys) -> None:
    replace_clip(tmp_path / "clips" / "b.mp4")
    assert bring(work, tmp_path) == 0
    capsys.readouterr()
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 2
    error = capsys.readouterr().err
    assert "1 (b)" in error and "dataset_processor.py" in error
    assert label(work) == 0
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) in (0, 3)
    assert refuse_replaced_clips(work, False, 0, "cleaned", "") == []


def test_digests_are_taken_once(work: WorkFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(json.loads((work.videos / KNOWN_CLIPS).read_text())) == {"a", "b"}
    digested: list[str] = []
    monkeypatch.setattr(videos_table, "file_digest", lambda path: digested.append(path.name) or "other")
    assert refuse_replaced_clips(work, force=False) == []
    os.utime(work.videos / "a.mp4")  # the time alone: it may be another clip
    assert len(refuse_replaced_clips(work, force=True)) == 1
    assert digested == ["a.mp4"]
    (work.videos / KNOWN_CLIPS).write_text("[")  # of no use, and no harm
    refuse_replaced_clips(work, force=True)
    assert digested == ["a.mp4", "a.mp4", "b.mp4"]


def test_a_video_whose_decoder_dies_is_lost_for_this_run_alone(
    work: WorkFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(work.round(0).path)
    start = decoding.subprocess.Popen

    def deadly(command: list[str], **named: object) -> object:
        process = start(command, **named)  # type: ignore[call-overload]
        if any(word.endswith("b.mp4") for word in command):
            process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(decoding.subprocess, "Popen", deadly)
    assert label(work) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("b: skipped: the decoder crashed") for line in lines)
    assert "1 used + 1 skipped (1 lost because the decoder died; run again)" in "\n".join(lines[-3:])
    monkeypatch.undo()
    assert label(work) == 0
    assert "2 used + 0 skipped" in capsys.readouterr().out
