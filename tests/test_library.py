"""The library gives the tables that stages 2 and 3 write, without a work folder."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import dataset_cleaner
import dataset_downloader
import dataset_processor
import labels
from labels.records.work_folder import WorkFolder

SMALL = "--set width=192 --set height=112 --set frames=24 --set difficulty=easy --set sport=volleyball"


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> WorkFolder:
    """One rendered clip, labelled and cleaned in two rounds by the scripts."""
    root = tmp_path_factory.mktemp("library") / "work"
    source = ("--from", "synthetic", "--clips", "1", "--held-out", "0", "--seed", "3")
    assert dataset_downloader.main([str(root), *source, *SMALL.split()]) == 0
    for number in ("0", "1"):
        labelling = [str(root), "--round", number, "--detector", "motion", "--stride", str(1 + int(number))]
        assert dataset_processor.main(labelling) == 0
        assert dataset_cleaner.main([str(root), "--round", number, "--set", "max_per_frame=1", "--force"]) == 0
    return WorkFolder(root)


def test_the_same_tables_as_the_stages(work):
    video = work.usable_videos().iloc[0]
    file, settings = work.videos / video["file"], labels.CleaningSettings(max_per_frame=1)
    before = None
    for number in (0, 1):
        folder = work.round(number)
        detector = labels.load_detector("motion")
        labelled = labels.label_video(file, detector, stride=1 + number, round_number=number)
        stage = labels.read_video_labels(folder.boxes("labelled", video["video_id"]))
        assert len(stage.boxes)
        pd.testing.assert_frame_equal(labelled.boxes, stage.boxes, check_exact=True)
        assert labelled.video.as_metadata().items() <= stage.video.as_metadata().items()
        cleaned = labels.clean_video(labelled, settings, before)
        decided = labels.read_video_labels(folder.boxes("cleaned", video["video_id"]), decided=True)
        pd.testing.assert_frame_equal(cleaned.boxes, decided.boxes, check_exact=True)
        before = cleaned
    assert set(cleaned.decisions) == {"keep", "ignore", "drop"}
    assert (decided.boxes["rounds_seen"] == 2).any()


def test_frames_that_are_there_already_give_what_their_file_gives(work):
    video = work.usable_videos().iloc[0]
    file = work.videos / video["file"]
    of_file = labels.label_video(file, labels.load_detector("motion"), video_id="v")
    frames = [frame.rgb for frame in labels.read_frames(file)]
    of_frames = labels.label_video(np.stack(frames), labels.load_detector("motion"), fps=video["fps"], video_id="v")
    assert of_frames.video == of_file.video
    pd.testing.assert_frame_equal(of_frames.boxes, of_file.boxes, check_exact=False, rtol=1e-9)
    pd.testing.assert_frame_equal(
        labels.clean_video(of_frames).boxes, labels.clean_video(of_file).boxes, check_exact=False, rtol=1e-5
    )


def test_rounds_are_merged_as_cleaning_does_first(work):
    file = work.videos / work.usable_videos()["file"].iloc[0]
    labelled = labels.label_video(file, labels.load_detector("motion"))
    cleaned = labels.clean_video(labelled)
    merged = labels.merge_rounds(labelled, cleaned)  # with itself: nothing is added
    assert sorted(merged.boxes["label_uid"]) == sorted(labelled.boxes["label_uid"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: labels.label_video(path / "none.mp4", labels.load_detector("motion")), "no such file"),
        (lambda path: list(labels.read_frames(__file__)), "cannot be read as a video"),
        (lambda path: labels.label_video(__file__, labels.load_detector("motion")), "cannot be read as a video"),
        (lambda path: labels.label_video([], labels.load_detector("motion")), "fps"),
        (lambda path: labels.label_video([np.zeros((4, 4))], labels.load_detector("motion"), fps=25), "frame 0"),
        (lambda path: labels.label_video(path / "a.mp4", labels.load_detector("motion"), stride=0), "stride"),
        (lambda path: labels.load_detector("no such detector"), "no such detector"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, call, words):
    with pytest.raises(labels.InputError) as error:
        call(tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_every_name_is_there_and_none_costs_anything_before_it_is_asked_for():
    assert all(getattr(labels, name).__doc__ for name in labels.__all__)
    assert len(labels.__all__) <= 12 and set(labels.__all__) <= set(dir(labels))
    with pytest.raises(AttributeError):
        labels.no_such_name  # noqa: B018
    code = "import labels, sys; sys.exit(bool({'numpy', 'pandas', 'torch', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
