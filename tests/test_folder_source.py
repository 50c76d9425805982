"""A folder of clips becomes rows: every file has one, and what was finished is not done again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import coded_frame, write_test_video

from labels.records import tables
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos import folder as folder_source
from labels.videos.decoding.frames import decode_frames
from labels.videos.folder import SourceReport, add_folder_clips
from labels.videos.frame_store import FrameStore
from labels.videos.truth_files import TruthError, read_truth_csv
from labels.videos.videos_table import VideosTable, safe_name


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Four small videos of different content."""
    folder = tmp_path_factory.mktemp("made")
    starts = (0, 100, 200, 300)
    videos = [[coded_frame(start + number) for number in range(6)] for start in starts]
    return [
        write_test_video(folder / f"{start}.mp4", video).read_bytes()
        for start, video in zip(starts, videos, strict=True)
    ]


@pytest.fixture
def clips(tmp_path: Path, clip_bytes: list[bytes]) -> Path:
    """A folder with two sound clips."""
    folder = tmp_path / "clips"
    put(folder / "a.mp4", clip_bytes[0])
    put(folder / "sub" / "b.MP4", clip_bytes[1])
    return folder


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def run(work: WorkFolder, folder: Path, copy: bool = False) -> tuple[SourceReport, pd.DataFrame]:
    with VideosTable(work) as table:
        report = add_folder_clips(work, folder, table, copy)
    videos = work.read_videos().set_index("video_id")
    assert report.used + sum(report.skipped.values()) == report.found
    return report, videos


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "work")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were looked at since the test began, or since it cleared the list."""
    names: list[str] = []
    check = folder_source.check_clip

    def counted(path: Path, *rest: object) -> object:
        names.append(path.name)
        return check(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(folder_source, "check_clip", counted)
    monkeypatch.setattr(folder_source, "check_clip", counted)
    return names


def test_every_file_is_a_row(work: WorkFolder, clips: Path, clip_bytes: list[bytes]) -> None:
    put(clips / "broken.mp4", clip_bytes[2][:-100])
    put(clips / "empty.avi", b"")
    put(clips / "text.mkv", "no video")
    put(clips / "readme.txt", "hello")
    put(clips / "._a.mp4", "macOS")
    put(clips / ".git" / "config", "x")
    put(clips / "z_again.mp4", clip_bytes[0])
    put(clips / "stray.csv", "frame_index,x,y\n")
    os.mkfifo(clips / "pipe.mp4")
    (clips / "linked").symlink_to(clips / "sub")
    report, videos = run(work, clips)
    assert (report.found, report.used) == (12, 2)
    assert report.skipped == {
        "failed": 3,
        "hidden": 2,
        "not a video": 2,
        "not a regular file": 1,
        "a link to a folder": 1,
        "same content as another clip": 1,
    }
    assert len(videos) == 12
    assert videos["status"].value_counts().to_dict() == {"ok": 2, "failed": 3, "skipped": 7}
    assert (videos["reason"] == "").equals(videos["status"] == "ok")
    assert videos.loc["z_again", "reason"] == "same content as a"
    assert sum(line.startswith("failed: ") for line in report.lines) == 3
    row = videos.loc["a"]
    assert (row["file"], row["frame_count"], row["width"], row["height"], row["fps"]) == ("a.mp4", 6, 96, 64, 25.0)
    assert (row["group"], row["source"], row["split"]) == ("a", str(clips / "a.mp4"), "")
    assert (row["start_s"], row["end_s"]) == (0.0, pytest.approx(0.24))
    assert (work.videos / "sub_b.mp4").read_bytes() == clip_bytes[1]
    assert sorted(path.name for path in work.videos.iterdir()) == ["a.mp4", "sub_b.mp4"]


def test_a_link_or_a_copy(work: WorkFolder, clips: Path, tmp_path: Path) -> None:
    run(work, clips)
    assert (work.videos / "a.mp4").stat().st_ino == (clips / "a.mp4").stat().st_ino
    copied = WorkFolder(tmp_path / "copied")
    run(copied, clips, copy=True)
    assert (copied.videos / "a.mp4").stat().st_ino != (clips / "a.mp4").stat().st_ino
    assert (copied.videos / "a.mp4").read_bytes() == (clips / "a.mp4").read_bytes()


def test_where_no_link_can_be_made_a_copy_is(work: WorkFolder, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(folder_source.os, "link", refused)
    report, _ = run(work, clips)
    assert report.used == 2
    assert (work.videos / "a.mp4").read_bytes() == (clips / "a.mp4").read_bytes()


def test_a_linked_clip_is_its_target(work: WorkFolder, clips: Path, clip_bytes: list[bytes], tmp_path: Path) -> None:
    (clips / "c.mp4").symlink_to(put(tmp_path / "elsewhere" / "real.mp4", clip_bytes[2]))
    _, videos = run(work, clips)
    assert videos.loc["c", "status"] == "ok"
    assert not (work.videos / "c.mp4").is_symlink()


def test_run_again_looks_at_nothing(work: WorkFolder, clips: Path, clip_bytes: list[bytes], checked: list[str]) -> None:
    put(clips / "z_again.mp4", clip_bytes[0])
    put(clips / "a.csv", "frame_index,x,y\n0,5,5\n")
    run(work, clips)
    assert sorted(checked) == ["a.mp4", "b.MP4", "z_again.mp4"]
    checked.clear()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in work.root.rglob("*") if path.is_file()}
    report, _ = run(work, clips)
    assert checked == []
    assert (report.found, report.used) == (3, 2)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in work.root.rglob("*") if path.is_file()}
    assert after == before


def test_a_second_folder_adds(work: WorkFolder, clips: Path, clip_bytes: list[bytes], tmp_path: Path) -> None:
    run(work, clips)
    put(tmp_path / "more" / "A.mp4", clip_bytes[2])  # the name is taken, in other letters
    put(tmp_path / "more" / "b_of_clips.mp4", clip_bytes[1])  # known content
    report, videos = run(work, tmp_path / "more")
    assert (report.found, report.used, dict(report.skipped)) == (2, 1, {"same content as another clip": 1})
    assert sorted(videos.index[videos["status"] == "ok"])[1:] == ["a", "sub_b"]
    other = sorted(videos.index[videos["status"] == "ok"])[0]
    assert other.startswith("A_") and len(other) == len("A_") + 10
    again, _ = run(work, tmp_path / "more")
    assert (again.found, again.used) == (2, 1)


def test_changed_content_replaces_the_clip(
    work: WorkFolder, clips: Path, clip_bytes: list[bytes], checked: list[str]
) -> None:
    put(clips / "a.csv", "frame_index,x,y\n0,5,5\n")
    put(clips / "z_again.mp4", clip_bytes[0])
    run(work, clips)
    store = FrameStore(work.frames)
    store.write("a", 0, coded_frame(0))
    checked.clear()
    (clips / "a.mp4").unlink()
    (clips / "a.csv").unlink()
    put(clips / "a.mp4", clip_bytes[3])
    _, videos = run(work, clips)
    assert checked == ["a.mp4", "z_again.mp4"]  # the second is not the same as the first any more
    assert (work.videos / "a.mp4").read_bytes() == clip_bytes[3]
    assert (work.videos / "z_again.mp4").read_bytes() == clip_bytes[0]
    assert (videos["status"] == "ok").all()
    assert not store.has("a", 0)  # it was a frame of the other content
    assert work.read_truth("a") is None


def test_content_that_turned_bad(work: WorkFolder, clips: Path) -> None:
    run(work, clips)
    (clips / "a.mp4").unlink()
    put(clips / "a.mp4", "no video")
    _, videos = run(work, clips)
    assert (videos.loc["a", "status"], videos.loc["a", "file"]) == ("failed", "")
    assert [path.name for path in work.videos.iterdir()] == ["sub_b.mp4"]


def test_a_clip_taken_out_of_the_work_folder_comes_back(work: WorkFolder, clips: Path, checked: list[str]) -> None:
    run(work, clips)
    checked.clear()
    (work.videos / "a.mp4").unlink()
    run(work, clips)
    assert checked == ["a.mp4"]
    assert (work.videos / "a.mp4").is_file()


def test_an_interrupt_keeps_what_is_finished(
    work: WorkFolder, clips: Path, monkeypatch: pytest.MonkeyPatch, checked: list[str]
) -> None:
    place = folder_source.place_clip

    def interrupted(check: folder_source.ClipCheck, *rest: object) -> None:
        if check.path.name == "b.MP4":
            raise KeyboardInterrupt
        place(check, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(folder_source, "place_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(work, clips)
    assert work.read_videos()["video_id"].tolist() == ["a"]
    monkeypatch.setattr(folder_source, "place_clip", place)
    checked.clear()
    report, _ = run(work, clips)
    assert (checked, report.used) == (["b.MP4"], 2)


def test_names_and_groups(work: WorkFolder, tmp_path: Path, clip_bytes: list[bytes]) -> None:
    folder = tmp_path / "clips"
    put(folder / "-abcdefghi_" / "x.mp4", clip_bytes[0])
    put(folder / "-abcdefghi__000010_000020.mp4", clip_bytes[1])
    put(folder / "Ballet dancing" / "v_Diving_g01_c03.mp4", clip_bytes[2])
    (folder / os.fsdecode(b"caf\xe9.mp4")).write_bytes(clip_bytes[3])
    _, videos = run(work, folder)
    facts = {video_id: (row["group"], row["start_s"]) for video_id, row in videos.iterrows()}
    assert facts == {
        "-abcdefghi__x": ("-abcdefghi__x", 0.0),
        "-abcdefghi__000010_000020": ("-abcdefghi_", 10.0),
        "Ballet_dancing_v_Diving_g01_c03": ("v_Diving_g01", 0.0),
        "caf_xe9": ("caf_xe9", 0.0),
    }
    assert videos.loc["-abcdefghi__000010_000020", "end_s"] == 20.0
    again, _ = run(work, folder)
    assert again.used == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("my clip (1)", "my_clip_1_"),
        ("../../etc/passwd", "_etc_passwd"),
        ("日本", "clip"),
        ("", "clip"),
        ("a" * 80, "a" * 80),
    ],
)
def test_safe_name(text: str, expected: str) -> None:
    assert safe_name(text) == expected


def test_long_names_stay_apart() -> None:
    names = {safe_name("x" * 200 + str(number)) for number in range(10)}
    assert len(names) == 10
    assert all(len(name) == 80 for name in names)


def test_the_work_folder_inside_the_folder_is_left_alone(clips: Path) -> None:
    work = WorkFolder(clips / "work")
    run(work, clips)
    report, _ = run(work, clips)
    assert (report.found, report.used) == (2, 2)


@pytest.mark.parametrize("where", ["missing", "a.mp4", "empty", "work/videos"])
def test_wrong_folders(work: WorkFolder, clips: Path, where: str) -> None:
    put(clips / "empty" / "notes.txt", "nothing")
    run(work, clips)
    folder = work.videos if where == "work/videos" else clips / where
    with pytest.raises(InputError) as caught:
        run(work, folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- truth beside a clip -----------------------------------------------------------------------------------------


def test_truth_beside_a_clip(work: WorkFolder, clips: Path) -> None:
    put(clips / "a.csv", "frame_index,x1,y1,x2,y2,class_name\n3,10,20,30,40,\n0,1.5,2,3,4,person\n5,,,,,\n")
    put(clips / "sub" / "b.csv", "\ufeffframe_index,x,y\n2,50,30\n")
    report, videos = run(work, clips)
    assert (report.found, report.used) == (2, 2)
    assert report.lines == ["truth: 2 of 2 CSV files used"]
    truth = work.read_truth("a")
    assert truth is not None
    tables.check_columns(truth, tables.TRUTH, "truth")
    assert truth["frame_index"].tolist() == [0, 3, 5]
    assert truth["class_name"].tolist() == ["person", "sports ball", "sports ball"]
    assert truth[tables.BOX_COLUMNS].to_numpy()[:2].tolist() == [[1.5, 2, 3, 4], [10, 20, 30, 40]]
    assert tables.is_empty_frame(truth).tolist() == [False, False, True]
    assert (truth["visibility"] == 1).all() and (truth["track_id"] == tables.NO_TRACK).all()
    centres = work.read_truth("sub_b")
    assert centres is not None
    assert tables.is_point(centres).all()
    assert centres[tables.BOX_COLUMNS].to_numpy().tolist() == [[50, 30, 50, 30]]
    assert (videos["reason"] == "").all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("frame,x1,y1,x2,y2\n0,1,2,3,4\n", "columns are frame,x1"),
        ("frame_index,x1,y1,x2,y2,score\n0,1,2,3,4,1\n", "columns are"),
        ("0,1,2,3,4\n", "columns are 0,1"),
        ("", "columns are"),
        ("frame_index,x,y\n", "no row"),
        ("frame_index,x,y\n0,one,2\n", "line 2: x is 'one'"),
        ("frame_index,x,y\n0,nan,2\n", "line 2: x is 'nan'"),
        ("frame_index,x,y\n0,,2\n", "line 2: x is ''"),
        ("frame_index,x,y\n0,5,5\n6,5,5\n", "line 3: frame_index 6 is not one of the video's 6 frames"),
        ("frame_index,x,y\n-1,5,5\n", "frame_index -1"),
        ("frame_index,x,y\n1.5,5,5\n", "frame_index 1.5"),
        ("frame_index,x1,y1,x2,y2\n0,30,2,10,4\n", "inverted"),
        ("frame_index,x1,y1,x2,y2\n0,30,2,30,4\n", "empty"),
        ("frame_index,x1,y1,x2,y2\n0,300,2,310,4\n", "outside the video's 96 x 64"),
        ("frame_index,x,y\n0,5\n", "line 2: not as many values"),
        ("frame_index,x,y\n0,5,6,7\n", "line 2: not as many values"),
        ("frame_index,x,y\n0,5,6\n0,5,6\n", "frame 0 holds the same row twice"),
        ("frame_index,x,y\n0,5,6\n0,,\n", "frame 0 has a box and a row that says it has none"),
        ("frame_index,x,y\n0,5,\xff\n".encode("latin-1"), "not a CSV in UTF-8"),
    ],
)
def test_truth_that_is_not_sound(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(TruthError) as caught:
        read_truth_csv(put(tmp_path / "clip.csv", text), frame_count=6, width=96, height=64)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_truth_from_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    text = "frame_index;x;y\r\n0;5,5;6\r\n".encode(encoding)
    truth = read_truth_csv(put(tmp_path / "clip.csv", text), frame_count=6, width=96, height=64)
    assert truth[["frame_index", "x1", "y1"]].to_numpy().tolist() == [[0, 5.5, 6]]


def test_refused_truth_leaves_the_clip_usable_and_may_be_mended(
    work: WorkFolder, clips: Path, checked: list[str]
) -> None:
    put(clips / "a.csv", "frame_index,x,y\n0,5,5\n")
    run(work, clips)
    assert work.read_truth("a") is not None
    put(clips / "a.csv", "frame_index,x,y\n99,5,5\n")
    report, videos = run(work, clips)
    assert (report.used, report.lines[-1]) == (2, "truth: 0 of 1 CSV files used")
    assert report.lines[0].startswith(f"truth refused: {clips / 'a.csv'}: line 2")
    assert (videos.loc["a", "status"], videos.loc["a", "reason"][:14]) == ("ok", "truth refused:")
    assert work.read_truth("a") is None
    checked.clear()
    put(clips / "a.csv", "frame_index,x,y\n1,7,7\n")
    _, videos = run(work, clips)
    truth = work.read_truth("a")
    assert truth is not None and truth["frame_index"].tolist() == [1]
    assert videos.loc["a", "reason"] == ""
    assert checked == []  # the video itself was not looked at again


def test_a_csv_that_becomes_truth_loses_its_row(work: WorkFolder, clips: Path, clip_bytes: list[bytes]) -> None:
    put(clips / "c.csv", "frame_index,x,y\n0,5,5\n")
    _, videos = run(work, clips)
    assert len(videos) == 3
    put(clips / "c.mp4", clip_bytes[2])
    report, videos = run(work, clips)
    assert sorted(videos.index) == ["a", "c", "sub_b"]
    assert report.found == 3


def test_rows_of_other_sources_keep_their_columns(work: WorkFolder, clips: Path) -> None:
    from labels.videos.videos_table import video_row

    other = pd.DataFrame([video_row(video_id="other", status="ok", source="synthetic") | {"views": 7, "light": "dim"}])
    with VideosTable(work) as table:
        table.add(other.drop(columns=["source_bytes", "source_mtime_ns"]))
    _, videos = run(work, clips)
    assert (videos.loc["other", "views"], videos.loc["other", "light"]) == (7, "dim")
    assert (videos.loc["a", "views"], videos.loc["a", "light"]) == (-1, "")


def test_a_full_disk_is_no_lost_clip(work: WorkFolder, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_source.os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        run(work, clips)
    assert not (work.videos / "a.mp4").exists()


def test_a_damaged_clip_is_taken_until_its_damage_or_skipped(work: WorkFolder, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    clip = write_test_video(tmp_path / "clips" / "cut.mp4", noise, container_options={"movflags": "+faststart"})
    put(clip, clip.read_bytes()[:-9000])
    put(tmp_path / "clips" / "cut.csv", "frame_index,x,y\n0,5,5\n29,5,5\n")  # the last frame is lost
    _, videos = run(work, tmp_path / "clips")
    row = videos.loc["cut"]
    truth = work.read_truth("cut")
    assert truth is not None and truth["frame_index"].tolist() == [0]  # what nobody can find is no miss
    assert (row["status"], row["reason"]) == ("ok", "")
    assert 0 < row["frame_count"] < 30
    assert "breaks off" in row["damage"]
    assert len(list(decode_frames(work.videos / row["file"]))) == row["frame_count"]
    with VideosTable(work) as table:
        report = add_folder_clips(work, tmp_path / "clips", table, until_damage=False)
    assert report.skipped["failed"] == 1
    row = work.read_videos().set_index("video_id").loc["cut"]
    assert row["status"] == "failed" and "breaks off" in row["reason"]
