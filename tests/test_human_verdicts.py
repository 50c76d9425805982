"""What a human says of labels: how it is written down, and that cleaning holds to it in every round."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, clean_table, make_scene

from labels.cleaning.features.scores import ScoreScale
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.records.verdicts import COLUMNS, Verdict, append_verdicts, drawn_uid, read_verdicts
from labels.records.work_folder import WorkFolder

THRESHOLD = {("", "sports ball"): ScoreScale(0.5)}
BALL = "sports ball"


def clean(boxes, number=0, old=None, verdicts=(), camera=None):
    said = {verdict.label_uid: verdict for verdict in verdicts}
    return clean_table(boxes, number, THRESHOLD, CleaningSettings(), old, camera, said)


def flight(frames=range(30), score=0.8, shift=0.0):
    return [(f, 100 + 10 * f + shift, 300 + 0.2 * (f - 15) ** 2, 12, score) for f in frames]


def verdict_on(row, word="y", **said):
    """A verdict as the review page writes it: with the label as it was."""
    box = tuple(float(row[name]) for name in tables.BOX_COLUMNS)
    place = {"video_id": row["video_id"], "frame_index": int(row["frame_index"])}
    return Verdict(row["label_uid"], word, **place, judged_class=row["class_name"], judged_xyxy=box, **said)


def drawn(frame, xyxy, class_name=BALL):
    return Verdict(drawn_uid("scene", frame, class_name, xyxy), "y", class_name, xyxy, "scene", frame)


def box_of(row):
    return tuple(float(row[name]) for name in tables.BOX_COLUMNS)


def assert_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first, second, check_exact=True)


# --- the file ---


def test_what_is_appended_is_read_and_the_last_word_counts(tmp_path):
    work = WorkFolder(tmp_path)
    assert append_verdicts(work, [{"label_uid": "a", "verdict": "y"}, {"label_uid": "b", "verdict": "n"}]) == 2
    place = {"video_id": "v", "frame_index": 3, "judged_class": BALL}
    judged = dict(zip(COLUMNS[-4:], (1.0, 2.0, 3.5, np.float32(4.25)), strict=True))
    corrected = {"label_uid": "a", "verdict": "y", "class_name": "person", "x1": 5, "y1": 6, "x2": 7.25, "y2": 8}
    append_verdicts(work, [corrected | place | judged])
    append_verdicts(work, [{"label_uid": "b", "verdict": ""}])
    told = Verdict("a", "y", "person", (5, 6, 7.25, 8), "v", 3, BALL, (1, 2, 3.5, 4.25))
    assert read_verdicts(work) == {"a": told}
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize(
    "before",
    ["label_uid,verdict\na,n", "label_uid,verdict\na,n\n", "\ufefflabel_uid,verdict\r\na,n\r\n",
     "who,label_uid,verdict\nme,a,n\n"],
)  # fmt: skip
def test_a_file_written_by_hand_is_gone_on_with(tmp_path, before):
    work = WorkFolder(tmp_path)
    (tmp_path / "verdicts.csv").write_text(before, encoding="utf-8")
    append_verdicts(work, [asdict(drawn(3, (1.0, 2.0, 3.0, 4.0))) | {"x1": 1, "y1": 2, "x2": 3, "y2": 4}])
    said = read_verdicts(work)
    assert said["a"] == Verdict("a", "n")
    assert [verdict.xyxy for verdict in said.values()] == [None, (1, 2, 3, 4)]
    if before.startswith("who"):
        with open(tmp_path / "verdicts.csv", newline="") as opened:
            assert next(csv.DictReader(opened))["who"] == "me"


def test_many_drawn_boxes_are_written_as_each_would_be(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    rows = [
        {"class_name": name, "x1": 1.1, "y1": 2, "x2": 3 + at, "y2": 4, "video_id": video, "frame_index": at}
        for at, (name, video) in enumerate([(BALL, "v"), ("a, b", "w"), (BALL, "w"), (BALL, "v")])
    ]
    drawn = pd.DataFrame(rows).astype(dict.fromkeys(tables.BOX_COLUMNS, "float32"))
    assert append_verdicts(WorkFolder(tmp_path / "a"), [], drawn=drawn) == 4
    append_verdicts(WorkFolder(tmp_path / "b"), [{"verdict": "y"} | row for row in drawn.to_dict("records")])
    assert (tmp_path / "a" / "verdicts.csv").read_bytes() == (tmp_path / "b" / "verdicts.csv").read_bytes()
    for fault in ({"x2": 1.0}, {"class_name": "b\u200b"}, {"frame_index": -1}, {"video_id": ""}, {"y2": np.nan}):
        before = (tmp_path / "a" / "verdicts.csv").read_bytes()
        with pytest.raises(InputError):
            append_verdicts(WorkFolder(tmp_path / "a"), [], drawn=drawn.assign(**fault))
        assert (tmp_path / "a" / "verdicts.csv").read_bytes() == before


def test_a_box_nobody_named_gets_the_same_name_each_time(tmp_path):
    work = WorkFolder(tmp_path)
    row = {"verdict": "y", "video_id": "v", "frame_index": 2, "class_name": BALL, "x1": 1, "y1": 2, "x2": 3, "y2": 4}
    append_verdicts(work, [row, row])
    (uid,) = read_verdicts(work)
    assert uid == drawn_uid("v", 2, BALL, (1, 2, 3, 4))
    append_verdicts(work, [{"label_uid": uid, "verdict": ""}])
    assert read_verdicts(work) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label_uid": "a", "verdict": "maybe"}, "a verdict is y or n, not 'maybe'"),
        ({"label_uid": "", "verdict": "n"}, "label_uid is empty"),
        ({"label_uid": "a", "verdict": "y", "x1": 1}, "a box is four numbers"),
        ({"label_uid": "a", "verdict": "y", "x1": 5, "y1": 1, "x2": 5, "y2": 9}, "is empty or not finite"),
        ({"label_uid": "a", "verdict": "y", "x1": 1, "y1": 1, "x2": "inf", "y2": 9}, "is empty or not finite"),
        ({"label_uid": "a", "verdict": "y", "frame_index": -1}, "a frame_index is a whole number"),
        ({"label_uid": "a", "verdict": "n", "class_name": "x"}, "a label that is denied cannot be corrected"),
        ({"label_uid": "a", "verdict": "y", "class_name": "x\ny"}, "is no name of a class"),
        ({"verdict": "y", "video_id": "v", "class_name": "x"}, "no whole box that a human drew"),
    ],
)
def test_nothing_is_written_when_one_verdict_is_not_sound(tmp_path, row, message):
    work = WorkFolder(tmp_path)
    with pytest.raises(InputError, match=message):
        append_verdicts(work, [{"label_uid": "fine", "verdict": "y"}, row])
    assert not (tmp_path / "verdicts.csv").exists()


def test_many_writers_lose_nothing(tmp_path):
    work = WorkFolder(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda k: append_verdicts(work, [{"label_uid": f"u{k}", "verdict": "y"}]), range(60)))
    assert set(read_verdicts(work)) == {f"u{k}" for k in range(60)}


# --- cleaning ---


def predictions_of(scene_boxes, seed):
    """Verdicts of every kind on a cleaned scene: y, n, corrected boxes and classes, a drawn box; some on gaps."""
    rng = np.random.default_rng(seed)
    said = []
    for number, (_, row) in enumerate(scene_boxes.sample(24, random_state=seed).iterrows()):
        x1, y1, x2, y2 = box_of(row)
        right, down = (30 if x1 < 640 else -30), (20 if y1 < 360 else -20)  # it stays in the frame
        moved = (x1 + right, y1 + down, x2 + right + 4, y2 + down + 5)
        kinds = ({"word": "y"}, {"word": "n"}, {"xyxy": moved}, {"class_name": "person"})
        said.append(verdict_on(row, **kinds[number % 4]))
    frame = int(rng.integers(0, 60))
    return [*said, drawn(frame, (40.0, 50.0, 55.0, 66.0))]


def assert_held(boxes, said):
    named = boxes.set_index("label_uid")
    for verdict in said:
        row = named.loc[verdict.label_uid]
        assert row["frame_index"] == verdict.frame_index
        if verdict.verdict == "n":
            assert tuple(row[["decision", "reason", "quality"]]) == ("drop", "human: no", 0.0)
        else:
            assert tuple(row[["decision", "reason", "quality", "origin"]]) == ("keep", "", 1.0, "human")
            assert row["class_name"] == verdict.right_class
            assert box_of(row) == pytest.approx(np.clip(verdict.right_xyxy, 0, [1280, 720, 1280, 720]), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_cleaning_twice_is_cleaning_once_with_verdicts(seed):
    scene = make_scene(seed, frame_count=60, balls=2)
    said = predictions_of(clean(scene.labelled, camera=scene.camera).boxes, seed)
    once = clean(scene.labelled, verdicts=said, camera=scene.camera)
    assert_held(once.boxes, said)
    twice = clean(once.boxes, verdicts=said, camera=scene.camera)
    assert_same(once.boxes, twice.boxes)
    assert twice.from_verdicts == 0


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_hold_in_every_later_round_and_in_the_first_cleaned_again(seed):
    scene = make_scene(seed, frame_count=60, balls=2)
    table = clean(scene.labelled, camera=scene.camera).boxes
    said = predictions_of(table, seed)
    table = clean(scene.labelled, verdicts=said, camera=scene.camera).boxes
    for number in range(1, 4):
        later = make_scene(seed * 10 + number, frame_count=60, balls=2).labelled
        table = clean(later, number, table, said, scene.camera).boxes
        assert_held(table, said)
        # What was said of round `number` holds where round 0 is cleaned again, and where another labeller ran.
        own = predictions_of(table, seed + number)
        assert_held(clean(scene.labelled, verdicts=own, camera=scene.camera).boxes, own)


def test_verdicts_do_not_depend_on_the_order_of_rows():
    scene = make_scene(1, frame_count=60, balls=2)
    said = predictions_of(clean(scene.labelled).boxes, 1)
    mixed = scene.labelled.sample(frac=1, random_state=3).reset_index(drop=True)
    mixed.attrs = scene.labelled.attrs
    assert_same(clean(scene.labelled, verdicts=said).boxes, clean(mixed, verdicts=said).boxes)


def test_a_label_found_again_under_another_name_is_the_judged_one():
    first = clean(boxes_from(flight(), 30)).boxes
    said = [verdict_on(first.iloc[4], "n"), verdict_on(first.iloc[9], "y")]
    # The round is labelled anew by another student: the same ball 1.5 px aside, so that every name is new.
    anew = boxes_from(flight(shift=1.5), 30)
    assert set(anew["label_uid"]).isdisjoint(first["label_uid"])
    table = clean(anew, verdicts=said)
    assert_held(table.boxes, said)
    assert (len(table.boxes), table.from_verdicts) == (30, 0)


def test_what_is_not_found_again_becomes_a_row_of_its_own():
    first = clean(boxes_from([*flight(), (9, 900, 100, 12, 0.4), (11, 950, 100, 12, 0.4)], 30)).boxes
    there = first[first["x1"] > 800]
    said = [verdict_on(there.iloc[0], "y"), verdict_on(there.iloc[1], "n")]
    table = clean(boxes_from(flight(shift=1.5), 30), verdicts=said)
    assert_held(table.boxes, said)
    assert (len(table.boxes), table.from_verdicts, table.merged.labelled) == (32, 2, 32)


def test_the_place_a_box_was_moved_away_from_stays_empty():
    first = clean(boxes_from(flight(), 30)).boxes
    said = [verdict_on(first.iloc[4], xyxy=(600.0, 100.0, 612.0, 112.0))]
    table = clean(boxes_from(flight(), 30), verdicts=said).boxes
    for number in (1, 2, 3):  # every student finds it where it was
        table = clean(boxes_from(flight(shift=0.5 * number), 30, round_born=number), number, table, said).boxes
        assert_held(table, said)
        old_place = table[(table["frame_index"] == 4) & (table["x1"] < 500)]
        assert old_place["decision"].tolist() == ["drop"]
        assert old_place["reason"].tolist() == ["human: no"]


def test_a_corrected_class_is_not_joined_by_the_wrong_one_again():
    first = clean(boxes_from(flight(), 30)).boxes
    said = [verdict_on(first.iloc[4], class_name="person")]
    table = clean(boxes_from(flight(), 30), verdicts=said).boxes
    table = clean(boxes_from(flight(shift=0.5), 30, round_born=1), 1, table, said).boxes
    here = table[(table["frame_index"] == 4) & (table["decision"] != "drop")]
    assert here["class_name"].tolist() == ["person"]


def test_a_drawn_box_is_kept_and_the_machine_that_finds_it_later_is_part_of_it():
    box = (700.0, 100.0, 712.0, 112.0)
    said = [drawn(9, box)]
    first = clean(boxes_from(flight(), 30), verdicts=said)
    assert_held(first.boxes, said)
    assert first.from_verdicts == 1
    table = clean(boxes_from([*flight(), (9, 707, 106, 12, 0.9)], 30, round_born=1), 1, first.boxes, said)
    assert_held(table.boxes, said)
    assert (table.boxes["frame_index"] == 9).sum() == 2
    assert table.from_verdicts == 0


def test_the_same_object_judged_under_two_names_is_one_row():
    first = clean(boxes_from(flight(), 30)).boxes
    anew = clean(boxes_from(flight(shift=1.5), 30)).boxes
    said = [verdict_on(first.iloc[4]), verdict_on(anew.iloc[4])]
    table = clean(boxes_from(flight(shift=3.0), 30), verdicts=said).boxes
    kept = table[(table["frame_index"] == 4) & (table["decision"] == "keep")]
    assert kept["label_uid"].tolist() == [said[1].label_uid]  # the later word


def test_a_verdict_taken_back_leaves_no_trace():
    scene = boxes_from(flight(), 30)
    plain = clean(scene).boxes
    assert_same(clean(scene, verdicts=[]).boxes, plain)


@pytest.mark.parametrize(
    ("frame", "xyxy", "video_id"),
    [(30, (1.0, 1.0, 9.0, 9.0), "scene"), (3, (2000.0, 1.0, 2010.0, 9.0), "scene"), (3, (1.0, 1.0, 9.0, 9.0), "other")],
)
def test_a_drawn_box_outside_the_video_is_not_put_in(frame, xyxy, video_id):
    said = Verdict("u", "y", BALL, xyxy, video_id, frame)
    assert len(clean(boxes_from(flight(), 30), verdicts=[said]).boxes) == 30
