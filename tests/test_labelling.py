"""One video and all videos of a folder through a detector that says what each frame spells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import coded_frame, read_code

from labels.engine.runner import Loaded
from labels.labelling.box_labelling import decode_stride, is_worth_a_picture, is_worth_a_row, label_video
from labels.labelling.box_round import Labeller, label_round, outcome_lines, shard_paths
from labels.labelling.settings import LabellingSettings
from labels.models.appearance import FEATURES
from labels.records import tables
from labels.records.detections import Detections, from_text
from labels.records.safe_writing import file_digest, read_parquet, read_parquet_metadata
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import Frame, decode_frames
from labels.videos.frame_store import FrameStore

COUNT, WIDTH, HEIGHT = 20, 96, 64


class Spelling:
    """Says of each frame the box (n, 10, n + 8, 20), where n is the number the frame spells."""

    name, digest, class_names, describes = "spelling", "one", ("sports ball",), False
    working_threshold = {"sports ball": 0.5}  # noqa: RUF012
    score_slope = {}  # noqa: RUF012

    def __init__(self, every_frame=False, score=0.9, extra=()):
        self.every_frame, self.score, self.extra, self.seen = every_frame, score, list(extra), []

    def detect(self, frames):
        for frame in frames:
            number = read_code(frame.rgb)
            self.seen.append(number)
            boxes = [[number, 10, number + 8, 20], *self.extra]
            yield frame, Detections(boxes, [self.score] * len(boxes), ["sports ball"] * len(boxes))


def work_with(tmp_path, make_video, names, frames=COUNT):
    work = WorkFolder(tmp_path / "work")
    rows = []
    for name in names:
        path = make_video(work.videos / f"{name}.mp4", frames)
        rows.append(video_row(name, path, frames))
    work.write_videos(tables.concatenate(rows, tables.VIDEOS))
    return work


def video_row(video_id, path: Path, frames):
    values = {name: [""] for name in tables.VIDEOS} | {
        "video_id": [video_id],
        "status": ["ok"],
        "file": [path.name],
        "group": [video_id],
        "start_s": [0.0],
        "end_s": [frames / 25],
        "fps": [25.0],
        "frame_count": [frames],
        "width": [WIDTH],
        "height": [HEIGHT],
        "sha256": [file_digest(path)],
    }
    return tables.make_table(tables.VIDEOS, values)


def run(work, detector=None, round_number=0, **settings):
    labeller = Loaded(Labeller(detector or Spelling()))
    return label_round(work, work.round(round_number), labeller, LabellingSettings(**settings))


def states(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shard_paths(folder)}


def test_boxes_belong_to_their_frames(make_video):
    frames = decode_frames(make_video("a.mp4", COUNT))
    made = label_video("a", frames, Spelling(), 3, LabellingSettings())
    boxes = tables.check_boxes(made.boxes, "here")
    assert boxes["frame_index"].tolist() == list(range(COUNT))
    assert boxes["x1"].tolist() == list(range(COUNT))
    assert boxes["time_s"].to_numpy() == pytest.approx(np.arange(COUNT) / 25)
    assert set(boxes["round_born"]) == {3} and set(boxes["origin"]) == {"detected"}
    assert made.camera["frame_index"].tolist() == list(range(COUNT))
    tables.check_columns(made.camera, tables.CAMERA, "here")


@pytest.mark.parametrize(("every_frame", "seen"), [(False, [0, 7, 14]), (True, list(range(COUNT)))])
def test_stride(tmp_path, make_video, every_frame, seen):
    """What is labelled is the same; what the detector and the camera see depends on whether it needs every frame."""
    work = work_with(tmp_path, make_video, ["a"])
    detector = Spelling(every_frame)
    assert decode_stride(detector, 7) == (1 if every_frame else 7)
    outcome = run(work, detector, stride=7)
    boxes = read_parquet(work.round(0).boxes("labelled", "a"))
    assert boxes["frame_index"].tolist() == [0, 7, 14] == boxes["x1"].tolist()
    assert detector.seen == seen == read_parquet(work.round(0).camera("a"))["frame_index"].tolist()
    assert outcome.totals["labelled_frames"] == 3
    expected = {"video_id": "a", "stride": 7, "frame_count": COUNT, "width": WIDTH, "height": HEIGHT, "fps": 25.0}
    metadata = read_parquet_metadata(work.round(0).boxes("labelled", "a"))
    assert expected.items() <= metadata.items()


@pytest.mark.parametrize(
    ("stride", "seen", "labelled"),
    [
        (1, [0, 1, 3, 6], {0: 0, 1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 6}),
        (2, [0, 1, 2, 3, 4, 6], {0: 0, 2: 2, 4: 4, 6: 6}),  # what 2 and 4 repeat is not labelled, so they are looked at
        (3, [0, 1, 3, 6], {0: 0, 3: 3, 6: 6}),
    ],
)
def test_a_frame_that_repeats_another_has_its_boxes(tmp_path, stride, seen, labelled):
    """Of seven frames 2, 4 and 5 are repeats; the detector looks at every frame but these."""
    repeats = {2, 4, 5}
    frames = [Frame(index, index / 25, coded_frame(index), index in repeats) for index in range(7)]
    detector = Spelling(every_frame=True)
    store = FrameStore(tmp_path)
    made = label_video("a", frames, detector, 0, LabellingSettings(stride=stride), store)
    assert detector.seen == seen
    boxes = made.boxes.set_index("frame_index")
    assert boxes["x1"].to_dict() == labelled
    assert np.allclose(boxes["time_s"], [index / 25 for index in labelled])
    assert boxes["label_uid"].is_unique
    assert made.repeated_frames == tuple(index for index, box in labelled.items() if index != box)
    assert made.labelled_frames == len(labelled)
    assert all(store.has("a", index) for index in labelled)
    assert made.camera["frame_index"].tolist() == list(range(7))
    still = made.camera.set_index("frame_index").loc[[index for index in repeats if index not in seen]]
    assert (still[["a", "b", "tx", "c", "d", "ty"]] == [1, 0, 0, 0, 1, 0]).all(axis=None)


def test_a_shard_says_which_frames_repeat_others(tmp_path, make_video):
    shown = [coded_frame(index) for index in range(10)]
    work = work_with(tmp_path, make_video, ["a"], 10)
    make_video(work.videos / "a.mp4", [*shown[:5], shown[4], *shown[5:9]])
    work.write_videos(video_row("a", work.videos / "a.mp4", 10))
    run(work)
    boxes = read_parquet(work.round(0).boxes("labelled", "a"))
    assert read_parquet_metadata(work.round(0).boxes("labelled", "a"))["repeated_frames"] == [5]
    assert boxes.set_index("frame_index")["x1"].tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]


def test_boxes_are_clipped_and_empty_ones_counted(make_video):
    extra = [[-9, -9, 5, 5], [90, 60, 120, 80], [-9, 0, -1, 9], [50, 5, 50, 9], [200, 0, 210, 5]]
    made = label_video("a", decode_frames(make_video("a.mp4", 2)), Spelling(extra=extra), 0, LabellingSettings())
    assert made.degenerate_boxes == 2 * 3
    assert made.boxes[tables.BOX_COLUMNS].to_numpy()[made.boxes["frame_index"] == 0].tolist() == [
        [0, 0, 5, 5],
        [0, 10, 8, 20],
        [90, 60, 96, 64],
    ]


def test_a_labeller_may_not_flood_the_tables(make_video):
    class Flood(Spelling):
        class_names = ("sports ball", "person")

        def detect(self, frames):
            for frame in frames:
                xyxy = [[at, 10, at + 8, 20] for at in range(40)]
                score = [0.5] + [0.02 * at for at in range(30)] + [0.3] * 9  # the best of persons: 29, 28, 27, …
                source = ["a"] * 35 + ["b"] * 5
                yield frame, Detections(xyxy, score, ["sports ball"] + ["person"] * 39, source)

    frames = list(decode_frames(make_video("a.mp4", 2)))
    settings = LabellingSettings(most_boxes=3)
    made = label_video("a", frames, Flood(), 0, settings)
    first = made.boxes[made.boxes["frame_index"] == 0]
    kept = {key: sorted(part["x1"].astype(int)) for key, part in first.groupby(["class_name", "source"])}
    assert kept == {("person", "a"): [28, 29, 30], ("person", "b"): [35, 36, 37], ("sports ball", "a"): [0]}
    assert made.surplus_boxes == 2 * 33
    assert label_video("a", frames, Flood(), 0, LabellingSettings(most_boxes=34)).surplus_boxes == 0


def test_a_box_said_twice_is_one_label_and_counted(tmp_path, make_video):
    work, twice = work_with(tmp_path, make_video, ["a"], 3), [[50, 1, 59, 9], [50, 1, 59, 9]]
    for outcome in (run(work, Spelling(extra=twice)), run(work, Spelling(extra=twice))):  # made, and made before
        assert outcome.totals == {
            "boxes": 6,
            "labelled_frames": 3,
            "repeated_boxes": 3,
            "degenerate_boxes": 0,
            "surplus_boxes": 0,
            "teacher_frames": 3,
            "student_frames": 0,
        }
        assert "3 boxes left out, because the labeller gave the very same one before" in outcome_lines(outcome)
    assert len(read_parquet(work.round(0).boxes("labelled", "a"))) == 6


def test_people_whom_the_detector_hardly_sees_stay_out_and_balls_do_not():
    score, names = np.array([0.9, 0.2, 0.3, 0.05]), np.array(["person"] * 3 + ["sports ball"], dtype=object)
    detector = Spelling()
    detector.working_threshold = {"person": 0.3, "sports ball": 0.3}
    found = Detections(np.tile([0.0, 0, 9, 9], (4, 1)), score, names)
    assert is_worth_a_row(found, detector).tolist() == [True, False, True, True]
    assert is_worth_a_row(found.where(names != "person"), detector).tolist() == [True]


class SelfDescribing(Spelling):
    """Spelling that also says what it sees in its boxes: all one."""

    digest, describes = "two", True

    def detect(self, frames):
        for frame, found in super().detect(frames):
            yield frame, replace(found, appearance=np.ones((len(found), 3), dtype=np.float32))


class Backbone:
    name = "backbone"

    def __call__(self, rgb, xyxy):
        return np.zeros((len(xyxy), 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("detector", "backbone", "deep"),
    [(Spelling, None, []), (Spelling, Backbone(), [0, 0]), (SelfDescribing, None, [1, 1, 1])],
)
def test_beside_colours_and_edges_stands_what_a_network_sees(make_video, detector, backbone, deep):
    said = detector(extra=[[200, 0, 210, 5], [50, 5, 60, 9]])  # one beyond the frame
    frames = decode_frames(make_video("a.mp4", 2))
    made = label_video("a", frames, said, 0, LabellingSettings(), backbone=backbone)
    features, known = from_text(made.boxes["appearance"])
    assert known.all() and len(features) == 4
    assert features[:, FEATURES:].tolist() == [deep] * 4
    assert (features[:, :FEATURES] > 0).any()


def test_a_shard_says_whose_features_it_holds_also_where_no_box_was_found(tmp_path, make_video):
    class Blind(SelfDescribing):
        def detect(self, frames):
            return ((frame, Detections.none()) for frame in frames)

    work = work_with(tmp_path, make_video, ["a"], 3)
    folder, settings = work.round(0), LabellingSettings()
    cases = [(Spelling(), None, ""), (Spelling(), Backbone(), "backbone"), (Blind(), None, "two")]
    for detector, backbone, by in cases:
        made = [label_round(work, folder, Loaded(Labeller(detector, backbone)), settings).made for _ in range(2)]
        assert made == [1, 0]  # another is a reason to label anew
        assert read_parquet_metadata(folder.boxes("labelled", "a"))["described_by"] == by


def test_pictures_of_frames_that_may_be_needed(tmp_path, make_video):
    path, store = make_video("a.mp4", 4), FrameStore(tmp_path / "frames")
    label_video("a", decode_frames(path), Spelling(score=0.39), 0, LabellingSettings(), store)
    assert not any(store.has("a", number) for number in range(4))
    label_video("a", decode_frames(path), Spelling(score=0.41), 0, LabellingSettings(stride=2), store)
    assert [store.has("a", number) for number in range(4)] == [True, False, True, False]
    assert read_code(store.read("a", 2)) == 2
    assert not is_worth_a_picture(Detections.none(), Spelling(), 0.8)


def test_an_error_beside_the_detector_is_not_lost(make_video):
    class Full:
        def has(self, *given):
            return False

        def write(self, *given):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        label_video("a", decode_frames(make_video("a.mp4", 3)), Spelling(), 0, LabellingSettings(), Full())


def test_finished_videos_are_not_touched(tmp_path, make_video):
    work = work_with(tmp_path, make_video, ["a", "b", "c"])
    folder = work.round(0)
    assert run(work).made == 3
    before = states(folder)
    assert len(before) == 6
    folder.boxes("labelled", "b").unlink()
    detector = Spelling()
    again = run(work, detector)
    assert (again.made, again.untouched) == (1, 2) and len(detector.seen) == COUNT
    assert again.totals["boxes"] == 3 * COUNT  # counted whether made now or before
    after = states(folder)
    assert {path: content for path, (_, content) in after.items()} == {p: content for p, (_, content) in before.items()}
    assert all(after[path] == before[path] for path in after if path.stem != "b")


@pytest.mark.parametrize("change", ["detector", "stride", "video"])
def test_what_changed_is_done_again(tmp_path, make_video, change):
    work = work_with(tmp_path, make_video, ["a", "b"])
    run(work)
    detector, settings, expected = Spelling(), {}, 2
    if change == "detector":
        detector.digest = "two"
    elif change == "stride":
        settings = {"stride": 2}
    else:
        changed = make_video(work.videos / "b.mp4", 12)
        rows = [video_row("a", work.videos / "a.mp4", COUNT), video_row("b", changed, 12)]
        work.write_videos(tables.concatenate(rows, tables.VIDEOS))
        expected = 1
    assert run(work, detector, **settings).made == expected


def test_a_video_that_cannot_be_decoded_costs_itself_alone(tmp_path, make_video):
    work = work_with(tmp_path, make_video, ["a", "b", "c"])
    run(work)
    broken = work.videos / "b.mp4"
    broken.write_bytes(broken.read_bytes()[:900])
    detector = Spelling()
    detector.digest = "two"
    outcome = run(work, detector)
    assert (outcome.made, list(outcome.skipped)) == (2, ["b"])
    assert any(line.startswith("b: skipped: ") for line in outcome_lines(outcome))
    assert {path.stem for path in shard_paths(work.round(0))} == {"a", "c"}  # the old shard of b is no label of now


def test_a_video_with_fewer_frames_than_stage_1_counted(tmp_path, make_video):
    work = work_with(tmp_path, make_video, ["a"])
    row = video_row("a", work.videos / "a.mp4", COUNT + 1)
    work.write_videos(row)
    assert "20 frames decoded where stage 1 counted 21" in run(work).skipped["a"]


def test_shards_of_videos_that_are_gone_go_too(tmp_path, make_video):
    work = work_with(tmp_path, make_video, ["a", "b"])
    run(work)
    half_written = work.round(0).boxes("labelled", ".b.123.aside")
    half_written.write_bytes(b"half")
    work.write_videos(video_row("a", work.videos / "a.mp4", COUNT))
    assert run(work).removed == 1
    assert {path.stem for path in shard_paths(work.round(0))} == {"a"} and not half_written.exists()


def test_pictures_of_an_earlier_video_of_that_name_are_not_believed(tmp_path, make_video):
    work = work_with(tmp_path, make_video, ["a"])
    run(work)
    store = FrameStore(work.frames)
    assert read_code(store.read("a", 3)) == 3
    row = video_row("a", make_video(work.videos / "a.mp4", [coded_frame(index + 5) for index in range(COUNT)]), COUNT)
    work.write_videos(row)
    run(work)
    assert read_code(store.read("a", 3)) == 8


def test_a_video_without_boxes_has_a_shard(make_video):
    class Blind(Spelling):
        def detect(self, frames):
            for frame in frames:
                yield frame, Detections.none()

    made = label_video("a", decode_frames(make_video("a.mp4", 3)), Blind(), 0, LabellingSettings())
    assert len(tables.check_boxes(made.boxes, "here")) == 0 and made.labelled_frames == 3
    assert isinstance(next(iter(decode_frames(make_video("b.mp4", 1)))), Frame)
