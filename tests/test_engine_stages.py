"""Stages 2 and 3 whole on nine tiny clips: in one process, in two, and in three shares, the same bytes."""

import os
import shutil

import cv2
import numpy as np
import pytest
from test_labelling import HEIGHT, WIDTH, work_with

import dataset_cleaner
import dataset_processor
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.records.work_folder import WorkFolder

CLIPS, FRAMES = 9, 12


def ball_frame(clip, index):
    """A ball that flies over a still ground."""
    rgb = np.random.default_rng(clip).integers(60, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    where = (8 + 6 * index, 12 + clip % 5 + (index - 6) ** 2 // 3)
    return cv2.circle(rgb, where, 3, (250, 250, 240), -1, cv2.LINE_AA)


def work_of(root, clips):
    """A work folder with clips, the eighth or last of them damaged, and nothing else."""
    from conftest import write_test_video

    def make_video(path, frames):
        return write_test_video(path, [ball_frame(int(path.stem[1:]), index) for index in range(frames)])

    work = work_with(root, make_video, [f"v{number:02d}" for number in range(clips)], FRAMES)
    damaged = work.videos / f"v{min(clips - 1, 7):02d}.mp4"
    damaged.write_bytes(damaged.read_bytes()[:900])
    return work


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Never written to."""
    return work_of(tmp_path_factory.mktemp("frozen"), CLIPS)


def stages(work, *options, shares=1):
    """Label and clean round 0; in several shares each stage is ended by a run without --shard."""
    label = [str(work.root), "--round", "0", "--detector", "motion", "--force", *options]
    clean = [str(work.root), "--round", "0", "--set", "max_per_frame=1", "--force", *options]
    for main, arguments in ((dataset_processor.main, label), (dataset_cleaner.main, clean)):
        for number in range(1, shares + 1) if shares > 1 else ():
            assert main([*arguments, "--shard", f"{number}/{shares}"]) == 0
        assert main(arguments) == 0


def written(work):
    """Every file of the rounds and every frame, by name."""
    folders = [work.root / "rounds", work.frames]
    return {str(path.relative_to(work.root)): path.read_bytes() for each in folders for path in each.rglob("*.*")}


def copy_of(frozen, folder):
    shutil.copytree(frozen.root, folder / "work")
    return WorkFolder(folder / "work")


@pytest.fixture(scope="module")
def expected(frozen, tmp_path_factory):
    """What one process makes."""
    work = copy_of(frozen, tmp_path_factory.mktemp("expected"))
    stages(work, "--on", "processes:1")
    counts = read_run_record(work.round(0), "cleaned").counts
    assert counts["videos"] == CLIPS - 1 and set(counts["skipped"]) == {"v07"} and counts["keep"] > CLIPS
    assert len(list(work.round(0).stage("labelled").glob("boxes/*.parquet"))) == CLIPS - 1
    return written(work)


@pytest.mark.parametrize(("options", "shares"), [(("--on", "processes:2"), 1), ((), 3)], ids=["two", "shares"])
def test_the_same_files_wherever_they_are_made(frozen, expected, tmp_path, monkeypatch, options, shares):
    # Processes are started afresh, as Windows and macOS do it: whoever forks fails.
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    work = copy_of(frozen, tmp_path)
    stages(work, *options, shares=shares)
    found = written(work)
    assert sorted(found) == sorted(expected)
    assert not [name for name in found if found[name] != expected[name]]


def test_a_share_ends_no_stage_and_says_how_it_is_ended(frozen, tmp_path, capsys):
    work = copy_of(frozen, tmp_path)
    label = [str(work.root), "--round", "0", "--detector", "motion", "--force"]
    assert dataset_processor.main([*label, "--shard", "2/4"]) == 0
    printed = capsys.readouterr().out
    assert "label, shard-2-of-4: 2 videos = 2 used + 0 skipped" in printed
    assert "run the same command without --shard" in printed and "next:" not in printed
    assert not work.round(0).run_record("labelled").exists()
    shards = work.round(0).stage("labelled").glob("boxes/*.parquet")
    assert sorted(path.stem for path in shards) == ["v01", "v05"]


def test_shares_are_written_side_by_side_but_each_by_one(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr("labels.records.work_folder.SHARES_LOOK_S", 0.2)
    work = copy_of(frozen, tmp_path)
    with work.writing("shard-1-of-3"), work.writing("shard-2-of-3"):
        for name in ("", "shard-1-of-3"):
            with pytest.raises(InputError, match="another stage is writing"), work.writing(name):
                pass
    with work.writing(), pytest.raises(InputError, match="another stage is writing"), work.writing("shard-1-of-3"):
        pass
    with work.writing():  # all are let go again
        pass
