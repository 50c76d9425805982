"""The foreign formats: the very numbers in their files, worked out by hand, there and back, and what is unsound."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from exchange_work import BOXES, a_round

from labels.cleaning.label_export import export_round
from labels.exchange.known_formats import EXPORTS, FORMATS, recognise
from labels.exchange.known_videos import KnownVideos
from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import decode_brush, decode_mask, encode_brush, encode_mask

KEPT = {row[0] for row in BOXES if row[-1] == "keep"}


@pytest.fixture
def work(tmp_path):
    return a_round(tmp_path / "work")


def exported(work, name):
    return export_round(work, 0, name)


def read(work, name, path):
    return FORMATS[name].read(path, KnownVideos(work.usable_videos()))


def test_coco_says_ignore_as_crowd_and_carries_the_uid(work):
    content = json.loads((exported(work, "coco").folder / "annotations/instances_default.json").read_text())
    by_uid = {item["attributes"]["label_uid"]: item for item in content["annotations"]}
    assert set(by_uid) == KEPT | {"i8"}
    assert by_uid["a0"]["bbox"] == [10.25, 20.5, 20.5, 19.5]
    assert (by_uid["i8"]["iscrowd"], by_uid["a0"]["iscrowd"]) == (1, 0)


def test_yolo_is_in_shares_of_the_picture_and_leaves_out_what_it_would_take_for_background(work):
    done = exported(work, "yolo")
    lines = (done.folder / "labels/train/v0_000001.txt").read_text().splitlines()
    # a1: centre (22.5, 30.25), size 20.5 x 19.5, of 200 x 100; person is class 0
    assert lines == ["1 0.11250000 0.30250000 0.10250000 0.19500000", "0 0.55000000 0.70000000 0.10000000 0.40000000"]
    assert (done.folder / "labels/train/v0_000060.txt").read_text() == ""
    assert not (done.folder / "labels/train/v0_000008.txt").exists()  # it holds an ignored ball
    assert (done.folder / "labels/val/v1_000003.txt").is_file()
    assert (done.folder / "images/val/v1_000003.jpg").is_file()
    assert 'names:\n  0: "person"\n  1: "sports ball"\n' in (done.folder / "data.yaml").read_text()
    assert done.left_out["boxes that it cannot hold"] == 1


def test_voc_counts_pixels_from_one_both_corners_inside(work):
    folder = exported(work, "voc").folder
    root = ElementTree.parse(folder / "Annotations/v0_000099.xml").getroot()
    # the whole picture, 200 x 100
    assert [root.findtext(f"object/bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")] == [
        "1",
        "1",
        "200",
        "100",
    ]
    ignored = ElementTree.parse(folder / "Annotations/v0_000008.xml").getroot()
    assert [item.text for item in ignored.iter("difficult")] == ["1"]
    assert (folder / "ImageSets/Main/val.txt").read_text() == "v1_000003\n"


def test_mot_counts_everything_from_one(work):
    folder = exported(work, "mot").folder
    assert (folder / "v1/gt/gt.txt").read_text() == "4,1,6.0000,7.0000,2.5000,3.2500,1,2,1\n"
    rows = [line.split(",") for line in (folder / "v0/gt/gt.txt").read_text().splitlines()]
    assert [row[0] for row in rows if row[6] == "0"] == ["9"]  # the ignored one does not count
    assert len({(row[0], row[1]) for row in rows}) == len(rows)  # an id once a frame
    ball = [row[1] for row in rows if row[0] in ("1", "2", "3", "6") and row[7] == "2"]
    assert len(ball) == 4 and len(set(ball)) == 1
    info = (folder / "v0/seqinfo.ini").read_text()
    assert "frameRate=25\nseqLength=100\nimWidth=200\nimHeight=100\n" in info


def test_cvat_closes_every_gap(work):
    folder = exported(work, "cvat").folder
    root = ElementTree.parse(folder / "v0.xml").getroot()
    track = next(item for item in root.iter("track") if item.find("box/attribute").text == "a0")
    told = [(box.get("frame"), box.get("outside"), box.find("attribute").text or "") for box in track]
    assert told == [
        ("0", "0", "a0"), ("1", "0", "a1"), ("2", "0", "a2"), ("3", "1", ""), ("5", "0", "a5"), ("6", "1", ""),
    ]  # fmt: skip
    assert {box.get("keyframe") for box in root.iter("box")} == {"1"}
    last = next(item for item in root.iter("track") if item.find("box/attribute").text == "c9")
    assert len(last) == 1  # the video ends there; nothing is to be closed
    assert [last[0].get(name) for name in ("xtl", "ytl", "xbr", "ybr")] == ["0.0000", "0.0000", "200.0000", "100.0000"]


def test_label_studio_is_in_percent_from_frame_one_and_ends_before_gaps(work):
    folder = exported(work, "labelstudio").folder
    task = next(t for t in json.loads((folder / "tasks_video.json").read_text()) if t["data"]["video_id"] == "v0")
    regions = {region["id"]: region for region in task["predictions"][0]["result"]}
    sequence = regions["a0"]["value"]["sequence"]
    assert [(key["frame"], key["enabled"]) for key in sequence] == [(1, True), (2, True), (3, False), (6, False)]
    assert [sequence[0][side] for side in ("x", "y", "width", "height")] == [5.125, 20.5, 10.25, 19.5]
    assert sequence[0]["time"] == 0.04
    assert (regions["a0"]["value"]["framesCount"], regions["a0"]["value"]["duration"]) == (100, 4.0)
    assert regions["act0"]["value"] == {"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["tennis"]}
    assert 'frameRate="$fps"' in (folder / "config_video.xml").read_text()
    assert task["data"]["fps"] == 25.0


def test_kinetics_adds_the_clips_own_start(work):
    text = (exported(work, "kinetics").folder / "kinetics.csv").read_text()
    assert text == "label,youtube_id,time_start,time_end,split\ntennis,abcdefghijk,10,12,train\n"


def test_ava_says_a_second_at_a_time_in_shares(work):
    folder = exported(work, "ava").folder / "annotations"
    lines = (folder / "ava_train_v2.2.csv").read_text().splitlines()
    assert lines == [
        "v0,0001,0.500000,0.500000,0.600000,0.900000,1,7",
        "v0,0002,0.500000,0.500000,0.600000,0.900000,1,7",
    ]
    assert 'name: "hit (a ball)"' in (folder / "ava_action_list_v2.2.pbtxt").read_text()


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "mot", "cvat"])
def test_what_is_written_is_read_again(work, name):
    found = read(work, name, exported(work, name).folder).boxes
    held = {
        row[0]: row for row in BOXES if row[-1] == "keep" or (row[-1] == "ignore" and name in ("coco", "voc", "mot"))
    }
    assert len(found) == len(held)
    places = {(row[1], row[2], row[7]): row for row in held.values()}
    for row in found.to_dict("records"):
        own = (
            held[row["label_uid"]]
            if FORMATS[name].holds_uids
            else places[row["video_id"], row["frame_index"], row["class_name"]]
        )
        assert (row["video_id"], row["frame_index"], row["class_name"]) == (own[1], own[2], own[7])
        assert [row[side] for side in tables.BOX_COLUMNS] == pytest.approx(
            own[3:7], abs=0.51 if name == "voc" else 1e-3
        )
        assert row["is_ignored"] == (own[-1] == "ignore")


def test_the_same_labels_give_the_same_files(work):
    def files(name):
        folder = exported(work, name).folder
        return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    assert all(files(name) == files(name) for name in EXPORTS)


def test_an_export_that_fails_leaves_the_one_before(work, monkeypatch):
    before = exported(work, "cvat").folder / "v0.xml"
    text = before.read_text()
    monkeypatch.setattr(
        "labels.exchange.formats.cvat.write_text", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError):
        exported(work, "cvat")
    assert before.read_text() == text
    assert {path.name for path in before.parent.parent.iterdir()} == {"cvat", "history"}


def test_formats_are_recognised_by_what_is_in_them(work):
    for name in ("coco", "yolo", "voc", "mot", "cvat"):
        assert recognise(exported(work, name).folder) == name
    assert recognise(exported(work, "labelstudio").folder / "tasks_video.json") == "labelstudio"
    assert recognise(exported(work, "kinetics").folder / "kinetics.csv") == "kinetics"
    assert recognise(exported(work, "ava").folder / "annotations/ava_train_v2.2.csv") == "ava"
    with pytest.raises(InputError, match="no such file"):
        recognise(work.root / "nothing")


def masks():
    rng = np.random.default_rng(0)
    yield np.zeros((4, 6), dtype=bool)
    yield np.ones((4, 6), dtype=bool)
    yield rng.random((37, 53)) < 0.5
    blob = np.zeros((120, 200), dtype=bool)
    blob[30:90, 40:180] = True
    yield blob


@pytest.mark.parametrize("mask", list(masks()), ids=lambda mask: str(mask.shape))
def test_masks_go_there_and_back(mask):
    assert (decode_mask(encode_mask(mask), *mask.shape) == mask).all()
    assert (decode_brush(encode_brush(mask), *mask.shape) == mask).all()


def test_the_counts_are_those_of_pycocotools():
    pycocotools = pytest.importorskip("pycocotools.mask")
    for mask in masks():
        theirs = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert encode_mask(mask) == theirs


def test_a_brush_by_hand():
    # 8 values of 8 bits, sizes 3, 4, 8, 16; one run of 4 x 0, one of 4 x 255: a picture of two pixels
    bits = (
        f"{8:032b}" + "00111" + "0010001101111111" + "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111"
    )
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert encode_brush(np.array([[False, True]])) == rle
    assert decode_brush(rle, 1, 2).tolist() == [[False, True]]


@pytest.mark.parametrize("rle", [[], [0, 0, 0, 8], [255] * 40, ["x"], [0, 0, 0, 8, 57, 27, 255, 255, 255]])
def test_a_broken_brush_is_refused(rle):
    with pytest.raises(ValueError, match="brush"):
        decode_brush(rle, 1, 2)


@pytest.mark.parametrize("counts", ["", "x" * 40, "04", "é", "P"])
def test_broken_counts_are_refused(counts):
    with pytest.raises(ValueError, match="mask"):
        decode_mask(counts, 3, 3)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]><annotations>&c;</annotations>'
)
CVAT = "<annotations><meta><task><source>v0.mp4</source></task></meta>{}</annotations>"
BOX = '<track id="0" label="ball"><box frame="{}" xtl="{}" ytl="2" xbr="9" ybr="9" outside="0"/></track>'
VOC = (
    "<annotation><filename>v0_000001.jpg</filename><object><name>ball</name><bndbox><xmin>{}</xmin><ymin>1</ymin>"
    "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
GOOD_OBJECT = VOC.format(1)[VOC.index("<object>") : VOC.index("</annotation>") - 1]
VIDEO_TASK = {"data": {"video": "v0.mp4"}}


def ls_task(**value):
    shape = {"sequence": [{"frame": 1, "x": 1, "y": 1, "width": 5, "height": 5, "enabled": False}], "labels": ["ball"]}
    return json.dumps(
        [VIDEO_TASK | {"annotations": [{"result": [{"type": "videorectangle", "value": shape | value}]}]}]
    )


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("cvat", "a.xml", BOMB, "DOCTYPE"),
        ("voc", "a.xml", BOMB, "DOCTYPE"),
        ("cvat", "a.xml", "<annotations>", "not XML"),
        ("cvat", "a.xml", "<html></html>", "its root is <html>"),
        ("labelstudio", "a.json", "{}", "not a list of tasks"),
        ("kinetics", "a.csv", "label,youtube_id\n", "lacks the columns time_end, time_start"),
        ("ava", "a.csv", "v0,1,0,0,1,1,1,1\n", "no action list"),
    ],
)
def test_what_is_unsound_is_refused_in_one_line(work, tmp_path, name, file, content, message):
    path = tmp_path / "foreign" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(work, name, path)
    assert "\n" not in str(caught.value)


GOOD_LINE = "1,1,2,3,4,5,1,1,1"
CSV = "video_id,frame_index,x1,y1,x2,y2\nv0,1,1,1,4,9\n{}\n"
TWO_TRACKS = CVAT.format(BOX.format(2, 1) + "{}")
TWO_KEYS = [{"frame": 1, "x": 1, "y": 1, "width": 5, "height": 5, "enabled": False}]
MOVES = "label,youtube_id,time_start,time_end\na,v1,1,2\n{}\n"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format(100, 1)), "not one of the 100"),
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format("x", 1)), "frame is no number"),
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format(2**70, 1)), "no whole number from 0"),
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format(1, "nan")), "xtl is no number"),
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format(1, 9)), "no size"),
        ("cvat", "a.xml", TWO_TRACKS.format(BOX.format(1, -900)), "outside their frame"),
        ("cvat", "a.xml", TWO_TRACKS.format('<track label="a"><skeleton frame="0"/></track>'), "of the kind skeleton"),
        ("voc", "a.xml", VOC.format("x").replace("<object>", GOOD_OBJECT + "<object>"), "xmin is no number"),
        ("voc", "a.xml", VOC.format(12).replace("<object>", GOOD_OBJECT + "<object>"), "no size"),
        ("mot", "v0/gt/gt.txt", GOOD_LINE + "\n1,1,2,3,4", "not frame,id"),
        ("mot", "v0/gt/gt.txt", GOOD_LINE + "\n1,1,2,3,4,x", "value is no number"),
        ("mot", "v0/gt/gt.txt", GOOD_LINE + "\n1,1,2,3,4,5,1,99,1", "a class above 12"),
        ("mot", "v0/gt/gt.txt", GOOD_LINE + "\n101,1,2,3,4,5,1,1,1", "past the 100"),
        ("labelstudio", "a.json", ls_task(framesCount=100, sequence=[*TWO_KEYS, {"frame": 0}]), "whole number from 1"),
        (
            "labelstudio",
            "a.json",
            ls_task(framesCount=100, sequence=[*TWO_KEYS, {"frame": 2, "x": "a"}]),
            "x is no number",
        ),
        ("kinetics", "a.csv", MOVES.format("b,v1,x,2"), "time is no number"),
        ("kinetics", "a.csv", MOVES.format("b,v1,90,92"), "nothing lies in their clip"),
        ("kinetics", "a.csv", MOVES.format(",v1,1,2"), "without a label"),
        ("csv", "a.csv", CSV.format("v0,1,5,5,4,9"), "line 3"),
        ("csv", "a.csv", CSV.format("v0,1,5,5,inf,9"), "x2 is no number"),
        ("csv", "a.csv", CSV.format("v0,1,5,5," + "9" * 400 + ",9"), "x2 is no number"),
    ],
)
def test_an_odd_entry_is_left_out_counted_and_named(work, tmp_path, name, file, content, message):
    path = tmp_path / "foreign" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    found = read(work, name, path)
    assert len(found.boxes) + len(found.actions) == 1
    assert sum(found.left_out.counts.values()) == 1
    line = found.left_out.lines()[0]
    assert line.startswith("left out: 1 ")
    assert message in line


def test_cvat_fills_between_key_frames_and_not_after_outside(work, tmp_path):
    boxes = [(0, 0, 10), (4, 0, 18), (6, 1, 18), (8, 0, 30)]
    shapes = "".join(
        f'<box frame="{frame}" xtl="{x}" ytl="0" xbr="{x + 10}" ybr="10" outside="{outside}"/>'
        for frame, outside, x in boxes
    )
    (tmp_path / "v0.xml").write_text(CVAT.format(f'<track id="0" label="ball">{shapes}</track>'))
    found = read(work, "cvat", tmp_path / "v0.xml").boxes
    assert dict(zip(found["frame_index"], found["x1"], strict=True)) == {0: 10, 1: 12, 2: 14, 3: 16, 4: 18, 8: 30}


def test_label_studio_goes_on_to_the_next_key_frame_and_to_the_end(work, tmp_path):
    keys = [{"frame": 1, "x": 0, "enabled": True}, {"frame": 3, "x": 4, "enabled": False}, {"frame": 99, "x": 50}]
    sequence = [key | {"y": 10, "width": 5, "height": 10} for key in keys]
    (tmp_path / "a.json").write_text(ls_task(sequence=sequence, framesCount=100))
    found = read(work, "labelstudio", tmp_path / "a.json").boxes
    assert dict(zip(found["frame_index"], found["x1"], strict=True)) == {0: 0, 1: 4, 2: 8, 98: 100, 99: 100}
