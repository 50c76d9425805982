"""Every labelled archive format, made small, from its folder to the figures of its own split, by the stage scripts."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
from labels.records.safe_writing import read_json
from labels.records.work_folder import WorkFolder
from labels.training.settings import RecognitionSettings
from tests.conftest import write_test_video

MOVES = {"across": (1, 0), "down": (0, 1)}
GROUPS = 4  # of each class; the last one is the test's, where an archive has one
QUICK = ["--task", "actions", "--architecture", "cnn3d", "--set", "window_frames=2", "--set", "window_seconds=0.4"]


@dataclass(frozen=True)
class ShortEpochs(RecognitionSettings):
    epoch_frames: int = 8


def pictures(move: str, group: int, count: int) -> list[np.ndarray]:
    """A square that moves, on a ground of its own: no two clips are alike."""
    frames = []
    for at in range(count):
        rgb = np.full((48, 48, 3), (40 * group + 20, 90 + 10 * (move == "down"), 30), dtype=np.uint8)
        x, y = (12 + group + at * np.array(MOVES[move])).tolist()
        rgb[y : y + 10, x : x + 10] = 240
        frames.append(rgb)
    return frames


def clip(path: Path, move: str, group: int, count: int = 8) -> None:
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    write_test_video(path, pictures(move, group, count), width=48, height=48, codec=codec)


def images(folder: Path, move: str, group: int) -> None:
    folder.mkdir(parents=True)
    for at, rgb in enumerate(pictures(move, group, 5)):
        assert cv2.imwrite(str(folder / f"img_{at + 1:05d}.jpg"), rgb[..., ::-1])


def each() -> list[tuple[str, int, bool]]:
    """A move, a group of it, and whether it is the test's."""
    return [(move, group, group == GROUPS) for move in MOVES for group in range(1, GROUPS + 1)]


def hmdb51(root: Path) -> None:
    for move in MOVES:
        lines = []
        for _, group, is_test in (entry for entry in each() if entry[0] == move):
            name = f"Film{move}{group}_{move}_u_cm_np1_fr_goo_0.avi"
            clip(root / move / name, move, group)
            lines.append(f"{name} {2 if is_test else 1}")
        (root / f"{move}_test_split1.txt").write_text("\n".join(lines))


def ucf101(root: Path) -> None:
    lists: dict[bool, list[str]] = {True: [], False: []}
    for move, group, is_test in each():
        name = f"{move}/v_{move}_g{group:02d}_c01.avi"
        clip(root / name, move, group)
        lists[is_test].append(name if is_test else f"{name} {list(MOVES).index(move) + 1}")
    (root / "classInd.txt").write_text("\n".join(f"{at + 1} {move}" for at, move in enumerate(MOVES)))
    (root / "trainlist01.txt").write_text("\n".join(lists[False]))
    (root / "testlist01.txt").write_text("\n".join(lists[True]))


def spacejam(root: Path) -> None:
    """It has no split of its own: blocks of clip ids are its groups."""
    labels = {}
    for number, (move, group, _) in enumerate(each()):
        name = f"{number * 500:07d}"
        clip(root / "clips" / f"{name}.mp4", move, group, 16)
        labels[name] = {"across": 2, "down": 4}[move]
    (root / "annotation_dict.json").write_text(json.dumps(labels))


def kinetics_folder(root: Path) -> None:
    for move, group, is_test in each():
        clip(root / ("test" if is_test else "train") / move / f"{move}_{group}.mp4", move, group)


def mmaction(root: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for move, group, is_test in each():
        clip(root / move / f"{move}_{group}.mp4", move, group)
        line = f"{move}/{move}_{group}.mp4 {list(MOVES).index(move)}"
        lists["test" if is_test else "train"].append(line)
    for split, lines in lists.items():
        (root / f"made_{split}_list.txt").write_text("\n".join(lines))


def moments(root: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for move, group, is_test in each():
        images(root / move / str(group), move, group)
        lists["test" if is_test else "train"].append(f"{move}/{group} 5 {list(MOVES).index(move)}")
    for split, lines in lists.items():
        (root / f"{split}.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("make", [hmdb51, ucf101, spacejam, kinetics_folder, mmaction, moments])
def test_an_archive_trains_and_is_evaluated_by_its_own_split(make, tmp_path, monkeypatch):
    monkeypatch.setattr("labels.training.actions.round.RecognitionSettings", ShortEpochs)
    root, work = tmp_path / "archive", tmp_path / "work"
    root.mkdir()
    make(root)
    name = make.__name__.replace("_", "-")
    assert dataset_downloader.main([str(work), "--from", name, "--path", str(root)]) == 0
    assert dataset_processor.main([str(work), "--round", "0", "--recogniser", "human"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    assert train.main([str(work), "--round", "0", *QUICK, "--epochs", "1", "--batch-size", "4"]) == 0
    videos = WorkFolder(work).usable_videos()
    official = {str(row.video_id) for row in videos.itertuples() if row.split == "test"}
    metrics = read_json(work / "rounds/00/trained/actions/metrics.json")
    assert len(videos) == 2 * GROUPS and len(official) == (0 if make is spacejam else 2)
    judged = metrics["validation"] if make is spacejam else metrics["test"]
    assert judged["groups"] == 2 and judged["human_labels"] == 2 and 0 <= judged["top1"] <= 1
    sides = list(csv.DictReader((work / "split.csv").open()))
    assert [side["split"] for side in sides].count("test") == len(official)
