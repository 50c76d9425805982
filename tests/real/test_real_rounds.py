"""Stages 1 to 3, and 5, run whole on a real clip with a real detector; skipped where they are absent."""

import os
import shutil
from pathlib import Path

import pytest

import dataset_cleaner
import dataset_downloader
import dataset_processor
import visualise
from labels.records.matching import count_matches
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder

REAL = Path(os.environ.get("LABELS_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "real"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real clips here (LABELS_REAL_DATA)")


def test_a_filmed_ball_is_labelled_cleaned_and_shown(tmp_path):
    clips, work = tmp_path / "clips", tmp_path / "work"
    clips.mkdir()
    for suffix in ("mp4", "csv"):
        shutil.copy(REAL / "balls" / f"soccer_park.{suffix}", clips)
    assert dataset_downloader.main([str(work), "--from", "folder", "--path", str(clips)]) == 0
    detector = str(REAL / "detectors" / "yolox_nano.onnx")
    assert dataset_processor.main([str(work), "--round", "0", "--detector", detector, "--input-size", "416"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    folder = WorkFolder(work)
    boxes = read_parquet(folder.round(0).boxes("cleaned", "soccer_park"))
    kept = count_matches(boxes[boxes["decision"] == "keep"], folder.read_truth("soccer_park"))
    assert kept.precision >= 0.9
    assert kept.recall >= 0.3
    assert visualise.main([str(work), "--round", "0"]) == 0
    assert "soccer_park" in (work / "report.html").read_text()
