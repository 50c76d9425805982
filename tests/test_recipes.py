"""docs/recipes/ followed to the letter: every command of a page, on a tiny archive of the real layout.

The first block of a page sets what a reader changes (where the archive lies, how long to train, which network). A test
gives these its own values; everything else runs as it stands, the stages in this process. Networks whose weights
would be fetched are small ones with weights of chance here, from folders or files of the same form.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import write_test_video
from fault_server import FaultServer, fault_server
from test_download import settings_for
from tiny_networks import make

import dataset_downloader
from labels.records.command_line import Summary
from labels.records.safe_writing import read_json, read_parquet
from labels.records.work_folder import WorkFolder
from labels.training.settings import RecognitionSettings, TrainingSettings
from labels.videos.download.source import ListDownload, download_list
from labels.videos.pose_tables import JOINTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "recipes"
STAGES = ("dataset_downloader.py", "dataset_processor.py", "dataset_cleaner.py", "train.py", "visualise.py")
SETTING = re.compile(r"^([A-Z_0-9]+)=(\S+)$")


@dataclass(frozen=True)
class ShortEpochs(RecognitionSettings):
    """So that an epoch of a page is a second here."""

    epoch_frames: int = 16
    epoch_poses: int = 32
    norm_windows: int = 8


@dataclass(frozen=True)
class FewCrops(TrainingSettings):
    epoch_frames: int = 32
    crop: int = 64


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, warm_workers):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("labels.training.actions.round.RecognitionSettings", ShortEpochs)
    monkeypatch.setattr("train.TrainingSettings", FewCrops)


def commands_of(page: str) -> list[list[str]]:
    """The commands of the bash blocks of a page, in words."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (PAGES / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\\\n", " ", "".join(blocks))
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def follow(page: str, values: dict[str, str], by_hand: dict[str, Callable[[], object]] | None = None) -> None:
    """Run a page's commands here, with values of our own for some of the settings it names.

    `by_hand`: what a person does elsewhere before the command in which the word stands.
    """
    settings, left, to_do = {}, dict(values), dict(by_hand or {})
    for words in commands_of(page):
        if len(words) == 1 and (found := SETTING.match(words[0])):
            settings[found[1]] = left.pop(found[1], found[2])
            continue
        words = [re.sub(r"\$([A-Z_0-9]+)", lambda name: settings[name[1]], word) for word in words]
        if words[:2] == ["pip", "install"]:
            continue  # what it names is in the environment of the tests
        for word in [word for word in to_do if word in words]:
            to_do.pop(word)()
        if words[0] == "python" and words[1] in STAGES:
            code = importlib.import_module(Path(words[1]).stem).main(words[2:])
        else:
            code = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode
        assert code == 0, words
    assert not left and not to_do, f"{page} does not name {', '.join([*left, *to_do])}"


# Clips: squares that move as their class says


def moving_square(direction: tuple[int, int], seed: int, count: int, width: int, height: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    ground, start = random.integers(0, 100, 3), np.array([width, height]) / 2 + random.uniform(-4, 4, 2)
    frames = []
    for at in range(count):
        rgb = np.tile(ground, (height, width, 1)).astype(np.uint8)
        x, y = (start + 1.5 * (at - count / 2) * np.array(direction)).astype(int)
        rgb[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = 235
        frames.append(rgb)
    return frames


DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1)]


def write_clip(path: Path, direction: tuple[int, int], seed: int, count: int = 12, size=(48, 48)) -> Path:
    codec, options = ("mpeg4", {}) if path.suffix == ".avi" else ("libx264", None)
    frames = moving_square(direction, seed, count, *size)
    return write_test_video(path, frames, width=size[0], height=size[1], codec=codec, options=options)


def reach(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos that a list names are fetched from the test's own server, without waiting for its sake."""

    def fetch(work: WorkFolder, asked: ListDownload) -> Summary:
        settings = settings_for(server, short_side=asked.settings.short_side)
        return download_list(work, replace(asked, settings=settings))

    monkeypatch.setattr("labels.videos.download.source.download_list", fetch)


def drawn_boxes(videos: list[str], frames: int, class_name: str, xyxy: tuple[int, ...]) -> pd.DataFrame:
    """The CSV of a person who drew the same box in every frame."""
    rows = [(video, frame, *xyxy, class_name) for video in videos for frame in range(frames)]
    return pd.DataFrame(rows, columns=["video_id", "frame_index", "x1", "y1", "x2", "y2", "class_name"])


def draw(work: str, name: str, boxes: pd.DataFrame) -> None:
    boxes.to_csv(name, index=False)
    assert dataset_downloader.main([work, "--import-labels", name]) == 0


def actions_of(work: str, number: int) -> pd.DataFrame:
    folder = WorkFolder(Path(work))
    videos = folder.usable_videos()["video_id"]
    return pd.concat([read_parquet(folder.round(number).actions("cleaned", video)) for video in videos])


# The pages


def test_every_recipe_is_tested():
    tested = set(re.findall(r'follow\(\s*"([\w.]+)"', Path(__file__).read_text()))
    assert tested == {page.name for page in PAGES.glob("*.md")} - {"index.md"}


def test_balls_of_sports1m(tmp_path, monkeypatch):
    films = tmp_path / "films"
    rendered = "--from synthetic --clips 5 --held-out 0 --set sport=tennis --set difficulty=easy --set frames=16"
    sizes = "--set width=192 --set height=108"
    assert dataset_downloader.main(["rendered", *rendered.split(), *sizes.split()]) == 0
    films.mkdir()
    for number, clip in enumerate(sorted(Path("rendered/videos").glob("*.mp4"))):
        shutil.copy(clip, films / f"video_{number:05d}.mp4")
    lists = tmp_path / "sports-1m"
    lists.mkdir()
    names = [f"sport {number}" for number in range(487)]
    names[54], names[55] = "tennis", "mixed martial arts"
    (lists / "labels.txt").write_text("\n".join(names))
    of_list = [
        {"id": f"video_{number:05d}", "duration": 1, "height": 108, "label487": [55 if number == 4 else 54]}
        for number in range(6)  # the last is gone
    ]
    (lists / "sports1m_train.json").write_text(json.dumps(of_list))
    with fault_server(films) as server:
        reach(server, monkeypatch)
        follow("balls.md", {"SPORTS1M": str(lists), "TEACHER": "ballnet", "EPOCHS": "1"})
    videos = WorkFolder(Path("work")).read_videos()
    assert (videos["status"] == "ok").sum() == 4 and len(videos) == 5
    for number in range(3):
        assert read_json(Path(f"work/rounds/{number:02d}/cleaned/run.json"))
    assert Path("work/report.html").is_file() and Path("work/rounds/02/export/yolo/data.yaml").is_file()


def test_basketball_of_spacejam(tmp_path):
    archive = tmp_path / "spacejam"
    labels = {}
    for number in range(8):
        clip_id = f"{number // 2 * 500 + number:07d}"  # two clips of each block of 500
        labels[clip_id] = (9, 9, 3, 4)[number % 4]  # walk, dribble, shoot
        write_clip(archive / "clips" / f"{clip_id}.mp4", DIRECTIONS[number % 4], number, 16, (128, 176))
        joints = [
            {name: (60.0 + frame + place, 80.0 + 3 * place) for place, name in enumerate(JOINTS)} for frame in range(16)
        ]
        path = archive / "joints" / f"{clip_id}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.array(joints, dtype=object), allow_pickle=True)
    (archive / "annotation_dict.json").write_text(json.dumps(labels))
    write_clip(tmp_path / "games" / "game.mp4", (1, 0), 50, 20, (128, 96))
    boxes = drawn_boxes(["game"], 20, "person", (40, 20, 80, 80))
    follow(
        "basketball.md",
        {"SPACEJAM": str(archive), "GAMES": str(tmp_path / "games"), "TEACHER": "human", "EPOCHS": "1"},
        {"person": lambda: draw("game", "drawn.csv", boxes)},
    )
    confusion = pd.read_csv("work/rounds/00/trained/confusion.csv", index_col=0)
    assert set(confusion.columns) == {"walk", "dribble", "shoot"}
    done = actions_of("game", 0)
    assert len(done) and (done["track_id"] >= 0).all()
    assert list(Path("game/rounds/00/pictures").glob("*.mp4"))


def test_six_classes_of_hmdb51(tmp_path, capsys):
    classes = ["catch", "dribble", "golf", "kick_ball", "shoot_ball", "swing_baseball"]
    archive = tmp_path / "hmdb51"
    for number, name in enumerate([*classes, "wave"]):
        lines = []
        for film, tag in enumerate((1, 1, 2)):
            clip = f"Film{number}{film}_{name}_f_cm_np1_fr_med_0.avi"
            write_clip(archive / name / clip, DIRECTIONS[number % 6], 10 * number + film)
            lines.append(f"{clip} {tag} ")
        splits = archive / "testTrainMulti_7030_splits" / f"{name}_test_split1.txt"
        splits.parent.mkdir(exist_ok=True)
        splits.write_text("\n".join(lines))
    new = write_clip(tmp_path / "new.avi", DIRECTIONS[0], 99)
    follow("hmdb51.md", {"HMDB51": str(archive), "ARCHITECTURE": "cnn3d", "EPOCHS": "1", "CLIP": str(new)})
    metrics = read_json(Path("work/rounds/00/trained/actions/metrics.json"))
    assert metrics["confusion_of"] == "test" and metrics["test"]["groups"] == 6
    assert set(actions_of("work", 0)["class_name"]) == set(classes)  # and not `wave`
    assert "whole clip: " in capsys.readouterr().out
    assert Path("new_actions.mp4").is_file() and Path("work/report.html").is_file()


def test_dances_of_kinetics(tmp_path, monkeypatch):
    films = tmp_path / "films"
    for number in range(6):
        write_clip(films / f"video_{number:05d}.mp4", DIRECTIONS[number % 2], number, 30, (64, 48))
    lists = tmp_path / "kinetics"
    lists.mkdir()
    rows = ["label,youtube_id,time_start,time_end,split"]
    dances = ["dancing ballet", "salsa dancing"]
    rows += [f"{dances[number % 2]},video_{number:05d},0,1,train" for number in range(6)]
    rows += ["archery,video_00007,0,1,train"]
    (lists / "train.csv").write_text("\n".join(rows))
    poses = make("vitpose", tmp_path / "vitpose")
    own = {"KINETICS": str(lists), "VIDEO_NETWORK": "cnn3d", "POSE": f"hf:{poses}", "EPOCHS": "1"}
    with fault_server(films) as server:
        reach(server, monkeypatch)
        follow("dances.md", own)
    for work, architecture in {"mvit": "cnn3d", "cnn3d": "cnn3d", "pose": "pose_gru"}.items():
        told = read_json(Path(work) / "rounds/00/trained/actions/run.json")
        assert told["arguments"]["architecture"] == architecture
        assert set(actions_of(work, 0)["class_name"]) == set(dances)
    assert not list(Path("pose").rglob("*.jpg"))  # no frame is kept as a file


def test_strikes_of_five_frames(tmp_path, monkeypatch):
    archive = tmp_path / "moments"
    for place, name in enumerate(("strike", "neutral")):
        for number in range(3):
            folder = archive / name / str(number + 1)
            folder.mkdir(parents=True)
            frames = moving_square(DIRECTIONS[2 * place], number, 5, 96, 64)
            for at, rgb in enumerate(frames, 1):
                assert cv2.imwrite(str(folder / f"img_{at:05d}.jpg"), rgb[..., ::-1])
    videos = [f"moment_{name}_{number}" for name in ("strike", "neutral") for number in (1, 2, 3)]
    boxes = drawn_boxes(videos, 5, "person", (30, 10, 60, 50))

    def annotate() -> None:
        """One box is moved in Label Studio, the others are submitted as they are."""
        tasks = json.loads(Path("work/rounds/00/export/labelstudio/tasks_video.json").read_text())
        for task in tasks:
            task["annotations"] = [{"result": said["result"]} for said in task.pop("predictions")]
        moved = tasks[0]["annotations"][0]["result"][0]["value"]["sequence"]
        moved[0]["x"] += 5
        Path("annotated.json").write_text(json.dumps(tasks))

    own = {"MOMENTS": str(archive), "TEACHER": "human", "SAM": str(make("sam2", tmp_path / "sam"))}
    own |= {"ARCHITECTURE": "cnn3d", "EPOCHS": "1"}
    follow("strikes.md", own, {"person": lambda: draw("work", "drawn.csv", boxes), "annotated.json": annotate})
    verdicts = pd.read_csv("work/verdicts.csv")
    assert len(verdicts) == len(boxes) + 1  # those drawn, and the one that was moved
    assert list(Path("work/rounds/00/masks").rglob("*.parquet"))
    assert Path("img_actions.gif").is_file() or list(Path().glob("*_actions.gif"))
