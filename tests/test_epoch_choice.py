"""Which epoch of a training is kept: histories made by hand."""

import math

import pytest

from labels.training.optimisation import is_chosen, is_over, jackknife_error


@pytest.mark.parametrize(
    ("history", "chosen"),
    [
        ([(0.8, 0.1)], True),
        ([(0.8, 0.1), (0.71, 0.1)], True),  # within a standard error of the best
        ([(0.8, 0.05), (0.7, 0.1)], False),
        ([(0.8, None), (0.2, None)], True),  # one or two clips tell nothing
        ([(0.8, 0.1), (0.9, 0.01), (0.85, 0.1)], False),
        ([(None, None), (None, None)], True),  # nothing to validate on
    ],
)
def test_the_epoch_to_keep_is_the_last_as_good_as_the_best(history, chosen):
    for name in ("f1", "macro_f1"):
        rows = [{name: score, f"{name}_error": error} for score, error in history]
        assert is_chosen(rows, name) is chosen


def test_training_is_over_when_so_many_epochs_in_a_row_were_not_worth_keeping():
    history = [{"f1": f1, "f1_error": 0.05} for f1 in (0.8, 0.9, 0.86, 0.7, 0.7)]
    assert is_over(history, 2) and not is_over(history, 3) and not is_over(history[:2], 2)


def test_the_standard_error_of_what_is_left_when_one_is_left_out():
    assert jackknife_error([1.0, 0.5, 0.5]) == pytest.approx(math.sqrt(1 / 18) * math.sqrt(2))
    assert math.isnan(jackknife_error([1.0, 0.5]))
