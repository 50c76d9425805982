"""Each export, loaded by a tool we did not write: the same boxes on the same frames.

The tools are skipped where they are not installed. They are large, and some want older libraries than Rally, so they
have an environment of their own (CONTRIBUTING.md has the command).
"""

import contextlib
import csv
import io
import json
from pathlib import Path

import pytest
from exchange_work import ACTIONS, BOXES, HEIGHT, WIDTH, a_round

from labels.cleaning.label_export import export_round

KEPT = [row for row in BOXES if row[-1] == "keep"]
STANDING = [row for row in BOXES if row[-1] != "drop"]
BESIDE_AN_IGNORED = {(row[1], row[2]) for row in BOXES if row[-1] == "ignore"}


@pytest.fixture
def export(tmp_path):
    return lambda name: export_round(a_round(tmp_path / "work"), 0, name).folder


def same(found, expected, tolerance=0.01):
    """`found` are (video, frame, class or None, x1, y1, x2, y2); as many, and each near one of the expected rows."""
    left = [(row[1], row[2], row[7], row[3:7]) for row in expected]
    assert len(found) == len(left) > 0
    for video, frame, name, *corners in found:
        match = next(
            (
                own
                for own in left
                if own[:2] == (video, frame)
                and name in (None, own[2])
                and list(corners) == pytest.approx(list(own[3]), abs=tolerance)
            ),
            None,
        )
        assert match is not None, (video, frame, name, corners)
        left.remove(match)
    assert not left


def datumaro_boxes(path, format_name, place, **options):
    dataset = pytest.importorskip("datumaro").Dataset.import_from(str(path), format_name, **options)
    names = [item.name for item in dataset.categories()[next(iter(dataset.categories()))].items]
    found = []
    for item in dataset:
        for box in item.annotations:
            if box.type.name == "bbox" and not box.attributes.get("outside"):
                x, y, width, height = box.get_bbox()
                found.append((*place(item), names[box.label], x, y, x + width, y + height))
    return found


def by_name(item):
    video, frame = Path(str(item.id)).name.rsplit("_", 1)
    return video, int(frame)


def test_pycocotools_loads_coco(export):
    coco = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(export("coco") / "annotations/instances_default.json"))
    found = []
    for item in loaded.dataset["annotations"]:
        image, (x, y, width, height) = loaded.imgs[item["image_id"]], item["bbox"]
        name = loaded.cats[item["category_id"]]["name"]
        found.append((image["video_id"], image["frame_index"], name, x, y, x + width, y + height))
    same(found, STANDING)
    assert len(loaded.getAnnIds(iscrowd=True)) == 1


def test_datumaro_loads_coco(export):
    same(datumaro_boxes(export("coco"), "coco_instances", by_name), STANDING)


def test_datumaro_loads_yolo(export):
    shown = [row for row in KEPT if (row[1], row[2]) not in BESIDE_AN_IGNORED]
    same(datumaro_boxes(export("yolo"), "yolo", by_name), shown)


def test_datumaro_loads_voc(export):
    """Told that VOC counts from 1, as the devkit does; corners are whole pixels."""
    found = datumaro_boxes(export("voc"), "voc_detection", by_name, coordinate_mode="voc-one-based")
    same(found, STANDING, tolerance=0.51)


def test_datumaro_loads_cvat(export):
    folder, found = export("cvat"), []
    for video in ("v0", "v1"):
        boxes = datumaro_boxes(folder / f"{video}.xml", "cvat", lambda item: (int(item.attributes["frame"]),))
        found += [(video, *box) for box in boxes]
    same(found, KEPT)


def test_datumaro_loads_mot(export):
    """It takes MOT's corners as they are, though they are counted from 1."""
    folder = export("mot")
    found = []
    for video in ("v0", "v1"):
        found += datumaro_boxes(folder / video, "mot_seq", lambda item, name=video: (name, int(item.id) - 1))
    same([(*row[:3], *(corner - 1 for corner in row[3:])) for row in found], STANDING)


def test_trackers_loads_mot(export):
    mot = pytest.importorskip("trackers.io.mot")
    folder, found, counting = export("mot"), [], 0
    for video in ("v0", "v1"):
        for number, data in mot.load_mot_file(folder / video / "gt" / "gt.txt").items():
            counting += int((data.confidences != 0).sum())
            for left, top, width, height in data.boxes - [1, 1, 0, 0]:
                found.append((video, number - 1, None, left, top, left + width, top + height))
            assert len(set(data.ids)) == len(data.ids)
    same(found, STANDING)
    assert counting == len(KEPT)


def test_datumaro_loads_kinetics(export):
    dataset = pytest.importorskip("datumaro").Dataset.import_from(str(export("kinetics")), "kinetics")
    assert [(item.id, item.annotations[0].attributes) for item in dataset] == [
        ("abcdefghijk", {"time_start": 10, "time_end": 12})
    ]


def test_datumaro_loads_ava(export):
    folder = export("ava")
    (folder / "frames").mkdir()  # it wants the folder of pictures, also where there is none
    found = []
    for video, second, name, *corners in datumaro_boxes(folder, "ava", lambda item: item.id.split("/")):
        x1, y1, x2, y2 = corners
        found.append((video, int(second) * 25, name, x1 * WIDTH, y1 * HEIGHT, x2 * WIDTH, y2 * HEIGHT))
    expected = [(*row[:7], ACTIONS[1][5]) for row in BOXES if row[0] in ("p25", "p50")]
    same(found, expected)
    assert sum(1 for _ in csv.reader((folder / "annotations/ava_train_v2.2.csv").open())) == 2


def test_label_studio_finds_every_prediction_valid(export):
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    folder, regions = export("labelstudio"), {}
    for kind in ("video", "images"):
        config = interface((folder / f"config_{kind}.xml").read_text())
        for task in json.loads((folder / f"tasks_{kind}.json").read_text()):
            assert config.validate_task({"data": task["data"]})
            for prediction in task["predictions"]:
                assert not config.validate_prediction(prediction, return_errors=True)
                regions[kind] = regions.get(kind, 0) + len(prediction["result"])
    # v0: a ball's track, a person's, the ball of the last frame, two actions; v1: one ball
    assert regions == {"video": 6, "images": len(KEPT)}


def test_label_studio_shows_the_boxes_on_our_frames_and_on_no_other(export):
    video = pytest.importorskip("label_studio_sdk._extensions.label_studio_tools.postprocessing.video")
    found = []
    for task in json.loads((export("labelstudio") / "tasks_video.json").read_text()):
        shown = video.extract_key_frames(task["predictions"][0]["result"])
        for region in (region for region in shown if region["type"] == "videorectangle"):
            value = region["value"]
            for key in {key["frame"]: key for key in value["sequence"]}.values():
                x, y, width, height = (key[name] / 100 for name in ("x", "y", "width", "height"))
                corners = (x * WIDTH, y * HEIGHT, (x + width) * WIDTH, (y + height) * HEIGHT)
                found.append((task["data"]["video_id"], key["frame"] - 1, value["labels"][0], *corners))
    same(found, KEPT)


def test_label_studio_and_we_read_one_brush(tmp_path):
    import numpy as np

    from labels.records.masks import decode_brush, encode_brush

    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    rng = np.random.default_rng(0)
    for mask in (rng.random((17, 31)) < 0.4, np.ones((150, 200), bool), np.zeros((9, 5), bool)):
        theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
        assert (decode_brush(theirs, *mask.shape) == mask).all()
        seen = brush.decode_rle(encode_brush(mask)).reshape(*mask.shape, 4)[:, :, 3] > 0
        assert (seen == mask).all()


# --- FiftyOne: its own readers; the database it keeps samples in, which cannot be had everywhere, is a stand-in ---


@pytest.fixture
def fiftyone(monkeypatch):
    mongomock, pymongo = pytest.importorskip("mongomock"), pytest.importorskip("pymongo")
    for name, value in {"URI": "mongodb://localhost:1/", "VALIDATION": "false"}.items():
        monkeypatch.setenv(f"FIFTYONE_DATABASE_{name}", value)
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    monkeypatch.setattr(mongomock.MongoClient, "_closed", False, raising=False)
    monkeypatch.setattr(pymongo, "MongoClient", mongomock.MongoClient)
    return pytest.importorskip("fiftyone")


def fiftyone_boxes(importer):
    found = []
    with importer:
        for path, _, label in importer:
            video, frame = Path(path).stem.rsplit("_", 1)
            label = label.get("detections") if isinstance(label, dict) else label
            for each in label.detections if label else ():
                left, top, width, height = each.bounding_box
                box = left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT
                found.append((video, int(frame), each.label, *box))
    return found


def test_fiftyone_reads_coco(fiftyone, export):
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    folder = export("coco")
    labels = folder / "annotations" / "instances_default.json"
    same(fiftyone_boxes(COCODetectionDatasetImporter(data_path=str(folder), labels_path=str(labels))), STANDING)


def test_fiftyone_reads_yolo(fiftyone, export):
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    folder, found = export("yolo"), []
    for split in ("train", "val"):
        found += fiftyone_boxes(YOLOv5DatasetImporter(dataset_dir=str(folder), yaml_path="data.yaml", split=split))
    same(found, [row for row in KEPT if (row[1], row[2]) not in BESIDE_AN_IGNORED])


def test_fiftyone_reads_voc(fiftyone, export):
    """It takes a corner that VOC counts from 1 as if it were counted from 0: beside the rounding, a pixel off."""
    from fiftyone.utils.voc import VOCDetectionDatasetImporter

    folder = export("voc")
    pictures, labels = str(folder / "JPEGImages"), str(folder / "Annotations")
    same(fiftyone_boxes(VOCDetectionDatasetImporter(data_path=pictures, labels_path=labels)), STANDING, tolerance=1.51)


def test_fiftyone_reads_cvat(fiftyone, export):
    from fiftyone.utils import cvat

    found = []
    for path in sorted(export("cvat").glob("*.xml")):
        frames = cvat._cvat_tracks_to_frames_dict(cvat.load_cvat_video_annotations(str(path))[2])
        for number, frame in frames.items():  # counted from 1
            for each in frame["detections"].detections:
                left, top, width, height = each.bounding_box
                box = left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT
                found.append((path.stem, number - 1, each.label, *box))
    same(found, KEPT, tolerance=0.51)  # it rounds corners to whole pixels
