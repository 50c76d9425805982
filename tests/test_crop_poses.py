"""Joints found in crops around people: made .onnx files with known joints, and a tiny ViTPose beside its library."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labels.models.pose_estimators import COCO_NAMES, OnnxPoses, crop_region, joint_order, load_pose_estimator
from labels.models.recognisers.settings import pose_source
from labels.records.errors import InputError
from labels.videos.pose_tables import JOINTS

FRAME = np.full((200, 300, 3), 90, dtype=np.uint8)
NOSE, HIP = JOINTS.index("nose"), JOINTS.index("left_hip")


def write_model(path, outputs, shape, kind):
    """Constants plus 0 times the mean of the input."""
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        *(helper.make_node("Add", [f"{name}_is", "nothing"], [name]) for name in outputs),
    ]
    constants = {"zero": np.float32(0)} | {f"{name}_is": np.float32(value) for name, value in outputs.items()}
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("crops", kind, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(np.shape(one))) for name, one in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def movenet(path):
    """The nose at (0.5, 0.25) of the crop, the left hip unsure, all else in the middle."""
    answer = np.full((1, 1, 17, 3), 0.5)
    answer[0, 0, COCO_NAMES.index("nose"), 0] = 0.25  # y comes first
    answer[0, 0, COCO_NAMES.index("left_hip"), 2] = 0.1
    return write_model(path, {"joints": answer}, (1, 192, 192, 3), TensorProto.INT32)


def simcc(path, people=1):
    """Two places a pixel: the nose at (96, 64) of an input of 192x256, the left hip unsure, all else at (0, 0)."""
    x, y = np.zeros((people, 17, 384)), np.zeros((people, 17, 512))
    x[:, :, 0] = y[:, :, 0] = 0.8
    nose, hip = COCO_NAMES.index("nose"), COCO_NAMES.index("left_hip")
    x[:, nose, 192], y[:, nose, 128] = 0.9, 0.9
    x[:, hip, 0] = 0.2
    return write_model(path, {"x": x, "y": y}, (people, 3, 256, 192), TensorProto.FLOAT)


@pytest.fixture(params=["onnxruntime", "cv2.dnn"])
def library(request, monkeypatch):
    if request.param == "cv2.dnn":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    else:
        pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((100, 50, 140, 130), (192, 192), (70, 40, 100, 100)),  # 80 high, so 100 of each
        ((100, 50, 140, 130), (192, 256), (82.5, 40, 75, 100)),
        ((100, 50, 220, 130), (192, 256), (85, -10, 150, 200)),  # 120 wide, so 150 and 200
    ],
)
def test_a_crop_is_a_quarter_larger_in_the_inputs_proportions(box, size, expected):
    assert crop_region(np.array(box, dtype=float), size) == pytest.approx(expected)


def test_movenet(tmp_path, library):
    estimator = load_pose_estimator(str(movenet(tmp_path / "a.onnx")), "cpu")
    boxes = np.array([[100, 50, 140, 130], [0, 0, 80, 80]])
    (people,) = estimator.look([FRAME], [boxes])
    assert people.xyxy.tolist() == boxes.tolist()
    assert people.joints[:, NOSE] == pytest.approx(np.array([[120, 65], [40, 15]]))
    assert np.isnan(people.joints[:, HIP]).all() and np.isfinite(people.joints[:, NOSE]).all()
    assert estimator.look([FRAME], [np.zeros((0, 4))])[0].joints.shape == (0, 13, 2)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_simcc(tmp_path, library, batch):
    estimator = load_pose_estimator(str(simcc(tmp_path / "a.onnx", batch)), "cpu")
    boxes = np.array([[100, 50, 140, 130], [100, 50, 220, 130], [0, 0, 40, 80]])
    (people,) = estimator.look([FRAME], [boxes])
    assert people.joints[:, NOSE] == pytest.approx(np.array([[120, 65], [160, 40], [20, 15]]))
    assert np.isnan(people.joints[:, HIP]).all()


def test_the_only_person_is_looked_for_in_the_whole_frame_and_then_closely(tmp_path):
    class Follows(OnnxPoses):
        seen = []  # noqa: RUF012

        def joints_of(self, rgb, xyxy):
            self.seen.append(xyxy[0].tolist())
            points = np.full((1, 17, 2), 60.0)
            points[0, 0] = 80, 110
            return points, np.full((1, 17), 0.9)

    (person,) = Follows(movenet(tmp_path / "a.onnx")).look([FRAME])
    assert Follows.seen == [[0, 0, 300, 200], [60, 60, 80, 110]]
    assert person.xyxy.tolist() == [[60, 60, 80, 110]] and person.joints[0, NOSE].tolist() == [80, 110]


def test_what_finds_no_joints(tmp_path):
    wrong = write_model(tmp_path / "a.onnx", {"boxes": np.zeros((1, 84, 100))}, (1, 3, 64, 64), TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"gives \(1, 84, 100\); joints are"):
        load_pose_estimator(str(wrong), "cpu")
    with pytest.raises(InputError, match="no such file"):
        load_pose_estimator(str(tmp_path / "nothing.onnx"), "cpu")
    with pytest.raises(Exception, match="finds no joints; there is"):
        pose_source("dragon")


def test_vitpose_is_that_of_its_library(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", minversion="5.9")
    from tiny_networks import make

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = make("vitpose", tmp_path / "pose")
    rgb = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    boxes = np.array([[100, 50, 140, 130], [10, 20, 120, 190]], dtype=np.float32)
    (people,) = load_pose_estimator(f"hf:{folder}", "cpu").look([rgb], [boxes])
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.VitPoseForPoseEstimation.from_pretrained(folder).eval()
    xywh = [np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)]
    with torch.inference_mode():
        output = model(**processor(images=rgb, boxes=xywh, return_tensors="pt"))
    (found,) = processor.post_process_pose_estimation(output, boxes=xywh)
    for person, joints in zip(found, people.joints, strict=True):
        order = joint_order(COCO_NAMES, "here")
        sure = person["scores"].numpy()[order] >= 0.3
        assert np.isfinite(joints[:, 0]).tolist() == sure.tolist()
        assert joints[sure] == pytest.approx(person["keypoints"].numpy()[order][sure], abs=0.01)
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    (bert / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="is a bert"):
        load_pose_estimator(f"hf:{bert}", "cpu")
