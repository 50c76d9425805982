"""Stage 1 as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import coded_frame

import dataset_downloader
from labels.records.work_folder import WorkFolder

ROOT = Path(dataset_downloader.__file__).parent


def test_folder(tmp_path: Path, make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    make_video("clips/a.mp4")
    (tmp_path / "clips" / "a.csv").write_text("frame_index,x,y\n0,5,5\n")
    (tmp_path / "clips" / "bad.mp4").write_text("no video")
    command = [str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")]
    assert dataset_downloader.main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2] == "download: 2 files = 1 used + 1 skipped (1 failed)"
    assert printed[-1] == f"next: python dataset_processor.py {tmp_path / 'work'} --round 0"
    assert any(line.startswith(f"failed: {tmp_path / 'clips' / 'bad.mp4'}: ") for line in printed)
    assert WorkFolder(tmp_path / "work").usable_videos()["video_id"].tolist() == ["a"]
    assert dataset_downloader.main([*command, "--strict"]) == 3


@pytest.mark.parametrize("where", ["missing", "empty"])
def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str) -> None:
    (tmp_path / "empty").mkdir()
    code = dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / where)])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert str(tmp_path / where) in error


def test_only_bad_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "bad.mp4").write_text("no video")
    assert dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")]) == 0
    assert "next:" not in capsys.readouterr().out
    assert WorkFolder(tmp_path / "work").read_videos()["status"].tolist() == ["failed"]


def test_many_failures_are_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(23):
        (tmp_path / "clips" / f"{number}.mp4").write_bytes(b"")
    dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")])
    printed = capsys.readouterr().out
    assert printed.count("failed: ") == 20
    assert "and 3 more" in printed


@pytest.mark.parametrize(
    "arguments", [[], ["--from", "nowhere"], ["--from", "folder"], ["--from", "synthetic", "--set", "sport=x"]]
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        dataset_downloader.main([str(tmp_path / "work"), *arguments])
    assert caught.value.code == 2


def test_a_second_stage_at_once_is_refused(
    tmp_path: Path, make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("clips/a.mp4")
    with WorkFolder(tmp_path / "work").writing():
        code = dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")])
    assert code == 2
    assert "another stage" in capsys.readouterr().err


def test_synthetic(tmp_path: Path, make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("labels.videos.synthetic.rendering")
    make_video("clips/a.mp4")
    work = str(tmp_path / "work")
    assert dataset_downloader.main([work, "--from", "folder", "--path", str(tmp_path / "clips")]) == 0
    small = "--clips 2 --held-out 1 --set width=160 --set height=90 --set frames=6 --seed 3"
    assert dataset_downloader.main([work, "--from", "synthetic", *small.split()]) == 0
    assert "download: 3 clips = 3 used + 0 skipped" in capsys.readouterr().out
    videos = WorkFolder(tmp_path / "work").usable_videos()
    assert len(videos) == 4  # the folder's clip is still there
    assert (videos["split"] == "test").sum() == 1
    before = WorkFolder(tmp_path / "work").videos_table.read_bytes()
    assert dataset_downloader.main([work, "--from", "synthetic", *small.split()]) == 0
    assert WorkFolder(tmp_path / "work").videos_table.read_bytes() == before


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, dataset_downloader; print(sorted({'numpy', 'pandas', 'av', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    make_video("clips/a.mp4")
    slow = [coded_frame(number, 640, 480) for number in range(40)]
    for name in "bcdefgh":
        path = make_video(f"clips/{name}.mp4", slow)
        path.write_bytes(path.read_bytes() + name.encode())  # other content, the same frames
    command = [sys.executable, "dataset_downloader.py", str(tmp_path / "work"), "--from", "folder"]
    process = subprocess.Popen(
        [*command, "--path", str(tmp_path / "clips")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    while process.poll() is None and not (tmp_path / "work" / "videos").is_dir():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, children included
    _, error = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("it was faster than the interrupt")
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "again to go on" in error
    finished = WorkFolder(tmp_path / "work").read_videos()
    assert 1 <= len(finished) < 8
    assert (finished["status"] == "ok").all()
    assert dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "clips")]) == 0
    assert len(WorkFolder(tmp_path / "work").usable_videos()) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "folder", "--path", "x", "--limit", "3"], "--limit is of --from sports1m"),
        (["--from", "synthetic", "--set", "per_hour=3"], "--set per_hour is of --from sports1m, kinetics, urls"),
        (["--from", "folder", "--path", "x", "--dry-run"], "--dry-run is of --from"),
        (["--from", "urls", "--path", "x", "--set", "damaged=skip"], "--set damaged is of clips on disk"),
        (["--from", "synthetic", "--set", "copy=yes"], "--set copy is of clips on disk; with --from synthetic"),
        (["--from", "folder", "--path", "x", "--clips", "3"], "--clips is of --from synthetic"),
        (["--from", "kinetics", "--path", "x", "--set", "with_copies=yes"], "--set with_copies is of --from"),
    ],
)
def test_an_argument_that_the_source_would_ignore_is_refused(tmp_path, arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        dataset_downloader.main([str(tmp_path / "work"), *arguments])
    assert said in capsys.readouterr().err


def test_a_path_that_is_not_there_leaves_no_work_folder(tmp_path, capsys):
    assert dataset_downloader.main([str(tmp_path / "work"), "--from", "folder", "--path", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "work").exists()
