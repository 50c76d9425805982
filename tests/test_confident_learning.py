"""Confident learning, outliers and the guard of actions: tables worked by hand."""

import numpy as np
import pandas as pd
import pytest
from test_action_decisions import actions

from labels.cleaning.actions.confident_learning import (
    averages,
    confident_joint,
    find_faults,
    prune_by_class,
    read_out_of_fold,
    trusted_confidence,
)
from labels.cleaning.actions.decisions import decide_actions, find_outliers
from labels.cleaning.guard import find_action_alarms
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_intervals import probabilities_json
from labels.records.detections import as_text
from labels.records.errors import InputError
from labels.records.safe_writing import write_parquet

# Five labels of class 0 and three of class 1; the last of class 0 is one of class 1, and one of class 1 is unsure.
GIVEN = np.array([0, 0, 0, 0, 0, 1, 1, 1])
SAID = np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9], [0.55, 0.45]])


def test_the_confident_joint_by_hand():
    average = averages(GIVEN, SAID)
    assert average == pytest.approx([0.7, 2.15 / 3])
    # Confident: four of class 0 as 0, one as 1; two of class 1 as 1, the unsure one as nothing: the row is scaled up.
    assert confident_joint(GIVEN, SAID, average) == pytest.approx(np.array([[4.0, 1.0], [0.0, 3.0]]))


@pytest.mark.parametrize(("most", "wrong"), [(0.2, [4]), (0.19, []), (1.0, [4])])
def test_at_most_a_share_of_a_class_is_called_wrong(most, wrong):
    assert np.flatnonzero(prune_by_class(GIVEN, SAID, averages(GIVEN, SAID), most)).tolist() == wrong


def test_a_class_without_labels_and_no_label_at_all():
    said = np.array([[0.6, 0.1, 0.3], [0.7, 0.2, 0.1]])
    assert averages(np.array([0, 0]), said) == pytest.approx([0.65, 1, 1])
    assert not prune_by_class(np.array([0, 0]), said, averages(np.array([0, 0]), said), 1.0).any()
    assert len(find_faults(None, 0.2).table) == 0 and find_faults(None, 0.2).by_machine() == {}


def left_by_training(path, origins):
    rows = {
        "label_uid": [f"l{at}" for at in range(len(GIVEN))],
        "class_name": [("kick", "run")[at] for at in GIVEN],
        "origin": origins,
        "probabilities": [probabilities_json(("kick", "run"), row) for row in SAID],
    }
    write_parquet(path, pd.DataFrame(rows), {})
    return path


def test_a_machines_label_is_set_aside_and_a_humans_is_looked_at_again(tmp_path):
    path = left_by_training(tmp_path / "a.parquet", ["detected"] * 8)
    machine = find_faults(read_out_of_fold(path), 0.2)
    assert machine.by_machine() == {"l4": "out_of_fold: 0.10 < 0.70: rather run"} and not len(machine.of_humans())
    labelled = actions(*((f"l{at}", f"v{at}", ("kick", "run")[GIVEN[at]], 0.97) for at in range(8)))
    rows = decide_actions(labelled, None, ("kick", "run"), ActionSettings(), faults=machine).actions
    rows = rows.set_index("label_uid")
    assert rows.loc["l4", "decision"] == "ignore" and rows.loc["l4", "reason"].startswith("out_of_fold")
    assert (rows["decision"] == "keep").sum() == 7
    human = find_faults(read_out_of_fold(left_by_training(tmp_path / "b.parquet", ["human"] * 8)), 0.2)
    labelled = labelled.assign(origin="human", score=np.float32(1))
    found = decide_actions(labelled, None, ("kick", "run"), ActionSettings(), faults=human)
    assert (found.actions["decision"] == "keep").all()
    assert found.doubts[["label_uid", "class_name", "student_class"]].to_numpy().tolist() == [["l4", "kick", "run"]]


def test_from_which_sureness_on_students_are_right(tmp_path):
    path = left_by_training(tmp_path / "a.parquet", ["human"] * 8)
    # ImportHints to be kick: 0.9, 0.9, 0.8, 0.8 right, 0.55 wrong; to be run: 0.9 right, 0.9 wrong, 0.8 right.
    assert trusted_confidence(read_out_of_fold(path), 0.95, 3) == {"kick": 0.8, "run": 1.0}
    assert trusted_confidence(read_out_of_fold(path), 0.6, 3) == {"kick": 0.55, "run": 0.8}
    assert trusted_confidence(read_out_of_fold(path), 0.85, 8) == {"kick": 0.8, "run": 0.8}  # all together: 6 of 7
    assert trusted_confidence(read_out_of_fold(path), 0.85, 9) == {} == trusted_confidence(None, 0.85, 3)
    machine = left_by_training(tmp_path / "b.parquet", ["detected"] * 8)
    assert trusted_confidence(read_out_of_fold(machine), 0.5, 3) == {}


def test_another_file_is_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", pd.DataFrame({"label_uid": ["a"]}), {})
    with pytest.raises(InputError, match="--folds writes"):
        read_out_of_fold(tmp_path / "a.parquet")
    assert read_out_of_fold(tmp_path / "none.parquet") is None


def test_what_looks_unlike_its_class_is_an_outlier_and_a_human_never():
    random = np.random.default_rng(0)
    features = np.clip(random.normal(0.5, 0.02, (60, 8)), 0, 1)
    features[7], features[59] = 0.95, 0.05  # one found label, one of a human
    table = actions(*((f"l{at}", f"v{at}", "kick", 0.97) for at in range(60))).assign(appearance=as_text(features))
    settings = ActionSettings(outlier_share=0.1)
    reasons = find_outliers(table[:50], table[50:].reset_index(drop=True), settings)
    assert list(reasons) == [7] and reasons[7].startswith("outlier: ") and reasons[7].endswith("> 1.5")
    assert find_outliers(table[:50], table[50:].reset_index(drop=True), ActionSettings(outlier_share=0.01)) == {}
    few = ActionSettings(least_company=61)
    assert find_outliers(table[:50], table[50:].reset_index(drop=True), few) == {}
    assert find_outliers(table[:50].drop(columns="appearance"), table[50:], settings) == {}
    decided = decide_actions(table.drop(columns="appearance"), None, ("kick",), settings).actions
    assert (decided["decision"] == "keep").all()
    rows = decide_actions(table, None, ("kick",), settings).actions.set_index("label_uid")
    assert rows.loc["l7", "decision"] == "ignore" and "appearance" not in rows


def test_denied_human_labels_are_no_company_for_what_looks_like_them():
    random = np.random.default_rng(0)
    features = np.clip(random.normal(0.3, 0.02, (70, 8)), 0, 1)
    features[40:] += 0.5  # those of humans, and with them one found label
    features[7] += 0.5
    table = actions(*((f"l{at}", f"v{at}", "kick", 0.97, "detected" if at < 40 else "human") for at in range(70)))
    table = table.assign(appearance=as_text(features))
    settings = ActionSettings(outlier_share=0.1)
    denied = {f"l{at}": "n" for at in range(40, 70)}
    for verdicts, decision in ((None, "keep"), (denied, "ignore")):
        rows = decide_actions(table, None, ("kick",), settings, verdicts).actions.set_index("label_uid")
        assert rows.loc["l7", "decision"] == decision
    assert rows.loc["l7", "reason"].startswith("outlier: ")


def counts(
    found=100, confident=100, kept_confident=90, old_kept=100, found_again=80, right=0.8, classes=None, videos=2
):
    return {
        "kept_by_class": classes or {"kick": 50, "run": 50},
        "kept_found": found,
        "confident": confident,
        "kept_confident": kept_confident,
        "videos": videos,
        "old_kept": old_kept,
        "found_again": found_again,
        "quality": {"training": {"kept": {"right": right, "coverage": 0.5}}},
    }


@pytest.mark.parametrize(
    ("now", "signs"),
    [
        ({}, []),
        ({"found": 400}, []),  # four times as many is the limit
        ({"found": 401}, ["growth: 4.0"]),
        ({"found": 600, "videos": 6}, []),  # more clips, not more in each
        ({"found_again": 29}, ["survival: 0.29"]),
        ({"old_kept": 49, "found_again": 0}, []),  # too few to say anything
        ({"kept_confident": 4}, ["confident: 0.04"]),
        ({"right": 0.71}, []),
        ({"right": 0.69}, ["probe: 0.11"]),
        ({"right": None}, []),
        ({"classes": {"kick": 81, "run": 19}}, ["classes: 0.31"]),
    ],
)
def test_each_sign_against_its_limit(now, signs):
    alarms = find_action_alarms(counts(**now), counts())
    assert len(alarms) == len(signs)
    assert all(alarm.startswith(sign) for alarm, sign in zip(alarms, signs, strict=True))


def test_the_first_round_has_nothing_to_be_held_against():
    assert find_action_alarms(counts(found=10_000), None) == []
    assert find_action_alarms(counts(found=10_000), {"keep": 5}) == []  # of a version before this one
    assert find_action_alarms(counts(kept_confident=0), None)[0].startswith("confident: 0.00 < 0.05: of 100 actions")
