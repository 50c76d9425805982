"""Labelled archives on disk become rows, human labels, groups and splits; what cannot be used says why."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import coded_frame, write_test_video

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives import hmdb51 as hmdb51_source
from labels.videos.archives import rows as archive_rows
from labels.videos.archives.clips import ArchiveFolder
from labels.videos.archives.known import ARCHIVES, ArchiveSettings
from labels.videos.archives.rows import ArchiveResult


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "work")


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """`clip("a/b.avi", 7)`: a video of five frames that no other number gives, in the folder archive/."""

    def make(name: str, number: int, frames: int = 5) -> Path:
        pictures = [coded_frame(number * 20 + index) for index in range(frames)]
        codec, options = ("mpeg4", {}) if name.endswith(".avi") else ("libx264", None)
        return write_test_video(tmp_path / "archive" / name, pictures, codec=codec, options=options)

    return make


def add(work: WorkFolder, source: str, **settings: object) -> ArchiveResult:
    with work.writing():
        result = ARCHIVES[source](work, ArchiveSettings(path=work.root.parent / "archive", **settings))
    assert result.found == result.used + sum(result.refused.values())
    assert result.used == len(result.actions)
    return result


def told(result: ArchiveResult, *columns: str) -> list[tuple]:
    return [tuple(row) for row in result.videos[list(columns)].itertuples(index=False)]


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def test_hmdb51_splits_films_and_refusals(work, clip, tmp_path):
    clip("catch/Balls_catch_u_cm_np1_fr_goo_0.avi", 1)
    clip("catch/Balls_catch_u_cm_np1_fr_goo_1.avi", 2)
    clip("catch/Other_catch_f_nm_np2_ba_bad_0.avi", 3)
    clip("golf/Balls_golf_u_cm_np1_fr_med_12.avi", 4)
    clip("golf/Unlisted_golf_u_cm_np1_fr_med_0.avi", 5)
    splits = tmp_path / "archive" / "testTrainMulti_7030_splits"
    lines = ["Balls_catch_u_cm_np1_fr_goo_0.avi 1 ", "Balls_catch_u_cm_np1_fr_goo_1.avi 0 "]
    lines += ["Other_catch_f_nm_np2_ba_bad_0.avi 2", "Gone_catch_f_nm_np2_ba_bad_0.avi 1", "../../up.avi 1"]
    write(splits / "catch_test_split1.txt", "\r\n".join(lines), "utf-8-sig")
    write(splits / "golf_test_split1.txt", "Balls_golf_u_cm_np1_fr_med_12.avi 2\n")
    result = add(work, "hmdb51")
    found = {row[0]: row[1:] for row in told(result, "source", "status", "reason", "class_name", "group", "split")}
    by_name = {Path(source).name: values for source, values in found.items() if source.endswith(".avi")}
    assert by_name["Balls_catch_u_cm_np1_fr_goo_0.avi"] == ("ok", "", "catch", "hmdb51_Balls", "train")
    assert by_name["Balls_golf_u_cm_np1_fr_med_12.avi"] == ("ok", "", "golf", "hmdb51_Balls", "test")
    assert by_name["Other_catch_f_nm_np2_ba_bad_0.avi"] == ("ok", "", "catch", "hmdb51_Other", "test")
    assert by_name["Balls_catch_u_cm_np1_fr_goo_1.avi"][:2] == ("skipped", "unused by the split")
    assert by_name["Unlisted_golf_u_cm_np1_fr_med_0.avi"][:2] == ("skipped", "not named by the split")
    assert result.refused == {
        "unused by the split": 1,
        "not named by the split": 1,
        "not in the archive": 1,
        "leads outside the archive": 1,
    }
    assert any(
        "1 groups (2 clips) have clips in two official splits, such as hmdb51_Balls" in line for line in result.lines
    )


@pytest.mark.parametrize(
    ("stem", "class_name", "film"),
    [
        ("Ballfangen_catch_u_cm_np1_fr_goo_0", "catch", "Ballfangen"),
        ("show_your_dribble_move_dribble_f_cm_np1_ba_bad_12", "dribble", "show_your_dribble_move"),
        ("20060723_u_2_u_nm_np1_ri_med_3", "kick_ball", "20060723_u_2"),  # the class is not in the name
        ("holiday", "golf", "holiday"),
    ],
)
def test_film_of_an_hmdb51_name(stem, class_name, film):
    assert hmdb51_source.film_of(stem, class_name) == film


def test_human_labels_cover_the_whole_clip(work, clip):
    clip("golf/A_golf_u_cm_np1_fr_goo_0.avi", 1)
    result = add(work, "hmdb51")
    row = work.read_videos().iloc[0]
    actions = read_parquet(work.truth_actions(row["video_id"]))
    tables.check_columns(actions, tables.ACTIONS, "truth")
    pd.testing.assert_frame_equal(actions, result.actions, check_dtype=False)
    said = actions.iloc[0]
    assert (said["start_frame"], said["end_frame"], said["start_s"], said["end_s"]) == (0, 5, 0.0, 0.2)
    assert (said["class_name"], said["score"], said["origin"], said["track_id"]) == ("golf", 1.0, "human", -1)
    assert json.loads(said["probabilities"]) == {"golf": 1.0}
    assert (work.videos / row["file"]).samefile(row["source"])
    assert any("no split lists" in line for line in result.lines)


def test_a_split_that_is_not_there_is_an_error(work, clip, tmp_path):
    clip("golf/A_golf_u_cm_np1_fr_goo_0.avi", 1)
    write(tmp_path / "archive" / "golf_test_split2.txt", "A_golf_u_cm_np1_fr_goo_0.avi 1")
    with pytest.raises(InputError, match="no lists of split 3; there are 2"):
        add(work, "hmdb51", split_number=3)
    with pytest.raises(InputError, match="no such folder"):
        ARCHIVES["ucf101"](work, ArchiveSettings(path=tmp_path / "nowhere"))


def test_ucf101_lists_groups_and_class_numbers(work, clip, tmp_path):
    clip("UCF-101/Diving/v_Diving_g01_c01.avi", 1)
    clip("UCF-101/Diving/v_Diving_g01_c02.avi", 2)
    clip("UCF-101/Diving/v_Diving_g08_c01.avi", 3)
    clip("UCF-101/HandstandPushups/v_HandStandPushups_g08_c01.avi", 4)
    clip("UCF-101/Diving/v_Diving_g09_c01.avi", 5)
    clip("UCF-101/Juggling/v_Juggling_g01_c01.avi", 6)
    lists = tmp_path / "archive" / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Diving\r\n2 HandstandPushups\r\n")
    train = ["Diving/v_Diving_g08_c01.avi 1", "HandstandPushups/v_HandStandPushups_g08_c01.avi 2"]
    train += ["Diving/v_Diving_g09_c01.avi 7", "/etc/passwd 1", "Diving/v_Diving_g10_c01.avi 1"]
    write(lists / "trainlist01.txt", "\n".join(train))
    test = "Diving/v_Diving_g01_c01.avi\nDiving/v_Diving_g01_c02.avi\nDiving/v_Diving_g08_c01.avi\n"
    write(lists / "testlist01.txt", test)
    result = add(work, "ucf101")
    found = {Path(row[0]).name: row[1:] for row in told(result, "source", "status", "group", "class_name", "split")}
    assert found["v_Diving_g01_c01.avi"] == ("ok", "ucf101_v_Diving_g01", "Diving", "test")
    assert found["v_Diving_g01_c02.avi"][1] == "ucf101_v_Diving_g01"
    assert found["v_Diving_g08_c01.avi"] == ("ok", "ucf101_v_Diving_g08", "Diving", "train")
    assert found["v_HandStandPushups_g08_c01.avi"][0] == "ok"
    assert result.refused == {
        "unknown class number": 1,  # 7
        "unknown class": 1,  # Juggling is not in classInd.txt
        "not in the archive": 1,  # v_Diving_g10_c01.avi
        "leads outside the archive": 1,  # /etc/passwd
        "named twice by the split": 1,  # g08 of Diving, in the test list too
    }


def test_kinetics_folder(work, clip, tmp_path):
    clip("train/belly_dancing/abcdefghij0_000010_000020.mp4", 1)
    clip("train/belly dancing/abcdefghij0_000030_000040.mp4", 2)
    clip("val/squash/-bcdefghij1_000000_000010.mp4", 3)
    archive = tmp_path / "archive"
    write(archive / "val/squash/empty_bcdefg_000000_000010.mp4", "")
    write(archive / "val/squash/._-bcdefghij1_000000_000010.mp4", "junk of another system")
    write(archive / "val/squash/notes.txt", "x")
    whole = clip("val/squash/bbcdefghij2_000000_000010.mp4", 4).read_bytes()
    # An MP4 whose index, which stands last, never came: the download broke off.
    (archive / "val/squash/bbcdefghij2_000000_000010.mp4").write_bytes(whole[: whole.index(b"moov") - 4])
    result = add(work, "kinetics-folder")
    used = result.videos[result.videos["status"] == "ok"]
    assert [
        tuple(row) for row in used[["group", "class_name", "split", "start_s", "end_s"]].itertuples(index=False)
    ] == [
        ("-bcdefghij1", "squash", "val", 0.0, 10.0),
        ("abcdefghij0", "belly dancing", "train", 10.0, 20.0),
        ("abcdefghij0", "belly dancing", "train", 30.0, 40.0),
    ]
    reasons = dict(told(result, "source", "reason"))
    assert reasons[str(archive / "val/squash/empty_bcdefg_000000_000010.mp4")] == "cannot be decoded: the file is empty"
    assert reasons[str(archive / "val/squash/bbcdefghij2_000000_000010.mp4")].startswith("cannot be decoded: ")
    assert reasons[str(archive / "val/squash/._-bcdefghij1_000000_000010.mp4")].startswith("hidden: a file macOS")
    assert result.lines[0] == "1 other files are no videos and were not looked at"


def test_a_kinetics_list_gives_splits_and_names_what_is_missing(work, clip, tmp_path):
    clip("clips/abcdefghij0_000010_000020.mp4", 1)
    clip("clips/abcdefghij1_000010_000020.mp4", 2)
    lines = ["label,youtube_id,time_start,time_end,split", "golf,abcdefghij0,10,20,validate"]
    lines += ["golf,abcdefghij9,10,20,train", "golf,../../etc,0,10,train"]
    write(tmp_path / "archive" / "k700.csv", "\r\n".join(lines), "utf-8-sig")
    result = add(work, "kinetics-folder")
    used = result.videos[result.videos["status"] == "ok"]
    assert used[["video_id", "class_name", "split"]].to_numpy().tolist() == [
        ["abcdefghij0_000010_000020", "golf", "val"]
    ]
    assert result.refused == {
        "not in the archive": 1,  # abcdefghij9
        "bad entry of the list": 1,  # ../../etc
        "without a label": 1,  # abcdefghij1 is in no list, and clips/ is no class
    }


def test_mmaction_video_lists(work, clip, tmp_path):
    clip("some where/one.mp4", 1)
    clip("abcdefghij0_000010_000020.mp4", 2)
    archive = tmp_path / "archive"
    write(tmp_path / "secret.mp4", "private")
    (archive / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    lines = ["some where/one.mp4 0", "abcdefghij0_000010_000020.mp4 1", "gone.mp4 1", "../secret.mp4 0", "link.mp4 0"]
    lines += ["abcdefghij0_000010_000020.mp4 1", "one.mp4 9", "some where/one.mp4", "C:\\one.mp4 0"]
    write(archive / "k_train_list.txt", "\r\n".join(lines), "utf-8-sig")
    write(archive / "label_map.txt", "golf\nsquash\n")
    result = add(work, "mmaction")
    used = result.videos[result.videos["status"] == "ok"]
    assert used[["class_name", "split", "group"]].to_numpy().tolist() == [
        ["squash", "train", "abcdefghij0"],
        ["golf", "train", "some where/one"],
    ]
    assert result.refused == {
        "not in the archive": 2,  # gone.mp4, and one.mp4 at the top
        "leads outside the archive": 3,  # .., the link, the drive
        "same content as another clip": 1,  # listed twice
        "bad entry of the list": 1,  # no number
    }
    assert sorted(path.name for path in work.videos.glob("*.mp4")) == sorted(used["file"])


def test_mmaction_labels_need_names(work, clip, tmp_path):
    clip("one.mp4", 1)
    write(tmp_path / "archive" / "list.txt", "one.mp4 3")
    with pytest.raises(InputError, match=r"class numbers without names.*label_map\.txt"):
        add(work, "mmaction")
    result = add(work, "mmaction", classes=("a", "b", "c", "d"))
    assert result.videos["class_name"].tolist() == ["d"]
    result = add(work, "mmaction", classes=("a", "b"))
    assert result.refused == {"unknown class number": 1}
    assert not work.truth_actions("one").exists()


def test_same_content_once_and_under_two_labels(work, clip, tmp_path):
    first = clip("train/golf/aaaaaaaaaa0_000010_000020.mp4", 1)
    for name in ("val/golf/bbbbbbbbbb0_000010_000020.mp4", "train/golf/cccccccccc0_000010_000020.mp4"):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, tmp_path / "archive" / name)
    result = add(work, "kinetics-folder")
    assert told(result, "video_id", "status", "reason") == [
        ("aaaaaaaaaa0_000010_000020", "ok", ""),
        (
            "bbbbbbbbbb0_000010_000020",
            "skipped",
            "same content as another clip: aaaaaaaaaa0_000010_000020, which is in train",
        ),
        ("cccccccccc0_000010_000020", "skipped", "same content as another clip: aaaaaaaaaa0_000010_000020"),
    ]
    (tmp_path / "archive" / "train/squash").mkdir()
    shutil.copy(first, tmp_path / "archive" / "train/squash/dddddddddd0_000010_000020.mp4")
    for _ in range(2):  # and the same again when nothing has changed
        result = add(work, "kinetics-folder")
        assert result.used == 0 and result.refused["same content under two labels"] >= 2
        reasons = dict(told(result, "video_id", "reason"))
        assert reasons["aaaaaaaaaa0_000010_000020"].endswith("dddddddddd0_000010_000020 is labelled squash")
        assert reasons["dddddddddd0_000010_000020"].endswith("aaaaaaaaaa0_000010_000020 is labelled golf")
        assert not any(work.videos.glob("*.mp4")) and not any((work.videos / "truth").rglob("*.parquet"))


def test_unchanged_files_are_not_looked_at_again(work, clip, monkeypatch):
    clip("golf/one.mp4", 1)
    second = clip("golf/two.mp4", 2)
    before = add(work, "kinetics-folder")
    stamps = {path: path.stat().st_mtime_ns for path in work.root.rglob("*.parquet") if "truth" in path.parts}
    looked_at = []
    real = archive_rows.check_clips
    monkeypatch.setattr(
        archive_rows,
        "check_clips",
        lambda paths, *rest: real((looked_at.append(path) or path for path in paths), *rest),
    )
    again = add(work, "kinetics-folder")
    assert looked_at == []
    pd.testing.assert_frame_equal(before.videos, again.videos)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    os.unlink(second)  # the old content is linked into the work folder
    clip("golf/two.mp4", 3, frames=7)
    changed = add(work, "kinetics-folder")
    assert looked_at == [second]
    assert changed.videos["frame_count"].tolist() == [5, 7]
    assert read_parquet(work.truth_actions("two"))["end_frame"].tolist() == [7]


def test_a_clip_that_is_not_used_any_more_leaves_nothing(work, clip, tmp_path):
    path = clip("golf/A_golf_u_cm_np1_fr_goo_0.avi", 1)
    clip("golf/B_golf_u_cm_np1_fr_goo_0.avi", 2)
    assert add(work, "hmdb51").used == 2
    names = f"{path.name} 0\nB_golf_u_cm_np1_fr_goo_0.avi 1"
    write(tmp_path / "archive" / "golf_test_split1.txt", names)
    assert add(work, "hmdb51").used == 1
    left = {file.stem for file in work.videos.rglob("*") if file.is_file()}
    assert left == {"hmdb51_B_golf_u_cm_np1_fr_goo_0"}


def test_classes_limits_and_lots(work, clip):
    for number, name in enumerate(("golf/a", "golf/b", "golf/c", "kick_ball/d", "kick_ball/e", "throw/f")):
        clip(f"{name}.mp4", number)
    result = add(work, "kinetics-folder", classes=("kick ball", "golf", "polo"))
    assert sorted(result.videos["class_name"]) == ["golf"] * 3 + ["kick ball"] * 2
    assert "no entry is of class 'polo'" in " ".join(result.lines)
    small = set(add(work, "kinetics-folder", per_class=1).videos["video_id"])
    large = set(add(work, "kinetics-folder", per_class=2).videos["video_id"])
    assert len(small) == 3 and len(large) == 5 and small < large
    assert len(add(work, "kinetics-folder", limit=2, seed=1).videos) == 2
    with pytest.raises(InputError, match="no entry is of class 'gulf'; did you mean 'golf'"):
        add(work, "kinetics-folder", classes=("gulf",))


@pytest.mark.parametrize(
    "text", ["../x.mp4", "a/../../x.mp4", "/etc/passwd", "C:\\x.mp4", "\\\\host\\x", "a\\..\\x", "a\nb", ""]
)
def test_paths_that_lead_out_are_refused(tmp_path, text):
    assert ArchiveFolder(tmp_path).fault_of_text(text) is not None


def test_every_archive_has_its_source():
    assert set(ARCHIVES) == {"hmdb51", "ucf101", "spacejam", "kinetics-folder", "mmaction", "moments"}
