"""Windows: which frames they hold, worked out by hand, and what is cut out of them."""

import numpy as np
import pytest
from conftest import read_code

from labels.tracks.players import CropPath, crop_path
from labels.videos.decoding.frames import Frame, decode_frames
from labels.videos.windows import WindowShape, cut_square, even_places, sample_windows, shrink


def frames_at(times_s):
    """Frames whose pixels say their number."""
    return [Frame(at, time_s, np.full((4, 6, 3), at, np.uint8)) for at, time_s in enumerate(times_s)]


def indices(times_s, shape, tracks=None):
    return [window.frame_index.tolist() for window in sample_windows(frames_at(times_s), shape, tracks)]


EVEN = [at / 10 for at in range(10)]


@pytest.mark.parametrize(
    ("times_s", "shape", "wanted"),
    [
        (EVEN, WindowShape(4, 10.0, 4), [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]),
        # Half the rate takes every other frame; five samples, so that the last window ends with the source.
        (EVEN, WindowShape(4, 5.0, 4), [[0, 2, 4, 6], [2, 4, 6, 8]]),
        # Twice the rate shows each frame twice.
        (EVEN[:3], WindowShape(4, 20.0, 4), [[0, 0, 1, 1], [1, 1, 2, 2]]),
        # The rest at the end gets a window of its own: of nine frames the last is frame 8.
        (EVEN[:9], WindowShape(4, 10.0, 4), [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]),
        # A source shorter than a window: each frame as often as the others.
        (EVEN[:3], WindowShape(6, 10.0, 4), [[0, 0, 1, 1, 2, 2]]),
        (EVEN[:1], WindowShape(3, 10.0, 4), [[0, 0, 0]]),
        # Shorter in time, though it has more frames: 6 frames in 0.6 s are 1.2 samples at 2 a second.
        (EVEN[:6], WindowShape(3, 2.0, 4), [[0, 2, 4]]),
        # A frame that stands still for 0.5 s is seen as long as that.
        ([0.0, 0.1, 0.6, 0.7], WindowShape(4, 10.0, 4), [[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 2, 3]]),
        ([], WindowShape(4, 10.0, 4), []),
    ],
)
def test_samples_lie_on_one_grid_of_times(times_s, shape, wanted):
    assert indices(times_s, shape) == wanted


def test_pixels_are_those_of_the_frames_named():
    for window in sample_windows(frames_at(EVEN), WindowShape(4, 5.0, 4)):
        assert window.values.shape == (4, 4, 6, 3)
        assert window.values[:, 0, 0, 0].tolist() == window.frame_index.tolist()
        assert window.time_s.tolist() == [EVEN[at] for at in window.frame_index]


def test_a_track_gives_windows_while_it_lasts():
    square = np.array([3.0, 2.0, 4.0])
    track = CropPath(7, 3, np.tile(square, (5, 1)))  # frames 3 to 7
    assert indices(EVEN, WindowShape(4, 10.0, 4), [track]) == [[3, 4, 5, 6], [4, 5, 6, 7]]
    assert [window.track_id for window in sample_windows(frames_at(EVEN), WindowShape(4, 10.0, 4), [track])] == [7, 7]
    assert indices(EVEN, WindowShape(4, 10.0, 4), [CropPath(1, 20, np.tile(square, (5, 1)))]) == []


def test_a_player_out_of_sight_has_no_windows_and_each_time_in_sight_has_its_own():
    square = np.array([3.0, 2.0, 4.0])
    hidden = CropPath(7, 0, np.tile(square, (10, 1)), in_sight=((0, 3), (5, 10)))
    assert indices(EVEN, WindowShape(4, 10.0, 4), [hidden]) == [[0, 0, 1, 2], [5, 6, 7, 8], [6, 7, 8, 9]]
    assert [hidden.sight_at(at) for at in (2, 3, 5, 10)] == [(0, 3), None, (5, 10), None]


def test_a_track_is_out_of_sight_where_it_has_no_box_for_much_longer_than_usual():
    boxes = np.tile([0.0, 0.0, 10.0, 20.0], (8, 1))
    often = np.array([0, 2, 4, 14, 16, 18, 29, 31])  # at 20 fps half a second, 10 frames, is bridged, and more is not
    assert crop_path(1, often, boxes, 20.0).in_sight == ((0, 19), (29, 32))
    seldom = np.array([0, 6, 12, 30, 36, 42, 61, 67])  # nor are more than three usual steps
    assert crop_path(1, seldom, boxes, 20.0).in_sight == ((0, 43), (61, 68))


def test_windows_of_a_real_video_hold_the_frames_their_indices_say(make_video):
    path = make_video("clip.mp4", 30)
    windows = list(sample_windows(decode_frames(path), WindowShape(8, 12.5, 64)))
    assert [window.frame_index[0] for window in windows] == [0, 8, 14]
    for window in windows:
        assert [read_code(rgb) for rgb in window.values] == window.frame_index.tolist()


@pytest.mark.parametrize(
    ("count", "wanted", "places"), [(5, 16, [0] * 4 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3), (4, 2, [0, 2])]
)
def test_even_places(count, wanted, places):
    assert even_places(count, wanted).tolist() == places


def test_a_crop_is_square_padded_and_not_stretched():
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[:, :10] = 255
    cut = cut_square(rgb, np.array([0.0, 50.0, 40.0]), 40)  # half of it hangs over the left edge
    assert cut.shape == (40, 40, 3)
    assert (cut[:, :20] == 114).all() and (cut[:, 20:30] == 255).all() and (cut[:, 30:] == 0).all()
    assert (cut_square(rgb, np.array([-90.0, 50.0, 40.0]), 8) == 114).all()


def test_a_whole_frame_keeps_its_shape():
    assert shrink(np.zeros((90, 160, 3), np.uint8), 45).shape == (45, 80, 3)
    assert shrink(np.zeros((20, 10, 3), np.uint8), 20).shape == (40, 20, 3)


def test_the_crop_follows_a_player_with_room_and_without_shaking():
    frames = np.arange(0, 40, 2)
    shake = np.where(frames % 4 == 0, 3.0, -3.0)
    xyxy = np.column_stack([frames + shake, np.full(20, 10.0), frames + 20 + shake, np.full(20, 50.0)])
    path = crop_path(1, frames, xyxy, 25.0)
    assert (path.first_frame, path.end_frame) == (0, 39)
    assert path.squares[:, 2] == pytest.approx(np.full(39, 50.0))  # 40 x 1.25
    middle = slice(12, 27)  # away from the ends
    assert np.abs(path.squares[middle, 0] - (np.arange(39) + 10)[middle]).max() < 0.5
    with pytest.raises(ValueError, match="track 1"):
        crop_path(1, np.array([], int), np.zeros((0, 4)), 25.0)
