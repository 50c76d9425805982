"""The README and docs/ say what is there: links lead somewhere, commands and options exist, the notebook runs."""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest

import labels
from labels.cleaning.settings import CleaningSettings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
STAGES = ("dataset_downloader.py", "dataset_processor.py", "dataset_cleaner.py", "train.py", "visualise.py")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
SETTING = re.compile(r"--set ([a-z]\w*)=")
SCRIPT = re.compile(r"[\w./]*\b\w+\.py\b")


# Links


def anchors_of(text: str) -> set[str]:
    """The anchors that Markdown's table of contents gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.is_file() or (anchor and anchor not in anchors_of(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "b.md").write_text("# Names before 0.2.0\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md) [2](b.md#names-before-020) [3](c.md) [4](b.md#other) ![5](no.jpg) [6](https://x.org)")
    assert broken_links(page) == ["c.md", "b.md#other", "no.jpg"]


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"^ +- [\w ]+: ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page != README}


# Length, versions


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 800


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)[1] == version
    assert re.search(r"^## (\S+)", changes, flags=re.MULTILINE)[1] == version


# Options


@cache
def help_of(script: str) -> str:
    """What `--help` of a stage prints; of stage 5 also what it prints for a single clip."""
    ways = [["--help"], ["--clip", "some.avi", "--help"]] if script == "visualise.py" else [["--help"]]
    runs = [subprocess.run([sys.executable, script, *way], cwd=ROOT, capture_output=True, text=True) for way in ways]
    assert all(run.returncode == 0 for run in runs), runs
    return "\n".join(run.stdout for run in runs)


@cache
def options_of(script: str) -> frozenset[str]:
    """The options of a stage by its help; of another script by its source, whose imports are heavy."""
    if script in STAGES:
        return frozenset(re.findall(r"^ +(?:-\w, )?(--[a-z][a-z0-9-]*)", help_of(script), flags=re.MULTILINE))
    path = ROOT / script
    return frozenset(re.findall(r'"(--[a-z][a-z0-9-]*)"', path.read_text())) if path.is_file() else frozenset()


@cache
def settings_of(script: str) -> frozenset[str]:
    """What `--set` of a stage may change, by its help; of cleaning any threshold; `any`: of one of the stages."""
    if script == "any":
        return frozenset().union(*map(settings_of, STAGES))
    if script == "dataset_cleaner.py":
        return frozenset(asdict(CleaningSettings()))
    return frozenset(re.findall(r"^  ([a-z]\w*) +", help_of(script).partition("\nsettings")[2], flags=re.MULTILINE))


def code_of(page: Path) -> str:
    """The code of a page, a command a line: indented, fenced and inline code; all of a notebook."""
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) + "\n" for cell in json.loads(page.read_text())["cells"])
    else:
        blocks, fenced = [], False
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                blocks.append(line.strip())
        prose = re.sub(r"^```.*?^```|^    .*?$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        inline = [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]
        text = "\n".join([*blocks, *inline])
    return re.sub(r" *\\\n *", " ", text)


def unknown_options(page: Path) -> list[str]:
    """Each `script --option` of a page of which the script has no such option; `any --option` where no stage has it."""
    of_any = frozenset().union(*map(options_of, STAGES))
    unknown = []
    for line in code_of(page).splitlines():
        command, _, comment = line.partition(" # ")
        command = re.sub(r"^torchrun .*?(?=\S+\.py)", "", command)  # its own options come before the script
        script = next((name for name in SCRIPT.findall(command) if name in STAGES or "/" in name), "any")
        known = of_any if script == "any" else options_of(script)
        unknown += [f"{script} {option}" for option in OPTION.findall(command) if option not in known]
        unknown += [f"any {option}" for option in OPTION.findall(comment) if option not in of_any]
        unknown += [f"{script} --set {name}" for name in SETTING.findall(command) if name not in settings_of(script)]
    return unknown


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_exist(page):
    assert unknown_options(page) == []


def test_an_unknown_option_is_found(tmp_path):
    page = tmp_path / "a.md"
    page.write_text(
        "Say `--keep 0.8` or `--nonsense`.\n\n"
        "    python train.py work --round 0 \\\n        --tiles 480   # and --other\n"
        "    python tests/bench/absent.py --seeds 1\n"
    )
    assert unknown_options(page) == [
        "train.py --tiles", "any --other", "tests/bench/absent.py --seeds", "any --nonsense",
    ]  # fmt: skip


def rule_names(text: str) -> set[str]:
    """The names that a page gives to parts of cleaning: after --without and --parts, and in the tables of them."""
    found = re.findall(r"--without ([\w-]+)", text)
    for listed in re.findall(r"--parts ((?:[a-z][a-z_-]* ?)+)", text):
        found += listed.split()
    for table in re.findall(r"^\| (?:part|rule) \|.*\n((?:\|.*\n)+)", text, flags=re.MULTILINE):
        for row in table.splitlines():
            found += re.findall(r"`([\w-]+)`", row.split("|")[1])
    return set(found)


def rules_of_the_cleaner() -> set[str]:
    listed = help_of("dataset_cleaner.py").partition("for --without:")[2]
    return set(re.findall(r"^  ([\w-]+) +", listed, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_rules_exist(page):
    assert rule_names(page.read_text()) <= rules_of_the_cleaner()


def test_every_rule_is_explained():
    assert rules_of_the_cleaner() <= rule_names((ROOT / "docs" / "stages.md").read_text())


# The library


def test_every_exported_name_is_on_the_library_page():
    listed = re.findall(r"^ {8}- (\w+)$", (ROOT / "docs" / "library.md").read_text(), flags=re.MULTILINE)
    assert set(listed) == set(getattr(labels, "__all__", ()))


def test_the_notebook_runs(tmp_path):
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = {cell["id"]: json.dumps(cell.get("outputs")) for cell in notebook.cells}
    assert "image/png" in outputs["look"]
    precision, recall = map(float, re.search(r"precision ([\d.]+), recall ([\d.]+)", outputs["truth"]).groups())
    assert precision >= 0.9 and recall >= 0.6, outputs["truth"]


def test_the_notebook_is_kept_without_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


def test_the_notebook_installs_itself_in_colab_and_nowhere_else(monkeypatch):
    cell = next(cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["id"] == "install")
    code, asked = "".join(cell["source"]), []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.setattr("os.chdir", asked.append)
    exec(code, {})
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    with pytest.raises(ValueError, match="fill in REPOSITORY"):
        exec(code, {})
    exec(code.replace('REPOSITORY = ""', 'REPOSITORY = "https://host/rally"'), {})
    assert asked[0] == ["git", "clone", "https://host/rally", "rally"] and asked[-1] == "rally"
    assert asked[1][1:3] == ["-m", "pip"] and (ROOT / asked[1][-1].removeprefix("rally/")).is_file()
