"""Ball networks that take three frames: made files whose heat follows what they are shown."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labels.models.detectors.loading import load_detector
from labels.models.settings import DetectorOptions
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

WIDTH, HEIGHT = 64, 36  # of the input; frames are twice as large


def write_model(path, weights, bias=0.0, shape=("n", 9, HEIGHT, WIDTH), metadata=None, grey=False):
    """Maps that are sums of the nine input channels: `weights` (maps, 9). With `grey` 256 levels of the one map."""
    weights = np.asarray(weights, dtype=np.float32)
    nodes = [helper.make_node("Conv", ["frames", "weights", "bias"], ["sum" if grey else "heat"])]
    constants = {"weights": weights[:, :, None, None], "bias": np.full(len(weights), bias, dtype=np.float32)}
    heat = [shape[0], len(weights), HEIGHT, WIDTH]
    if grey:  # level k has -(255 * sum - k)^2, which is largest where k is nearest
        nodes += [
            helper.make_node("Reshape", ["sum", "flat"], ["line"]),
            helper.make_node("Sub", ["line", "levels"], ["off"]),
            helper.make_node("Mul", ["off", "off"], ["square"]),
            helper.make_node("Neg", ["square"], ["heat"]),
        ]
        constants |= {
            "flat": np.array([-1, 1, HEIGHT * WIDTH], dtype=np.int64),
            "levels": (np.arange(256, dtype=np.float32) / 255)[None, :, None],
        }
        heat = [shape[0], 256, HEIGHT * WIDTH]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("heat", TensorProto.FLOAT, heat)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def red_of(*frames):
    """(maps, 9): each map is the first channel of one of the three."""
    return np.eye(9, dtype=np.float32)[[3 * frame for frame in frames]]


def clip(count, colour=(255, 0, 0)):
    """A spot of 6x6 pixels whose left edge is at 10 + 4 * frame_index, its top at 20."""
    for at in range(count):
        rgb = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
        rgb[20:26, 10 + 4 * at : 16 + 4 * at] = colour
        yield Frame(at, at / 25, rgb)


def centres(detector, count, colour=(255, 0, 0)):
    """x of the only ball of each frame."""
    found = list(detector.detect(clip(count, colour)))
    assert [frame.frame_index for frame, _ in found] == list(range(count))
    assert all(len(boxes) == 1 for _, boxes in found)
    return [float(boxes.xyxy[0, [0, 2]].mean()) for _, boxes in found]


@pytest.fixture(params=["onnxruntime", "cv2.dnn"])
def library(request, monkeypatch):
    if request.param == "cv2.dnn":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    else:
        pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("batch", [None, 2])
def test_three_maps_are_of_three_frames(tmp_path, library, count, batch):
    path = write_model(tmp_path / "a.onnx", red_of(0, 1, 2), metadata={"box_size": "5"})
    detector = load_detector(str(path), None, "cpu", DetectorOptions(batch_size=batch))
    assert detector.every_frame and detector.class_names == ("sports ball",)
    assert centres(detector, count) == pytest.approx([13 + 4 * at for at in range(count)], abs=0.5)
    (_, boxes), *_ = detector.detect(clip(1))
    assert boxes.xyxy[0] == pytest.approx([8, 18, 18, 28], abs=0.5)  # 5 pixels of the input are 10 of the frame
    assert boxes.score == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("map_of", "sees", "late"),
    [("last", 2, 0), ("last", 1, 1), ("last", 0, 2), ("middle", 1, 0), ("middle", 0, 1), ("middle", 2, -1)],
)
def test_one_map_is_of_the_last_frame_or_of_the_middle_one(tmp_path, map_of, sees, late):
    """A network that looks at another of its three frames shows which went in: their order, and what ends repeat."""
    path = write_model(tmp_path / "a.onnx", red_of(sees), metadata={"map_of": map_of})
    seen = [min(max(at - late, 0), 5) for at in range(6)]
    assert centres(load_detector(str(path), None, "cpu"), 6) == pytest.approx([13 + 4 * at for at in seen], abs=0.5)


def test_a_file_says_how_it_was_trained(tmp_path):
    newest = write_model(tmp_path / "a.onnx", red_of(0), metadata={"frames": "newest first", "names": "['puck']"})
    detector = load_detector(str(newest), None, "cpu")
    assert detector.class_names == ("puck",)
    assert centres(detector, 4) == pytest.approx([13, 17, 21, 25], abs=0.5)
    blue = write_model(tmp_path / "b.onnx", red_of(2) / 255, metadata={"colours": "BGR 0-255"})
    assert centres(load_detector(str(blue), None, "cpu"), 2, colour=(0, 0, 255)) == pytest.approx([13, 17], abs=0.5)
    assert not any(len(boxes) for _, boxes in load_detector(str(blue), None, "cpu").detect(clip(2)))
    wrong = write_model(tmp_path / "c.onnx", red_of(2), metadata={"colours": "CMYK"})
    with pytest.raises(InputError, match="CMYK"):
        load_detector(str(wrong), None, "cpu")


def test_logits_and_grey_levels_are_told(tmp_path, library):
    # WASB's: of ImageNet's colours, black is -2.1 and red 2.2; logits of -10.4 and 11.
    logits = load_detector(str(write_model(tmp_path / "a.onnx", 5 * red_of(0, 1, 2), bias=-0.3)), None, "cpu")
    assert logits._is_logit and logits._colours == "ImageNet"
    assert centres(logits, 4) == pytest.approx([13, 17, 21, 25], abs=0.5)
    # TrackNet's: the newest frame first, and blue is the first channel.
    grey = load_detector(str(write_model(tmp_path / "b.onnx", red_of(0), grey=True)), None, "cpu")
    assert centres(grey, 4, colour=(0, 0, 255)) == pytest.approx([13, 17, 21, 25], abs=0.5)


def test_two_spots_are_two_balls_and_a_change_of_size_begins_anew(tmp_path):
    detector = load_detector(str(write_model(tmp_path / "a.onnx", red_of(0, 1, 2))), None, "cpu")
    rgb = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    rgb[10:16, 10:16], rgb[40:46, 90:96] = (255, 0, 0), (128, 0, 0)
    frames = [Frame(0, 0.0, rgb), Frame(1, 0.04, np.repeat(np.repeat(rgb, 2, 0), 2, 1))]
    (_, small), (_, large) = detector.detect(frames)
    assert small.score == pytest.approx([1.0, 0.5], abs=0.01)
    middle = (small.xyxy[:, :2] + small.xyxy[:, 2:]) / 2
    assert middle == pytest.approx(np.array([[13, 13], [93, 43]]), abs=0.5)
    assert large.xyxy == pytest.approx(2 * small.xyxy, abs=1)


def test_what_is_no_ball_network(tmp_path):
    path = str(write_model(tmp_path / "a.onnx", red_of(0, 1)))
    with pytest.raises(InputError, match=r"gives \(2, 36, 64\)"):
        load_detector(path, None, "cpu")
    path = str(write_model(tmp_path / "b.onnx", red_of(0, 1, 2)))
    with pytest.raises(InputError, match="--input-size"):
        load_detector(path, None, "cpu", DetectorOptions(input_size=640))
    with pytest.raises(InputError, match="--class-list"):
        load_detector(path, None, "cpu", DetectorOptions(class_list="coco"))
    with pytest.raises(InputError, match="no class 'person'"):
        load_detector(path, ("person",), "cpu")
