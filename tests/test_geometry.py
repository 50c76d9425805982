"""Box geometry against answers worked by hand."""

import numpy as np
import pytest

from labels.records import geometry

UNIT = [0, 0, 10, 10]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (UNIT, UNIT, 1.0),
        (UNIT, [10, 0, 20, 10], 0.0),  # touching: half-open boxes share no pixel
        (UNIT, [5, 0, 15, 10], 50 / 150),
        (UNIT, [2, 2, 4, 4], 4 / 100),  # inside
        (UNIT, [3, 3, 3, 3], 0.0),  # degenerate
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),  # two empty boxes: no division by zero
        (UNIT, [20, 20, 10, 10], 0.0),  # inverted
    ],
)
def test_iou(first, second, expected):
    found = geometry.iou_matrix(geometry.as_xyxy([first]), geometry.as_xyxy([second]))
    assert found == pytest.approx(np.array([[expected]]))


def test_iou_matrix_of_many_equals_one_by_one():
    random = np.random.default_rng(3)
    low = random.uniform(0, 50, (7, 2))
    boxes = np.concatenate([low, low + random.uniform(1, 30, (7, 2))], axis=1).astype(np.float32)
    whole = geometry.iou_matrix(boxes[:4], boxes[4:])
    assert whole.shape == (4, 3)
    for row in range(4):
        for column in range(3):
            alone = geometry.iou_matrix(boxes[row : row + 1], boxes[4 + column : 5 + column])
            assert whole[row, column] == alone[0, 0]


def test_no_boxes():
    none = geometry.as_xyxy([])
    assert none.shape == (0, 4) and none.dtype == np.float32
    assert geometry.iou_matrix(none, geometry.as_xyxy([UNIT])).shape == (0, 1)
    assert geometry.area_of(none).shape == (0,)


@pytest.mark.parametrize("wrong", [[1, 2, 3, 4], [[1, 2, 3]], [[[1, 2, 3, 4]]]])
def test_boxes_of_the_wrong_shape_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        geometry.as_xyxy(wrong)


def test_xywh():
    xyxy = geometry.as_xyxy([[1, 2, 4, 8], [0.5, 0.25, 10, 11]])
    assert geometry.xyxy_to_xywh(xyxy)[0].tolist() == [1, 2, 3, 6]
    assert geometry.xyxy_to_xywh(xyxy)[1].tolist() == [0.5, 0.25, 9.5, 10.75]


def test_clip_boxes():
    clipped = geometry.clip_boxes(geometry.as_xyxy([[-5, -1, 30, 40]]), width=20, height=10)
    assert clipped.tolist() == [[0, 0, 20, 10]]


def test_contains_matrix_counts_the_border():
    points = np.array([[0, 0], [10, 10], [10.1, 5]])
    assert geometry.contains_matrix(geometry.as_xyxy([UNIT]), points).tolist() == [[True, True, False]]
