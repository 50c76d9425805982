"""ONNX files made on the spot: two layouts closely, class names, and files that are not what they say.

Every layout with known boxes is in `test_onnx_layouts.py`.
"""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labels.models.detectors.ensemble import load_ensemble
from labels.models.detectors.onnx_detectors import OnnxDetector
from labels.models.detectors.onnx_files import names_from_metadata, read_header
from labels.models.detectors.onnx_layouts import Answer, decode_columns, decode_yolox
from labels.models.settings import DetectorOptions, Views
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2  # of strides 8, 16, 32


def write_model(path, answer, input_shape=(1, 3, SIDE, SIDE), names=None, element_type=TensorProto.FLOAT, outputs=1):
    """A model that gives `answer` plus 0 times the mean of its input, whatever it sees."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    constants = {"zero": np.float32(0), "answer": np.asarray(answer, dtype=np.float32)}
    values = [helper.make_tensor_value_info("output", TensorProto.FLOAT, list(np.shape(answer)))]
    if outputs == 2:
        values.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, []))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", element_type, list(input_shape))],
        values,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if names is not None:
        helper.set_model_props(model, {"names": names})
    onnx.save(model, path)
    return path


def pixel_answer(rows, classes=2):
    """(1, 4 + classes, 30) from rows (cx, cy, w, h, class, score)."""
    answer = np.zeros((1, 4 + classes, 30), dtype=np.float32)
    for box, (cx, cy, w, h, class_id, score) in enumerate(rows):
        answer[0, :4, box] = cx, cy, w, h
        answer[0, 4 + class_id, box] = score
    return answer


def yolox_answer(rows, classes=2):
    """(1, CELLS, 5 + classes) from rows (cell, x, y, log w, log h, objectness, class, score)."""
    answer = np.zeros((1, CELLS, 5 + classes), dtype=np.float32)
    for cell, x, y, w, h, objectness, class_id, score in rows:
        answer[0, cell, :5] = x, y, w, h, objectness
        answer[0, cell, 5 + class_id] = score
    return answer


def frame(number=0, width=128, height=64):
    return Frame(number, number / 25, np.full((height, width, 3), 100, dtype=np.uint8))


NAMES = "{0: 'person', 1: 'sports ball'}"


@pytest.fixture(params=["onnxruntime", "cv2.dnn"])
def library(request, monkeypatch):
    if request.param == "cv2.dnn":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    else:
        pytest.importorskip("onnxruntime")
    return request.param


def test_pixel_layout(tmp_path, library):
    # The frame is 128x64, the input 64x64: everything comes back twice as large.
    rows = [(10, 20, 8, 6, 1, 0.9), (10.5, 20, 8, 6, 1, 0.6), (10, 20, 8, 6, 0, 0.7), (40, 10, 4, 4, 1, 0.009)]
    path = write_model(tmp_path / "a.onnx", pixel_answer(rows), names=NAMES)
    detector = OnnxDetector(path, ("person", "sports ball"))
    ((_, found),) = detector.detect([frame()])
    order = np.argsort(-found.score)
    assert found.class_name[order].tolist() == ["sports ball", "person"]  # the 0.6 is the 0.9 again, 0.009 is too low
    assert found.score[order] == pytest.approx([0.9, 0.7])
    assert found.xyxy == pytest.approx(np.array([[12, 34, 28, 46]] * 2))
    assert detector._session.name.startswith(library)
    only_balls = OnnxDetector(path)
    ((_, found),) = only_balls.detect([frame()])
    assert only_balls.class_names == ("sports ball",) and found.class_name.tolist() == ["sports ball"]


def test_yolox_layout(tmp_path, library):
    # Cell 9 of stride 8 is column 1, row 1; cell 64 + 4 + 2 of stride 16 is column 2, row 1.
    rows = [
        (9, 0.5, 0.25, np.log(2), np.log(1), 0.8, 1, 0.5),
        (70, 0.0, 0.0, np.log(1), np.log(1), 0.5, 0, 1.0),
    ]
    path = write_model(tmp_path / "a.onnx", yolox_answer(rows), names="['person', 'sports ball']")
    ((_, found),) = OnnxDetector(path, ("person", "sports ball")).detect([frame(width=64)])
    order = np.argsort(found.score)
    assert found.score[order] == pytest.approx([0.4, 0.5])
    assert found.class_name[order].tolist() == ["sports ball", "person"]
    # centre (1.5, 1.25) * 8 = (12, 10), size 16 x 8; centre (2, 1) * 16 = (32, 16), size 16 x 16
    assert found.xyxy[order] == pytest.approx(np.array([[4, 6, 20, 14], [24, 8, 40, 24]]), abs=1e-4)


def test_decoding_by_hand():
    xyxy, score = decode_columns(Answer(tuple(pixel_answer([(10, 20, 4, 6, 0, 0.5)])), SIDE, SIDE, 2))
    assert xyxy[0].tolist() == [8, 17, 12, 23] and score[0].tolist() == [0.5, 0]
    huge = yolox_answer([(0, 0, 0, 500, 500, 1, 0, 1)])[0]
    assert np.isfinite(decode_yolox(Answer((huge,), SIDE, SIDE, 2))[0]).all()  # exp(500) would not be


class Recording:
    """A session that keeps what it was given."""

    name = "recording"

    def __init__(self, answer):
        self.answer, self.seen = answer, []

    def run(self, feeds):
        (batch,) = feeds.values()
        self.seen.append(batch)
        return [np.repeat(self.answer, len(batch), axis=0)]


@pytest.mark.parametrize("yolox", [True, False])
def test_what_the_network_gets(tmp_path, monkeypatch, yolox):
    answer = yolox_answer([]) if yolox else pixel_answer([])
    session = Recording(answer)
    monkeypatch.setattr("labels.models.detectors.onnx_detectors.open_session", lambda *given: session)
    detector = OnnxDetector(write_model(tmp_path / "a.onnx", answer, names=NAMES))
    rgb = np.zeros((32, 64, 3), dtype=np.uint8)
    rgb[..., 0] = 255  # red
    list(detector.detect([Frame(0, 0.0, rgb)]))
    planes = session.seen[-1][0]
    assert planes.dtype == np.float32 and planes.shape == (3, SIDE, SIDE)
    expected = [0, 0, 255] if yolox else [1, 0, 0]  # BGR 0-255, RGB 0-1
    assert planes[:, :32].mean(axis=(1, 2)).tolist() == expected
    assert planes[:, 33:] == pytest.approx(114 if yolox else 114 / 255)


@pytest.mark.parametrize(
    ("size", "input_size", "expected"),
    [
        ((1280, 720), 640, (640, 384)),
        ((1280, 720), 416, (416, 256)),
        ((720, 1280), 64, (64, 64)),
        ((64, 64), 96, (96, 96)),
    ],
)
def test_an_open_input_follows_the_frames_shape(tmp_path, monkeypatch, size, input_size, expected):
    class Cells(Recording):
        def run(self, feeds):
            (batch,) = feeds.values()
            self.seen.append(batch)
            cells = sum((batch.shape[2] // stride) * (batch.shape[3] // stride) for stride in (8, 16, 32))
            return [np.zeros((len(batch), cells, 7), dtype=np.float32)]

    session = Cells(None)
    monkeypatch.setattr("labels.models.detectors.onnx_detectors.open_session", lambda *given: session)
    path = write_model(tmp_path / "a.onnx", yolox_answer([]), ("n", 3, "h", "w"), names=NAMES)
    options = DetectorOptions(input_size=input_size, batch_size=2)
    detector = OnnxDetector(path, options=options)
    assert len(list(detector.detect([frame(number, *size) for number in range(3)]))) == 3
    assert [batch.shape for batch in session.seen[1:]] == [(2, 3, *expected[::-1]), (1, 3, *expected[::-1])]


def test_the_header_is_read(tmp_path):
    path = write_model(tmp_path / "a.onnx", pixel_answer([]), ("n", 3, "h", 96), names=NAMES)
    header = read_header(path)
    assert [(value.name, value.shape) for value in header.inputs] == [("images", (None, 3, None, 96))]
    assert [(value.name, value.shape) for value in header.outputs] == [("output", (1, 6, 30))]
    assert header.metadata == {"names": NAMES}


def test_where_class_names_come_from(tmp_path):
    plain = write_model(tmp_path / "plain.onnx", pixel_answer([]))
    with pytest.raises(InputError, match="--class-list"):
        OnnxDetector(plain)
    listed = tmp_path / "mine.csv"
    listed.write_text("class_name\nracket\nshuttle\n")
    assert OnnxDetector(plain, options=DetectorOptions(class_list=str(listed))).class_names == ("racket", "shuttle")
    listed.write_text("class_name\nracket\n")
    with pytest.raises(InputError, match=r"has 2 classes, but .* names 1"):
        OnnxDetector(plain, options=DetectorOptions(class_list=str(listed)))
    coco = write_model(tmp_path / "coco.onnx", np.zeros((1, 84, 100)))
    assert OnnxDetector(coco, ("person", "sports ball")).class_names == ("person", "sports ball")
    with pytest.raises(InputError, match="no class 'dragon'"):
        OnnxDetector(coco, ("dragon",))


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "{0: 'a', 2: 'b'}", "{}", "7", "['a', 'a']", "[1, 2]", "(", "[" * 5000],
)
def test_names_that_are_none(text, tmp_path):
    with pytest.raises(InputError, match="metadata"):
        names_from_metadata(text, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": np.zeros((1, 30, 30))}, "no layout known here"),
        ({"answer": np.zeros((7, 30))}, "gives"),
        ({"input_shape": (1, 1, SIDE, SIDE)}, "input"),
        ({"input_shape": (1, 3)}, "input"),
        ({"input_shape": (4, 3, SIDE, SIDE)}, r"gives \(1, 6, 30\) for 4 frames"),
        ({"outputs": 2}, "no layout known here"),
    ],
)
def test_models_that_are_no_detectors(tmp_path, options, message):
    options = {"answer": pixel_answer([]), "names": NAMES} | options
    path = write_model(tmp_path / "a.onnx", **options)
    with pytest.raises(InputError, match=message) as caught:
        OnnxDetector(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, I am no model at all", b"\x3a\xff\xff\xff\xff\x0f", bytes(1000)])
def test_files_that_are_not_onnx(tmp_path, content):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx") as caught:
        OnnxDetector(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short(tmp_path):
    path = write_model(tmp_path / "a.onnx", pixel_answer([]), names=NAMES)
    whole = path.read_bytes()
    for length in (len(whole) // 3, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            OnnxDetector(path)


def test_scores_that_are_no_scores(tmp_path):
    path = write_model(tmp_path / "a.onnx", pixel_answer([(9, 9, 4, 4, 1, 3.5)]), names=NAMES)
    with pytest.raises(InputError, match="sigmoid"):
        list(OnnxDetector(path).detect([frame()]))


def test_a_box_that_is_not_finite_is_no_box(tmp_path):
    rows = [(np.nan, 9, 4, 4, 1, 0.9), (9, 9, 4, 4, 1, 0.8)]
    path = write_model(tmp_path / "a.onnx", pixel_answer(rows), names=NAMES)
    ((_, found),) = OnnxDetector(path).detect([frame(width=64)])
    assert found.xyxy.tolist() == [[7, 7, 11, 11]]


def test_input_sizes_that_do_not_fit(tmp_path):
    fixed = write_model(tmp_path / "fixed.onnx", pixel_answer([]), names=NAMES)
    with pytest.raises(InputError, match="64x64 only"):
        OnnxDetector(fixed, options=DetectorOptions(input_size=96))
    assert OnnxDetector(fixed, options=DetectorOptions(tile_side=640))._input_size(frame().rgb) == (64, 64)
    open_size = write_model(tmp_path / "open.onnx", pixel_answer([]), (1, 3, "h", "w"), names=NAMES)
    with pytest.raises(InputError, match="multiple of 32"):
        OnnxDetector(open_size, options=DetectorOptions(input_size=100))
    tiles = OnnxDetector(open_size, options=DetectorOptions(tile_side=100))  # a wish, not a fact
    assert tiles._input_size(np.zeros((100, 100, 3), np.uint8)) == (96, 96)


def test_a_tile_is_scaled_to_a_fixed_input(tmp_path, library):
    path = write_model(tmp_path / "a.onnx", pixel_answer([(32, 16, 8, 8, 1, 0.9)]), names=NAMES)
    views = load_ensemble((str(path),), None, "cpu", DetectorOptions(), Views(tile_side=128), 1)
    ((_, found),) = views.detect([frame(0, 224, 128)])  # tiles from 0 and 96
    tiled = found.where(found.source == "a tiles 128")
    order = np.argsort(tiled.xyxy[:, 0])
    assert tiled.xyxy[order] == pytest.approx(np.array([[56, 24, 72, 40], [152, 24, 168, 40]]))
