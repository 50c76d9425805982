"""The rooms of labels/ import in one direction and without circles, and only the heavy libraries that are theirs."""

import ast
import graphlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LABELS = ROOT / "labels"
HEAVY = {
    "records": set(),
    "engine": {"ray"},
    "videos": {"av", "cv2", "yt_dlp"},
    "exchange": set(),
    "tracks": {"cv2", "scipy"},
    "models": {"torch", "torchvision", "cv2", "onnxruntime", "transformers", "rtmlib"},
    "labelling": set(),
    "cleaning": {"scipy", "sklearn"},
    "training": {"torch", "torchvision", "faster_coco_eval"},
    "pictures": {"cv2", "matplotlib", "jinja2"},
}
ROOMS = list(HEAVY)  # a room imports from itself and from rooms above it
ALL_HEAVY = set().union(*HEAVY.values())
MODULES = sorted(path for path in LABELS.rglob("*.py") if path.parent != LABELS)
SCRIPTS = {"dataset_downloader", "dataset_processor", "dataset_cleaner", "train", "visualise"}
MOST_SIBLINGS = 16
MOST_MODULES = 218
MOST_LINES = 450


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_of(path: Path, top_level: bool = False) -> set[str]:
    """Dotted names that a file imports; `top_level`: only those that are imported when the file is."""
    tree, names = ast.parse(path.read_text()), set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_room_imports_only_from_above(path):
    room = path.relative_to(LABELS).parts[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "labels":
            assert parts[1] in allowed, f"{room} must not import {name}"
        elif parts[0] in ALL_HEAVY:
            assert parts[0] in HEAVY[room], f"{room} must not import {name}"
        assert parts[0] not in SCRIPTS, f"a room must not import the script {name}"


def test_no_modules_import_each_other_in_a_circle():
    known = {module_name(path): path for path in MODULES}
    graph = {}
    for module, path in known.items():
        names = imports_of(path, top_level=True)
        graph[module] = {name if name in known else name.rpartition(".")[0] for name in names} & set(known) - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("script", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_a_stage_script_is_short_and_stands_alone(script):
    assert script.stem in SCRIPTS
    assert not (SCRIPTS - {script.stem}) & {name.split(".")[0] for name in imports_of(script)}
    assert len(script.read_text().splitlines()) <= 125


def test_the_house_has_few_doors():
    """One idea a file, and few siblings in a folder."""
    siblings = Counter(path.parent.relative_to(ROOT) for path in MODULES if path.name != "__init__.py")
    assert not {str(folder): count for folder, count in siblings.items() if count > MOST_SIBLINGS}
    assert len(MODULES) <= MOST_MODULES
    long = {module_name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in long.items() if lines > MOST_LINES}


def test_no_module_is_a_drawer():
    drawers = {"utils", "misc", "helpers", "common"}
    assert not [path for path in MODULES if path.stem in drawers]
    assert {path.relative_to(LABELS).parts[0] for path in MODULES} <= set(ROOMS)
