"""The rooms of labels/ import in one direction, and only the heavy libraries that are theirs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "records": set(),
    "videos": {"av", "cv2", "yt_dlp"},
    "exchange": set(),
    "tracks": {"cv2", "scipy"},
    "models": {"torch", "torchvision", "cv2", "onnxruntime", "transformers", "rtmlib"},
    "labelling": set(),
    "cleaning": {"scipy", "sklearn"},
    "training": {"torch", "torchvision", "faster_coco_eval"},
    "pictures": {"cv2", "matplotlib", "jinja2"},
}
ROOMS = list(HEAVY)  # in the order of DESIGN: a room imports from itself and from rooms above it
ALL_HEAVY = set().union(*HEAVY.values()) | {
    "av",
    "cv2",
    "yt_dlp",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "matplotlib",
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = sorted(path for room in ROOMS for path in (ROOT / "labels" / room).glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_room_imports_only_from_above(path):
    room = path.parent.name
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "labels":
            assert parts[1] in allowed, f"{room} must not import {name}"
        elif parts[0] in ALL_HEAVY:
            assert parts[0] in HEAVY[room], f"{room} must not import {name}"
        assert parts[0] not in {path.stem for path in ROOT.glob("*.py")}, f"a room must not import the script {name}"


@pytest.mark.parametrize("script", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_a_stage_script_is_short_and_stands_alone(script):
    assert script.name in {
        "dataset_downloader.py", "dataset_processor.py", "dataset_cleaner.py", "train.py", "visualise.py",
    }  # fmt: skip
    others = {path.stem for path in ROOT.glob("*.py")} - {script.stem}
    assert not others & {name.split(".")[0] for name in imports_of(script)}
    assert len(script.read_text().splitlines()) <= 125


def test_no_module_is_a_drawer():
    drawers = {"utils", "misc", "helpers", "common"}
    assert not [path for path in (ROOT / "labels").rglob("*.py") if path.stem in drawers]
    assert all(path.parent.name in ROOMS or path.parent.name == "labels" for path in (ROOT / "labels").rglob("*.py"))
