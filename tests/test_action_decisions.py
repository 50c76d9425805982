"""Decisions on actions: tables worked by hand."""

import numpy as np
import pandas as pd
import pytest

from labels.cleaning.actions.decisions import best_overlaps, class_bars, decide_actions
from labels.cleaning.settings import ActionSettings
from labels.records import tables

SETTINGS = ActionSettings(least_cap=100)


def actions(*rows):
    """(uid, video, class, score[, origin, start, end, track])"""
    full = [(*row, *("detected", 0, 10, -1)[len(row) - 4 :]) for row in rows]
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [row[0] for row in full],
            "video_id": [row[1] for row in full],
            "class_name": [row[2] for row in full],
            "score": [row[3] for row in full],
            "origin": [row[4] for row in full],
            "start_frame": [row[5] for row in full],
            "end_frame": [row[6] for row in full],
            "track_id": [row[7] for row in full],
            "start_s": [row[5] / 10 for row in full],
            "end_s": [row[6] / 10 for row in full],
            "probabilities": ["{}"] * len(full),
            "round_born": [0] * len(full),
        },
    )


def decided(labelled, old=None, settings=SETTINGS, verdicts=None, classes=("kick", "run")):
    found = decide_actions(labelled, old, classes, settings, verdicts)
    tables.check_actions(found.actions, "test", decided=True)
    assert len(found.actions) == len(labelled) + found.merged_in
    return found, found.actions.set_index("label_uid")


@pytest.mark.parametrize(
    ("scores", "kick", "run"),
    [
        ({"kick": [0.95] * 4, "run": [0.95] * 4}, 0.9, 0.9),  # both learnt: the full bar
        ({"kick": [0.95] * 4, "run": [0.95] * 2 + [0.6]}, 0.9, round(0.85 + 0.05 * 0.5 / 1.5, 4)),  # half: x / (2 - x)
        ({"kick": [0.95] * 4, "run": [0.6]}, 0.9, 0.85),  # nothing learnt of it yet
        # Most labels reach the bar in no class: shares are of those that do not (6), not of the best class (2).
        ({"kick": [0.95] * 2, "run": [0.6] * 6}, round(0.85 + 0.05 * (1 / 3) / (5 / 3), 4), 0.85),
    ],
)
def test_bars_rise_with_what_is_learnt(scores, kick, run):
    rows = [(name, score) for name, values in scores.items() for score in values]
    table = pd.DataFrame({"class_name": [row[0] for row in rows], "quality": [row[1] for row in rows]})
    assert class_bars(table, ("kick", "run"), ActionSettings()) == {"kick": kick, "run": run}


def test_quality_decides_and_says_why():
    found, rows = decided(actions(("a", "v1", "kick", 0.95), ("b", "v2", "kick", 0.3), ("c", "v3", "kick", 0.1)))
    # One sure label of three: state 1/2, bar 0.85 + 0.05 / 3.
    assert found.bars["kick"] == pytest.approx(0.8667, abs=1e-4)
    assert rows["decision"].to_dict() == {"a": "keep", "b": "ignore", "c": "drop"}
    assert rows["reason"].to_dict() == {"a": "", "b": "quality: 0.30 < 0.87", "c": "quality: 0.10 < 0.20"}


def test_what_a_human_said_is_kept_and_a_sure_student_only_raises_a_doubt():
    labelled = actions(
        ("h", "v1", "kick", 1.0, "human"),
        ("s", "v1", "run", 0.97),
        ("t", "v2", "run", 0.97),
        ("u", "v1", "run", 0.5, "detected", 20, 30),
    )
    found, rows = decided(labelled)
    assert rows["decision"].to_dict() == {"h": "keep", "s": "drop", "t": "keep", "u": "ignore"}
    assert rows.loc["s", "reason"].startswith("overruled:")
    assert found.doubts[["label_uid", "student_class"]].to_numpy().tolist() == [["h", "run"]]


def test_a_student_that_was_never_right_about_a_class_does_not_teach_it():
    labelled = actions(("a", "v1", "kick", 0.97), ("b", "v2", "run", 0.97), ("c", "v3", "run", 0.999))
    found = decide_actions(labelled, None, ("kick", "run"), SETTINGS, None, {"kick": 1.0, "run": 0.98})
    assert found.actions.set_index("label_uid")["decision"].to_dict() == {"a": "ignore", "b": "ignore", "c": "keep"}


def test_verdicts_count_for_more_than_scores():
    _, rows = decided(
        actions(("a", "v1", "kick", 0.99), ("b", "v2", "kick", 0.1), ("h", "v3", "run", 1.0, "human")),
        verdicts={"a": "n", "b": "y", "h": "n"},
    )
    assert rows["decision"].to_dict() == {"a": "drop", "b": "keep", "h": "drop"}
    assert rows.loc["b", "origin"] == "human"


def test_what_a_human_denied_does_not_come_back():
    no = {"a": "n"}
    first, _ = decided(actions(("a", "v1", "kick", 0.95), ("b", "v2", "kick", 0.95)), verdicts=no)
    again = actions(("n1", "v1", "kick", 0.99, "detected", 1, 11), ("n2", "v2", "kick", 0.99))
    _, rows = decided(again, first.actions, verdicts=no)
    assert rows["decision"].to_dict() == {"a": "drop", "n1": "drop", "b": "keep"}
    assert rows.loc[["a", "n1"], "reason"].eq("human: no").all()
    # A round that does not say it keeps it in mind for the one after.
    silent, rows = decided(again.iloc[1:], first.actions, verdicts=no)
    assert rows.loc["a", "reason"] == "human: no"
    _, rows = decided(again.iloc[:1], silent.actions, verdicts=no)
    assert rows.loc["n1", "reason"] == "human: no"
    # Another class there is another label, and so is what others do at another time.
    others = [("n3", "v1", "run", 0.99), ("n4", "v1", "kick", 0.99, "detected", 8, 18)]
    _, rows = decided(actions(*others, ("n5", "v1", "kick", 0.99, "detected", 0, 10, 3)), first.actions, verdicts=no)
    assert rows.loc[["n3", "n4", "n5"], "decision"].eq("keep").all()


def test_what_was_denied_hides_no_other_label_of_its_time():
    first, _ = decided(actions(("a", "v1", "kick", 0.95)), verdicts={"a": "n"})
    second, rows = decided(actions(("b", "v1", "run", 0.95)), first.actions, verdicts={"a": "n"})
    assert rows["decision"].to_dict() == {"a": "drop", "b": "keep"}
    third, rows = decided(actions(("c", "v1", "run", 0.95)), second.actions, verdicts={"a": "n"})
    assert rows["decision"].to_dict() == {"a": "drop", "b": "keep"} and (third.old_kept, third.found_again) == (1, 1)
    _, rows = decided(actions(("c", "v1", "run", 0.95)), second.actions, verdicts={"a": "n", "b": "n"})
    assert set(rows["decision"]) == {"drop"} and set(rows["reason"]) == {"human: no"}


def test_a_denied_human_label_stays_denied_and_says_nothing_else_of_its_time():
    labelled = actions(("h", "v1", "kick", 1.0, "human"), ("s", "v1", "run", 0.97), ("t", "v2", "run", 0.97))
    found, rows = decided(labelled, verdicts={"h": "n"})
    assert rows["decision"].to_dict() == {"h": "drop", "s": "keep", "t": "keep"} and not len(found.doubts)
    same = actions(("h", "v1", "kick", 1.0, "human"), ("s", "v1", "kick", 0.97), ("t", "v2", "run", 0.97))
    first, rows = decided(same, verdicts={"h": "n"})
    assert rows["decision"].to_dict() == {"h": "drop", "s": "drop", "t": "keep"}
    _, rows = decided(actions(("s2", "v1", "kick", 0.97)), first.actions, verdicts={"h": "n"})
    assert rows.loc[["h", "s2"], "reason"].eq("human: no").all()


def test_what_was_confirmed_and_later_denied_stays_denied():
    first, rows = decided(actions(("a", "v1", "kick", 0.5)), verdicts={"a": "y"})
    assert rows.loc["a", "origin"] == "human"
    _, rows = decided(actions(("n1", "v1", "kick", 0.99)), first.actions, verdicts={"a": "n"})
    assert rows["decision"].to_dict() == {"a": "drop", "n1": "drop"}


def test_denied_human_labels_do_not_count_for_the_cap_of_a_class():
    labelled = actions(
        *((f"h{at}", f"h{at}", "kick" if at else "run", 1.0, "human") for at in range(10)),
        *((f"r{at}", f"r{at}", "run", 0.99 - at / 1000) for at in range(10)),
    )
    settings = ActionSettings(least_cap=2, class_cap=3.0)
    others = {f"h{at}": "n" for at in range(6, 10)}  # of six that stand one is a run: a sixth, not a tenth
    _, rows = decided(labelled, settings=settings, verdicts=others)
    assert rows.loc[[f"r{at}" for at in range(10)], "decision"].eq("keep").sum() == 5  # 3 x 10 / 6


@pytest.mark.parametrize("word", ["y", "n"])
def test_a_human_label_that_was_judged_again_is_not_asked_about_again(word):
    labelled = actions(("h", "v1", "kick", 1.0, "human"), ("s", "v1", "run", 0.97))
    assert decided(labelled)[0].doubts["label_uid"].tolist() == ["h"]
    assert not len(decided(labelled, verdicts={"h": word})[0].doubts)


def test_a_class_that_outgrows_what_humans_saw_is_capped():
    labelled = actions(
        *((f"h{at}", f"h{at}", "kick" if at else "run", 1.0, "human") for at in range(10)),  # run is a tenth
        *((f"r{at}", f"r{at}", "run", 0.99 - at / 1000) for at in range(10)),
    )
    _, rows = decided(labelled, settings=ActionSettings(least_cap=2, class_cap=3.0))
    kept = rows.loc[[f"r{at}" for at in range(10)], "decision"].eq("keep")
    assert kept.sum() == 3 and kept[["r0", "r1", "r2"]].all()  # 3 x 0.1 x 10
    assert rows.loc["r9", "reason"] == "class_cap: 10 > 3 of run"


def test_rounds_are_merged_by_time_track_and_class():
    first, _ = decided(
        actions(
            ("same", "v1", "kick", 0.95),
            ("other", "v2", "run", 0.95),
            ("gone", "v3", "run", 0.95),
            ("h", "v4", "run", 1.0, "human"),
            ("weak", "v5", "run", 0.1),
        )
    )
    second = actions(
        ("n1", "v1", "kick", 0.8, "detected", 2, 11),
        ("n2", "v2", "kick", 0.8),
        ("n4", "v2", "kick", 0.8, "detected", 0, 10, 3),
    )
    found, rows = decided(second, first.actions)
    assert set(rows.index) == {"same", "n2", "n4", "other", "gone", "h"}  # the dropped one stays behind
    assert found.left_behind == 1 and found.merged_in == 3
    odds = np.log(0.8 / 0.2) + 0.35 * (np.log(0.95 / 0.05) - np.log(0.8 / 0.2))
    assert rows.loc["same", "quality"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
    assert rows.loc["n2", "quality"] < 0.8 and rows.loc["n4", "quality"] == pytest.approx(0.8, abs=1e-6)
    assert rows.loc["gone", "decision"] == "drop" and rows.loc["gone", "reason"].startswith("lost:")
    assert rows.loc["h", "decision"] == "keep"


def test_best_overlaps():
    place, overlap = best_overlaps(
        actions(("a", "v", "run", 1, "detected", 0, 10), ("b", "w", "run", 1)),
        actions(("c", "v", "run", 1, "detected", 8, 18), ("d", "v", "run", 1, "detected", 5, 10)),
    )
    assert place.tolist() == [1, -1] and overlap.tolist() == [0.5, 0.0]
    assert best_overlaps(actions(("a", "v", "run", 1)), actions())[0].tolist() == [-1]


def test_cleaning_twice_is_cleaning_once():
    labelled = actions(("a", "v1", "kick", 0.95), ("b", "v2", "kick", 0.5), ("h", "v3", "run", 1.0, "human"))
    first, _ = decided(labelled)
    again, _ = decided(labelled.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(first.actions, again.actions)
