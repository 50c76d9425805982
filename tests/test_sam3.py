"""SAM 3 as a detector: one number an object over chunk borders, memory that does not grow, masks on disk."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_labelling import HEIGHT, WIDTH, work_with
from tiny_networks import make

from labels.engine.runner import Loaded
from labels.labelling.box_round import Labeller, label_round
from labels.labelling.settings import LabellingSettings
from labels.models.detectors.loading import load_detector
from labels.models.segmenters import Sam3Detector, chunks_of
from labels.models.settings import DetectorOptions, Sam3Settings
from labels.records.errors import InputError
from labels.records.masks import decode_mask, with_masks
from labels.records.safe_writing import read_parquet
from labels.videos.decoding.frames import Frame

CHUNK, SHARED = 10, 3
HELD = 200_000  # bytes that the stub remembers of a frame


class PlantedSam3:
    """Model and processor in one: sees planted objects, and remembers all it was ever shown of a session.

    Object k of `objects` is (prompt, hidden frames); it lies at x = 3 * frame, y = 12 * k, is 10 x 8 large and says so
    in red by its frame. Numbers are given anew in each session, the last object first.
    """

    config = SimpleNamespace(score_threshold_detection=0.5)

    def __init__(self, objects):
        self.objects, self.sessions = objects, []

    def init_video_session(self, video, inference_device):
        session = SimpleNamespace(video=video, prompts=[], held=[])
        self.sessions.append(len(video))
        return session

    def add_text_prompt(self, session, prompts):
        session.prompts = prompts

    def propagate_in_video_iterator(self, session):
        for rgb in session.video:
            session.held.append(np.zeros(HELD, np.uint8))
            yield int(rgb[0, 0, 0]) + 256 * int(rgb[0, 0, 1])

    def postprocess_outputs(self, session, frame):
        seen = [
            (len(self.objects) - at, prompt, at)
            for at, (prompt, hidden) in enumerate(self.objects)
            if frame not in hidden and prompt in session.prompts
        ]
        masks = torch.zeros(len(seen), HEIGHT, 320, dtype=torch.bool)
        for row, (_, _, at) in enumerate(seen):
            masks[row, 12 * at : 12 * at + 8, 3 * frame % 300 : 3 * frame % 300 + 10] = True
        return {
            "object_ids": torch.tensor([number for number, _, _ in seen], dtype=torch.int64),
            "scores": torch.full((len(seen),), 0.9),
            "masks": masks,
            "prompt_to_obj_ids": {p: [number for number, prompt, _ in seen if prompt == p] for _, p, _ in seen},
        }


def frames_of(count, height=HEIGHT, width=320):
    for index in range(count):
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[0, 0, :2] = index % 256, index // 256
        yield Frame(index, index / 25, rgb)


def planted(*objects, **settings):
    stub = PlantedSam3(objects)
    prompts = {"sports ball": ["sports ball", "tennis ball"], "person": ["person"]}
    chosen = replace(Sam3Settings(), chunk_frames=CHUNK, shared_frames=SHARED, **settings)
    return Sam3Detector("sam3", stub, stub, prompts, settings=chosen), stub


def test_chunks_share_frames_and_every_frame_is_given_once():
    chunks = [([f.frame_index for f in chunk], seen) for chunk, seen in chunks_of(frames_of(25), CHUNK, SHARED)]
    assert chunks == [(list(range(10)), 0), (list(range(7, 17)), 3), (list(range(14, 24)), 3), ([21, 22, 23, 24], 3)]
    assert list(chunks_of(iter(()), CHUNK, SHARED)) == []
    assert [len(chunk) for chunk, _ in chunks_of(frames_of(10), CHUNK, SHARED)] == [10]
    other = [*frames_of(4), *(frame._replace(frame_index=4 + frame.frame_index) for frame in frames_of(3, width=64))]
    assert [(len(chunk), seen) for chunk, seen in chunks_of(other, CHUNK, SHARED)] == [(4, 0), (3, 0)]


def test_one_number_over_three_borders():
    """Two balls and a person; ball 0 is hidden in two of the frames that chunks share, ball 1 comes late."""
    detector, stub = planted(("tennis ball", {8, 15}), ("sports ball", set(range(5))), ("person", set()))
    found = list(detector.detect(frames_of(34)))
    assert [frame.frame_index for frame, _ in found] == list(range(34)) and stub.sessions == [10, 10, 10, 10, 6]
    numbers = {}
    for frame, boxes in found:
        for xyxy, name, number in zip(boxes.xyxy, boxes.class_name, boxes.track_id, strict=True):
            numbers.setdefault((name, int(xyxy[1]) // 12), set()).add(int(number))
            assert xyxy.tolist() == [3 * frame.frame_index, xyxy[1], 3 * frame.frame_index + 10, xyxy[1] + 8]
    assert {key: len(own) for key, own in numbers.items()} == {
        ("sports ball", 0): 1, ("sports ball", 1): 1, ("person", 2): 1,
    }  # fmt: skip
    assert len(set.union(*numbers.values())) == 3


def test_what_was_hidden_in_all_shared_frames_is_another_and_a_number_is_never_given_twice():
    detector, _ = planted(("sports ball", {7, 8, 9}), ("sports ball", set()))
    tracks = [boxes.track_id.tolist() for _, boxes in detector.detect(frames_of(17))]
    assert tracks[0] != tracks[-1] and len({number for own in tracks for number in own}) == 3
    assert all(len(set(own)) == len(own) for own in tracks)


def test_masks_are_the_objects_and_boxes_lie_around_them():
    detector, _ = planted(("sports ball", set()))
    for frame, boxes in detector.detect(frames_of(12)):
        (rle,) = boxes.mask_rle
        rows, columns = np.nonzero(decode_mask(rle, HEIGHT, 320))
        x = 3 * frame.frame_index
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 7, x, x + 9)
        assert boxes.xyxy.tolist() == [[x, 0, x + 10, 8]]


def test_memory_does_not_grow_with_the_video():
    def peak(count):
        detector, _ = planted(("sports ball", set()))
        tracemalloc.start()
        for _ in detector.detect(frames_of(count)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(20)
    short, long = peak(200), peak(600)
    assert short > CHUNK * HELD  # what the session holds is counted
    assert long <= 1.1 * short


def test_stage_two_stores_tracks_and_masks(tmp_path, make_video):
    class RedCorner(PlantedSam3):
        """Finds the red corner of coded frames."""

        def propagate_in_video_iterator(self, session):
            yield from session.video

        def postprocess_outputs(self, session, rgb):
            mask = torch.from_numpy((rgb[..., 0] > 150) & (rgb[..., 1] < 100))
            return {
                "object_ids": torch.tensor([5]), "scores": torch.tensor([0.8]), "masks": mask[None],
                "prompt_to_obj_ids": {"sports ball": [5]},
            }  # fmt: skip

    work, stub = work_with(tmp_path, make_video, ["a"]), RedCorner([])
    detector = Sam3Detector("sam3", stub, stub, {"sports ball": ["sports ball"]}, settings=Sam3Settings(8, 2))
    label_round(work, work.round(0), Loaded(Labeller(detector)), LabellingSettings())
    boxes = read_parquet(work.round(0).boxes("labelled", "a"))
    assert len(boxes) == 20 and set(boxes["track_id"]) == {0}
    masked = with_masks(boxes, work.round(0), "a")
    for row in masked.itertuples():
        rows, columns = np.nonzero(decode_mask(row.mask_rle, HEIGHT, WIDTH))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (row.x1, row.y1, row.x2, row.y2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers")
    return make("sam3_video", tmp_path_factory.mktemp("sam3"))


def test_the_real_class_offline(folder, monkeypatch):
    """A tiny one with weights of chance: what a direct call gives, box for box and mask for mask."""
    import transformers

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rgbs = list(np.random.default_rng(1).integers(0, 255, (3, 64, 96, 3), dtype=np.uint8))
    frames = [Frame(index, index / 25, rgb) for index, rgb in enumerate(rgbs)]
    detector = load_detector(f"hf:{folder}", ("sports ball", "person"), "cpu")
    assert detector.origin["licence"] == "apache-2.0" and detector.class_names == ("sports ball", "person")
    found = [boxes for _, boxes in detector.detect(iter(frames))]
    model = transformers.Sam3VideoModel.from_pretrained(folder).eval()
    processor = transformers.Sam3VideoProcessor.from_pretrained(folder)
    session = processor.init_video_session(video=rgbs)
    processor.add_text_prompt(session, ["sports ball", "person"])
    assert sum(map(len, found))
    for boxes, output in zip(found, model.propagate_in_video_iterator(session), strict=True):
        direct = processor.postprocess_outputs(session, output)
        there = direct["masks"].any(dim=(1, 2)).numpy()
        masks = direct["masks"].numpy()[there]
        assert boxes.score == pytest.approx(direct["scores"].numpy()[there])
        assert all((decode_mask(rle, 64, 96) == mask).all() for rle, mask in zip(boxes.mask_rle, masks, strict=True))
        named = {number: prompt for prompt, own in direct["prompt_to_obj_ids"].items() for number in own}
        assert boxes.class_name.tolist() == [named[int(number)] for number in direct["object_ids"][there]]


def test_it_looks_at_whole_frames_at_its_own_size(folder):
    with pytest.raises(InputError, match="--tiles"):
        load_detector(f"hf:{folder}", None, "cpu", DetectorOptions(tile_side=64))
    with pytest.raises(InputError, match="--input-size"):
        load_detector(f"hf:{folder}", None, "cpu", DetectorOptions(input_size=64))
