"""Merging rounds: what a label's life may look like, and the laws that hold for any labels."""

import numpy as np
import pandas as pd
import pytest
from simulated_balls import as_verdicts, boxes_from, clean_table, make_scene

from labels.cleaning import video as video_cleaning
from labels.cleaning.features.box_pairs import overlap_with_better, same_objects
from labels.cleaning.features.scores import ScoreScale
from labels.cleaning.settings import CleaningSettings
from labels.records import tables

SETTINGS = CleaningSettings()
THRESHOLD = {("", "sports ball"): ScoreScale(0.5)}


def clean(boxes, number=0, old=None, camera=None, verdicts=None):
    return clean_table(boxes, number, THRESHOLD, SETTINGS, old, camera, as_verdicts(verdicts))


def flight(frames=range(30), score=0.8, shift=0.0):
    return [(f, 100 + 10 * f + shift, 300 + 0.2 * (f - 15) ** 2, 12, score) for f in frames]


def assert_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first, second, check_exact=True)


SEEDS = [0, 1, 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_cleaning_twice_is_cleaning_once(seed):
    scene = make_scene(seed, frame_count=80, balls=2)
    once = clean(scene.labelled, camera=scene.camera)
    twice = clean(once.boxes, camera=scene.camera)
    assert_same(once.boxes, twice.boxes)


@pytest.mark.parametrize("seed", SEEDS)
def test_merging_a_set_with_itself_is_the_set(seed):
    scene = make_scene(seed, frame_count=80, balls=2)
    once = clean(scene.labelled, camera=scene.camera)
    merged = clean(scene.labelled, old=once.boxes, camera=scene.camera)
    assert_same(once.boxes, merged.boxes)
    assert merged.merged.merged_in == 0
    assert (
        merged.merged.fused
        == len(once.boxes) - ((once.boxes["origin"] == "interpolated") & (once.boxes["decision"] != "keep")).sum()
    )


def test_a_labeller_that_is_not_asked_about_players_does_not_lose_them():
    """Round 1 gives balls only: the player of round 0 is as sure as before, not lost once."""
    walk = [(f, 100 + 2 * f, 300, 60, 0.9) for f in range(30)]
    players, balls = boxes_from(walk, 30).assign(class_name="person"), boxes_from(flight(), 30)
    both = pd.concat([players, balls], ignore_index=True)
    both.attrs = balls.attrs
    scales = THRESHOLD | {("", "person"): ScoreScale(0.5)}
    first = clean_table(both, 0, scales, SETTINGS).boxes
    silent = clean_table(balls, 1, THRESHOLD, SETTINGS, first).boxes.query("class_name == 'person'")
    blind = clean_table(balls, 1, scales, SETTINGS, first).boxes.query("class_name == 'person'")
    assert len(silent) == len(blind) == 30
    assert (silent["decision"] == "keep").all() and (silent["rounds_lost"] == 0).all()
    assert (blind["rounds_lost"] == 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_input_order_does_not_matter(seed):
    scene = make_scene(seed, frame_count=80, balls=2)
    old = clean(make_scene(seed, frame_count=80, balls=2, miss=0.4).labelled, camera=scene.camera).boxes
    mixed = scene.labelled.sample(frac=1, random_state=seed).reset_index(drop=True)
    mixed.attrs = scene.labelled.attrs
    assert_same(
        clean(scene.labelled, 1, old, scene.camera).boxes,
        clean(mixed, 1, old.sample(frac=1, random_state=seed), scene.camera).boxes,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_accounts_add_up_over_three_rounds(seed):
    old = None
    for number in range(3):
        scene = make_scene(seed * 10 + number, frame_count=80)
        cleaned = clean(scene.labelled, number, old, scene.camera)
        rows = len(scene.labelled) + cleaned.merged.merged_in + cleaned.interpolated
        assert sum(cleaned.decisions.values()) == len(cleaned.boxes) == rows
        if old is not None:
            merged = cleaned.merged
            gap_boxes = ((old["origin"] == "interpolated") & (old["decision"] != "keep")).sum()
            assert merged.merged_in + merged.fused + merged.left_behind == len(old)
            assert merged.left_behind >= gap_boxes
        old = cleaned.boxes


def test_the_same_object_is_one_row_that_keeps_its_name_and_gains():
    old = clean(boxes_from(flight(score=0.7), 30)).boxes
    new = clean(boxes_from(flight(score=0.7, shift=2.0), 30, round_born=1), 1, old)
    assert len(new.boxes) == 30
    assert new.boxes["label_uid"].tolist() == old["label_uid"].tolist()
    assert set(new.boxes["round_born"]) == {0}
    assert set(new.boxes["rounds_seen"]) == {2}
    assert new.boxes["x1"].to_numpy() == pytest.approx(old["x1"].to_numpy() + 2.0 * 0.65, abs=0.01)
    assert (new.boxes["quality"] > old["quality"]).all()
    assert (new.merged.fused, new.merged.merged_in) == (30, 0)


def test_a_frame_the_new_round_lost_is_filled_from_the_old():
    old = clean(boxes_from(flight(), 30)).boxes
    found = [row for row in flight() if not 10 <= row[0] < 20]
    new = clean(boxes_from(found, 30, round_born=1), 1, old)
    filled = new.boxes[new.boxes["frame_index"].between(10, 19)]
    assert filled["decision"].tolist() == ["keep"] * 10
    assert filled["origin"].tolist() == ["detected"] * 10
    assert set(filled["rounds_lost"]) == {1}
    assert new.merged.merged_in == 10


def test_a_round_that_is_blind_in_a_video_takes_nothing_from_its_labels():
    """Of a labeller that finds none of 30 sure labels, a miss says log(31 / 32): next to nothing."""
    old = clean(boxes_from(flight(), 30)).boxes
    elsewhere = [(f, 900, 600, 12, 0.4) for f in range(30)]
    new = clean(boxes_from(elsewhere, 30, round_born=1), 1, old).boxes
    there = new[new["label_uid"].isin(old["label_uid"])]
    assert there["decision"].tolist() == ["keep"] * 30
    assert there["log_odds"].to_numpy() == pytest.approx(old["log_odds"].to_numpy() + np.log(31 / 32), abs=1e-4)


def test_a_frame_the_old_round_missed_is_filled_by_the_new():
    old = clean(boxes_from([row for row in flight() if row[0] < 12 or row[0] > 26], 30)).boxes
    new = clean(boxes_from(flight(), 30, round_born=1), 1, old).boxes
    assert (new["decision"] == "keep").sum() == 30
    assert set(new["round_born"][new["frame_index"].between(13, 24)]) == {1}


def test_a_label_that_stays_lost_fades_and_goes():
    alone = [(5, 900, 100, 12, 0.93)]
    old = clean(boxes_from(alone, 30)).boxes.assign(decision="keep", reason="")  # as if more had been seen of it
    first = clean(boxes_from(flight(), 30, round_born=1), 1, old).boxes
    second = clean(boxes_from(flight(), 30, round_born=2), 2, first).boxes
    third = clean(boxes_from(flight(), 30, round_born=3), 3, second)
    uid = old["label_uid"].iloc[0]
    life = [table[table["label_uid"] == uid].iloc[0] for table in (first, second)]
    assert [(row.decision, row.reason) for row in life] == [("ignore", "lost: 1 > 0"), ("drop", "lost: 2 > 1")]
    assert uid not in set(third.boxes["label_uid"])
    assert third.merged.left_behind == 1


def test_an_interpolated_box_is_the_detection_when_it_is_found_and_stays_itself_when_not():
    gap = [row for row in flight() if row[0] not in (14, 15)]
    old = clean(boxes_from(gap, 30)).boxes
    again = clean(boxes_from(gap, 30, round_born=1), 1, old)
    assert again.boxes["label_uid"].tolist() == old["label_uid"].tolist()
    found = clean(boxes_from(flight(), 30, round_born=1), 1, old).boxes
    assert len(found) == 30
    assert set(found["origin"]) == {"detected"}


def test_a_human_is_right_for_ever():
    scene = boxes_from([*flight(), (9, 900, 100, 12, 0.06)], 30)
    first = clean(scene).boxes
    wrong, right = first["label_uid"].iloc[4], first[first["x1"] > 800]["label_uid"].iloc[0]
    verdicts = {wrong: "n", right: "y"}
    table = clean(scene, verdicts=verdicts).boxes
    for number in range(1, 4):
        named = table.set_index("label_uid")
        assert (named.loc[wrong, "decision"], named.loc[wrong, "reason"]) == ("drop", "human: no")
        assert (named.loc[right, "decision"], named.loc[right, "quality"]) == ("keep", 1.0)
        again = boxes_from(flight(shift=0.5 * number), 30, round_born=number)
        # What was denied in the frame is found again and denied again; the file with the verdicts stays.
        table = clean(again, number, table, verdicts=verdicts).boxes
        assert (table["frame_index"] == 4).sum() == 1


def test_a_humans_own_box_is_kept_and_pushes_a_detection_away():
    human = boxes_from([(9, 700, 100, 12, 1.0)], 30)
    human["origin"] = "human"
    human.attrs = boxes_from([], 30).attrs
    old = clean(human).boxes
    new = clean(boxes_from([(9, 702, 100, 14, 0.9)], 30, round_born=1), 1, old).boxes
    assert new["decision"].tolist() == ["keep"]
    assert new["origin"].tolist() == ["human"]
    assert new[tables.BOX_COLUMNS].to_numpy().tolist() == old[tables.BOX_COLUMNS].to_numpy().tolist()


GAPPY = [row for row in flight() if row[0] not in (14, 15)]


def test_a_verdict_on_an_interpolated_box_holds_in_this_round_and_in_the_next():
    first = clean(boxes_from(GAPPY, 30)).boxes
    wrong, right = first["label_uid"][first["origin"] == "interpolated"]
    verdicts = {wrong: "n", right: "y"}
    # Once with the verdicts in both rounds, once with those that came when round 0 was cleaned already.
    said = clean(boxes_from(GAPPY, 30), verdicts=verdicts)
    assert said.interpolated == 2
    for rows in (GAPPY, flight()):
        later = boxes_from(rows, 30, round_born=1)
        for table in (said.boxes, clean(later, 1, said.boxes).boxes, clean(later, 1, first, verdicts=verdicts).boxes):
            named = table.set_index("label_uid")
            assert tuple(named.loc[wrong, ["decision", "reason", "quality"]]) == ("drop", "human: no", 0.0)
            assert tuple(named.loc[right, ["decision", "origin", "quality"]]) == ("keep", "human", 1.0)
            assert table["frame_index"].tolist() == list(range(30))


def test_a_denied_interpolated_box_stays_denied_over_rounds():
    first = clean(boxes_from(GAPPY, 30)).boxes
    wrong = first["label_uid"][first["origin"] == "interpolated"].iloc[0]
    table = clean(boxes_from(GAPPY, 30), verdicts={wrong: "n"}).boxes
    for number in range(1, 4):
        table = clean(boxes_from(GAPPY, 30, round_born=number), number, table).boxes
        assert table.set_index("label_uid").loc[wrong, "reason"] == "human: no"
        assert (table["frame_index"] == table.set_index("label_uid").loc[wrong, "frame_index"]).sum() == 1


def test_a_dropped_label_that_a_human_wants_back_comes_back_for_ever():
    first = clean(boxes_from([*flight(), (9, 900, 100, 12, 0.06)], 30)).boxes
    uid = first["label_uid"][first["decision"] == "drop"].item()
    table = clean(boxes_from(flight(), 30, round_born=1), 1, first, verdicts={uid: "y"}).boxes
    for number in range(2, 5):
        assert tuple(table.set_index("label_uid").loc[uid, ["decision", "origin", "quality"]]) == ("keep", "human", 1.0)
        table = clean(boxes_from(flight(), 30, round_born=number), number, table).boxes


def test_a_row_that_gets_lost_is_an_error(monkeypatch):
    def loses_one(decided, filled, old, merged, settings):
        return decided.iloc[1:], filled, merged

    monkeypatch.setattr(video_cleaning, "place_old_gap_boxes", loses_one)
    with pytest.raises(AssertionError, match=r"1 boxes of .* got lost"):
        clean(boxes_from(flight(), 30))


def test_counts_that_do_not_add_up_are_an_error():
    whole = clean(boxes_from(GAPPY, 30))
    with pytest.raises(AssertionError, match="do not add up"):
        video_cleaning.CleanedVideo(whole.boxes, whole.video, whole.merged, whole.interpolated - 1)


def test_overlap_is_greedy_suppression():
    rng = np.random.default_rng(0)
    rows = [(int(f), *rng.uniform(0, 60, 2), 20, float(rng.uniform(0.1, 0.9))) for f in rng.integers(0, 5, 120)]
    boxes = boxes_from(rows, 10)
    preference = boxes["score"].to_numpy()
    covered = overlap_with_better(boxes, preference, np.ones(len(boxes), dtype=bool), 0.4, 2.0)
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(np.float64)
    stands: list[int] = []
    for row in np.argsort(-preference):
        low = np.maximum(xyxy[stands, :2], xyxy[row, :2])
        high = np.minimum(xyxy[stands, 2:], xyxy[row, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        iou = shared / (800 - shared)
        same_frame = boxes["frame_index"].to_numpy()[stands] == boxes["frame_index"].to_numpy()[row]
        if not (iou[same_frame] > 0.4).any():
            stands.append(int(row))
    assert sorted(stands) == np.flatnonzero(covered <= 0.4).tolist()


def test_same_objects_pairs_the_nearest_once():
    new = boxes_from([(1, 100, 100, 20, 0.5), (1, 104, 100, 20, 0.5), (2, 100, 100, 20, 0.5)], 10)
    old = boxes_from([(1, 103, 100, 20, 0.5), (3, 100, 100, 20, 0.5)], 10)
    first, second = same_objects(new, old, 0.4, 0.5)
    assert (first.tolist(), second.tolist()) == ([1], [0])
