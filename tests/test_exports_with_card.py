"""Exports that are given away: Hugging Face and WebDataset, their card, their splits, and the way to the hub."""

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from exchange_work import ACTIONS, BOXES, a_round

import dataset_cleaner
from labels.cleaning.label_export import export_round, label_set, splits_of
from labels.exchange.formats import hugging_face
from labels.exchange.known_formats import FORMATS, recognise
from labels.exchange.known_videos import KnownVideos
from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, write_run_record

KEPT = {row[0]: row for row in BOXES if row[-1] != "drop"}
MOVIE = b"not looked at by anybody here"


@pytest.fixture
def work(tmp_path):
    made = a_round(tmp_path / "work")
    made.videos.mkdir()
    for name in ("v0.mp4", "v1.mp4"):
        (made.videos / name).write_bytes(MOVIE)
    return made


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return pytest.importorskip("datasets")


@pytest.mark.parametrize("name", ["hf", "webdataset"])
def test_what_is_written_is_read_again(work, name):
    done = export_round(work, 0, name)
    assert recognise(done.folder) == name
    assert done.left_out == {}
    found = FORMATS[name].read(done.folder, KnownVideos(work.usable_videos()))
    assert set(found.boxes["label_uid"]) == set(KEPT)
    for row in found.boxes.to_dict("records"):
        own = KEPT[row["label_uid"]]
        assert (row["video_id"], row["frame_index"], row["class_name"], row["track_id"]) == (*own[1:3], *own[7:9])
        assert [row[side] for side in tables.BOX_COLUMNS] == pytest.approx(own[3:7], abs=1e-4)
        assert row["is_ignored"] == (own[-1] == "ignore")
    told = [tuple(row) for row in found.actions.itertuples(index=False)]
    assert sorted(told) == sorted(row[:6] for row in ACTIONS)
    assert found.covered["v0"].tolist() == [0, 1, 2, 5, 8, 25, 50, 60, 99]
    assert found.covered_actions == {"v0", "v1"}


def test_datasets_opens_the_folder_offline(work, datasets, tmp_path):
    folder = export_round(work, 0, "hf").folder
    frames = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))  # the default configuration
    assert {name: len(rows) for name, rows in frames.items()} == {"train": 9, "validation": 1}
    row = frames["train"][1]
    assert row["image"].size == (200, 100)
    assert (row["video_id"], row["frame_index"], row["time_s"], row["group"]) == ("v0", 1, 0.04, "gv0")
    ball = next(item for item in row["objects"] if item["label_uid"] == "a1")
    assert ball["bbox"] == [12.25, 20.5, 20.5, 19.5]  # x, y, width, height
    objects = frames["train"].features["objects"]
    item = objects.feature if hasattr(objects, "feature") else objects[0]
    assert item["category"].names == ["person", "sports ball"]
    assert item["category"].int2str(ball["category"]) == "sports ball"
    clips = datasets.load_dataset(str(folder), "clips", cache_dir=str(tmp_path / "cache"))
    raw = clips["validation"].data.to_pylist()[0]
    assert raw["video"]["bytes"] == MOVIE
    acts = [(each["start_frame"], each["end_frame"], each["decision"]) for each in raw["actions"]]
    assert acts == [(5, 9, "ignore")]


def test_a_tar_holds_each_sample_in_one_place_and_the_same_labels_give_the_same_bytes(work):
    folder = export_round(work, 0, "webdataset").folder
    with tarfile.open(folder / "frames-train-000000.tar") as tar:
        names = tar.getnames()
        sample = json.loads(tar.extractfile("v0_000001.json").read())
        picture = tar.extractfile("v0_000001.jpg").read()
    assert names[:4] == ["v0_000000.jpg", "v0_000000.json", "v0_000001.jpg", "v0_000001.json"]
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (100, 200, 3)
    assert {item["label_uid"]: item["category"] for item in sample["objects"]} == {"a1": "sports ball", "b1": "person"}
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "frames-train-000000.tar", "frames-validation-000000.tar", "clips-train-000000.tar",
        "clips-validation-000000.tar",
    }  # fmt: skip
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = export_round(work, 0, "webdataset").folder
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before


def test_many_pictures_make_several_shards_that_hold_each_once(work, monkeypatch):
    monkeypatch.setattr(hugging_face, "MOST_SHARD_BYTES", 1)
    monkeypatch.setattr("labels.exchange.formats.webdataset.MOST_SHARD_BYTES", 1)
    for name, pattern in (("hf", "frames/train-*.parquet"), ("webdataset", "frames-train-*.tar")):
        folder = export_round(work, 0, name).folder
        assert len(list(folder.glob(pattern))) == 9
        found = FORMATS[name].read(folder, KnownVideos(work.usable_videos()))
        assert sorted(found.boxes["label_uid"]) == sorted(KEPT)


def test_the_card_says_who_labelled_under_which_licence_and_how_many_are_right(work):
    origin = {"place": "someone/detector", "revision": "abc", "licence": "apache-2.0"}
    facts = {"labeller": {"name": "hf:someone/detector", "origins": {"hf:someone/detector": origin}}}
    write_run_record(work.round(0), RunRecord("labelled", 0, {"stride": 2}, {}, facts=facts))
    facts, counts = {"class_names": ["sports ball"]}, {"keep": 9, "ignore": 1, "alarms": ["few boxes are kept"]}
    write_run_record(work.round(0), RunRecord("cleaned", 0, {}, {}, counts, facts))
    text = (export_round(work, 0, "hf").folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert [config["config_name"] for config in head["configs"]] == ["frames", "clips"]
    assert head["task_categories"] == ["object-detection", "video-classification"]
    assert "boxes of sports ball: 9 kept, 1 ignored" in text
    assert "someone/detector abc, licence apache-2.0" in text and "stride: 2" in text
    assert "nobody has looked at a sample" in text and "few boxes are kept" in text
    rows = [f"{n},{uid},{'y' if n else 'n'},s,8" for n, uid in enumerate(("a0", "a1", "a2", "a5"))]
    audit = work.round(0).pictures / "audit.csv"
    audit.parent.mkdir(parents=True)
    audit.write_text("\n".join(["number,label_uid,verdict,stratum,stratum_size", *rows]) + "\n")
    text = (export_round(work, 0, "hf").folder / "README.md").read_text()
    assert "audit by a person: 0.750 are right, 95 % interval" in text and "nobody has looked" not in text


def videos(*rows):
    """video_id, group, sha256, split of the list."""
    return pd.DataFrame(rows, columns=["video_id", "group", "sha256", "split"])


@pytest.mark.parametrize(
    ("rows", "frozen", "wanted"),
    [
        # a list that calls one source both: the stricter one
        ([("a", "g", "1", "train"), ("b", "g", "2", "test"), ("c", "h", "3", "val")], {}, "test test val"),
        # the same bytes under two names are one source
        ([("a", "g", "1", "val"), ("b", "h", "1", ""), ("c", "i", "2", "")], {}, "val val train"),
        ([("a", "g", "1", ""), ("b", "h", "1", "val"), ("c", "h", "2", "train")], {}, "val val val"),
        # frozen by training, also for a clip whose group is itself
        ([("a", "g", "1", ""), ("b", "", "2", ""), ("c", "g", "3", "")], {"g": "train", "b": "val"}, "train val train"),
        ([("a", "g", "1", "")], {}, "train"),  # one source is not split
    ],
)
def test_no_group_is_in_two_splits(rows, frozen, wanted):
    assert list(splits_of(videos(*rows), frozen, {row[0] for row in rows}).values()) == wanted.split()


def test_where_nothing_validates_a_fifth_of_the_groups_with_labels_does():
    table = videos(*((f"v{n}", f"g{n // 2}", str(n), "") for n in range(20)))  # ten groups of two clips
    labelled = {f"v{n}" for n in range(10)}
    split = splits_of(table, {}, labelled)
    assert split == splits_of(table.sample(frac=1, random_state=1), {}, labelled)
    validate = {int(name[1:]) // 2 for name, word in split.items() if word == "val"}
    assert len(validate) == 1 and validate < set(range(5))
    assert all(split[f"v{2 * n}"] == split[f"v{2 * n + 1}"] for n in range(10))


@pytest.mark.parametrize("name", ["hf", "webdataset", "yolo"])
def test_the_files_hold_no_group_twice(work, name):
    """v1 is another cut of the source that v0 is of, and its list calls only v1 validation."""
    table = work.read_videos()
    table["group"] = "one source"
    work.write_videos(table)
    labels = label_set(work, work.round(0))
    assert set(labels.images["split"]) == {"val"} == set(labels.videos["split"])
    folder = export_round(work, 0, name).folder
    assert not list(folder.rglob("*train*"))


def test_yolo_is_found_from_wherever_ultralytics_is_started(work, tmp_path, monkeypatch):
    """As its check_det_dataset resolves: `path`, else the folder of the file; train and val must be there."""
    folder = export_round(work, 0, "yolo").folder
    monkeypatch.chdir(tmp_path)
    told = yaml.safe_load((folder / "data.yaml").read_text())
    assert "path" not in told and {"train", "val", "names"} <= set(told)
    assert told["names"] == {0: "person", 1: "sports ball"}
    for split in ("train", "val"):
        pictures = sorted((folder / told[split]).glob("*.jpg"))
        labels = [Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt") for path in pictures]
        assert pictures and all(path.is_file() for path in labels)


class Hub:
    """Stands for huggingface_hub.HfApi."""

    calls: ClassVar[list] = []

    def create_repo(self, name, **said):
        self.calls.append(("create", name, said))
        return f"https://huggingface.co/datasets/{name}"

    def upload_folder(self, **said):
        self.calls.append(("upload", said["repo_id"], sorted(path.name for path in said["folder_path"].iterdir())))


def test_push_makes_a_private_data_set_with_the_users_own_token(work, monkeypatch, capsys):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "HfApi", Hub)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_of_the_user")
    Hub.calls = []
    said = [str(work.root), "--round", "0", "--export", "hf", "--push", "me/balls"]
    assert dataset_cleaner.main(said) == 0
    assert "pushed: https://huggingface.co/datasets/me/balls" in capsys.readouterr().out
    create, upload = Hub.calls
    assert create == ("create", "me/balls", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert upload == ("upload", "me/balls", ["README.md", "clips", "frames"])


@pytest.mark.parametrize(
    ("said", "token", "message"),
    [
        (["--export", "hf"], None, "nobody is logged in; run: hf auth login"),
        (["--export", "hf"], "t", "refused \\(403 no\\); the export is in"),
        (["--export", "yolo"], "t", "goes with --export hf or webdataset"),
        ([], "t", "goes with --export hf or webdataset"),
    ],
)
def test_a_push_that_cannot_be_is_one_line(work, monkeypatch, capsys, said, token, message):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_, **__):
        raise OSError("403\nno")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    monkeypatch.setattr(hub, "get_token", lambda: token)
    assert dataset_cleaner.main([str(work.root), "--round", "0", *said, "--push", "me/balls"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "not four numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox is no number"),
        ({"bbox": [1, 2, -3, 4]}, "no size"),
        ({"category": ""}, "without a class"),
    ],
)
def test_one_odd_object_costs_itself_alone(work, tmp_path, change, message):
    good = {"label_uid": "a0", "category": "ball", "bbox": [1, 2, 3, 4], "track_id": 1, "decision": "keep"}
    row = {"video_id": "v0", "frame_index": 0, "objects": [good, good | change]}
    path = tmp_path / "frames-train-000000.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("x.json", json.dumps(row).encode()), ("y.json", b"[]"), ("y.jpg", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = FORMATS["webdataset"].read(tmp_path, KnownVideos(work.usable_videos()))
    assert len(found.boxes) == 1
    assert message in " ".join(found.left_out.lines())


@pytest.mark.parametrize("name", ["hf", "webdataset"])
def test_a_damaged_file_is_one_line(work, tmp_path, name):
    folder = tmp_path / "foreign"
    (folder / "frames").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no"):
        FORMATS[name].read(folder, KnownVideos(work.usable_videos()))
    for path in (folder / "frames/train-00000.parquet", folder / "frames-train-000000.tar"):
        path.write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match="not such a") as caught:
        FORMATS[name].read(folder, KnownVideos(work.usable_videos()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hf", "webdataset"])
def test_a_video_that_is_gone_or_too_large_keeps_its_actions_and_it_is_said(work, monkeypatch, name):
    monkeypatch.setattr(hugging_face, "MOST_CLIP_BYTES", len(MOVIE))
    (work.videos / "v0.mp4").unlink()
    (work.videos / "v1.mp4").write_bytes(MOVIE + b".")
    for row in work.round(0).dataset.glob("images/*"):
        row.write_bytes(MOVIE)
    done = export_round(work, 0, name)
    assert done.lines[0].startswith("mind: 2 videos are named without their file")
    assert (done.left_out, done.actions) == ({}, 3)


def test_labels_without_clips_at_hand_have_no_clips(work):
    labels = replace(label_set(work, work.round(0)), clips=None)
    assert not list(hugging_face.clip_samples(labels))
