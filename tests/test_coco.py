"""COCO, each way, and what pycocotools makes of it."""

import contextlib
import io
import json

import numpy as np
import pytest

from labels.exchange.formats.coco import IMAGES, read_coco, write_coco
from labels.records import tables
from labels.records.errors import InputError


def a_dataset(count: int = 40):
    rng = np.random.default_rng(0)
    frames = np.arange(count) // 2
    low = rng.uniform(0, 300, (count, 2))
    xyxy = np.concatenate([low, low + rng.uniform(8, 60, (count, 2))], axis=1)
    names = np.array(["sports ball", "person"] * (count // 2), dtype=object)
    boxes = tables.make_boxes("a", 0, frames, frames / 25, xyxy, names, rng.uniform(0.1, 1, count))
    ignored = np.arange(count) % 10 == 9
    boxes = boxes.assign(
        quality=np.float32(0.75),
        decision=np.where(ignored, "ignore", "keep"),
        reason=np.where(ignored, "in the file: ignore", ""),
    )
    images = tables.make_table(
        IMAGES,
        {
            "file_name": [f"images/a_{frame:06d}.jpg" for frame in range(count // 2 + 1)],  # the last has no box
            "width": 640,
            "height": 480,
            "video_id": "a",
            "frame_index": np.arange(count // 2 + 1),
            "time_s": np.arange(count // 2 + 1) / 25,
            "split": "test",
            "group": "g",
        },
    )
    return images, boxes


def test_what_is_written_is_read_again(tmp_path):
    images, boxes = a_dataset()
    write_coco(tmp_path / "annotations.json", images, boxes, ("sports ball", "person", "racket"))
    again = read_coco(tmp_path / "annotations.json")
    assert again.class_names == ("person", "racket", "sports ball")
    assert again.images.equals(images)
    expected = boxes.sort_values("label_uid", ignore_index=True)
    found = again.boxes.sort_values("label_uid", ignore_index=True)
    assert found[tables.BOX_COLUMNS].to_numpy() == pytest.approx(expected[tables.BOX_COLUMNS].to_numpy(), abs=2e-4)
    for column in (
        "label_uid",
        "video_id",
        "frame_index",
        "class_name",
        "origin",
        "round_born",
        "decision",
        "track_id",
    ):
        assert found[column].tolist() == expected[column].tolist()


def test_the_numbers_a_reader_sees(tmp_path):
    images, boxes = a_dataset()
    write_coco(tmp_path / "annotations.json", images, boxes, ("sports ball", "person"))
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [item["id"] for item in content["annotations"]] == list(range(1, 41))
    assert [item["id"] for item in content["images"]] == list(range(1, 22))
    assert content["categories"][0] == {"id": 1, "name": "person", "supercategory": ""}
    first = content["annotations"][0]
    row = boxes[boxes["label_uid"] == first["attributes"]["label_uid"]].iloc[0]
    assert first["bbox"] == pytest.approx([row.x1, row.y1, row.x2 - row.x1, row.y2 - row.y1], abs=1e-3)
    assert first["area"] == pytest.approx(first["bbox"][2] * first["bbox"][3], abs=0.01)
    assert {item["iscrowd"] for item in content["annotations"]} == {0, 1}
    assert first["score"] == pytest.approx(row.score, abs=1e-5)


def test_any_order_gives_the_same_bytes(tmp_path):
    images, boxes = a_dataset()
    write_coco(tmp_path / "one.json", images, boxes, ("sports ball", "person"))
    write_coco(
        tmp_path / "two.json", images.iloc[::-1], boxes.sample(frac=1, random_state=1), ("person", "sports ball")
    )
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_box_in_no_image_is_refused(tmp_path):
    images, boxes = a_dataset()
    with pytest.raises(ValueError, match="2 boxes lie in no image"):
        write_coco(tmp_path / "one.json", images.iloc[1:], boxes, ("sports ball", "person"))
    assert not (tmp_path / "one.json").exists()


def test_pycocotools_gives_full_marks_against_itself(tmp_path):
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    images, boxes = a_dataset()
    write_coco(tmp_path / "annotations.json", images, boxes, ("sports ball", "person"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(tmp_path / "annotations.json"))
        names = ("image_id", "category_id", "bbox", "score")
        kept = [item for item in truth.dataset["annotations"] if not item["iscrowd"]]
        results = truth.loadRes([{name: item[name] for name in names} for item in kept])
        judged = evaluation.COCOeval(truth, results, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert judged.stats[0] == pytest.approx(1.0)


def test_empty_goes_there_and_back(tmp_path):
    images, boxes = a_dataset()
    write_coco(tmp_path / "annotations.json", images.iloc[:0], boxes.iloc[:0], ())
    again = read_coco(tmp_path / "annotations.json")
    assert (len(again.images), len(again.boxes), again.class_names) == (0, 0, ())


def test_a_foreign_file_without_attributes_holds_a_humans_boxes(tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "x/frame.png", "width": 100, "height": 80}],
                "annotations": [{"id": 3, "image_id": 7, "category_id": 5, "bbox": [10, 20, 30, 40]}],
                "categories": [{"id": 5, "name": "sports ball"}],
            }
        )
    )
    box = read_coco(path).boxes.iloc[0]
    assert (box.video_id, box.origin, box.decision, box.x2, box.y2) == ("frame", "human", "keep", 40, 60)


IMAGE = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
CATEGORY = {"id": 1, "name": "ball"}


@pytest.mark.parametrize(
    ("images", "boxes", "categories", "message"),
    [
        ([IMAGE], [BOX | {"bbox": [60, 60, 95, 75]}], [CATEGORY], "two corners"),
        ([IMAGE], [BOX | {"bbox": [1, 2, 0, 4]}], [CATEGORY], "no area"),
        ([IMAGE], [BOX | {"bbox": [1, 2, 3]}], [CATEGORY], "four finite numbers"),
        ([IMAGE], [BOX | {"bbox": [1, 2, 3, float("nan")]}], [CATEGORY], "four finite numbers"),
        ([IMAGE], [BOX | {"image_id": 9}], [CATEGORY], "image_id 9"),
        ([IMAGE], [BOX | {"category_id": 9}], [CATEGORY], "category_id 9"),
        ([IMAGE], [BOX, BOX], [CATEGORY], "id 1 twice"),
        ([IMAGE], [BOX | {"score": 7}], [CATEGORY], "not within 0 and 1"),
        ([IMAGE], [BOX | {"attributes": {"track_id": "x"}}], [CATEGORY], "must be a number"),
        ([IMAGE | {"file_name": "../../etc/passwd"}], [], [CATEGORY], "leads out"),
        ([IMAGE | {"width": 0}], [], [CATEGORY], "width and a height"),
        ([IMAGE, IMAGE | {"id": 2}], [], [CATEGORY], "same frame"),
        ([IMAGE], [], [CATEGORY, {"id": 2, "name": "ball"}], "name of its own"),
        ("none", [], [CATEGORY], "not a list"),
    ],
)
def test_an_unsound_file_is_refused_in_one_line(tmp_path, images, boxes, categories, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    with pytest.raises(InputError, match=message) as caught:
        read_coco(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"images": []}'])
def test_what_is_no_coco_file_is_refused(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(InputError):
        read_coco(tmp_path / "bad.json")
