"""The work folder, its lock, whole writes and run records."""

import json
import subprocess
import sys

import pytest

from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, out_of_date, read_run_record, require_run_record, write_run_record
from labels.records.safe_writing import read_json, read_parquet, whole_file, write_json, write_text
from labels.records.work_folder import WorkFolder


def video_row(video_id, sha256="00", status="ok"):
    row = dict.fromkeys(tables.VIDEOS, "") | {
        "video_id": video_id, "status": status, "group": video_id, "sha256": sha256,
        "start_s": 0.0, "end_s": 1.0, "fps": 25.0, "frame_count": 25, "width": 64, "height": 48,
    }  # fmt: skip
    return tables.make_table(tables.VIDEOS, row)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), whole_file(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.txt"]


def test_json_is_checked_when_read(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert read_json(path) == {"b": 1, "a": [1.5, None]}
    with pytest.raises(ValueError):
        write_json(path, float("nan"))
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(path)


def test_text_is_no_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_text("no table")
    with pytest.raises(InputError, match=r"x\.parquet"):
        read_parquet(path)


def test_one_writer(tmp_path):
    work = WorkFolder(tmp_path)
    other = (
        "import sys; from pathlib import Path; from labels.records.work_folder import WorkFolder\n"
        "with WorkFolder(Path(sys.argv[1])).writing(): print('in')"
    )
    run = [sys.executable, "-c", other, str(tmp_path)]
    with work.writing():
        refused = subprocess.run(run, capture_output=True, text=True)
        assert refused.returncode != 0 and "another stage is writing" in refused.stderr
    assert subprocess.run(run, capture_output=True, text=True).stdout == "in\n"


def test_what_is_missing_is_named_with_the_way_out(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        WorkFolder(tmp_path / "none").read_videos()
    work = WorkFolder(tmp_path)
    with pytest.raises(InputError, match="dataset_downloader"):
        work.read_videos()
    work.write_videos(video_row("a", status="failed"))
    with pytest.raises(InputError, match="none of its 1 videos"):
        work.usable_videos()
    with pytest.raises(InputError, match=r"run first: python dataset_cleaner\.py work --round 0"):
        require_run_record(work.round(0), "cleaned", "python dataset_cleaner.py work --round 0")


def test_a_change_upstream_puts_all_downstream_out_of_date(tmp_path):
    from labels.records.run_records import digest_of_videos

    work = WorkFolder(tmp_path)
    work.write_videos(video_row("a"))
    inputs = {"labelled": {"videos": digest_of_videos(work)}, "cleaned": {"round 0 labelled": "L"}}
    inputs["trained"] = {"round 0 cleaned": "C"}
    for stage, output in (("labelled", "L"), ("cleaned", "C"), ("trained", "T")):
        write_run_record(work.round(0), RunRecord(stage, 0, {}, inputs[stage], output=output))
    write_run_record(work.round(1), RunRecord("labelled", 1, {}, {"round 0 trained": "T"}, output="L1"))
    assert out_of_date(work) == []

    write_run_record(work.round(0), RunRecord("cleaned", 0, {"keep": 0.6}, inputs["cleaned"], output="C2"))
    assert [line.split(":")[0] for line in out_of_date(work)] == ["round 0 trained", "round 1 labelled"]

    work.write_videos(video_row("a", sha256="11"))
    assert [line.split(":")[0] for line in out_of_date(work)] == [
        "round 0 labelled", "round 0 cleaned", "round 0 trained", "round 1 labelled",
    ]  # fmt: skip


def test_a_run_record_knows_what_it_was_made_from(tmp_path):
    folder = WorkFolder(tmp_path).round(3)
    write_run_record(folder, RunRecord("labelled", 3, {"stride": 2}, {"videos": "v"}, counts={"boxes": 7}))
    record = read_run_record(folder, "labelled")
    assert record.counts == {"boxes": 7} and "python" in record.versions
    assert record.is_made_from({"stride": 2}, {"videos": "v"})
    assert not record.is_made_from({"stride": 1}, {"videos": "v"})
    assert not record.is_made_from({"stride": 2}, {"videos": "w"})
    folder.run_record("labelled").write_text(json.dumps({"other": 1}))
    with pytest.raises(InputError, match="run the stage again"):
        read_run_record(folder, "labelled")
