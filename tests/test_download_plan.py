"""What is wanted of a list, and what is still to be done of it."""

import argparse
from collections import Counter
from pathlib import Path

import pytest

import dataset_downloader
from labels.engine.placement import share
from labels.records.errors import InputError
from labels.videos.download.planning import DownloadPlan
from labels.videos.download.requests import (
    ClassChoice,
    ClipRequest,
    ListFilters,
    is_in_shard,
    wanted_classes,
)


def clip(name: str, class_name: str = "x", split: str = "", source: str = "", **more: object) -> ClipRequest:
    return ClipRequest(name, source or name, f"u/{name}", 0.0, 10.0, (class_name,) if class_name else (), split, **more)


def planned(
    tmp_path: Path, requests: list[ClipRequest], attempts: list[dict] = (), retry: tuple = (), **filters: object
):
    """The plan's clips to fetch by name, and the counts of what is left out."""
    with DownloadPlan(tmp_path, ListFilters(**filters)) as plan:
        plan.take_list(iter(requests))
        plan.take_attempts(iter(attempts))
        count = plan.choose(frozenset(retry))
        clips = {each.video_id: each for video in plan.videos() for each in video}
        assert len(clips) == count
        wanted = plan.counts.entries - sum(plan.counts.left_out.values())
        assert wanted == len(list(plan.rows())) == sum(row[2] for row in plan.by_class())
        return clips, plan.counts


@pytest.mark.parametrize(("wanted", "class_name", "is_wanted"), [
    (("tennis",), "tennis", True),
    (("Tennis",), "tennis", True),
    (("tennis",), "table tennis", False),
    (("*dancing*",), "salsa dancing", True),
    (("*dancing*",), "breakdancing", True),
    (("*dancing*",), "dancing_ballet", True),
    (("dancing*",), "salsa dancing", False),
    (("squash (sport)",), "squash (sport)", True),
    (("table_tennis",), "table tennis", True),
    (("t?nnis", "golf"), "tennis", True),
])  # fmt: skip
def test_names_and_globs(wanted, class_name, is_wanted):
    assert (ClassChoice(wanted).first_wanted((class_name,)) is not None) == is_wanted


def test_a_video_of_many_classes_gets_the_first_that_is_wanted():
    choice = ClassChoice(("streetball", "basketball", "polo"))
    assert choice.first_wanted(("sports", "basketball", "streetball")) == "basketball"
    assert choice.first_wanted(("sports",)) is None
    assert choice.unfulfilled() == ["no entry is of class 'polo'"]


def test_a_wish_that_nothing_fulfils_names_the_nearest(tmp_path):
    choice = ClassChoice(("tenis",))
    choice.first_wanted(("tennis",))
    with pytest.raises(InputError, match="'tenis'; did you mean 'tennis'"):
        choice.require_any("list.csv")


def test_wanted_classes_from_a_list_names_or_a_glob():
    assert len(wanted_classes("kinetics_dancing")) == 15
    assert wanted_classes("a, b") == ("a", "b")
    assert wanted_classes("*dancing*") == ("*dancing*",)
    assert wanted_classes(None) == ()


def test_every_entry_is_wanted_or_left_out_for_a_reason(tmp_path):
    requests = [
        clip("a"), clip("a"), clip("b", "y"), clip("c", split="test"), clip("d", height=100),
        clip("e", duration_s=50.0),  # of the video; the clip has 10 s
        ClipRequest("whole", "w", "u", None, None, ("x",), "train", 5000.0),
        ClipRequest("refused_1", "refused_1", "", None, None, (), "", fault="no id"),
        ClipRequest("refused_2", "refused_2", "", None, None, ("y",), "", fault="no id"),
    ]  # fmt: skip
    clips, counts = planned(tmp_path, requests, classes=("x",), splits=("train",), min_height=200, max_duration_s=60.0)
    assert clips == {}
    assert counts.entries == 9
    assert counts.left_out == {
        "of other classes": 2, "named twice": 1, "of another split": 3, "less than 200 pixels high": 1,
        "longer than 60 s": 1,
    }  # fmt: skip


def test_lots_depend_on_the_seed_and_not_on_the_order(tmp_path):
    requests = [clip(f"v{n}", f"class {n % 3}") for n in range(60)]
    drawn, counts = planned(tmp_path, requests, per_class=4, seed=1)
    assert Counter(each.class_name for each in drawn.values()) == {"class 0": 4, "class 1": 4, "class 2": 4}
    assert planned(tmp_path, requests[::-1], per_class=4, seed=1)[0].keys() == drawn.keys()
    assert planned(tmp_path, requests, per_class=4, seed=2)[0].keys() != drawn.keys()
    assert len(planned(tmp_path, requests, per_class=4, limit=5)[0]) == 5
    assert counts.left_out == {"beyond --per-class": 48}


def test_shards_part_what_was_drawn(tmp_path):
    requests = [clip(f"v{n}_{s}", source=f"v{n}") for n in range(40) for s in range(2)]
    whole = planned(tmp_path, requests, limit=30)[0].keys()
    parts = [planned(tmp_path, requests, limit=30, shard=(part, 4))[0] for part in (1, 2, 3, 4)]
    assert set().union(*parts) == set(whole) and sum(map(len, parts)) == 30
    sources = [{each.source_key for each in part.values()} for part in parts]
    assert sum(map(len, sources)) == len(set().union(*sources))
    assert all(is_in_shard("anything", (1, 1)) for _ in range(3))
    for text in ("0/4", "5/4", "1/0", "x", "1/4/2", "-1/4"):
        with pytest.raises(argparse.ArgumentTypeError, match="I/N"):
            share(text)


def test_a_video_in_train_and_test_is_kept_in_test_alone(tmp_path):
    requests = [clip("a", split="train"), clip("a", split="test"), clip("b_1", split="train", source="b"),
                clip("b_2", split="val", source="b"), clip("c", split="train")]  # fmt: skip
    clips, counts = planned(tmp_path, requests)
    assert {name: each.split for name, each in clips.items()} == {"a": "test", "b_1": "val", "b_2": "val", "c": "train"}
    assert counts.moved_to_held_out == 2
    assert planned(tmp_path, requests, splits=("train",))[0].keys() == {"c"}


def attempt(name: str, outcome: str, time: str = "2026-01-01T00:00:00Z", again: bool = False) -> dict:
    return {"video_id": name, "outcome": outcome, "time": time, "again": again, "message": "m"}


def test_what_the_ledger_says_is_not_asked_again(tmp_path):
    requests = [clip(name) for name in ("new", "got", "dead", "shut", "blocked", "cut_off", "both")]
    attempts = [
        attempt("got", "ok"), attempt("dead", "removed"), attempt("shut", "private"),
        attempt("blocked", "rate_limited"),
        attempt("cut_off", "network", again=True), attempt("other", "ok"),
        attempt("both", "ok"), attempt("both", "network", "2026-02-01T00:00:00Z"),  # two machines: one got it
    ]  # fmt: skip
    assert planned(tmp_path, requests, attempts)[0].keys() == {"new", "blocked", "cut_off"}
    assert planned(tmp_path, requests, attempts[::-1])[0].keys() == {"new", "blocked", "cut_off"}
    assert planned(tmp_path, requests, attempts, ("private",))[0].keys() == {"new", "blocked", "cut_off", "shut"}
    assert planned(tmp_path, requests, attempts, ("ok",))[0].keys() == {"new", "blocked", "cut_off"}


def test_the_clips_of_a_video_come_together(tmp_path):
    requests = [clip(f"v{n}_{s}", source=f"v{n}") for s in range(3) for n in range(30)]
    with DownloadPlan(tmp_path, ListFilters()) as plan:
        plan.take_list(iter(requests))
        plan.choose(frozenset())
        videos = list(plan.videos())
    assert len(videos) == 30 and all(len(video) == 3 for video in videos)
    assert not list(tmp_path.iterdir())  # the plan leaves nothing


def write_kinetics(tmp_path: Path) -> Path:
    rows = [
        f"{name},{'ABCDEFGHIJ'[n]}BBBBBBBBBB,0,10,train" for n, name in enumerate(["tap dancing"] * 3 + ["golf"] * 2)
    ]
    path = tmp_path / "train.csv"
    path.write_text(
        "\n".join(["label,youtube_id,time_start,time_end,split", *rows, "tap dancing,--exec,0,10,train"]) + "\n"
    )
    return path


def test_a_dry_run_says_by_class_what_would_be_fetched_and_touches_nothing(tmp_path, capsys):
    path = write_kinetics(tmp_path)
    command = [str(tmp_path / "work"), "--from", "kinetics", "--path", str(path), "--classes", "*dancing*", "--dry-run"]
    assert dataset_downloader.main(command) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "list: 6 entries = 4 wanted + 2 of other classes"
    assert [line.split() for line in out[1:3]] == [
        ["class", "to", "fetch", "videos", "hours", "there", "not", "again"],
        ["tap", "dancing", "3", "3", "0.0", "0", "1"],
    ]  # fmt: skip
    assert out[-1] == "download (dry run): 4 clips = 3 used + 1 skipped (1 refused)"
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--from", "kinetics", "--path", "absent.csv"], "absent.csv: no such clip list"),
    (["--from", "kinetics", "--path", "LIST", "--classes", "tap dansing"], "did you mean 'tap dancing'"),
    (["--from", "kinetics", "--path", "LIST", "--retry", "dead"], "--retry dead: no outcome"),
    (["--from", "kinetics", "--path", "LIST", "--classes", "absent.csv"], "absent.csv"),
    (["--from", "sports1m", "--path", "LIST"], "labels.txt"),
    (["--from", "urls", "--path", "LIST"], "no column url"),
])  # fmt: skip
def test_what_the_user_gave_wrong_is_one_line(tmp_path, capsys, arguments, words):
    path = write_kinetics(tmp_path)
    arguments = [str(path) if word == "LIST" else word for word in arguments]
    assert dataset_downloader.main([str(tmp_path / "work"), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [
    ["--shard", "5/4"], ["--limit", "0"], ["--set", "max_size=2X"], ["--set", "pause=-1"], ["--retry"],
])  # fmt: skip
def test_arguments_that_make_no_sense(tmp_path, arguments):
    with pytest.raises(SystemExit) as raised:
        dataset_downloader.main([str(tmp_path), "--from", "urls", "--path", "x", *arguments])
    assert raised.value.code == 2
