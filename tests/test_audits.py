"""Audits: the sample, the file to fill in, what the cleaner makes of it, and the estimate, worked out by hand."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from picture_work import FRAMES, Clip, ball_box, make_work, write_labelled

import dataset_cleaner
import visualise
from labels.cleaning.audits import (
    all_audit_answers,
    gather_audits,
    precision_of,
    read_audit,
    read_audits,
    wilson_interval,
)
from labels.pictures.overlay.round_pictures import OTHER_CLASSES, draw_sample, shares_of, sheet_path, strata_of
from labels.pictures.report.rounds import read_round
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder


def answers(*strata):
    """Rows of an audit from (size, right, wrong, unanswered) of each stratum."""
    rows = []
    for number, (size, right, wrong, unanswered) in enumerate(strata):
        rows += [(f"s{number}", str(size), word) for word in ["y"] * right + ["n"] * wrong + [""] * unanswered]
    return pd.DataFrame(rows, columns=["stratum", "stratum_size", "verdict"])


def kept_rows(count, class_name="sports ball", quality=0.99, video_id="a"):
    uids = [f"{class_name}{video_id}{frame}" for frame in range(count)]
    columns = {"label_uid": uids, "video_id": video_id, "frame_index": np.arange(count)}
    return pd.DataFrame(columns | {"class_name": class_name, "quality": np.full(count, quality)})


@pytest.mark.parametrize(
    ("share", "answered", "low", "high"),
    [
        (1.0, 10, 1 / (1 + 1.959964**2 / 10), 1.0),
        (0.5, 10, 0.2366, 0.7634),  # Wilson 1927 for 5 of 10, as in Brown, Cai and DasGupta 2001
        (0.0, 10, 0.0, 0.2775),
        (0.9, 100, 0.8256, 0.9448),
    ],
)
def test_wilson_by_hand(share, answered, low, high):
    assert wilson_interval(share, answered) == pytest.approx((low, high), abs=1e-4)


def test_strata_count_by_what_they_hold():
    found = precision_of(answers((90, 5, 0, 0), (10, 3, 2, 1)))
    assert found.value == pytest.approx(0.9 * 1 + 0.1 * 0.6)  # not 8 of 10
    assert (found.right, found.wrong, found.labels, found.labels_without) == (8, 2, 100, 0)
    assert found.low < 0.96 < found.high <= 1


def test_one_stratum_is_wilson_with_what_was_seen_taken_off():
    found = precision_of(answers((1000, 9, 1, 0)))
    assert (found.low, found.high) == pytest.approx(wilson_interval(0.9, 9 / (1 - 10 / 1000)), abs=1e-6)
    all_right = precision_of(answers((1000, 10, 0, 0)))
    assert all_right.low == pytest.approx(wilson_interval(1.0, 10 / (1 - 10 / 1000))[0]) and all_right.high == 1


def test_what_was_looked_at_whole_is_not_unsure():
    found = precision_of(answers((4, 3, 1, 0)))
    assert found.low == found.value == found.high == 0.75


def test_strata_without_an_answer_are_left_out_and_told():
    found = precision_of(answers((50, 4, 1, 0), (30, 0, 0, 3)))
    assert found.value == pytest.approx(0.8) and (found.labels, found.labels_without) == (50, 30)
    assert "30 more lie in strata without an answer" in found.in_words()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        right = [random.binomial(n, p) for n, p in ((20, 0.97), (12, 0.8), (8, 0.5))]
        parts = [(size, r, n - r, 0) for size, r, n in zip((700, 250, 50), right, (20, 12, 8), strict=True)]
        found = precision_of(answers(*parts))
        covered += found.low <= 0.7 * 0.97 + 0.25 * 0.8 + 0.05 * 0.5 <= found.high
    assert covered / 150 > 0.92


@pytest.mark.parametrize(
    ("sizes", "count", "shares"),
    [
        ([100, 100], 10, [5, 5]),
        ([400, 100], 9, [6, 3]),  # two to one, as the square roots
        ([1000, 1], 10, [9, 1]),  # never more than there are
        ([3, 2], 60, [3, 2]),
        ([900, 4, 4], 2, [2, 0, 0]),  # too few for two of each
    ],
)
def test_shares_of_the_sample(sizes, count, shares):
    assert shares_of(np.array(sizes), count).tolist() == shares


def test_the_sample_is_spread_and_always_the_same():
    kept = pd.concat([kept_rows(40, video_id=name) for name in "abcde"] + [kept_rows(10, quality=0.7, video_id="f")])
    sample = draw_sample(kept, 20)
    assert len(sample) == 20 and sample["label_uid"].is_unique
    assert set(sample["video_id"]) == set("abcdef")
    assert sample.groupby("stratum")["stratum_size"].first().to_dict() == {
        "sports ball, quality below 0.85": 10, "sports ball, quality from 0.95": 200,
    }  # fmt: skip
    assert sample["number"].tolist() == list(range(1, 21))
    again = draw_sample(kept.sample(frac=1, random_state=2), 20)
    assert again["label_uid"].tolist() == sample["label_uid"].tolist()


def test_rare_classes_are_one_stratum_where_the_sample_is_small():
    kept = pd.concat([kept_rows(50 - 5 * n, class_name=f"c{n}") for n in range(8)], ignore_index=True)
    names = {stratum.split(",")[0] for stratum in strata_of(kept, 36)}
    assert names == {"c0", "c1", OTHER_CLASSES}
    assert len(set(strata_of(kept, 1000))) == 8


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """One cleaned round of two clips, in which the labeller finds the ball in every frame."""
    made = make_work(tmp_path_factory.mktemp("audits") / "work", [Clip("a", []), Clip("b", [])], 0)
    balls = [(frame, ball_box(frame), 0.9) for frame in range(FRAMES)]
    write_labelled(made, 0, {"a": balls, "b": balls})
    assert dataset_cleaner.main([str(made.root), "--round", "0"]) == 0
    return made


@pytest.fixture
def work(cleaned, tmp_path):
    return WorkFolder(shutil.copytree(cleaned.root, tmp_path / "work"))


def fill(path, words):
    """Answer the first rows of an audit file."""
    with open(path, newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row, word in zip(rows, words, strict=False):
        row["verdict"] = word
    with open(path, "w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_an_audit_goes_round(work, capsys):
    assert visualise.main([str(work.root), "--audit", "10"]) == 0
    assert f"python dataset_cleaner.py {work.root} --round 0" in capsys.readouterr().out
    path = work.round(0).pictures / "audit.csv"
    assert sheet_path(work.round(0), "audit").is_file()
    rows = fill(path, ["y"] * 8 + ["N "])
    assert [row["number"] for row in rows] == [str(n) for n in range(1, 11)]
    assert all(float(row["judged_x2"]) > float(row["judged_x1"]) for row in rows)

    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    out = capsys.readouterr().out
    assert "9 of 10 answered; 9 new ones are in verdicts.csv" in out
    assert f"8 of 9 looked at were right, weighted to all {rows[0]['stratum_size']}" in out
    assert all_audit_answers(work) == [(row["label_uid"], row["verdict"].strip().lower()) for row in rows[:9]]
    boxes = pd.concat([read_round(work, 0).boxes(name) for name in "ab"]).set_index("label_uid")
    assert boxes.loc[rows[8]["label_uid"], ["decision", "reason"]].tolist() == ["drop", "human: no"]
    assert (boxes.loc[[row["label_uid"] for row in rows[:8]], "origin"] == "human").all()

    # What was read stays read: nothing is written twice, nor overrules what is said later.
    with open(work.root / "verdicts.csv", "a") as opened:
        opened.write(f"{rows[0]['label_uid']},n\n")
    before = (work.root / "verdicts.csv").read_bytes()
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert (work.root / "verdicts.csv").read_bytes() == before

    assert visualise.main([str(work.root), "--set", "limit=1"]) == 0
    text = work.report.read_text()
    assert "A person looked at 9 of the labels that round 0 had kept: 8 were right." in text and "Judged by eye" in text


def test_an_audit_that_a_spreadsheet_wrote_with_semicolons_is_read(work):
    assert visualise.main([str(work.root), "--audit", "6"]) == 0
    path = work.round(0).pictures / "audit.csv"
    rows = fill(path, ["y", "n"])
    with open(path, "w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    assert len(read_audit(path, 0).answered) == 2


def test_answers_are_never_drawn_over(work, capsys):
    path = work.round(0).pictures / "audit.csv"
    assert visualise.main([str(work.root), "--audit", "6"]) == 0
    rows = fill(path, ["y", "y"])
    filled = path.read_bytes()
    assert visualise.main([str(work.root), "--audit", "6"]) == 0
    assert path.read_bytes() == filled and "goes on, 2 of 6 answered" in capsys.readouterr().out
    assert visualise.main([str(work.root), "--audit", "8"]) == 0
    assert path.with_name("audit_1.csv").read_bytes() == filled
    assert "is kept as" in capsys.readouterr().out
    asked = {row["label_uid"] for row in csv.DictReader(path.read_text().splitlines())}
    assert len(asked) == 8 and not asked & {row["label_uid"] for row in rows[:2]}
    assert [len(audit.rows) for audit in read_audits(work)] == [6, 8]
    assert gather_audits(work)[0].startswith(str(path.with_name("audit_1.csv")))


def test_all_that_is_kept_can_be_asked_for_and_then_nothing_is_left(work, capsys):
    assert visualise.main([str(work.root), "--audit", "1000"]) == 0
    path = work.round(0).pictures / "audit.csv"
    kept = sum((read_round(work, 0).boxes(name)["decision"] == "keep").sum() for name in "ab")
    assert len(fill(path, ["y"] * 2000)) == kept
    assert visualise.main([str(work.root), "--audit", "5"]) == 2
    assert "no kept label that nobody has judged" in capsys.readouterr().err


def test_a_changed_heading_is_named(work, capsys):
    assert visualise.main([str(work.root), "--audit", "4"]) == 0
    path = work.round(0).pictures / "audit.csv"
    path.write_text(path.read_text().replace(",verdict,", ",word,", 1))
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 2
    assert "audit.csv: needs the columns verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("verdict", "maybe", "line 2: a verdict is y or n, not 'maybe'"),
        ("label_uid", "", "line 2: label_uid and stratum_size must stay"),
        ("stratum_size", "1", "a stratum_size is not what it was"),
    ],
)
def test_an_unsound_line_is_named(work, column, value, said):
    assert visualise.main([str(work.root), "--audit", "4"]) == 0
    path = work.round(0).pictures / "audit.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    rows[0][column] = value
    with open(path, "w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=said):
        read_audits(work)
