"""One label's life (--why) and what changed between two rounds (--diff), on rounds whose answers are known."""

import csv

import numpy as np
import pandas as pd
import pytest
from picture_work import FRAMES, Clip, ball_box, make_work, rows, write_cleaned, write_labelled

import dataset_cleaner
import visualise
from labels.pictures.overlay.round_pictures import sheet_path
from labels.pictures.report.label_life import video_changes
from labels.pictures.report.rounds import read_round
from labels.records import tables
from labels.records.safe_writing import read_parquet


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two cleaned rounds. The second finds every ball one pixel beside the first's, but none after frame 15; each finds
    something on no path, the first in frame 2, the second in frame 4."""
    made = make_work(tmp_path_factory.mktemp("w") / "work", [Clip("a", [])], 0)
    stray = [120.0, 5.0, 132.0, 17.0]
    first = [(frame, ball_box(frame), 0.9) for frame in range(FRAMES)]
    second = [(frame, [value + 1 for value in ball_box(frame)], 0.8) for frame in range(16)]
    write_labelled(made, 0, {"a": [*first, (2, stray, 0.3)]})
    assert dataset_cleaner.main([str(made.root), "--round", "0"]) == 0
    write_labelled(made, 1, {"a": [*second, (4, stray, 0.3)]})
    assert dataset_cleaner.main([str(made.root), "--round", "1"]) == 0
    return made


def uid_of(work, number, stage, frame, x_below=110):
    boxes = read_parquet(work.round(number).boxes(stage, "a"))
    return boxes[(boxes["frame_index"] == frame) & (boxes["x1"] < x_below)]["label_uid"].iloc[0]


def told(work, capsys, uid, code=0):
    assert visualise.main([str(work.root), "--why", uid]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def test_a_label_found_again_is_told_with_what_was_fused_with_it(work, capsys):
    uid, later = uid_of(work, 0, "labelled", 5), uid_of(work, 1, "labelled", 5)
    assert uid != later
    out = told(work, capsys, uid)
    born, again = out.split("round 1:")
    assert f"label {uid} in a" in born and "born here: found by motion with score 0.900" in born
    assert "round 0: keep, quality" in born
    assert f"with score 0.800, as {later}" in again and "found in 2 rounds, missed by the last 0" in again
    assert "  quality" in again and "max_objects" in again and "← decided" not in again
    assert sheet_path(work.round(1), f"why_{uid}").is_file()
    # The name that went up in it tells the same life.
    assert f"became one with the older label {uid}" in told(work, capsys, later)


def test_a_label_that_was_not_found_again_came_in_from_before(work, capsys):
    out = told(work, capsys, uid_of(work, 0, "labelled", 18))
    assert "did not find it; it came in from the round before" in out
    assert "missed by the last 1" in out


def test_the_rule_that_decided_is_marked_and_what_is_left_behind_is_said(work, capsys):
    stray = read_round(work, 0).boxes("a").query("decision == 'drop'").iloc[0]
    out = told(work, capsys, stray["label_uid"])
    (decided,) = [line for line in out.splitlines() if "← decided" in line]
    assert decided.split()[0] == stray["reason"].split(":")[0]
    assert "its quality is the sum of constant -" in out
    assert "round 1: not there; it was dropped before, and not found again" in out


def test_what_a_person_said_is_told(work, capsys):
    uid = uid_of(work, 1, "cleaned", 7)
    path = work.root / "verdicts.csv"
    path.write_text(f"label_uid,verdict\n{uid},n\n{uid},y\n")
    try:
        out = told(work, capsys, uid)
    finally:
        path.unlink()
    assert out.index("a person said: n") < out.index("a person said: y") < out.index("round 0")


@pytest.mark.parametrize("uid", ["0123456789abcdef", "", "../../etc/passwd"])
def test_an_unknown_name_is_one_line(work, capsys, uid):
    error = told(work, capsys, uid, code=2).strip()
    assert len(error.splitlines()) == 1 and "no round of" in error


def kept(frames, x=0.0, **columns):
    return rows("a", 0, list(frames), [[10.0 + x, 40, 22 + x, 52] for _ in frames], **columns)


def test_changes_by_hand():
    old = kept(range(6))
    new = old.copy()
    new.loc[1, ["x1", "x2"]] += 6  # half its width away: IoU 6 / 18
    new.loc[2, ["x1", "x2"]] += 50  # far, and still the same label
    new.loc[3, ["decision", "reason"]] = "ignore", "quality: 0.5 < 0.7"
    new = new[new["frame_index"] != 4]
    first = kept([9])
    both_ignored = kept([11], 60, decision="ignore", reason="x: 1")
    now_dropped = both_ignored.assign(decision=pd.Series(["drop"], dtype="str"))
    old, new = (
        tables.sort_boxes(pd.concat(parts, ignore_index=True))
        for parts in ([old, both_ignored], [new, first, now_dropped])
    )
    changes = video_changes(old, new, np.arange(FRAMES)).set_index("frame_index")
    assert changes["change"].to_dict() == {1: "moved", 2: "moved", 3: "lost", 4: "lost", 9: "added", 11: "decision"}
    assert changes.loc[3, ["before", "after", "reason"]].tolist() == ["keep", "ignore", "quality: 0.5 < 0.7"]
    assert changes.loc[4, ["before", "after"]].tolist() == ["keep", "not there"]
    assert changes.loc[9, ["before", "after"]].tolist() == ["not there", "keep"]
    assert changes.loc[1, "old_x1"] == 10 and np.isnan(changes.loc[3, "old_x1"])
    assert len(video_changes(old, old, np.arange(FRAMES))) == 0


def test_the_difference_is_a_table_a_file_and_a_sheet(tmp_path, capsys):
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(4, 10)]), Clip("b", [range(3), range(3)])], 2)
    assert visualise.main([str(work.root), "--diff", "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("  ")[0]: line.split()[-6:] for line in lines[:4]}
    # Clip a: frames 0-4, then 4-9 under new names: five added, four lost.
    assert cells["a"] == ["5", "6", "5", "4", "0", "0"]
    assert cells["b"] == ["3", "3", "0", "0", "0", "0"]
    assert cells["all videos"] == ["8", "9", "5", "4", "0", "0"]
    found = list(csv.DictReader((work.round(1).pictures / "diff_00_01.csv").read_text().splitlines()))
    kept_changes = [
        row["change"] for row in found if row["video_id"] == "a" and "keep" in (row["before"], row["after"])
    ]
    assert sorted(kept_changes) == ["added"] * 5 + ["lost"] * 4
    assert sheet_path(work.round(1), "diff_00_01").is_file()
    assert visualise.main([str(work.root), "--diff", "1", "1"]) == 2
    assert visualise.main([str(work.root), "--diff", "0", "4"]) == 2
    assert "no round 4; there are rounds 0 to 1" in capsys.readouterr().err


def test_videos_of_one_round_only_are_counted_as_skipped(tmp_path, capsys):
    clips = [Clip("a", [range(5), range(5)]), Clip("b", [range(3), range(3)])]
    work = make_work(tmp_path / "w", clips, 1)
    write_cleaned(work, 1, {"a": read_round(work, 0).boxes("a")})
    assert visualise.main([str(work.root), "--diff", "0", "1"]) == 0
    out = capsys.readouterr().out
    assert "rounds 0 to 1: 2 videos = 1 used + 1 skipped (1 not in both rounds)" in out
    assert "all videos       5       5      0     0      0" in out


def test_what_the_rules_saw_is_kept_and_without_it_the_round_is_cleaned_again(work, capsys):
    kept, uid = work.round(0).evidence("a"), uid_of(work, 0, "labelled", 5)
    held = kept.read_bytes()
    kept.unlink()
    assert "what the rules saw was not kept; clean the round again" in told(work, capsys, uid)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "up to date" not in capsys.readouterr().out and kept.read_bytes() == held
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "up to date" in capsys.readouterr().out
