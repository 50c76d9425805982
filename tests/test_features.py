"""Features declare what they read and write, and their order follows; a rule is one entry with a name and a switch."""

import subprocess
import sys
from graphlib import CycleError

import numpy as np
import pytest
from simulated_balls import clean_table, make_scene
from test_cleaning import THRESHOLD

import dataset_cleaner
from labels.cleaning import decisions
from labels.cleaning.features.compute import AFTER, FEATURES, FIRST_PASS, SECOND_PASS
from labels.cleaning.features.feature import feature, following_from, in_order, needed_for
from labels.cleaning.rules import PART_HELP, REASON_HELP, RULE_HELP, RULES, SWITCH_HELP, Rule, rule_of, values_read
from labels.cleaning.settings import CleaningSettings, settings_from
from labels.records.old_names import NEW_NAMES, REMOVED_RULES


@feature(writes=("a",))
def first(columns, scene):
    return {"a": 1}


@feature(reads=("a",), writes=("b",))
def second(columns, scene):
    return {"b": columns["a"] + 1}


@feature(reads=("b",), writes=("c",))
def third(columns, scene):
    return {"c": columns["b"] + columns["a"]}  # reads what it does not declare


def names(features):
    return [one.name for one in features]


def test_the_order_follows_from_what_is_read_and_written():
    ordered = in_order([third, second, first])
    assert names(ordered) == ["first", "second", "third"]
    assert names(needed_for("b", ordered)) == ["first", "second"]
    assert names(following_from("a", ordered)) == ["second", "third"]


def test_a_wrong_declaration_is_told():
    with pytest.raises(KeyError, match="a"):
        third({"a": 1, "b": 2}, None)
    with pytest.raises(ValueError, match=r"feature lies: declares \['x'\], but gives \['y'\]"):
        feature(writes=("x",))(named("lies", lambda columns, scene: {"y": 1}))({}, None)
    with pytest.raises(ValueError, match="feature second: reads a, which no feature writes"):
        in_order([second])
    with pytest.raises(ValueError, match="column a: is written by first and by twin"):
        in_order([first, feature(writes=("a",))(named("twin", first.compute))])
    with pytest.raises(CycleError):
        in_order([second, feature(reads=("b",), writes=("a",))(named("round", first.compute))])


def named(name, function):
    function = lambda columns, scene, function=function: function(columns, scene)  # noqa: E731
    function.__name__ = name
    return function


def test_paths_are_sought_again_once_it_is_known_what_the_ball_looks_like():
    assert set(SECOND_PASS) < set(FIRST_PASS)
    assert "paths" in names(SECOND_PASS) and "similarity" not in names(SECOND_PASS)
    assert set(FIRST_PASS) | set(AFTER) == set(FEATURES) and not set(FIRST_PASS) & set(AFTER)


def test_rules_read_columns_that_features_write():
    written = {column for one in FEATURES for column in one.writes}
    assert set(values_read(RULES)) <= written
    for rule in RULES:
        assert rule.too in ("high", "low") and rule.help
        assert rule.drop is not None or rule.ignore is not None
        for limit in (rule.drop, rule.ignore):
            for name in (limit,) if isinstance(limit, str) else limit if isinstance(limit, tuple) else ():
                assert hasattr(CleaningSettings, name)
    assert not set(RULE_HELP) & set(PART_HELP)


def test_a_rule_is_added_by_one_entry(monkeypatch):
    """Its name is the reason and the switch."""
    scene = make_scene(3)
    rule = Rule("early", "in the first half", "rounds_lost", "low", drop=1)
    monkeypatch.setattr(decisions, "RULES", (rule, *RULES))
    cleaned = clean_table(scene.labelled, 0, THRESHOLD, CleaningSettings(), None, scene.camera).boxes
    assert (cleaned["reason"] == "early: 0 < 1").all()
    off = CleaningSettings(without=("early",))
    assert (clean_table(scene.labelled, 0, THRESHOLD, off, None, scene.camera).boxes["decision"] == "keep").any()


def test_the_evidence_names_every_box_and_every_feature():
    scene = make_scene(3)
    cleaned = clean_table(scene.labelled, 0, THRESHOLD, CleaningSettings(), None, scene.camera)
    assert set(values_read(RULES)) <= set(cleaned.evidence.columns)
    assert sorted(cleaned.evidence.index) == sorted(scene.labelled["label_uid"])
    kept = cleaned.boxes.set_index("label_uid")["quality"]
    usable = cleaned.evidence["usable"]
    assert np.allclose(kept[usable.index[usable]], cleaned.evidence["quality"][usable], atol=1e-6)


def test_old_names_lead_to_present_ones():
    for old, new in NEW_NAMES.items():
        assert new in SWITCH_HELP or new in REMOVED_RULES
        assert rule_of(f"{old}: 1 > 0.5") == new
        assert new in REASON_HELP or new in PART_HELP
        assert old not in SWITCH_HELP


def test_an_old_name_on_the_command_line_is_understood_and_said_to_be_old(capsys):
    words = "w --round 0 --without worn --without path_size --without looks"
    args = dataset_cleaner.get_args(words.split(" "))
    assert settings_from(args).without == ("on_player", "views")
    assert capsys.readouterr().err.splitlines() == [
        "--without worn is now called --without on_player",
        "--without path_size: there is no such rule any more",
        "--without looks is now called --without views",
    ]
    with pytest.raises(SystemExit):
        dataset_cleaner.get_args(["w", "--round", "0", "--without", "nothing"])
    assert "nothing: no part of cleaning and no rule" in capsys.readouterr().err


def test_declarations_import_nothing_heavy():
    code = (
        "import sys; import labels.cleaning.rules, labels.cleaning.settings, labels.records.old_names;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
