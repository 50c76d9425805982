"""Detectors of the Hugging Face hub: tiny networks of the real classes as folders, with no net, beside the library."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.9")

from tiny_networks import DETECTORS, LABELS, SIDE, SPARSE, make  # noqa: E402

from labels.models.detectors.ensemble import load_ensemble, origins_of  # noqa: E402
from labels.models.detectors.hub_detectors import PROMPTS, read_prompts  # noqa: E402
from labels.models.detectors.loading import load_detector  # noqa: E402
from labels.models.settings import DetectorOptions, Views  # noqa: E402
from labels.records.errors import InputError  # noqa: E402
from labels.videos.decoding.frames import Frame  # noqa: E402

EVERYTHING = DetectorOptions(score_floor=0.0)
CLOSED = ("rf_detr", "d_fine", "rt_detr_v2")
OPEN = ("mm-grounding-dino", "owlv2")
WANTED = ("sports ball", "person", "tennis racket")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: make(kind, tmp_path_factory.mktemp("hub") / kind) for kind in DETECTORS}


def frames(count=5, width=128, height=72):
    rng = np.random.default_rng(0)
    return [Frame(at, at / 25, rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for at in range(count)]


def load(folder, options=EVERYTHING, classes=WANTED):
    return load_detector(f"hf:{folder}", classes, "cpu", options)


def of_library(folder, kind, rgb, texts):
    """(N, 4) boxes, (N,) scores and names, straight from transformers."""
    size = [rgb.shape[:2]]
    if kind in CLOSED:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        model = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
        with torch.inference_mode():
            output = model(**processor(images=rgb, return_tensors="pt"))
        found = processor.post_process_object_detection(output, threshold=0.0, target_sizes=size)[0]
        names = [model.config.id2label.get(int(label), "") for label in found["labels"]]
    else:
        processor = transformers.AutoProcessor.from_pretrained(folder)
        model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
        inputs = processor(images=rgb, text=[texts], return_tensors="pt")
        with torch.inference_mode():
            output = model(**inputs)
        more = {"text_threshold": 0.0} if kind == "mm-grounding-dino" else {"text_labels": [texts]}
        found = processor.post_process_grounded_object_detection(output, threshold=0.0, target_sizes=size, **more)[0]
        names = found["text_labels"]
    return found["boxes"].numpy(), found["scores"].numpy(), names


@pytest.mark.parametrize("kind", DETECTORS)
def test_boxes_are_those_of_the_library(folders, kind):
    prompts = read_prompts(PROMPTS)
    asked = {prompt: name for name in WANTED for prompt in prompts[name]}
    detector = load(folders[kind])
    for frame, found in detector.detect(frames(2)):
        boxes, scores, names = of_library(folders[kind], kind, frame.rgb, list(asked))
        if kind == "mm-grounding-dino":  # its names are texts of tokens; its scores look at full stops too
            assert np.abs(np.sort(found.xyxy, axis=0) - np.sort(boxes, axis=0)).max() < 1
            assert set(found.class_name) <= set(WANTED) and len(found) == 20
            continue
        names = np.array([asked.get(name, name) for name in names])
        wanted = np.isin(names, WANTED)
        assert len(found) == wanted.sum() > 0
        order, theirs = np.argsort(-found.score, kind="stable"), np.argsort(-scores[wanted], kind="stable")
        assert found.score[order] == pytest.approx(scores[wanted][theirs], abs=1e-5)
        assert np.abs(found.xyxy[order] - boxes[wanted][theirs]).max() < 1
        assert found.class_name[order].tolist() == names[wanted][theirs].tolist()


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_batch_of_four_is_four_of_one(folders, kind):
    alone = list(load(folders[kind]).detect(frames()))
    together = list(load(folders[kind], DetectorOptions(score_floor=0.0, batch_size=4)).detect(frames()))
    assert [frame.frame_index for frame, _ in together] == list(range(5))
    assert sum(len(found) for _, found in alone)
    for (_, one), (_, other) in zip(alone, together, strict=True):
        assert len(one) == len(other)
        first, second = (np.lexsort((*found.xyxy.round(0).T, found.score.round(3))) for found in (one, other))
        assert other.score[second] == pytest.approx(one.score[first], abs=1e-3)
        assert np.abs(np.sort(one.xyxy, axis=0) - np.sort(other.xyxy, axis=0)).max(initial=0) < 1


def test_a_closed_set_is_named_by_its_numbers(folders):
    detector = load(folders["rf_detr"], classes=None)
    assert detector.class_names == ("sports ball",)
    assert load(folders["rf_detr"], classes=tuple(SPARSE.values())).class_names == tuple(SPARSE.values())
    assert detector._names == SPARSE
    with pytest.raises(InputError, match="no class 'dragon'"):
        load(folders["rf_detr"], classes=("dragon",))
    assert load(folders["d_fine"]).working_threshold == dict.fromkeys(WANTED, 0.5)
    assert load(folders["owlv2"]).working_threshold == dict.fromkeys(WANTED, 0.1)


class RedSquare:
    """In place of a network: sees the red pixels of what RT-DETR is shown, and calls them a sports ball."""

    def __call__(self, pixel_values, **_):
        logits = torch.full((len(pixel_values), 20, len(LABELS)), -9.0)
        boxes = torch.full((len(pixel_values), 20, 4), 0.5)
        for at, pixels in enumerate(pixel_values):
            rows, columns = torch.nonzero(pixels[0] > 0.5, as_tuple=True)
            if len(rows):
                ends = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / pixels.shape[-1]
                boxes[at, 0] = torch.cat([(ends[:2] + ends[2:]) / 2, ends[2:] - ends[:2]])
                logits[at, 0, 1] = 4.0
        return transformers.utils.ModelOutput(logits=logits, pred_boxes=boxes)


def test_sizes_tiles_and_mirrors_map_back(folders, monkeypatch):
    monkeypatch.setattr("labels.models.hub.HubModel.load_network", lambda self, kind, device: RedSquare())
    views = Views(input_sizes=(64, 128), tile_side=64, mirrored=True)
    ensemble = load_ensemble((f"hf:{folders['rt_detr_v2']}",), None, "cpu", DetectorOptions(), views, 1)
    assert set(ensemble.members) == {f"rt_detr_v2 {look}" for look in ("64", "128", "tiles 64", "mirrored")}
    rgb = np.zeros((64, 160, 3), dtype=np.uint8)
    rgb[20:30, 100:110, 0] = 255
    ((_, found),) = ensemble.detect([Frame(0, 0.0, rgb)])
    assert set(found.source) == set(ensemble.members)
    assert np.abs(found.xyxy - [100, 20, 110, 30]).max() <= 2.5  # a pixel of the smallest look
    assert origins_of(ensemble)["rt_detr_v2 tiles 64"]["licence"] == "apache-2.0"


def test_a_size_that_it_does_not_take(folders):
    with pytest.raises(InputError, match=f"--input-size 90.*made for {SIDE}"):
        load(folders["rf_detr"], DetectorOptions(input_size=90))
    assert load(folders["rf_detr"], DetectorOptions(tile_side=90))._size is None  # tiles are scaled
    assert load(folders["rf_detr"], DetectorOptions(tile_side=128))._size == {"height": 128, "width": 128}


def test_prompts_of_ones_own(folders, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("class,prompt\nball,Yellow ball.\nball,tennis ball\nbat,baseball bat\n")
    assert read_prompts(mine) == {"ball": ["yellow ball", "tennis ball"], "bat": ["baseball bat"]}
    for kind in OPEN:
        detector = load(folders[kind], DetectorOptions(score_floor=0.0, prompts=str(mine)), None)
        assert detector.class_names == ("ball", "bat")
        assert detector.digest != load(folders[kind], classes=None).digest
        for _, found in detector.detect(frames(1)):
            assert len(found) and set(found.class_name) <= {"ball", "bat"}
    with pytest.raises(InputError, match="--class-list"):
        load(folders["d_fine"], DetectorOptions(prompts=str(mine)))
    with pytest.raises(InputError, match="--class-list"):
        load_detector("motion", None, "cpu", DetectorOptions(prompts=str(mine)))
    for text in ("class,prompt\n", "name,text\na,b\n", "class,prompt\nball,\n", "class,prompt\nball,a. b\n"):
        mine.write_text(text)
        with pytest.raises(InputError, match=r"mine\.csv"):
            read_prompts(mine)


def test_tokens_are_of_the_prompt_between_full_stops(folders):
    detector = load(folders["mm-grounding-dino"])
    detector._prompts = ["sports ball", "ball", "tennis ball"]
    ids = detector._processor.tokenizer("sports ball. ball. tennis ball.")["input_ids"]
    assert detector._token_prompts(np.array(ids)).tolist() == [-1, 0, 0, -1, 1, -1, 2, 2, -1, -1]
    with pytest.raises(InputError, match="more text"):
        detector._token_prompts(np.array(ids[:4]))


def test_where_it_is_from_and_its_licence(folders):
    assert load(folders["owlv2"]).origin == {
        "place": str(folders["owlv2"]), "revision": "", "licence": "apache-2.0"
    }  # fmt: skip


def test_what_cannot_be_had(folders, tmp_path):
    with pytest.raises(InputError, match=r"nobody/nothing: cannot be had .*hf download.*hf:FOLDER") as caught:
        load_detector("hf:nobody/nothing", None, "cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"^--detector hf:/no/such: no such folder$"):
        load_detector("hf:/no/such", None, "cpu")
    with pytest.raises(InputError, match="holds no config"):
        load_detector(f"hf:{tmp_path}", None, "cpu")
    (tmp_path / "config.json").write_text((folders["d_fine"] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="safetensors"):
        load_detector(f"hf:{tmp_path}", None, "cpu")
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(InputError, match="cannot be had"):
        load_detector(f"hf:{tmp_path}", None, "cpu")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="is a bert, which finds no boxes"):
        load_detector(f"hf:{tmp_path}", None, "cpu")
    (tmp_path / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "code.Evil"}}')
    (tmp_path / "code.py").write_text("raise SystemExit('code of a repository was run')")
    with pytest.raises(InputError, match="cannot be had"):
        load_detector(f"hf:{tmp_path}", None, "cpu")
