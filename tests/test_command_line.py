"""How every stage ends, fails, and answers --help."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import dataset_processor
from labels.labelling.settings import sort_class_lists
from labels.records.command_line import Summary, positive_number, run_stage, stage_parser
from labels.records.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["dataset_downloader.py", "dataset_processor.py", "dataset_cleaner.py", "train.py", "visualise.py"]


def test_a_summary_that_loses_an_input_is_refused():
    with pytest.raises(AssertionError, match="found"):
        Summary("label", "videos", found=3, used=1, skipped={"not decodable": 1})


def test_exit_codes(capsys):
    whole = Summary("label", "videos", found=2, used=2, next_command="python next.py")
    partly = Summary("label", "videos", found=2, used=1, skipped={"not decodable": 1})

    def fail():
        raise InputError("there.mp4: no such file")

    def interrupt():
        raise KeyboardInterrupt

    assert run_stage(lambda: whole, strict=True) == 0
    assert "2 videos = 2 used + 0 skipped" in (said := capsys.readouterr().out) and "next: python next.py" in said
    assert run_stage(lambda: partly) == 0
    assert run_stage(lambda: partly, strict=True) == 3
    assert "1 skipped (1 not decodable)" in capsys.readouterr().out
    assert run_stage(fail) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run_stage(interrupt) == 130
    assert "again to go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device; run the same command again to go on"),
        (PermissionError(13, "Permission denied", "work/run.json"), "error: work/run.json: Permission denied; run the"),
        (OSError("two\nlines"), "error: two lines; run the same"),
    ],
)
def test_a_full_disk_is_one_line(error, said, capsys):
    def fail():
        raise error

    assert run_stage(fail) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "\u0663", "1" * 5000])
def test_what_is_no_positive_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1"):
        positive_number(text)
    assert positive_number("640") == 640


@pytest.mark.parametrize("asked", [*([script] for script in SCRIPTS), ["visualise.py", "--clip", "x"]], ids=" ".join)
def test_help_imports_nothing_heavy(asked):
    run = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print(sorted({'numpy', 'pandas', 'torch', 'cv2', 'av'} & set(sys.modules))))\n"
        "sys.argv = [*sys.argv[1:], '--help']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", run, *asked], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert "--clip FILE" in answer.stdout if "--clip" in asked else f"python {asked[0]}" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"


def parsed(*words):
    parser = stage_parser("")
    parser.add_argument("--retry")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--videos")
    parser.add_argument("--review", action="store_true")
    return parser.parse_args(["work", *words])


def test_options_of_older_versions_are_read_and_the_new_name_is_said(capsys):
    args = parsed("--retry-failed", "--max-aspect", "4", "--min-size=2", "--review")
    assert (args.retry, args.set, args.review) == ("failed", ["max_aspect=4", "min_size_pixels=2"], True)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and said[1].endswith("--max-aspect is called --set max_aspect=4 today")


@pytest.mark.parametrize("option", ["--mixup", "--any-side", "--rand-augment"])
def test_an_option_that_is_no_more_says_why(capsys, option):
    with pytest.raises(SystemExit) as ended:
        parsed(option, "1")
    assert ended.value.code == 2 and f"{option} is no more:" in capsys.readouterr().err


def with_settings(*words):
    parser = stage_parser("")
    parser.add_argument("--limit", type=int)
    parser.add_setting("width", positive_number, 320, "pixels", heading="clips")
    parser.add_setting("sport", str, "mixed", "what is played", ("mixed", "tennis"), "clips")
    parser.add_setting("gif", bool, False, "as a GIF too")
    return parser, parser.parse_args(["work", *words])


def test_a_setting_is_set_by_name_and_has_its_usual_value_else():
    parser, args = with_settings("--set", "width=64", "--set", "gif=yes")
    assert (args.width, args.sport, args.gif) == (64, "mixed", True)
    assert (parser.get_default("width"), parser.option_of("width")) == (320, "--set width")
    assert parser.option_of("limit") == "--limit"
    shown = parser.format_help()
    assert "settings of clips, for --set:\n  width           pixels (default: 320)\n  sport " in shown
    assert "mixed, tennis (default: mixed)" in shown and "as a GIF too (default: no)" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("width", "--set width: NAME=VALUE"),
        ("widht=3", "where NAME is width"),
        ("width=0", "--set width: a whole number from 1"),
        ("sport=chess", "--set sport: one of mixed, tennis, not 'chess'"),
        ("gif=maybe", "--set gif: one of no, yes, not 'maybe'"),
    ],
)
def test_a_setting_that_cannot_be_is_named(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        with_settings("--set", words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_the_option_that_a_setting_once_was_is_read(capsys):
    _, args = with_settings("--width", "64", "--sport=tennis", "--gif", "--limit", "2")
    assert (args.width, args.sport, args.gif, args.limit) == (64, "tennis", True, 2)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in said] == [
        f"--{name.partition('=')[0]} is called --set {name} today" for name in ("width=64", "sport=tennis", "gif=yes")
    ]


def test_a_class_list_is_what_its_columns_say(tmp_path):
    files = {"prompts": "class,prompt\n", "map": "kinetics_class,class_name\n", "class_list": "class_name\n"}
    for name, columns in files.items():
        (tmp_path / f"{name}.csv").write_text(columns)
    words = [word for name in files for word in ("--class-list", str(tmp_path / f"{name}.csv"))]
    args = dataset_processor.get_args(["work", "--round", "0", *words])
    sort_class_lists(args)
    assert {name: getattr(args, name) for name in files} == {name: str(tmp_path / f"{name}.csv") for name in files}
    args = dataset_processor.get_args(["work", "--round", "0", *words, *words[:2]])
    with pytest.raises(InputError, match="with the same columns"):
        sort_class_lists(args)


def test_a_value_may_begin_with_a_hyphen():
    assert parsed("--videos", "-id").videos == "-id"
    assert parsed("--videos", "--id,-b").videos == "--id,-b"
    args = parsed("--videos", "-id", "--review")
    assert (args.videos, args.review) == ("-id", True)
    with pytest.raises(SystemExit):
        parsed("--videos", "--review")  # an option of its own
