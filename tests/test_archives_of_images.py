"""Folders of images become videos whose frames are these images; what is not whole becomes a row with a reason."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import coded_frame, read_code

from labels.records.work_folder import WorkFolder
from labels.videos.archives import frame_folder
from labels.videos.archives.frame_folder import BadFrames, list_frames, read_image
from labels.videos.archives.known import ARCHIVES, ArchiveSettings
from labels.videos.archives.rows import ArchiveResult
from labels.videos.decoding.frames import decode_frames

REAL_MOMENTS = Path(os.environ.get("LABELS_REAL_DATA", Path(__file__).parents[2] / "shared/real")) / "moments"


def write_images(
    folder: Path, first_code: int, count: int = 5, size: tuple[int, int] = (96, 64), start: int = 1
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        bgr = cv2.cvtColor(coded_frame(first_code + index, *size), cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(folder / f"img_{start + index:05d}.jpg"), bgr)
    return folder


def add(work: WorkFolder, source: str, path: Path, at_once: int = 1, **settings: object) -> ArchiveResult:
    with work.writing():
        result = ARCHIVES[source](work, ArchiveSettings(path=path, at_once=at_once, **settings))
    assert result.found == result.used + sum(result.refused.values())
    return result


def test_moments_of_every_kind(tmp_path):
    archive, work = tmp_path / "archive", WorkFolder(tmp_path / "work")
    write_images(archive / "strike/1", 100)
    write_images(archive / "neutral/1", 200)
    write_images(archive / "neutral/2", 300, count=3)
    (archive / "neutral/2/img_00002.jpg").unlink()
    write_images(archive / "neutral/3", 400)
    write_images(archive / "neutral/3", 500, count=1, size=(48, 64))
    broken = write_images(archive / "neutral/4", 600) / "img_00003.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    (archive / "neutral/5").mkdir()
    write_images(archive / "strike/2", 100)  # the same images as strike/1
    result = add(work, "moments", archive, at_once=2, image_fps=10.0)
    reasons = {row.video_id: row.reason for row in result.videos.itertuples()}
    assert reasons == {
        "moment_neutral_1": "",
        "moment_neutral_2": "frames are not whole: image 2 of 3 is missing",
        "moment_neutral_3": "frames are not whole: img_00002.jpg is 96 x 64, the images before it are 48 x 64",
        "moment_neutral_4": "frames are not whole: img_00003.jpg breaks off",
        "moment_neutral_5": "frames are not whole: no image in it",
        "moment_strike_1": "",
        "moment_strike_2": "same content as another clip: moment_strike_1",
    }
    used = result.videos[result.videos["status"] == "ok"]
    assert used[["class_name", "group", "frame_count", "fps", "width", "height"]].to_numpy().tolist() == [
        ["neutral", "moment_neutral/1", 5, 10.0, 96, 64],
        ["strike", "moment_strike/1", 5, 10.0, 96, 64],
    ]
    frames = list(decode_frames(work.videos / "moment_strike_1.mp4"))
    assert [read_code(frame.rgb) for frame in frames] == [100, 101, 102, 103, 104]
    assert np.abs(frames[0].rgb.astype(int) - coded_frame(100)).mean() < 4  # nearly without loss
    assert not list(work.videos.glob(".encoding*"))


def test_moments_by_list(tmp_path):
    archive, work = tmp_path / "archive", WorkFolder(tmp_path / "work")
    for number in (1, 2, 3):
        write_images(archive / f"strike/{number}", 100 * number)
    write_images(archive / "neutral/1", 900)
    lines = ["strike/1 5 1", "strike/2 4 1", "neutral/1 5 0", "strike/9 5 1", "../strike 5 1", "strike/1 5 0"]
    (archive / "moments_train.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    result = add(work, "moments", archive)
    assert result.used == 2 and set(result.videos.loc[result.videos["status"] == "ok", "split"]) == {"train"}
    assert result.refused == {
        "frames are not whole": 1,  # five images, the list says four
        "not in the archive": 1,  # strike/9
        "leads outside the archive": 1,
        "label and folder differ": 1,  # strike as 0
        "not named by a list": 1,  # strike/3
    }


def test_mmaction_raw_frames(tmp_path):
    archive, work = tmp_path / "archive", WorkFolder(tmp_path / "work")
    write_images(archive / "golf/abcdefghij0_000010_000020", 100, count=4)
    write_images(archive / "squash/b", 200, count=3, start=0)
    write_images(archive / "squash/c", 300, count=3)
    lines = ["golf/abcdefghij0_000010_000020 4 0", "squash/b 3 1", "squash/c 7 1"]
    (archive / "val_rawframes.txt").write_text("\n".join(lines))
    result = add(work, "mmaction", archive)
    used = result.videos[result.videos["status"] == "ok"]
    assert used[["class_name", "split", "frame_count"]].to_numpy().tolist() == [
        ["golf", "val", 4],
        ["squash", "val", 3],
    ]
    assert used["group"].tolist() == ["abcdefghij0", "squash/b"]
    assert "it holds 3 images, the list says 7" in result.videos["reason"].max()


def test_encoded_once_and_again_only_when_an_image_changes(tmp_path, monkeypatch):
    archive, work = tmp_path / "archive", WorkFolder(tmp_path / "work")
    write_images(archive / "strike/1", 100)
    write_images(archive / "strike/2", 200)
    before = add(work, "moments", archive)
    stamps = {path.name: path.stat().st_mtime_ns for path in work.videos.glob("*.mp4")}
    again = add(work, "moments", archive)
    assert before.videos["sha256"].tolist() == again.videos["sha256"].tolist()
    assert {path.name: path.stat().st_mtime_ns for path in work.videos.glob("*.mp4")} == stamps
    write_images(archive / "strike/2", 300)
    changed = add(work, "moments", archive)
    assert (changed.videos["sha256"] == before.videos["sha256"]).tolist() == [True, False]
    assert [read_code(frame.rgb) for frame in decode_frames(work.videos / "moment_strike_2.mp4")] == list(
        range(300, 305)
    )
    slower = add(work, "moments", archive, image_fps=5.0)
    assert slower.videos["fps"].tolist() == [5.0, 5.0]


def test_an_image_that_kills_its_process_costs_one_clip(tmp_path):
    for number in range(3):
        write_images(tmp_path / f"{number}", 100 * number)
    # More pixels than may be read: the limit is set where the images are read, not here.
    huge = np.zeros((7000, 7000), np.uint8)
    cv2.imwrite(str(tmp_path / "1" / "img_00002.jpg"), huge)
    requests = [frame_folder.EncodeRequest(tmp_path / f"{n}", tmp_path / f"{n}.mp4", 25.0, 10) for n in range(3)]
    checks = list(frame_folder.encode_folders(requests, 2))
    assert [check.reason for check in checks] == ["", "img_00002.jpg cannot be decoded", ""]


def test_a_crash_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    requests = [frame_folder.EncodeRequest(tmp_path / name, tmp_path / f"{name}.mp4", 25.0, 10) for name in "abc"]
    monkeypatch.setattr(frame_folder, "encode_folder", die_on_b)
    checks = list(frame_folder.encode_folders(requests, 2))
    assert [check.reason for check in checks] == ["read a", "the image decoder crashed, or ran out of memory", "read c"]


def die_on_b(request: frame_folder.EncodeRequest) -> frame_folder.ClipCheck:
    if request.folder.name == "b":
        os.abort()
    return frame_folder.ClipCheck(request.folder, reason=f"read {request.folder.name}")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "no image in it"),
        (["img_00001.jpg", "img_00003.jpg"], "image 2 of 3 is missing"),
        (["img_00002.jpg", "img_00003.jpg"], "image 1 of 3 is missing"),
        (["img_00001.jpg", "img_1.jpg"], "have one number"),
        (["img_00001.jpg", "flow_00002.jpg"], "different names: flow_, img_"),
    ],
)
def test_a_row_of_images_has_every_number_once(tmp_path, names, reason):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadFrames, match=reason):
        list_frames(tmp_path)


def test_images_that_are_none(tmp_path):
    for name, data, reason in [
        ("a.jpg", b"", "an empty file"),
        ("b.jpg", b"GIF89a", "neither JPEG nor PNG"),
        ("c.jpg", b"\xff\xd8 no picture \xff\xd9", "cannot be decoded"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFrames, match=reason):
            read_image(tmp_path / name)


@pytest.mark.skipif(not REAL_MOMENTS.is_dir(), reason="no real clips here")
def test_the_real_moments(tmp_path):
    work = WorkFolder(tmp_path / "work")
    result = add(work, "moments", REAL_MOMENTS)
    assert result.used == 16 and not result.refused
    assert result.actions["class_name"].value_counts().to_dict() == {"neutral": 8, "strike": 8}
    assert result.videos["group"].nunique() == 16
