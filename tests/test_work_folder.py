"""The work folder, its lock, whole writes and run records."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import (
    VIDEO_FACTS,
    RunRecord,
    digest_of_truth,
    digest_of_verdicts,
    digest_of_videos,
    out_of_date,
    read_run_record,
    require_run_record,
    write_run_record,
)
from labels.records.safe_writing import read_json, read_parquet, whole_file, write_json, write_text
from labels.records.work_folder import WorkFolder

ROOT = Path(__file__).resolve().parent.parent


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


def test_a_video_is_ok_failed_or_skipped(tmp_path):
    work = WorkFolder(tmp_path)
    with pytest.raises(ValueError, match="status must be one of ok, failed, skipped, not \\['fine'\\]"):
        work.write_videos(video_row("a", status="fine"))
    assert not work.videos_table.exists()


def test_a_change_upstream_puts_all_downstream_out_of_date(tmp_path):
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


def test_what_stands_beside_the_stages_counts_too(tmp_path):
    work = WorkFolder(tmp_path)
    work.write_videos(video_row("a"))
    outside = {
        "videos": digest_of_videos(work), "verdicts": digest_of_verdicts(work), "truth": digest_of_truth(work),
    }  # fmt: skip
    write_run_record(work.round(0), RunRecord("cleaned", 0, {}, outside, output="C"))
    assert out_of_date(work) == []
    write_text(tmp_path / "verdicts.csv", "label_uid,verdict\nx,n\n")
    assert out_of_date(work) == ["round 0 cleaned: out of date, because verdicts changed"]
    write_text(work.truth_boxes("a"), "truth")
    work.write_videos(video_row("a").assign(split="test"))
    because = "videos changed and verdicts changed and truth changed"
    assert out_of_date(work) == [f"round 0 cleaned: out of date, because {because}"]


@pytest.mark.parametrize("missing", ["record", "round"])
def test_what_was_made_from_an_unfinished_stage_is_out_of_date(tmp_path, missing):
    work = WorkFolder(tmp_path)
    work.write_videos(video_row("a"))
    write_run_record(work.round(0), RunRecord("labelled", 0, {}, {"labeller": "digest"}, output="L"))
    write_run_record(work.round(0), RunRecord("cleaned", 0, {}, {"round 0 labelled": "L"}, output="C"))
    write_run_record(work.round(1), RunRecord("cleaned", 1, {}, {"round 0 cleaned": "C"}, output="D"))
    assert out_of_date(work) == []
    if missing == "record":
        work.round(0).run_record("cleaned").unlink()
    else:
        shutil.rmtree(work.round(0).path)
    assert out_of_date(work) == ["round 1 cleaned: out of date, because round 0 cleaned is unfinished"]


@pytest.mark.parametrize("fact", VIDEO_FACTS)
def test_the_digest_of_videos_sees_every_fact(tmp_path, fact):
    work = WorkFolder(tmp_path)
    work.write_videos(video_row("a"))
    before = digest_of_videos(work)
    work.write_videos(video_row("a").assign(source="elsewhere"))
    assert digest_of_videos(work) == before
    row = video_row("a")
    row[fact] = row[fact] + ("x" if pd.api.types.is_string_dtype(row[fact]) else 1)
    work.write_videos(row)
    assert digest_of_videos(work) != before


def test_a_run_record_knows_what_it_was_made_from(tmp_path):
    folder = WorkFolder(tmp_path).round(3)
    write_run_record(folder, RunRecord("labelled", 3, {"stride": 2}, {"videos": "v"}, counts={"boxes": 7}))
    record = read_run_record(folder, "labelled")
    assert record.counts == {"boxes": 7} and "python" in record.versions
    assert record.is_made_from({"stride": 2}, {"videos": "v"})
    assert not record.is_made_from({"stride": 1}, {"videos": "v"})
    assert not record.is_made_from({"stride": 2}, {"videos": "w"})
    folder.run_record("labelled").write_text(json.dumps({"other": 1}))
    assert read_run_record(folder, "labelled") is None  # damaged: the stage is not finished
    folder.run_record("labelled").write_text(json.dumps({"stage": "labelled", "other": 1}))
    with pytest.raises(InputError, match="run the stage again"):
        read_run_record(folder, "labelled")


def test_nothing_that_only_unix_has_is_needed_to_import_rally():
    code = (
        "import sys; sys.modules.update(fcntl=None, resource=None)\n"
        "import dataset_downloader, dataset_processor, dataset_cleaner, train, visualise\n"
        "import labels.library, labels.cleaning.box_round, labels.pictures.stage, labels.videos.archives.frame_folder\n"
        "import labels.videos.decoding.child, labels.records.verdicts, labels.videos.folder"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_one_module_asks_for_what_windows_has_not():
    asking = [path.name for path in (ROOT / "labels").rglob("*.py") if "import fcntl" in path.read_text()]
    assert asking == ["pipe.py"]


def test_without_fcntl_a_process_still_ends_with_the_one_that_asked():
    code = (
        "import os, sys, time; sys.modules['fcntl'] = None\n"
        "from labels.videos.decoding.pipe import end_with_lifeline\n"
        "held, own = os.pipe()\n"
        "end_with_lifeline(held)\n"
        "print('goes on', flush=True)\n"
        "os.close(own)\n"
        "time.sleep(60)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (found.returncode, found.stdout) == (1, "goes on\n"), found.stderr
