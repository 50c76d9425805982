"""Every ONNX layout that is read, made with a known box: found in both libraries, to half a pixel.

The frame is 192x108, the ball at (93.6, 51.6)-(98.4, 56.4). An input of 640x640 sees it 640 / 192 times as large in its
top left corner, where it is 16x16 around (320, 180), or stretched, where it is 16 x 28.4 around (320, 320).
"""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labels.models.detectors.loading import load_detector
from labels.models.detectors.onnx_layouts import LAYOUTS
from labels.models.settings import DetectorOptions
from labels.records.class_lists import read_class_list
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

FRAME, BOX = (108, 192), [93.6, 51.6, 98.4, 56.4]
SIDE, CELLS = 640, 8400
NAMES = "{0: 'person', 1: 'ball', 2: 'racket'}"
BALL, CLASSES = 1, 3
CENTRE, SHARES = (320, 180, 16, 16), (0.5, 0.5, 16 / 640, 16 * 16 / 9 / 640)
COCO = read_class_list("coco")
SPORTS_BALL = COCO.index("sports ball")


def write_model(path, outputs, shape=(1, 3, SIDE, SIDE), kind=TensorProto.FLOAT, metadata=None, sizes=False):
    """A model that gives constants plus 0 times the mean of its input; RT-DETR's boxes times the given frame size."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants, values = {"zero": np.float32(0)}, []
    inputs = [helper.make_tensor_value_info("images", kind, list(shape))]
    if sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [shape[0], 2]))
        nodes += [
            helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["size", "size"], ["corners"], axis=1),
        ]
    for name, array in outputs.items():
        constants[f"{name}_is"] = np.asarray(array, dtype=np.float32)
        last = f"{name}_float" if kind == TensorProto.FLOAT16 else name
        scaled = sizes and name == "boxes"
        nodes.append(helper.make_node("Add", [f"{name}_is", "nothing"], [f"{name}_share" if scaled else last]))
        if scaled:
            nodes.append(helper.make_node("Mul", [f"{name}_share", "corners"], [last]))
        if kind == TensorProto.FLOAT16:
            nodes.append(helper.make_node("Cast", [last], [name], to=kind))
        out_kind = kind if kind == TensorProto.FLOAT16 else TensorProto.FLOAT
        values.append(helper.make_tensor_value_info(name, out_kind, list(np.shape(array))))
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "made", inputs, values, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def columns(classes=CLASSES, ball=BALL, box=CENTRE, more=0, count=CELLS):
    """(1, 4 + C + more, N): one box."""
    found = np.zeros((1, 4 + classes + more, count), dtype=np.float32)
    found[0, :4, 100], found[0, 4 + ball, 100] = box, 0.9
    return found


def rows(count, classes=CLASSES, ball=BALL, box=CENTRE, objectness=1.0, rest=1.0, every=0.0):
    """(1, N, 5 + C): one box, and `rest` and `every` as the coordinates and the objectness of all others."""
    found = np.zeros((1, count, 5 + classes), dtype=np.float32)
    found[0, :, :4], found[0, :, 4] = rest, every
    found[0, 100, :5], found[0, 100, 5 + ball] = (*box, objectness), 0.9
    return found


def raw_yolox(classes=CLASSES, ball=BALL):
    """Cell 22 * 80 + 40 of stride 8 is column 40, row 22: (40 + 0) * 8 = 320, (22 + 0.5) * 8 = 180; 2 * 8 = 16."""
    found = np.zeros((1, CELLS, 5 + classes), dtype=np.float32)
    found[0, 22 * 80 + 40, :5] = 0, 0.5, np.log(2), np.log(2), 1
    found[0, 22 * 80 + 40, 5 + ball] = 0.9
    return found


def end_to_end(xyxy=(312, 172, 328, 188), more=0):
    """(1, 300, 6 + more): one row and 299 of zeros."""
    found = np.zeros((1, 300, 6 + more), dtype=np.float32)
    found[0, 0, :6] = (*xyxy, 0.9, BALL)
    return found


def rtdetr():
    """(1, 300, 4 + C) as shares of the stretched frame."""
    found = np.zeros((1, 300, 4 + CLASSES), dtype=np.float32)
    found[0, :, :4] = 0.2
    found[0, 7, :4], found[0, 7, 4 + BALL] = SHARES, 0.9
    return found


def rfdetr(classes, ball):
    boxes, logits = np.full((1, 300, 4), 0.2, dtype=np.float32), np.full((1, 300, classes), -9, dtype=np.float32)
    boxes[0, 7], logits[0, 7, ball] = SHARES, np.log(9)
    return {"dets": boxes, "labels": logits}


def dfine():
    labels, boxes, scores = np.zeros((1, 300)), np.zeros((1, 300, 4)), np.zeros((1, 300))
    x, y, w, h = SHARES
    labels[0, 0], boxes[0, 0], scores[0, 0] = BALL, (x - w / 2, y - h / 2, x + w / 2, y + h / 2), 0.9
    return {"labels": labels, "boxes": boxes, "scores": scores}


def shares(box):
    return tuple(value / SIDE for value in box)


NAMED = {"metadata": {"names": NAMES}}
MASKS = np.zeros((1, 32, 160, 160), dtype=np.float32)
# layout, its outputs, and what else is said of the file
CASES = {
    "v8": ("YOLOv8", {"output0": columns()}, NAMED),
    "v8 COCO": ("YOLOv8", {"output0": columns(80, SPORTS_BALL)}, {}),
    "v8 shares": ("YOLOv8", {"output0": columns(box=shares(CENTRE))}, NAMED),
    "v8 open": ("YOLOv8", {"output0": columns()}, {**NAMED, "shape": ("batch", 3, "height", "width")}),
    "v8 wide": ("YOLOv8", {"output0": columns(count=5040)}, {**NAMED, "shape": (1, 3, 384, 640)}),
    "v8 half": ("YOLOv8", {"output0": columns()}, {**NAMED, "kind": TensorProto.FLOAT16}),
    "v8 batch": ("YOLOv8", {"output0": np.repeat(columns(), 4, 0)}, {**NAMED, "shape": (4, 3, SIDE, SIDE)}),
    "v8 bytes": (
        "YOLOv8",
        {"output0": columns()},
        {**NAMED, "shape": (1, SIDE, SIDE, 3), "kind": TensorProto.UINT8},
    ),
    "v8 channels last": ("YOLOv8", {"output0": columns()}, {**NAMED, "shape": (1, SIDE, SIDE, 3)}),
    "v8 transposed": ("YOLOv8 transposed", {"output0": columns().transpose(0, 2, 1)}, NAMED),
    "v8 transposed COCO": ("YOLOv8 transposed", {"output0": columns(80, SPORTS_BALL).transpose(0, 2, 1)}, {}),
    "v8 seg": (
        "YOLOv8",
        {"output0": columns(more=32), "output1": MASKS},
        {"metadata": {"names": NAMES, "task": "segment"}},
    ),
    "v5": ("YOLOv5", {"output0": rows(3 * CELLS)}, NAMED),
    "v5 one class": (
        "YOLOv5",
        {"output0": rows(3 * CELLS, 1, 0)},
        {"metadata": {"names": "['ball']"}},
    ),
    "v5 shares": ("YOLOv5", {"output0": rows(3 * CELLS, box=shares(CENTRE), rest=0.1)}, NAMED),
    "v6": ("YOLOv6", {"outputs": rows(CELLS)}, NAMED),
    "v6 shares": ("YOLOv6", {"outputs": rows(CELLS, box=shares(CENTRE), rest=0.1, every=1.0)}, NAMED),
    "v6 COCO": ("YOLOv6", {"outputs": rows(CELLS, 80, SPORTS_BALL)}, {}),
    "YOLOX decoded": ("YOLOX decoded", {"output": rows(CELLS, objectness=0.99)}, NAMED),
    "YOLOX raw": ("YOLOX", {"output": raw_yolox()}, NAMED),
    "YOLOX raw COCO": ("YOLOX", {"output": raw_yolox(80, SPORTS_BALL)}, {}),
    "end to end": ("YOLO end to end", {"output0": end_to_end()}, NAMED),
    "end to end shares": ("YOLO end to end", {"output0": end_to_end(shares((312, 172, 328, 188)))}, NAMED),
    "end to end seg": ("YOLO end to end", {"output0": end_to_end(more=32), "output1": MASKS}, NAMED),
    "YOLOv7 end to end": (
        "YOLOv7 end to end",
        {"output": np.array([[0, 312, 172, 328, 188, BALL, 0.9]])},
        NAMED,
    ),
    "RT-DETR of ultralytics": ("RT-DETR of ultralytics", {"output0": rtdetr()}, NAMED),
    "RF-DETR": ("RF-DETR", rfdetr(CLASSES, BALL), {**NAMED, "shape": (1, 3, 560, 560)}),
    "RF-DETR COCO": ("RF-DETR", rfdetr(91, 37), {}),
    "RF-DETR seg": ("RF-DETR", rfdetr(CLASSES, BALL) | {"masks": np.zeros((1, 300, 40, 40))}, NAMED),
    "D-FINE": ("RT-DETR, D-FINE", dfine(), {**NAMED, "sizes": True}),
}


@pytest.fixture(params=["onnxruntime", "cv2.dnn"])
def library(request, monkeypatch):
    if request.param == "cv2.dnn":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    else:
        pytest.importorskip("onnxruntime")
    return request.param


def frames(count=1):
    return [Frame(at, at / 25, np.full((*FRAME, 3), 100, dtype=np.uint8)) for at in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_the_ball_is_where_it_is(tmp_path, library, case):
    layout, outputs, said = CASES[case]
    path = write_model(tmp_path / "a.onnx", outputs, **said)
    detector = load_detector(str(path), None, "cpu")
    assert detector._layout.name == layout
    found = [boxes for _, boxes in detector.detect(frames(3))]
    assert len(found) == 3
    for boxes in found:
        ball = boxes.where(np.isin(boxes.class_name.astype(str), ["ball", "sports ball"]))
        assert len(ball) == 1 and len(ball) == len(boxes)
        assert np.abs(ball.xyxy - BOX).max() < 0.5
        assert ball.score == pytest.approx([0.9], abs=0.01)


def test_each_layout_of_the_table_is_tried():
    assert {layout for layout, _, _ in CASES.values()} == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize(
    ("outputs", "said", "message"),
    [
        ({"output0": columns(1, 0, more=51)}, {"metadata": {"names": "['person']", "task": "pose"}}, "without -pose"),
        ({"output0": columns(1, 0, more=51)}, {"metadata": {"names": "['person']"}}, "without -pose"),
        ({"output0": columns(1, 0, more=51)}, {}, "52 classes.*without -pose"),
        ({"output0": columns(more=1)}, {"metadata": {"names": NAMES, "task": "obb"}}, "without -obb"),
        ({"output0": columns(more=1)}, {"metadata": {"names": NAMES}}, "4 classes.*without -obb"),
        ({"output0": np.zeros((1, 1000))}, {"metadata": {"task": "classify"}}, "export a detection model"),
        ({"output0": end_to_end()}, {}, "--class-list coco"),
        ({"logits": np.zeros((1, 300, 80)), "pred_boxes": np.zeros((1, 300, 4))}, {}, "hf:FOLDER"),
        ({"a": np.zeros((1, 30)), "b": np.zeros((1, 7, 7))}, NAMED, "no layout known here"),
        ({"output0": columns(7, 1)}, NAMED, "has 7 classes, but its metadata names 3"),
        (rfdetr(4, BALL), NAMED, "has 4 classes, but its metadata names 3"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_do(tmp_path, library, outputs, said, message):
    path = write_model(tmp_path / "a.onnx", outputs, **said)
    with pytest.raises(InputError, match=message) as caught:
        load_detector(str(path), None, "cpu")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_an_input_that_no_frame_fills(tmp_path):
    path = write_model(tmp_path / "a.onnx", {"output0": columns()}, **NAMED)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 5, 16000]))
    onnx.save(model, path)
    with pytest.raises(InputError, match="audio"):
        load_detector(str(path), None, "cpu")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("v5", (255 / 255, 0.0, 0.0)),  # RGB 0-1
        ("YOLOX decoded", (0.0, 0.0, 255.0)),  # BGR 0-255
        ("v8 bytes", (255, 0, 0)),
        ("RF-DETR", ((1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
    ],
)
def test_the_colours_that_a_network_gets(tmp_path, case, expected):
    _, outputs, said = CASES[case]
    detector = load_detector(str(write_model(tmp_path / "a.onnx", outputs, **said)), None, "cpu")
    red = np.zeros((64, 64, 3), dtype=np.uint8)
    red[..., 0] = 255
    seen = detector._layout.prepare(red, detector._image, (64, 64), 114)
    assert seen[10, 10] == pytest.approx(expected, abs=1e-5)


def test_a_batch_that_is_not_full_is_filled_up(tmp_path, library):
    answers = np.concatenate([columns(box=(320 + 10 * at, 180, 16, 16)) for at in range(4)])
    path = write_model(tmp_path / "a.onnx", {"output0": answers}, shape=(4, 3, SIDE, SIDE), **NAMED)
    found = list(load_detector(str(path), None, "cpu", DetectorOptions(batch_size=2)).detect(frames(6)))
    assert [round(float(boxes.xyxy[0, 0]), 1) for _, boxes in found] == [93.6, 96.6, 99.6, 102.6, 93.6, 96.6]
    assert [frame.frame_index for frame, _ in found] == list(range(6))
