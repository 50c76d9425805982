"""Figures of recognisers, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from labels.models.recognisers.recogniser import tempered
from labels.training.actions.data import LabelledWindow, by_label
from labels.training.actions.metrics import (
    accuracy,
    balanced_accuracy,
    calibration_error,
    confusion_csv,
    confusion_matrix,
    f1_by_class,
    fit_temperature,
    group_bootstrap,
    judge_labels,
    macro_f1,
    macro_f1_error,
    measure_actions,
    trusted_from,
)
from labels.training.actions.task import chances
from labels.training.settings import RecognitionSettings

TRUTH = np.array([0, 0, 0, 1])
SAID = np.array([0, 0, 1, 1])
CONFUSION = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_the_error_of_a_macro_f1_is_of_leaving_groups_out():
    # without a: 0 as 0, 1 as 1: F1 1; without b: 0 as 1, 1 as 1: 0 and 2/3; without c: 0 as 0, 0 as 1: 2/3 and 0
    truth, said, groups = np.array([0, 0, 1]), np.array([1, 0, 1]), ["a", "b", "c"]
    without = [1.0, 1 / 3, macro_f1(confusion_matrix(truth[:2], said[:2], 2))]
    assert macro_f1_error(groups, truth, said, 2) == pytest.approx(np.std(without) * np.sqrt(2))
    assert np.isnan(macro_f1_error(["a", "b", "b"], truth, said, 2))


def test_confusion_rows_are_the_truth():
    assert confusion_matrix(TRUTH, SAID, 3).tolist() == CONFUSION.tolist()
    assert confusion_csv(CONFUSION, ("a", "b", "c")).splitlines() == [
        "truth \\ predicted,a,b,c",
        "a,2,1,0",
        "b,0,1,0",
        "c,0,0,0",
    ]


def test_f1_and_balance_leave_out_classes_that_are_not_there():
    assert f1_by_class(CONFUSION)[:2].tolist() == pytest.approx([4 / 5, 2 / 3])
    assert macro_f1(CONFUSION) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert balanced_accuracy(CONFUSION) == pytest.approx((2 / 3 + 1) / 2)
    assert accuracy(TRUTH, SAID) == 0.75


def test_calibration():
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    assert calibration_error(np.array([0, 0, 0, 1]), sure) == pytest.approx(0.15)  # 0.9 sure, 0.75 right
    assert calibration_error(np.array([0, 1]), np.array([[1.0, 0], [0, 1.0]])) == 0


def test_temperature_cools_one_who_is_too_sure_and_little_data_moves_it_little():
    truth = np.array([0, 0, 0, 1] * 50)
    assert fit_temperature(truth, np.tile([0.99, 0.01], (200, 1))) > 2.5
    right = np.tile([0.8, 0.2], (200, 1))
    assert fit_temperature(np.zeros(200, int), right) < 0.5
    assert fit_temperature(np.zeros(2, int), right[:2]) > 0.8
    assert tempered(np.log([[0.8, 0.2]]), 1.0).tolist()[0] == pytest.approx([0.8, 0.2])


def test_intervals_draw_whole_groups():
    truth, said = np.zeros(40, int), np.repeat([0, 1], 20)
    low, high = group_bootstrap(["a"] * 20 + ["b"] * 20, truth, said, accuracy)
    assert (low, high) == (0.0, 1.0)  # two groups: both draws may be of one of them
    low, high = group_bootstrap([str(at) for at in range(40)], truth, said, accuracy)
    assert 0.3 < low < 0.45 and 0.55 < high < 0.7
    assert np.isnan(group_bootstrap(["a"] * 40, truth, said, accuracy)).all()


def test_nothing_measured_is_no_number():
    found = measure_actions(np.zeros(0, int), np.zeros((0, 2)))
    assert set(found.values()) == {None}


def windows(*labels):
    return [LabelledWindow(label, "v", "g", at, class_id) for at, (label, class_id) in enumerate(labels)]


def test_windows_of_a_label_are_judged_together():
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    labels, mean = by_label(windows(("b", 1), ("a", 0), ("b", 1)), said)
    assert [label.label for label in labels] == ["b", "a"]
    assert mean.tolist() == [pytest.approx([0.65, 0.35]), pytest.approx([0.2, 0.8])]


@pytest.mark.parametrize(
    ("beta", "rare_share"),
    [(0.0, 0.5), (1.0, 0.25), (0.5, (1 - 0.5) / (1 - 0.5 + 1 - 0.125))],  # one against three windows
)
def test_rare_classes_are_drawn_by_their_effective_number(beta, rare_share):
    drawn = chances(windows(("a", 0), ("b", 1), ("c", 1), ("d", 1)), 2, beta, 0.5)
    assert drawn[0] == pytest.approx(rare_share)
    assert drawn.sum() == pytest.approx(1)


@pytest.mark.parametrize(("human", "share"), [(1, 0.5), (9, 0.9)])
def test_humans_windows_do_not_drown_in_pseudo_labels(human, share):
    said = windows(*(("a", at % 2) for at in range(10)))
    said = [replace(window, by_human=at < human) for at, window in enumerate(said)]
    drawn = chances(said, 3, 0.99, 0.5)
    assert drawn[:human].sum() == pytest.approx(share)
    assert drawn.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("sure", "right", "wanted"),
    [([0.6, 0.7, 0.9], [0, 1, 1], 0.7), ([0.6, 0.7], [1, 1], 0.6), ([0.6, 0.9], [1, 0], 1.0), ([0.9], [0], 1.0)],
)
def test_a_class_is_trusted_from_where_it_was_right(sure, right, wanted):
    assert trusted_from(np.array(sure), np.array(right, bool), 0.9) == wanted


@pytest.mark.parametrize(("times", "bar"), [(4, 0.5), (5, 0.8)])
def test_few_validation_labels_do_not_silence_a_class(times, bar):
    labels = windows(*((f"{at}", at % 2) for at in range(2 * times)))  # all said to be of class 0, half of them rightly
    said = np.array([[0.8, 0.2], [0.6, 0.4]] * times)
    temperature = fit_temperature(np.array([label.class_id for label in labels]), said)
    _, bars = judge_labels(labels, said, ("kick", "run"), RecognitionSettings(), temperature)
    assert bars["kick"] == pytest.approx(bar, abs=0.1) and bars["run"] == 0.5
