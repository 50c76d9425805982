"""When rounds stop gaining, and how groups are divided into folds."""

import pytest

from labels.records.safe_writing import write_json
from labels.records.work_folder import WorkFolder
from labels.training.actions.round import round_to_stay_with
from labels.training.splits import fold_of


@pytest.mark.parametrize(
    ("values", "stay"),
    [
        ([0.5], None),
        ([0.5, 0.5], None),  # one round without gain
        ([0.5, 0.5, 0.5], 0),
        ([0.5, 0.6, 0.5], None),
        ([0.5, 0.6, 0.6, 0.604], 1),  # less than 0.005 is noise
        ([0.5, 0.6, 0.6, 0.61], None),
        ([0.5, 0.4, 0.45, 0.3], 0),
        ([None, 0.5, 0.5, 0.5], 1),  # nothing was validated by humans' labels in round 0
    ],
)
def test_two_rounds_without_gain(tmp_path, values, stay):
    work = WorkFolder(tmp_path)
    for number, value in enumerate(values):
        folder = work.round(number).stage("trained") / "actions"
        folder.mkdir(parents=True)
        measured = {"macro_f1": value, "human_labels": 9} if value is not None else {"macro_f1": 0.9, "human_labels": 0}
        write_json(folder / "metrics.json", {"validation": measured})
    found = round_to_stay_with(work, len(values) - 1)
    assert (found[0] if found else None) == stay
    if found:
        assert f"round {stay}'s student" in found[1]


def test_groups_are_divided_whole_and_evenly():
    groups = ["a"] * 8 + ["b"] * 4 + ["c"] * 4 + ["d"] * 2
    folds = fold_of(groups, 2)
    assert set(folds) == set("abcd") and folds["a"] == 0 and sorted(folds.values()) == [0, 0, 1, 1]
    assert fold_of(groups[::-1], 2) == folds
