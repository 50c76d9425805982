"""What a clip's own list says of it: a prior for a recogniser that knows the class, also by another data set's name."""

import numpy as np
import pytest
from test_action_decisions import actions

from labels.cleaning.actions.decisions import decide_actions
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_windows import PRIOR_GAIN, VideoWindows, agreement_of, appearance_of, look_at, subjects_of
from labels.models.recognisers.recogniser import MappedRecogniser, read_class_map
from labels.records import tables
from labels.records.detections import from_text

NAMES = ("kick", "run")


def windows_of(track_ids, starts, length=4):
    frames = np.array(starts)[:, None] + np.arange(length)
    end = np.full(len(starts), frames.max() + 1)
    return VideoWindows("v", frames, np.array(track_ids), end, np.zeros((len(starts), length, 1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("said", "listed", "expected"),
    [
        ([0.5, 0.5], "", [0.5, 0.5]),
        ([0.5, 0.5], "tennis", [0.5, 0.5]),  # a class nobody knows tells nothing
        ([0.5, 0.5], "kick", [0.8, 0.2]),  # four times as likely: 2 of 2.5
        ([0.2, 0.3], "run", [0.2 / 1.9, 1.2 / 1.9]),  # the half that is none of them stays as likely as it was
        ([0.0, 1.0], "kick", [0.0, 1.0]),  # it does not make something of nothing
    ],
)
def test_the_lists_class_is_a_prior(said, listed, expected):
    assert PRIOR_GAIN == 4
    (subject,) = subjects_of(windows_of([tables.NO_TRACK], [0]), np.array([said]), NAMES, listed)
    assert subject.probabilities == pytest.approx(np.tile(expected, (4, 1)))


class Kinetics:
    """Three of its classes, always the same answer."""

    name, digest, class_names, preset = "fixed", "0", ("punching person (boxing)", "side kick", "yoga"), None
    device = "cpu"
    working_threshold: dict[str, float] = {}  # noqa: RUF012

    def recognise(self, windows):
        return np.tile([0.5, 0.3, 0.2], (len(windows), 1))


def test_a_map_is_many_to_one_and_leaves_the_rest_unsaid(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("kinetics_class,class_name\npunching person (boxing),strike\nside kick,strike\nyoga,\n")
    mapped = MappedRecogniser(Kinetics(), read_class_map(str(path)), "map")
    windows = windows_of([tables.NO_TRACK] * 2, [0, 2])
    probabilities, seen = look_at(windows, mapped)
    assert mapped.class_names == ("strike",) and probabilities.tolist() == [[0.8], [0.8]] and not seen.size
    assert mapped.class_map["side kick"] == "strike"  # so that a list's «side kick» is a prior for strike


@pytest.mark.parametrize("name", ["strikes", "dances", "basketball"])
def test_the_maps_that_come_along_have_a_none_of_these(name):
    found = read_class_map(f"kinetics400_to_{name}")
    ours = [value for value in found.values() if value]
    assert "" in found.values() and len(set(ours)) >= 2
    assert name == "dances" or len(ours) > len(set(ours))  # many to one


def test_an_actions_features_are_those_of_its_windows():
    windows = windows_of([1, 1, 2], [0, 4, 0])
    seen = np.array([[0.2, 0.4], [0.6, 0.8], [1.0, 1.0]])
    rows = actions(("a", "v", "kick", 0.9, "detected", 0, 8, 1), ("b", "v", "run", 0.9, "detected", 20, 30, 1))
    features, known = from_text(appearance_of(rows, windows, seen))
    assert known.tolist() == [True, False] and features[0] == pytest.approx([0.4, 0.6], abs=0.005)


def test_views_agree_or_do_not():
    windows = windows_of([1, 1, 1, 2], [0, 2, 4, 0])  # their middles: 2, 4, 6
    said = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.1, 0.9]])
    rows = actions(
        ("a", "v", "kick", 0.95, "detected", 0, 8, 1),  # two of three
        ("b", "v", "run", 0.95, "detected", 4, 6, 1),
        ("c", "v", "kick", 0.95, "detected", 3, 4, 1),  # no middle lies in it
    )
    assert agreement_of(rows, windows, said, NAMES) == pytest.approx([2 / 3, 1, 1])
    decided = decide_actions(rows.assign(agreement=[0.59, 0.6, 1.0]), None, NAMES, ActionSettings()).actions
    decided = decided.set_index("label_uid")
    assert decided["decision"].to_dict() == {"a": "ignore", "b": "keep", "c": "keep"}
    assert decided.loc["a", "reason"] == "agreement: 0.59 < 0.6"
