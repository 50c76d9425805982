"""Views of a frame through tiles and mirrors, and several detectors side by side, with one that finds dots."""

from itertools import pairwise

import numpy as np
import pytest

from labels.models.detectors.ensemble import Ensemble, MirroredDetector, TiledDetector, sources_of, tile_starts
from labels.models.settings import DetectorOptions, TileSettings, Views
from labels.records.detections import Detections, as_text, from_text
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame


class Dots:
    """Finds every run of white pixels in the row it lies in, as a box of its own width that is as high."""

    name, class_names = "dots", ("sports ball",)
    working_threshold, score_slope = {"sports ball": 0.5}, {}

    def __init__(self, digest="1", score=0.9, every_frame=False, ahead=0):
        self.digest, self.score, self.every_frame, self.ahead, self.seen = digest, score, every_frame, ahead, []

    def detect(self, frames):
        waiting = []
        for frame in frames:
            self.seen.append(frame.frame_index)
            waiting.append(frame)
            if len(waiting) > self.ahead:
                yield self._one(waiting.pop(0))
        for frame in waiting:
            yield self._one(frame)

    def _one(self, frame):
        boxes = []
        for row in np.flatnonzero((frame.rgb[:, :, 0] > 0).any(axis=1)):
            white = np.concatenate([[0], frame.rgb[row, :, 0] > 0, [0]]).astype(int)
            for start, end in zip(np.flatnonzero(np.diff(white) > 0), np.flatnonzero(np.diff(white) < 0), strict=True):
                boxes.append([start, row, end, row + end - start])
        return frame, Detections(boxes, [self.score] * len(boxes), ["sports ball"] * len(boxes))


def frame_with(*dots, size=(100, 60), index=0):
    """(x, y, width) each a white run in a black frame."""
    rgb = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for x, y, width in dots:
        rgb[y, x : x + width] = 255
    return Frame(index, index / 25, rgb)


@pytest.mark.parametrize(
    ("length", "side", "overlap", "starts"),
    [
        (50, 64, 0.25, [0]),  # it fits: one tile
        (64, 64, 0.25, [0]),
        (65, 64, 0.25, [0, 1]),
        (112, 64, 0.25, [0, 48]),  # 64 + 48: exactly a quarter into the next
        (113, 64, 0.25, [0, 24, 49]),
    ],
)
def test_tiles_cover_the_length_and_overlap(length, side, overlap, starts):
    assert tile_starts(length, side, overlap) == starts
    assert starts[-1] + side >= length
    assert all(after - before <= side * (1 - overlap) + 0.5 for before, after in pairwise(starts))


def test_boxes_of_tiles_come_back_in_frame_pixels_and_once():
    # Tiles of 64 in a frame of 100 x 60 begin at x = 0 and 36. The dot at 40 lies in both, those at 5 and 90 in one.
    detector = TiledDetector(Dots(), 64)
    ((frame, found),) = detector.detect([frame_with((5, 10, 4), (40, 20, 4), (90, 30, 4))])
    assert frame.rgb.shape == (60, 100, 3)
    assert sorted(found.xyxy.tolist()) == [[5, 10, 9, 14], [40, 20, 44, 24], [90, 30, 94, 34]]


def test_what_an_inner_edge_cuts_is_left_to_the_neighbour():
    # The dot from 60 to 68 is cut at 64 by the first tile; the second, from 36, sees it whole.
    ((_, found),) = TiledDetector(Dots(), 64).detect([frame_with((60, 20, 8))])
    assert found.xyxy.tolist() == [[60, 20, 68, 28]]
    # At the frame's own edge nothing is cut that is not cut anyway.
    ((_, found),) = TiledDetector(Dots(), 64).detect([frame_with((0, 20, 5), (97, 40, 3))])
    assert sorted(found.xyxy.tolist()) == [[0, 20, 5, 25], [97, 40, 100, 43]]


def test_frames_keep_their_order_through_a_detector_that_looks_ahead():
    frames = [frame_with((10 + index, 5, 3), index=index) for index in range(7)]
    for wrap in (MirroredDetector, lambda detector: TiledDetector(detector, 64)):
        found = list(wrap(Dots(ahead=3)).detect(frames))
        assert [frame.frame_index for frame, _ in found] == list(range(7))
        assert [boxes.xyxy[0, 0] for _, boxes in found] == [10 + index for index in range(7)]


def test_a_mirrored_look_gives_boxes_of_the_upright_frame():
    ((frame, found),) = MirroredDetector(Dots()).detect([frame_with((70, 12, 5))])
    assert found.xyxy.tolist() == [[70, 12, 75, 17]]
    assert frame.rgb[12, 70, 0] == 255


def test_views_have_digests_of_their_own():
    digests = {
        Dots().digest,
        MirroredDetector(Dots()).digest,
        TiledDetector(Dots(), 64).digest,
        TiledDetector(Dots(), 96).digest,
        TiledDetector(Dots(), 64, TileSettings(overlap=0.5)).digest,
        MirroredDetector(Dots("2")).digest,
    }
    assert len(digests) == 6


def test_a_panel_keeps_whose_each_box_is_and_asks_only_for_the_frames_needed():
    still, moving = Dots(score=0.3), Dots(every_frame=True, ahead=2)
    ensemble = Ensemble({"a": still, "b": moving}, stride=3)
    found = list(ensemble.detect([frame_with((10, 5, 3), index=index) for index in range(7)]))
    assert still.seen == [0, 3, 6]
    assert moving.seen == list(range(7))
    assert [frame.frame_index for frame, _ in found] == list(range(7))
    assert [boxes.source.tolist() for _, boxes in found] == [["a", "b"] if i % 3 == 0 else ["b"] for i in range(7)]
    assert found[0][1].score.tolist() == pytest.approx([0.3, 0.9])
    assert sources_of(ensemble) == {"a": still, "b": moving}
    assert sources_of(still) == {"": still}


def test_features_survive_as_text():
    features = np.array([[0.0, 0.5, 1.0], [0.25, 0.1, 0.9]])
    read, known = from_text([*as_text(features), ""])
    assert known.tolist() == [True, True, False]
    np.testing.assert_allclose(read[:2], features, atol=0.5 / 255 + 1e-6)
    assert (read[2] == 0).all()
    assert from_text([])[0].shape == (0, 0)
    with pytest.raises(ValueError, match="different lengths"):
        from_text(["00", "0000"])


@pytest.fixture
def loaded(monkeypatch):
    """`load_ensemble` with detectors that only remember how they were loaded."""
    from labels.models.detectors import ensemble

    def load(name, class_names, device, options):
        size = options.input_size or options.tile_side
        return Dots(digest=f"{name} {size}", every_frame=name in ("motion", "ballnet.pt"))

    monkeypatch.setattr(ensemble, "load_detector", load)
    return ensemble


def load(ensemble, names, **views):
    return ensemble.load_ensemble(names, None, "cpu", DetectorOptions(), Views(**views), 1)


def test_each_detector_gets_the_looks_that_it_takes(loaded):
    ensemble = load(loaded, ("yolox.onnx", "motion"), input_sizes=(416, 1280), tile_side=480, mirrored=True)
    assert set(ensemble.members) == {
        "yolox 416", "yolox 1280", "yolox tiles 480", "yolox mirrored", "motion",
    }  # fmt: skip
    assert ensemble.members["yolox 1280"].digest == "yolox.onnx 1280"
    assert ensemble.members["yolox tiles 480"]._detector.digest == "yolox.onnx 480"
    assert ensemble.members["yolox mirrored"]._detector is ensemble.members["yolox 416"]  # at the first size
    assert ensemble.every_frame
    assert load(loaded, ("yolox.onnx",), input_sizes=(416,)).digest == "yolox.onnx 416"  # one look is itself
    assert list(load(loaded, ("ballnet.pt", "motion"), mirrored=True).members) == [
        "ballnet", "ballnet mirrored", "motion",
    ]  # fmt: skip
    for views in ({"input_sizes": (640,)}, {"tile_side": 480}):
        with pytest.raises(InputError, match="and motion have a single view"):
            load(loaded, ("ballnet.pt", "motion"), **views)
    ensemble = load(loaded, ("human", "yolox.onnx"), mirrored=True)
    assert list(ensemble.members) == ["human", "yolox", "yolox mirrored"]


def test_detectors_of_one_name_are_told_apart(loaded):
    ensemble = load(loaded, ("a/detector.pt", "b/detector.pt"))
    assert {source: each.digest for source, each in ensemble.members.items()} == {
        "a/detector.pt": "a/detector.pt None", "b/detector.pt": "b/detector.pt None",
    }  # fmt: skip
    ensemble = load(loaded, ("yolox_s.onnx", "yolox.onnx"), mirrored=True)
    assert ensemble.members["yolox mirrored"]._detector is ensemble.members["yolox"]
    with pytest.raises(InputError, match="named twice"):
        load(loaded, ("motion", "motion"))
