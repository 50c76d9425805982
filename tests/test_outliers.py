"""Tracks that look unlike those kept before in other videos: found where enough is known, and never if they fly."""

from types import SimpleNamespace

import numpy as np
from simulated_balls import boxes_from, clean_table, metadata

from labels.cleaning.features.appearance import UsualTracks, kept_as_seen, outlier
from labels.cleaning.settings import CleaningSettings
from labels.records.detections import as_text

SETTINGS = CleaningSettings()
WHITE, ORANGE, LAMP = 0.2, 0.5, 0.9  # the mean of a track's features


def features_of(rng, mean, count):
    """Features (count, 56) around `mean`."""
    return np.clip(mean + rng.normal(0, 0.03, (count, 56)), 0, 1)


def video(number, means, class_name="sports ball"):
    """The decided boxes of a video with a kept track of five boxes for each of `means`."""
    rng = np.random.default_rng(number)
    rows = [(f, 50 + 40 * track, 50, 10, 0.9, class_name) for track in range(len(means)) for f in range(5)]
    boxes = boxes_from(rows, 5)
    named = {"video_id": f"v{number}", "decision": "keep", "reason": "", "track_id": np.repeat(range(len(means)), 5)}
    return boxes.assign(**named, appearance=as_text(np.concatenate([features_of(rng, mean, 5) for mean in means])))


def factors(usual, boxes, flying=None):
    confident = np.zeros(len(boxes), dtype=bool) if flying is None else flying
    columns = {"path": boxes["track_id"].to_numpy(), "on_confident_track": confident}
    found = outlier(columns, SimpleNamespace(usual=usual, boxes=boxes))
    return found["outlier"].reshape(-1, 5)  # a row for each track


def test_a_track_that_looks_as_no_other_is_told_and_two_usual_tracks_are_usual():
    usual = UsualTracks([video(number, [WHITE, ORANGE]) for number in range(20)], SETTINGS)
    found = factors(usual, video(99, [WHITE, ORANGE, LAMP]))
    assert (found[0] == found[0, 0]).all()  # one value for a track
    assert found[0, 0] < 1
    assert found[1, 0] < 1
    assert found[2, 0] > 1


def test_a_track_is_not_excused_by_itself_in_the_round_before():
    rounds_before = [video(number, [WHITE, ORANGE]) for number in range(20)]
    rounds_before[7] = video(7, [WHITE, LAMP])
    usual = UsualTracks(rounds_before, CleaningSettings(max_outlier_share=0.05))
    assert factors(usual, video(7, [WHITE, LAMP]))[1, 0] > 1


def test_at_most_the_stated_share_of_the_tracks_before_is_beyond_the_limit():
    rng = np.random.default_rng(5)
    before = [video(number, rng.uniform(0.1, 0.9, 3)) for number in range(30)]
    usual = UsualTracks(before, SETTINGS)
    beyond = [factors(usual, boxes)[:, 0] > 1 for boxes in before]
    assert np.concatenate(beyond).mean() <= SETTINGS.max_outlier_share


def test_nothing_is_said_where_too_little_is_known():
    few = UsualTracks([video(number, [WHITE]) for number in range(5)], SETTINGS)
    assert np.isnan(factors(few, video(99, [LAMP]))).all()
    usual = UsualTracks([video(number, [WHITE, ORANGE]) for number in range(20)], SETTINGS)
    assert np.isnan(factors(usual, video(99, [LAMP], "person"))).all()  # no track of that class
    assert np.isnan(factors(usual, video(99, [LAMP]).assign(appearance=""))).all()
    assert np.isnan(factors(None, video(99, [LAMP]))).all()
    assert np.isnan(factors(UsualTracks([], SETTINGS), video(99, [LAMP]))).all()


def test_what_surely_flies_and_what_is_on_no_track_is_left_alone():
    usual = UsualTracks([video(number, [WHITE, ORANGE]) for number in range(20)], SETTINGS)
    boxes = video(99, [LAMP, LAMP])
    one_flies = np.arange(10) == 2  # a single sure box speaks for its track
    found = factors(usual, boxes, one_flies)
    assert np.isnan(found[0]).all()
    assert (found[1] > 1).all()
    assert np.isnan(factors(usual, boxes.assign(track_id=-1))).all()


def test_what_the_round_before_kept_is_told_as_this_round_sees_it():
    before = video(3, [WHITE, ORANGE, LAMP])
    before.loc[before["track_id"] == 2, "decision"] = "ignore"
    other = as_text(np.full((10, 7), 0.5))  # as another network tells it, at another length
    now = before[before["track_id"] != 1].reset_index(drop=True).assign(appearance=other)
    now[["x1", "x2"]] += 1.0  # the boxes lie a little elsewhere
    seen = kept_as_seen(now, before, SETTINGS)
    assert seen["track_id"].tolist() == [0] * 5  # kept then, and found again
    assert set(seen["appearance"]) == {other[0]}
    assert set(kept_as_seen(now.drop(columns="appearance"), before, SETTINGS)["appearance"]) == {""}


def test_what_different_networks_saw_is_not_compared():
    """Labels that come in from the round before stay, and lose what another network saw in them."""
    rows = [(f, 100 + 20 * f, 100 + 6 * f, 12, 0.9) for f in range(24)]
    first = boxes_from(rows, 24).assign(appearance=as_text(np.ones((24, 60))))
    first.attrs = metadata("scene", 24) | {"described_by": "one"}
    old = clean_table(first, 0, {}, SETTINGS).boxes
    found = first[6:].assign(appearance=as_text(np.ones((18, 57))))  # not the first six
    for described_by, lengths in (("one", {60 * 2, 57 * 2}), ("another", {0, 57 * 2})):
        found.attrs = first.attrs | {"described_by": described_by}
        boxes = clean_table(found, 1, {}, SETTINGS, old).boxes
        assert set(boxes["appearance"].str.len()) == lengths
        assert (boxes["decision"] == "keep").all() and len(boxes) == 24
