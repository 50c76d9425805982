"""The checks of the label tables, and the names labels get."""

import numpy as np
import pandas as pd
import pytest

from labels.records import tables
from labels.records.safe_writing import read_parquet, read_parquet_and_metadata, write_parquet


def boxes_of(xyxy, frames=None, score=0.5):
    xyxy = np.asarray(xyxy, dtype=np.float32)
    frames = np.arange(len(xyxy)) if frames is None else np.asarray(frames)
    return tables.make_boxes(
        "clip", 0, frames, frames / 25, xyxy, np.full(len(xyxy), "sports ball", dtype=object), np.full(len(xyxy), score)
    )


def test_a_sound_table_passes_and_survives_the_disk(tmp_path):
    boxes = boxes_of([[0, 0, 5, 5], [1, 1, 4, 4]])
    tables.check_boxes(boxes, "here")
    write_parquet(tmp_path / "boxes.parquet", boxes, {"stride": 2})
    back, metadata = read_parquet_and_metadata(tmp_path / "boxes.parquet")
    assert metadata == {"stride": 2}
    tables.check_boxes(back, "there")
    pd.testing.assert_frame_equal(back, boxes, check_dtype=False)


def test_an_empty_table_survives_the_disk(tmp_path):
    write_parquet(tmp_path / "none.parquet", tables.empty_table(tables.BOXES))
    tables.check_boxes(read_parquet(tmp_path / "none.parquet"), "none")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x2", np.float32(0), "empty"),
        ("y1", np.float32("nan"), "not finite"),
        ("score", np.float32(1.5), "score"),
        ("frame_index", -1, "negative"),
        ("origin", "guessed", "origin must be one of"),
    ],
)
def test_an_unsound_row_is_named(column, value, message):
    boxes = boxes_of([[0, 0, 5, 5], [1, 1, 4, 4]])
    boxes.loc[1, column] = value
    with pytest.raises(ValueError, match=message):
        tables.check_boxes(boxes, "here")


def test_a_missing_column_and_a_wrong_type_are_named():
    boxes = boxes_of([[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="columns missing: track_id"):
        tables.check_boxes(boxes.drop(columns="track_id"), "here")
    with pytest.raises(ValueError, match="frame_index must be int64"):
        tables.check_boxes(boxes.astype({"frame_index": "float64"}), "here")


def test_a_dropped_box_needs_a_reason():
    boxes = boxes_of([[0, 0, 5, 5]]).assign(quality=np.float32(0.1), decision="drop", reason="")
    with pytest.raises(ValueError, match="no reason"):
        tables.check_boxes(boxes, "here", decided=True)
    tables.check_boxes(boxes.assign(reason="aspect: 4 > 2"), "here", decided=True)


def test_label_uids_are_stable_and_distinct():
    first, again = boxes_of([[0, 0, 5, 5], [0, 0, 5, 6]]), boxes_of([[0, 0, 5, 5], [0, 0, 5, 6]])
    assert first["label_uid"].tolist() == again["label_uid"].tolist()
    assert first["label_uid"].nunique() == 2
    twice = pd.concat([first, again], ignore_index=True)
    with pytest.raises(ValueError, match="twice"):
        tables.check_boxes(twice, "here")


def test_no_boxes_make_an_empty_table():
    none = boxes_of(np.zeros((0, 4)))
    assert len(none) == 0
    tables.check_boxes(none, "none")
