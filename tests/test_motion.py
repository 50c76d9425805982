"""The motion labeller on made clips: what flies is found where it is, what stands or passes slowly is not believed."""

import cv2
import numpy as np
import pytest

from labels.models.detectors.motion import MotionDetector, best_of_each
from labels.models.detectors.motion_blobs import Background, find_blobs, lay_over, reduced_copy, shares_around
from labels.models.settings import BALL, MotionSettings
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

WIDTH, HEIGHT = 320, 180
RADIUS = 4


def textured(seed: int = 0, width: int = 640, height: int = 360) -> np.ndarray:
    """A ground with soft structure, larger than a frame, for a camera to pan over."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) // 3 + 60


def ball_at(number: int) -> tuple[float, float]:
    """Where the ball is in frame `number`: an even flight with a little gravity."""
    return 40 + 9.0 * number, 120 - 7.0 * number + 0.25 * number**2


def clip(count: int = 24, pan: float = 0.0, ball: bool = True, seed: int = 0) -> list[Frame]:
    ground = textured(seed)
    frames = []
    for number in range(count):
        shift = np.array([[1, 0, -60 - pan * number], [0, 1, -60]], dtype=np.float64)
        rgb = cv2.warpAffine(ground, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        if ball:
            x, y = ball_at(number)
            centre = (round(x * 16 - 8), round(y * 16 - 8))  # cv2 counts from pixel centres, in sixteenths
            cv2.circle(rgb, centre, RADIUS * 16, (235, 235, 120), -1, cv2.LINE_AA, shift=4)
        noise = np.random.default_rng(1000 + number).integers(-2, 3, rgb.shape)
        frames.append(Frame(number, number / 25, np.clip(rgb + noise, 0, 255).astype(np.uint8)))
    return frames


@pytest.mark.parametrize("pan", [0.0, 3.0], ids=["still camera", "panning camera"])
def test_a_flying_ball_is_found_where_it_is(pan):
    detector = MotionDetector()
    found = 0
    for frame, detections in detector.detect(clip(pan=pan)):
        best = detections.where(detections.score >= detector.working_threshold[BALL])
        assert len(best) <= 1, f"frame {frame.frame_index}: {best}"
        if len(best):
            x, y = ball_at(frame.frame_index)
            centre = (best.xyxy[0, :2] + best.xyxy[0, 2:]) / 2
            assert np.abs(centre - (x, y)).max() <= 2.0
            assert (np.abs(best.xyxy[0, 2:] - best.xyxy[0, :2] - 2 * RADIUS) <= 3).all()
            assert best.class_name.tolist() == [BALL]
            found += 1
    assert found >= 20  # of 24; the ends have fewer neighbours


def test_every_frame_gets_one_answer_in_order():
    frames = clip(11)
    answers = list(MotionDetector().detect(iter(frames)))
    assert [frame.frame_index for frame, _ in answers] == list(range(11))
    assert all(given is frame for given, (frame, _) in zip(frames, answers, strict=True))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_clips_too_short_to_compare_have_answers_too(count):
    answers = list(MotionDetector().detect(clip(count)))
    assert len(answers) == count
    if count < 3:
        assert all(len(detections) == 0 for _, detections in answers)


def test_nothing_is_seen_where_nothing_flies():
    for pan in (0.0, 3.0):
        for _, detections in MotionDetector().detect(clip(ball=False, pan=pan)):
            assert not (detections.score >= MotionSettings.working_threshold).any()


def test_a_new_call_is_a_new_video():
    detector, frames = MotionDetector(), clip(12)
    list(detector.detect(clip(7, seed=3)))
    again = [detections.xyxy for _, detections in detector.detect(frames)]
    alone = [detections.xyxy for _, detections in MotionDetector().detect(frames)]
    assert all(np.array_equal(one, other) for one, other in zip(again, alone, strict=True))


def test_no_path_leads_over_a_cut():
    """Either side of a cut is labelled as if the other were not there."""
    first, second = clip(10, seed=1), [Frame(f.frame_index + 10, f.time_s, f.rgb[:, ::-1]) for f in clip(10, seed=9)]
    joined = [detections for _, detections in MotionDetector().detect([*first, *second])]
    apart = [d for part in (first, second) for _, d in MotionDetector().detect(part)]
    for one, other in zip(joined, apart, strict=True):
        assert np.array_equal(one.xyxy, other.xyxy)
        assert np.allclose(one.score, other.score)


def test_a_large_frame_is_looked_at_reduced_and_answered_in_its_own_pixels():
    small = clip(16)
    large = [Frame(f.frame_index, f.time_s, cv2.resize(f.rgb, None, fx=4, fy=4)) for f in small]
    detector = MotionDetector(settings=MotionSettings(long_side=320))
    for (_, near), (_, far) in zip(MotionDetector().detect(small), detector.detect(large), strict=True):
        if len(near) and near.score.max() > 0.8:
            assert len(far)
            best, same = near.xyxy[near.score.argmax()] * 4, far.xyxy[far.score.argmax()]
            assert np.abs(best - same).max() <= 8  # two reduced pixels


def test_only_balls():
    assert MotionDetector((BALL,)).class_names == (BALL,)
    with pytest.raises(InputError, match="balls only"):
        MotionDetector(("person",))


def test_other_settings_have_another_digest():
    assert MotionDetector().digest == MotionDetector((BALL,)).digest
    assert MotionDetector().digest != MotionDetector(settings=MotionSettings(long_side=320)).digest


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    [
        ([50, 50, 50, 50], 150),  # the thing is here alone
        ([200, 50, 50, 50], 150),  # a neighbour shows it too: a slow ball
        ([200, 200, 50, 50], 0),  # half of them do: the background may be either
        ([200, 200, 200, 50], 0),  # it stands there; the last neighbour shows something else
        ([180, 190, 210, 220], 0),  # within the range of the two middle ones
        ([230], 30),
    ],
)
def test_the_background_is_the_middle_of_the_neighbours(neighbours, expected):
    images = [np.full((5, 5, 3), value, dtype=np.uint8) for value in neighbours]
    difference = Background.of(images).difference(np.full((5, 5, 3), 200, dtype=np.uint8))
    assert (difference == expected).all()


def test_an_edge_one_pixel_off_does_not_differ():
    edge = np.zeros((20, 20, 3), dtype=np.uint8)
    edge[:, 10:] = 200
    background = Background.of([np.roll(edge, 1, axis=1)[:, 1:], np.roll(edge, -1, axis=1)[:, 1:]])
    assert not background.difference(edge[:, 1:])[:, 1:-2].any()


def test_blobs_are_measured():
    empty = np.full((90, 160, 3), 80, dtype=np.uint8)
    current = empty.copy()
    current[20:26, 30:36] = 160  # a square
    current[60:62, 100:112] = 50  # a streak, dark
    blobs = find_blobs(current, Background.of([empty, empty]), MotionSettings())
    order = np.argsort(blobs.xyxy[:, 0])
    assert blobs.xyxy[order].tolist() == [[30, 20, 36, 26], [100, 60, 112, 62]]
    assert blobs.contrast[order].tolist() == [80, 30]
    assert blobs.aspect[order] == pytest.approx([1, 6])
    assert blobs.fill[order] == pytest.approx([np.minimum(1, 0.9549)] * 2, abs=1e-3)  # a rectangle: 3 / pi
    assert blobs.bustle[order].tolist() == [0, 0]
    assert blobs.shade[order] == pytest.approx([0, 1])  # the dark one darkens all colours alike
    assert len(find_blobs(empty, Background.of([empty, empty]), MotionSettings())) == 0


def test_what_moves_around_a_blob_is_measured_by_its_place():
    empty = np.full((120, 160, 3), 80, dtype=np.uint8)
    current = empty.copy()
    current[40:50, 70:80] = 160
    long_run = np.zeros((60, 80), dtype=np.uint8)  # at half the scale
    long_run[25:33, 30:45] = 1  # a body: from y 50 to 66, x 60 to 90
    long_run[20:25, 40:43] = 1  # to its right
    blobs = find_blobs(current, Background.of([empty, empty]), MotionSettings(), long_run)
    below = [1, 2 / 6, 0]  # the places end at y 62, 74 and 90
    assert blobs.around == pytest.approx(np.array([[*below, 0, 0, 2 / 5]]))  # the last from x 82 to 92
    alone = find_blobs(current, Background.of([empty, empty]), MotionSettings())  # it does not count itself
    assert not alone.around.any()


def test_what_lies_outside_the_frame_does_not_move():
    everything = np.ones((100, 50), dtype=np.uint8)
    around = shares_around(everything, np.array([[0, 90, 10, 100]]), everything.shape)
    assert around.tolist() == [[0, 0, 0, 1, 0, 1]]
    assert shares_around(everything, np.zeros((0, 4)), everything.shape).shape == (0, 6)


def test_a_head_is_no_ball():
    """A disc that goes its even way is believed, but not on top of a body that goes with it, slower than it is wide."""

    def best_scores(body: bool, settings: MotionSettings) -> np.ndarray:
        frames = []
        for frame in clip(ball=False):
            rgb, x = frame.rgb.copy(), 40 + 4 * frame.frame_index
            if body:
                cv2.rectangle(rgb, (x - 12, 100), (x + 12, 154), (40, 60, 150), -1)  # below a neck
            cv2.circle(rgb, (x, 90), 5, (235, 200, 160), -1, cv2.LINE_AA)
            frames.append(Frame(frame.frame_index, frame.time_s, rgb))
        scores = []
        for frame, found in MotionDetector(settings=settings).detect(frames):
            x = 40 + 4 * frame.frame_index
            there = (found.xyxy[:, 0] < x) & (found.xyxy[:, 2] > x) & (found.xyxy[:, 1] < 90) & (found.xyxy[:, 3] > 90)
            scores.append(float(found.score[there].max(initial=0)))
        return np.array(scores)

    usual, short_sighted = MotionSettings(), MotionSettings(long_gaps=(60, 61))
    assert np.mean(best_scores(False, usual) >= 0.5) > 0.7
    assert best_scores(True, usual).max() < 0.5
    assert best_scores(True, short_sighted).max() > 0.5  # what moves in the long run is what tells


def test_the_long_run_is_looked_at_on_a_copy_of_its_own():
    frames = [Frame(f.frame_index, f.time_s, cv2.resize(f.rgb, (640, 360))) for f in clip(12, pan=3.0, ball=False)]
    seen = [one for one, _ in MotionDetector().blobs_of(frames)]
    for one in seen[1:]:
        assert (one.small.pixels.shape, one.smaller.pixels.shape) == ((360, 640, 3), (180, 320, 3))
        assert (one.small.scale, one.smaller.scale) == (1.0, 0.5)
        assert one.small.to_before[0, 2] == pytest.approx(6, abs=0.5)  # three pixels, twice as large
        assert one.smaller.to_before[0, 2] == pytest.approx(3, abs=0.25)


def test_what_the_neighbour_does_not_show_does_not_differ():
    current = np.full((10, 20, 3), 90, dtype=np.uint8)
    neighbour = np.full((10, 20, 3), 10, dtype=np.uint8)
    laid = lay_over(neighbour, current, np.array([[1.0, 0, 5], [0, 1, 0]]))
    assert (laid[:, :14] == 10).all() and (laid[:, 16:] == 90).all()


def test_small_frames_are_not_enlarged():
    rgb = np.zeros((90, 160, 3), dtype=np.uint8)
    assert reduced_copy(rgb, 640)[1] == 1.0
    assert reduced_copy(rgb, 80)[0].shape == (45, 80, 3)


@pytest.mark.parametrize(
    ("boxes", "scores", "left"),
    [
        ([], [], []),
        ([[0, 0, 4, 4], [10, 0, 14, 4]], [0.5, 0.9], [1, 0]),  # apart: both, best first
        ([[0, 0, 10, 10], [4, 4, 6, 6]], [0.5, 0.9], [1]),  # one in the other
        ([[0, 0, 4, 4], [4, 0, 8, 4]], [0.9, 0.5], [0, 1]),  # touching
    ],
)
def test_the_best_of_each(boxes, scores, left):
    xyxy = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    assert best_of_each(xyxy, np.array(scores)).tolist() == left
