"""Splits: by group, frozen, without a leak."""

import pandas as pd
import pytest

from labels.records import tables
from labels.records.errors import InputError
from labels.training.settings import SplitSettings
from labels.training.splits import linked_groups, read_split_table, require_no_leak, split_videos


def make_videos(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows of (video_id, group, official split, sha256)."""
    values = {name: "" if kind == "str" else 0 for name, kind in tables.VIDEOS.items()}
    columns = dict(zip(("video_id", "group", "split", "sha256"), map(list, zip(*rows, strict=True)), strict=True))
    return tables.make_table(tables.VIDEOS, values | columns)


def plain(count: int, first: int = 0) -> pd.DataFrame:
    """Two clips of each of `count` groups."""
    return make_videos(
        *((f"v{n}{half}", f"g{n}", "", f"bytes{n}{half}") for n in range(first, first + count) for half in "ab")
    )


def split(table, videos, round_number=0, labelled=None):
    labelled = set(videos["video_id"]) if labelled is None else labelled
    return split_videos(table, videos, labelled, round_number, SplitSettings())


def test_clips_of_a_group_stay_together_and_a_fifth_of_the_groups_validates(tmp_path):
    splits = split(tmp_path / "split.csv", plain(10))
    assert all(splits[f"v{n}a"] == splits[f"v{n}b"] for n in range(10))
    assert sorted(splits.values()).count("val") == 4  # two groups of two clips


def test_the_split_is_frozen_and_new_groups_are_added_to_it(tmp_path):
    table = tmp_path / "split.csv"
    first = split(table, plain(5))
    text = table.read_text()
    assert split(table, plain(5)) == first
    assert table.read_text() == text
    later = split(table, plain(60), round_number=1)
    assert {video: later[video] for video in first} == first
    assert 0 < sum(value == "val" for value in later.values()) < 60
    assert {row for _, row in read_split_table(table).values()} == {0, 1}


def test_the_order_of_the_videos_does_not_matter(tmp_path):
    videos = plain(9)
    one = split(tmp_path / "one" / "split.csv", videos)
    other = split(tmp_path / "other" / "split.csv", videos.iloc[::-1].reset_index(drop=True))
    assert one == other


def test_while_one_group_alone_has_labels_it_trains_and_the_others_are_not_decided(tmp_path):
    table = tmp_path / "split.csv"
    assert set(split(table, plain(3), labelled={"v1a", "v1b"}).values()) == {"train"}
    assert read_split_table(table) == {"g1": ("train", 0)}
    splits = split(table, plain(4), labelled={"v1a", "v3b"}, round_number=1)
    assert (splits["v1a"], splits["v3b"]) == ("train", "val")
    assert split(table, plain(4), labelled={"v0a", "v1a", "v2b", "v3b"}, round_number=2) == splits


def test_a_list_that_trains_only_is_not_decided_where_it_has_no_labels_yet(tmp_path):
    table = tmp_path / "split.csv"
    split(table, ALL_TRAIN, labelled={"v1"})
    assert read_split_table(table) == {"g1": ("train", 0)}


def test_validation_gets_a_group_that_has_labels(tmp_path):
    splits = split(tmp_path / "split.csv", plain(10), labelled={"v3a", "v8b"})
    assert {splits["v3a"], splits["v8b"]} == {"train", "val"}


def test_official_splits_are_respected(tmp_path):
    videos = make_videos(
        ("a", "ga", "train", "1"), ("b", "gb", "val", "2"), ("c", "gc", "test", "3"),
        ("d", "gd", "", "4"), ("e", "ge", "", "5"), ("f", "gc", "train", "6"),
    )  # fmt: skip
    splits = split(tmp_path / "split.csv", videos)
    # the list has its own validation, so the rest trains; f is of a group with a test clip
    assert splits == {"a": "train", "b": "val", "c": "test", "d": "train", "e": "train", "f": "test"}


ALL_TRAIN = make_videos(*((f"v{n}", f"g{n}", "train", f"{n}") for n in range(10)))
TRAIN_AND_TEST = make_videos(
    *((f"v{n}", f"g{n}", "train", f"{n}") for n in range(5)), *((f"t{n}", f"h{n}", "test", f"t{n}") for n in range(5))
)


@pytest.mark.parametrize(
    ("videos", "validated"),
    [
        (ALL_TRAIN, 2),
        (TRAIN_AND_TEST, 1),
        (pd.concat([TRAIN_AND_TEST, plain(5, first=20)], ignore_index=True), 2),
        (make_videos(("a", "ga", "train", "1"), ("b", "gb", "", "2")), 1),
    ],
    ids=["all train", "train and test", "with groups of one's own", "one of each"],
)
def test_a_list_without_validation_gives_some_of_its_training_groups(tmp_path, videos, validated):
    splits = split(tmp_path / "split.csv", videos)
    groups = dict(zip(videos["video_id"], videos["group"], strict=True))
    assert len({groups[video] for video, side in splits.items() if side == "val"}) == validated
    assert "train" in splits.values()
    assert {video for video, side in splits.items() if side == "test"} == set(
        videos["video_id"][videos["split"] == "test"]
    )
    assert split(tmp_path / "split.csv", videos, round_number=1) == splits


def test_a_list_that_only_validates_cannot_be_trained_on(tmp_path):
    videos = make_videos(("a", "ga", "val", "1"), ("b", "gb", "val", "2"))
    with pytest.raises(InputError, match="all clips are held out or validate, and none is left to train on"):
        split(tmp_path / "split.csv", videos)


def test_files_of_the_same_bytes_are_one_group(tmp_path):
    videos = make_videos(("a", "ga", "", "1"), ("b", "gb", "", "1"), ("c", "gb", "", "2"), ("d", "gd", "", "2"))
    assert set(linked_groups(videos).values()) == {"ga"}
    many = pd.concat([videos, plain(4)], ignore_index=True)
    splits = split(tmp_path / "split.csv", many)
    assert len({splits[video] for video in "abcd"}) == 1


def test_a_copy_that_arrives_later_goes_where_the_first_one_is(tmp_path):
    table = tmp_path / "split.csv"
    first = split(table, plain(10))
    for video, side in first.items():
        copy = make_videos(("copy", "a_new_group", "", f"bytes{video[1:]}"))
        later = split(tmp_path / f"{video}.csv", plain(10), labelled=None)
        assert later == first
        later = split(tmp_path / f"{video}.csv", pd.concat([plain(10), copy], ignore_index=True), round_number=1)
        assert later["copy"] == side


@pytest.mark.parametrize(
    "videos",
    [plain(1), make_videos(("a", "ga", "", "1"), ("t", "gt", "test", "2")), make_videos(("a", "g", "", "1"))],
    ids=["one group", "one besides the test", "one clip"],
)
def test_one_group_trains(tmp_path, videos):
    assert set(split(tmp_path / "split.csv", videos).values()) <= {"train", "test"}
    assert "val" not in (tmp_path / "split.csv").read_text()


def test_a_leak_raises(tmp_path):
    videos = plain(2)
    with pytest.raises(InputError, match=r"group of v0b .val. is also that of v0a .train."):
        require_no_leak({"v0a": "train", "v0b": "val", "v1a": "val", "v1b": "val"}, videos)
    same_bytes = make_videos(("a", "ga", "", "1"), ("b", "gb", "", "1"))
    with pytest.raises(InputError, match="sha256 of b"):
        require_no_leak({"a": "train", "b": "val"}, same_bytes)
    with pytest.raises(
        InputError, match=r"t is a test clip .* take the clip away, or make its group gt test in split\.csv"
    ):
        require_no_leak({"t": "train"}, make_videos(("t", "gt", "test", "1")))
    # a table that somebody changed by hand
    (tmp_path / "split.csv").write_text("group,split,round\nga,train,0\ngb,val,0\n")
    with pytest.raises(InputError, match="sha256 of b"):
        split(tmp_path / "split.csv", same_bytes, round_number=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "group,split\na,train\n",
        "group,split,round\na,both,0\n",
        "group,split,round\na,val,0\na,train,0\n",
        "group,split,round\na,val,x\n",
    ],
)
def test_a_broken_table_is_named(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=r"split\.csv"):
        split(tmp_path / "split.csv", plain(3))
