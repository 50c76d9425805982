"""Clips that come with labels in a foreign format: the videos become clips, the labels their truth."""

import cv2
import numpy as np
import pytest
from conftest import coded_frame, read_code
from exchange_work import a_round

import dataset_downloader
from labels.cleaning.label_export import export_round
from labels.records import tables
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import decode_frames

COCO = """{"images": [{"id": 1, "file_name": "a_000003.jpg", "width": 96, "height": 64},
 {"id": 2, "file_name": "a_000005.jpg", "width": 96, "height": 64}],
 "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}],
 "categories": [{"id": 1, "name": "ball"}]}"""
CVAT = """<annotations><meta><job><size>6</size></job></meta><track id="4" label="ball" source="manual">
<box frame="1" outside="0" occluded="0" keyframe="1" xtl="1.5" ytl="2" xbr="9" ybr="12"/>
<box frame="2" outside="1" occluded="0" keyframe="1" xtl="1.5" ytl="2" xbr="9" ybr="12"/></track></annotations>"""


def take(work, source, path):
    return dataset_downloader.main([str(work), "--from", source, "--path", str(path)])


def truth_of(work, video_id):
    truth = WorkFolder(work).read_truth(video_id)
    rows = truth[["frame_index", "class_name", *tables.BOX_COLUMNS]].itertuples(index=False, name=None)
    return [(*row[:2], *(None if np.isnan(value) else value for value in row[2:])) for row in rows]


def test_a_mot_sequence_of_pictures_becomes_a_clip_with_truth(tmp_path, capsys):
    sequence = tmp_path / "mot" / "train" / "SEQ-1"
    (sequence / "img1").mkdir(parents=True)
    (sequence / "gt").mkdir()
    for frame in range(6):
        cv2.imwrite(str(sequence / "img1" / f"{frame + 1:06d}.jpg"), coded_frame(frame)[:, :, ::-1])
    (sequence / "seqinfo.ini").write_text(
        "[Sequence]\nname=SEQ-1\nimDir=img1\nframeRate=12\nseqLength=6\nimWidth=96\nimHeight=64\nimExt=.jpg\n"
    )
    # class 2 is not in labels.txt's first line; the row whose conf is 0 is to be ignored
    (sequence / "gt" / "labels.txt").write_text("player\nball\n")
    rows = ["1,1,11,21,30,20,1,1,1", "2,1,12,21,30,20,1,1,1", "2,5,1,1,9,9,1,2,1", "4,1,1,1,9,9,0,1,1"]
    (sequence / "gt" / "gt.txt").write_text("\n".join(rows))
    work = tmp_path / "work"
    for _ in range(2):  # again changes nothing
        assert take(work, "mot", tmp_path / "mot") == 0
        video = WorkFolder(work).usable_videos().iloc[0]
        assert (video["video_id"], video["fps"], video["frame_count"]) == ("SEQ-1", 12.0, 6)
    frames = [read_code(frame.rgb) for frame in decode_frames(WorkFolder(work).videos / video["file"])]
    assert frames == list(range(6))
    assert truth_of(work, "SEQ-1") == [
        (0, "ball", None, None, None, None), (0, "player", 10, 20, 40, 40),
        (1, "ball", 0, 0, 9, 9), (1, "player", 11, 20, 41, 40),
        (2, "ball", None, None, None, None), (2, "player", None, None, None, None),
        (4, "ball", None, None, None, None), (4, "player", None, None, None, None),
        (5, "ball", None, None, None, None), (5, "player", None, None, None, None),
    ]  # fmt: skip
    assert WorkFolder(work).read_truth("SEQ-1")["track_id"].max() == 5
    assert not WorkFolder(work).truth_actions("SEQ-1").exists()
    assert "truth: 3 boxes of 1 clips" in capsys.readouterr().out


def test_cvat_beside_a_video_is_its_truth(tmp_path, make_video):
    make_video("in/game.mp4", 6)
    (tmp_path / "in" / "game.xml").write_text(CVAT)
    assert take(tmp_path / "work", "cvat", tmp_path / "in") == 0
    nowhere = (None,) * 4
    assert truth_of(tmp_path / "work", "game") == [
        (0, "ball", *nowhere), (1, "ball", 1.5, 2, 9, 12), *((frame, "ball", *nowhere) for frame in (2, 3, 4, 5)),
    ]  # fmt: skip


def test_coco_names_the_frames_that_count(tmp_path, make_video, capsys):
    make_video("in/a.mp4", 8)
    make_video("in/b.mp4", 9)
    (tmp_path / "in" / "labels.json").write_text(COCO)
    assert take(tmp_path / "work", "coco", tmp_path / "in") == 0
    assert truth_of(tmp_path / "work", "a") == [(3, "ball", 10, 20, 40, 60), (5, "ball", None, None, None, None)]
    assert WorkFolder(tmp_path / "work").read_truth("b") is None
    assert "no labels: 1 clips, such as b" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["yolo", "voc", "labelstudio", "ava"])
def test_what_one_work_folder_exports_is_the_truth_of_another(tmp_path, make_video, source):
    """A label of `a_round` on `v1`, 12.5 frames a second, taken in again beside the video."""
    folder = export_round(a_round(tmp_path / "first"), 0, source).folder
    make_video("in/v1.mp4", 40, fps=12.5, width=200, height=100)
    make_video("in/v0.mp4", 100, fps=25.0, width=200, height=100)
    folder.rename(tmp_path / "in" / "labels")
    tasks = tmp_path / "in" / "labels" / "tasks_video.json"
    if tasks.exists():
        tasks.write_text(tasks.read_text().replace('"predictions"', '"annotations"'))
        (tmp_path / "in" / "labels" / "tasks_images.json").unlink()
    assert take(tmp_path / "work", source, tmp_path / "in") == 0
    if source in ("labelstudio", "ava"):
        actions = read_parquet(WorkFolder(tmp_path / "work").truth_actions("v0"))
        found = actions[["track_id", "start_frame", "end_frame", "class_name", "origin"]].to_numpy().tolist()
        hit = [7, *((20, 60) if source == "labelstudio" else (12, 62)), "hit (a ball)", "human"]  # AVA: seconds 1 and 2
        assert found == ([[-1, 0, 50, "tennis", "human"]] if source == "labelstudio" else []) + [hit]
    if source == "ava":
        people = WorkFolder(tmp_path / "work").read_truth("v0")
        assert people[["frame_index", "class_name"]].to_numpy().tolist() == [[25, "person"], [50, "person"]]
        return
    truth = WorkFolder(tmp_path / "work").read_truth("v1")
    ball = truth[~tables.is_empty_frame(truth)].iloc[0]
    expected = [5, 6, 8, 9] if source == "voc" else [5, 6, 7.5, 9.25]
    assert ball["frame_index"] == 3
    assert [ball[name] for name in tables.BOX_COLUMNS] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("source", "files", "message"),
    [
        ("cvat", {}, "no such folder"),
        ("cvat", {"a.txt": "x"}, "no labels of the format cvat"),
        ("coco", {"a.json": COCO}, "labels of pictures alone are not clips"),
        ("mot", {"S/seqinfo.ini": "[Sequence]\nframeRate=fast\n", "S/img1/1.jpg": "x"}, "frameRate 'fast'"),
        ("coco", {"a.json": COCO, "b.json": COCO, "a.mp4": None}, "which another file labels too"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_line(tmp_path, make_video, capsys, source, files, message):
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            make_video(tmp_path / "in" / name, 8)
        else:
            (tmp_path / "in" / name).write_text(content)
    assert take(tmp_path / "work", source, tmp_path / "in") == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error
