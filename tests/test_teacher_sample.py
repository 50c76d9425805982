"""A teacher on a sample: which stretches, that nothing is known of the rest, where it is asked again, and the bill."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import coded_frame, write_test_video
from test_labelling import COUNT, Spelling, work_with
from test_motion import clip
from test_training_boxes import BALL, decided

import dataset_cleaner
import dataset_processor
from labels.cleaning.dataset import dataset_frames
from labels.cleaning.guard import find_alarms
from labels.cleaning.label_export import label_set
from labels.cleaning.settings import CleaningSettings
from labels.engine.placement import Placement
from labels.engine.runner import Loaded
from labels.labelling.box_round import Labeller, label_round
from labels.labelling.sample import (
    bill_lines,
    doubtful_sample,
    note_cost,
    read_bill,
    stratified_sample,
    stretch_table,
    stretches_of,
)
from labels.labelling.settings import LabellingSettings
from labels.models.detectors.detector import Clock
from labels.models.detectors.ensemble import Ensemble
from labels.pictures.report.rounds import read_round
from labels.records import tables
from labels.records.run_records import RunRecord, read_run_record, write_run_record
from labels.records.safe_writing import read_parquet
from labels.records.video_labels import VideoFacts, VideoLabels, in_stretches, read_video_labels, write_video_labels
from labels.records.work_folder import WorkFolder
from labels.training.boxes.data import choose_frames
from labels.training.settings import FrameChoice
from labels.videos.decoding.frames import Frame, decode_frames

FPS = 25.0


def videos_of(*rows):
    """Rows (video_id, class_name, group, split, frame_count) as a videos table."""
    table = pd.DataFrame(rows, columns=["video_id", "class_name", "group", "split", "frame_count"])
    return table.assign(fps=FPS)


def many_videos():
    """Of two sports, eighty short clips and twenty of a minute, four of a group; each tenth is held out."""
    lengths = [50 + index for index in range(80)] + [1500] * 20
    return videos_of(
        *(
            (f"v{at:03d}", "tennis" if at % 2 else "golf", f"g{at // 4}", "test" if at % 10 == 9 else "", length)
            for at, length in enumerate(lengths)
        )
    )


@pytest.mark.parametrize(
    ("frame_count", "stride", "expected"),
    [
        (1, 1, [(0, 1)]),
        (140, 1, [(0, 140)]),  # 5.6 s: whole
        (200, 1, [(0, 100), (100, 200)]),
        (301, 1, [(0, 100), (100, 200), (200, 301)]),
        (301, 7, [(0, 98), (98, 196), (196, 301)]),
        (0, 1, []),
    ],
)
def test_stretches_are_whole_clips_or_some_seconds(frame_count, stride, expected):
    assert stretches_of(frame_count, FPS, stride) == expected


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_sample_is_spread_and_the_same_each_time(share):
    videos = many_videos()
    sample, table = stratified_sample(videos, share), stretch_table(videos, 1)
    assert sample == stratified_sample(videos.sample(frac=1, random_state=0), share)
    whole = {(row.video_id, row.first): row.end for row in table.itertuples()}
    ends = {name: set(rows["end"]) for name, rows in table.groupby("video_id")}
    chosen = {(name, *stretch) for name, own in sample.items() for stretch in own}
    assert all((name, first) in whole and end in ends[name] for name, first, end in chosen)
    frames = sum(end - first for _, first, end in chosen)
    assert frames == pytest.approx(share * table["frames"].sum(), rel=0.35)
    held_out = set(videos["video_id"][videos["split"] == "test"])
    assert not held_out & set(sample)
    sport = videos.set_index("video_id")["class_name"]
    by_sport = pd.Series({key: key[2] - key[1] for key in chosen}).groupby(lambda key: sport[key[0]]).sum()
    of_all = table["frames"].groupby(table["video_id"].map(sport)).sum()
    assert (by_sport / of_all).to_numpy() == pytest.approx(np.full(2, share), rel=0.5)
    late = [first >= 750 for name, first, _ in chosen if name >= "v080"]
    assert 0.2 < np.mean(late) < 0.8 or share < 0.1


def test_a_frame_is_in_a_stretch_from_its_first_frame_to_before_its_end():
    frames = np.arange(12)
    assert np.flatnonzero(in_stretches(frames, [(2, 4), (7, 9)])).tolist() == [2, 3, 7, 8]
    assert not in_stretches(frames, ()).any()
    facts = VideoFacts("v", 12, 3, FPS, 96, 64, stretches=[(2, 4), (6, 12)])
    assert facts.labelled_frames.tolist() == [3, 6, 9]
    assert VideoFacts.from_metadata(facts.as_metadata(), "here").as_metadata() == facts.as_metadata()


def test_what_was_not_looked_at_is_no_background():
    """Kept in frames 20 and 30 of the stretch 10 to 40; only what surely has no ball around may be background."""
    everywhere = decided((20, "keep", "detected"), (30, "keep", "detected"))
    sampled = VideoLabels(everywhere.boxes, replace(everywhere.video, stretches=[(10, 40)]))
    choice = FrameChoice(negative_share=100, sure_distance=3)
    used = {index: frame for frame in choose_frames(sampled, (BALL,), choice)[0] for index in [frame.frame_index]}
    assert sorted(used) == [*range(13, 17), 20, *range(24, 27), 30, *range(34, 37)]
    assert 5 in [frame.frame_index for frame in choose_frames(everywhere, (BALL,), choice)[0]]
    settings = replace(CleaningSettings(), sure_negative_steps=3, max_negative_share=100)
    assert dataset_frames(sampled, settings).tolist() == sorted(used)
    assert 5 in dataset_frames(everywhere, settings)


def test_a_human_box_outside_the_stretches_is_learnt_from():
    table = decided((20, "keep", "detected"), (50, "keep", "human"))
    sampled = VideoLabels(table.boxes, replace(table.video, stretches=[(10, 40)]))
    frames, _ = choose_frames(sampled, (BALL,), FrameChoice(negative_share=0))
    assert [frame.frame_index for frame in frames] == [20, 50]


def test_only_the_stretches_are_looked_at(tmp_path, make_video):
    work, detector = work_with(tmp_path, make_video, ["a", "b"]), Spelling(every_frame=True)
    sample = {"a": [(3, 7), (12, 15)]}
    outcome = label_round(work, work.round(0), Loaded(Labeller(detector)), LabellingSettings(), sample=sample)
    assert detector.seen == [3, 4, 5, 6, 12, 13, 14]
    assert outcome.used == ["a", "b"] and outcome.totals["labelled_frames"] == 7 == outcome.totals["teacher_frames"]
    labels = read_video_labels(work.round(0).boxes("labelled", "a"))
    assert labels.boxes["frame_index"].tolist() == detector.seen == labels.boxes["x1"].tolist()
    assert labels.video.labelled_frames.tolist() == detector.seen and labels.video.frame_count == COUNT
    camera = read_parquet(work.round(0).camera("a"))
    assert camera["frame_index"].tolist() == detector.seen and camera["shot_index"].tolist() == [0] * 4 + [1] * 3
    empty = read_video_labels(work.round(0).boxes("labelled", "b"))
    assert not len(empty.boxes) and not len(empty.video.labelled_frames)
    costs = pd.read_csv(work.costs)
    assert costs[["round", "teacher_frames", "student_frames"]].values.tolist() == [[0, 7, 0]]
    again = label_round(work, work.round(0), Loaded(Labeller(detector)), LabellingSettings(), sample=sample)
    assert again.untouched == 2 and again.totals == outcome.totals
    more = label_round(work, work.round(0), Loaded(Labeller(detector)), LabellingSettings(), sample={"b": [(0, COUNT)]})
    assert more.untouched == 0 and len(read_video_labels(work.round(0).boxes("labelled", "b")).boxes) == COUNT


def test_a_stride_holds_within_the_stretches(tmp_path, make_video):
    work, detector = work_with(tmp_path, make_video, ["a"]), Spelling()
    label_round(work, work.round(0), Loaded(Labeller(detector)), LabellingSettings(stride=3), sample={"a": [(3, 10)]})
    assert detector.seen == [3, 6, 9]


def test_whoever_is_asked_looks_in_its_stretches_alone_each_a_video_of_its_own():
    class Numbering(Spelling):
        """Says how many frames of this call it has seen."""

        def detect(self, frames):
            for at, (frame, found) in enumerate(super().detect(frames)):
                yield frame, replace(found, xyxy=found.xyxy + np.array([0, at, 0, at]))

    frames = [Frame(index, index / FPS, coded_frame(index)) for index in range(10)]
    student, teacher = Spelling(every_frame=True), Numbering()
    ensemble = Ensemble({"student": student, "teacher": teacher}, asked=["teacher"]).of_video([(2, 4), (7, 9)])
    found = [(frame.frame_index, boxes) for frame, boxes in ensemble.detect(iter(frames))]
    assert student.seen == list(range(10)) and teacher.seen == [2, 3, 7, 8]
    tops = {at: boxes.xyxy[boxes.source == "teacher", 1].tolist() for at, boxes in found}
    assert tops == {at: [] for at in range(10)} | {2: [10.0], 3: [11.0], 7: [10.0], 8: [11.0]}
    assert {source: clock.frames for source, clock in ensemble.clocks.items()} == {"student": 10, "teacher": 4}


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    return write_test_video(tmp_path_factory.mktemp("flight") / "flight.mp4", [frame.rgb for frame in clip(20)])


@pytest.fixture
def balls(tmp_path, flight):
    """Twelve clips, the same flying ball in each, with truth in every frame."""

    def copy_to(path, _):
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(flight, path))

    names = [f"c{number:02d}" for number in range(12)]
    work = work_with(tmp_path, copy_to, names, 20)
    height, width = next(decode_frames(flight)).rgb.shape[:2]
    work.write_videos(work.read_videos().assign(width=width, height=height))
    truth = {"frame_index": np.arange(20), "x1": 10.0, "y1": 10.0, "x2": 20.0, "y2": 20.0}
    rest = {"class_name": BALL, "track_id": 0, "visibility": 1.0}
    for name in names:
        path = work.truth_boxes(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables.make_table(tables.TRUTH, truth | rest).to_parquet(path)
    return work


def stage(main, work, *said):
    return main([str(work.root), "--round", *map(str, said)])


def test_a_sampled_round_says_nothing_of_the_rest(balls, capsys):
    assert stage(dataset_processor.main, balls, 0, "--detector", "motion", "--share", "0.25") == 0
    said = capsys.readouterr().out
    assert "the teacher looks at 60 of 240 frames (25.0%), in 3 stretches of 3 videos" in said and "the bill" in said
    assert stage(dataset_cleaner.main, balls, 0, "--force") == 0
    counts = read_run_record(balls.round(0), "cleaned").counts
    kept = counts["quality"]["training"]["kept"]["centre"]
    assert counts["frames"] == 60 == kept["right"] + kept["missed"]
    here = read_round(balls, 0)
    seen = {name: here.labelled_frames(name, 20).tolist() for name in balls.usable_rows()}
    sampled = {name for name, frames in seen.items() if frames}
    assert len(sampled) == 3 and all(seen[name] == list(range(20)) for name in sampled)
    labels = label_set(balls, balls.round(0))
    assert set(labels.videos["video_id"]) == sampled and labels.unseen == 0
    assert stage(dataset_cleaner.main, balls, 0, "--export", "mot") == 0
    exported = balls.round(0).path / "export" / "mot"
    assert {path.parent.parent.name for path in exported.rglob("gt.txt")} == sampled


def test_an_export_says_that_nobody_looked_between_the_stretches(balls):
    sample = {"c00": [(0, 10)], "c01": [(0, 20)]}
    stage(dataset_processor.main, balls, 0, "--detector", "motion", "--share", "0.25")
    task = Loaded(Labeller(Spelling()))
    label_round(balls, balls.round(0), task, LabellingSettings(), Placement(), sample)
    record = RunRecord("labelled", 0, {}, {}, {}, {"labeller": {"class_names": [BALL], "sources": {}}, "stride": 1})
    write_run_record(balls.round(0), record)
    stage(dataset_cleaner.main, balls, 0, "--force")
    labels = label_set(balls, balls.round(0))
    assert labels.unseen == 10
    assert "10 frames lie outside the labelled stretches" in labels.left_out_lines("CVAT", True)[0]


def cleaned_with(work, number, qualities):
    """A cleaned round whose boxes, one a frame, have these qualities: video_id -> (frames,)."""
    for name, video in work.usable_rows().items():
        quality = np.asarray(qualities.get(name, []), dtype=np.float32)
        frames, xyxy = np.arange(len(quality)), np.tile([1.0, 1.0, 9.0, 9.0], (len(quality), 1))
        names = np.full(len(quality), BALL, dtype=object)
        boxes = tables.make_boxes(name, number, frames, frames / FPS, xyxy, names, np.full(len(quality), 0.5))
        boxes = boxes.assign(quality=quality, decision="ignore", reason="because")
        facts = VideoFacts(name, int(video.frame_count), 1, FPS, 96, 64)
        write_video_labels(work.round(number).boxes("cleaned", name), VideoLabels(boxes, facts))
    write_run_record(work.round(number), RunRecord("cleaned", number, {}, {}))


def test_the_teacher_is_asked_where_the_labels_are_in_doubt(balls):
    rows = balls.read_videos()
    balls.write_videos(rows.assign(split=np.where(rows["video_id"] == "c11", "test", "")))
    sure, unsure = np.tile([0.95, 0.05], 10), np.full(20, 0.45)
    cleaned_with(balls, 1, {"c03": sure, "c05": unsure, "c07": np.r_[unsure[:8], sure[8:]], "c11": unsure})
    assert doubtful_sample(balls, 2, 0.19, ["x.onnx"]) == {"c05": [[0, 20]], "c07": [[0, 20]]}
    assert doubtful_sample(balls, 2, 0.01, ["x.onnx"]) == {"c05": [[0, 20]]}  # one at least


def test_the_teacher_is_not_asked_where_it_has_looked(balls):
    label_round(balls, balls.round(0), Loaded(Labeller(Spelling())), LabellingSettings(), sample={"c05": [(0, 20)]})
    write_run_record(balls.round(0), RunRecord("labelled", 0, {"detector": ["x.onnx"], "share": 0.1}, {}))
    cleaned_with(balls, 0, {"c05": np.full(20, 0.5), "c07": np.full(20, 0.3)})
    assert doubtful_sample(balls, 1, 0.05, ["x.onnx"]) == {"c07": [[0, 20]]}
    assert doubtful_sample(balls, 1, 0.05, ["other.onnx"]) == {"c05": [[0, 20]]}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ((0, "--detector", "motion", "--ask", "motion", "--share", "0.1"), "--ask: round 0 has no student"),
        ((1, "--detector", "motion", "--ask", "ballnet"), "--ask: say in how much"),
        ((0, "--detector", "human", "--share", "0.1"), "--share 0.1: human is no detector"),
        ((1, "--detector", "motion", "--ask", "human", "--share", "0.1"), "--ask human: is no teacher"),
        ((1, "--detector", "motion", "--share", "0.1"), "--share: after round 0 it goes with --ask"),
        ((1, "--detector", "motion", "--ask", "ballnet", "--share", "0.1"), "run first: python dataset_cleaner.py"),
    ],
)
def test_what_cannot_be_asked_is_one_line(balls, capsys, said, error):
    assert stage(dataset_processor.main, balls, *said) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("share", ["0", "1", "1.5", "x", "nan"])
def test_a_share_is_between_none_and_all(balls, share, capsys):
    with pytest.raises(SystemExit, match="2"):
        stage(dataset_processor.main, balls, 0, "--share", share)
    assert f"--share: must be above 0 and below 1, such as 0.05, not '{share}'" in capsys.readouterr().err


def test_what_a_teacher_has_labelled_is_not_thrown_away(balls, capsys):
    label = (dataset_processor.main, balls, 0, "--detector", "motion")
    assert stage(*label, "--share", "0.25") == 0
    kept = sorted(balls.round(0).path.rglob("*.parquet"))
    assert stage(*label, "--share", "0.1") == 2
    assert "--share 0.1: this teacher has labelled 0.25 of the frames already; say" in capsys.readouterr().err
    assert sorted(balls.round(0).path.rglob("*.parquet")) == kept
    assert stage(*label) == 0
    assert stage(*label, "--share", "0.5") == 2
    assert "has labelled everything already; leave --share out" in capsys.readouterr().err
    assert read_bill(balls).rounds.iloc[0]["teacher_frames"] == 60 + 240  # the sample was paid for too


def test_asked_in_a_later_round(balls, capsys):
    """`motion` labels all as the student would, `ballnet` is asked in the most doubtful clip."""
    cleaned_with(balls, 0, {"c05": np.full(20, 0.5)})
    asked = (1, "--detector", "motion", "--ask", "ballnet", "--share", "0.1")
    assert stage(dataset_processor.main, balls, *(name.replace("ballnet", "no.onnx") for name in map(str, asked))) == 2
    assert "error: --ask no.onnx: no such file" in capsys.readouterr().err
    assert stage(dataset_processor.main, balls, *asked) == 0
    assert "ballnet looks at 20 of 240 frames (8.3%), in 1 stretch of 1 video" in capsys.readouterr().out
    record = read_run_record(balls.round(1), "labelled")
    assert record.counts["labelled_frames"] == 240 and record.counts["teacher_frames"] == 260
    assert record.arguments["ask"] == ["ballnet"] and "round 0 cleaned" in record.inputs
    labels = {name: read_video_labels(balls.round(1).boxes("labelled", name)) for name in ("c04", "c05")}
    assert [labels[name].video.asked for name in labels] == [[], [[0, 20]]]
    assert set(labels["c05"].boxes["source"]) == {"motion", "ballnet"} and set(labels["c04"].boxes["source"]) == {
        "motion"
    }
    assert len(labels["c04"].video.labelled_frames) == 20


def test_the_bill_adds_up(tmp_path, make_video):
    work = work_with(tmp_path, make_video, [f"v{number}" for number in range(10)])
    assert read_bill(work) is None
    for teacher, student, number in (
        (Clock(10, 5.0), Clock(), 0),
        (Clock(10, 3.0), Clock(), 0),
        (Clock(4, 2.0), Clock(50, 1.0), 1),
    ):
        note_cost(work, number, teacher, student)
    with open(work.costs, "a") as file:
        file.write("0,1\nhalf a li")  # two machines at once
    counts = {"labelled_frames": 20, "teacher_frames": 20, "student_frames": 0}
    facts = {"stride": 1}
    write_run_record(work.round(0), RunRecord("labelled", 0, {"share": 0.1}, {}, counts, facts))
    centre = {"right": 6, "wrong": 2, "missed": 2}
    quality = {"training": {"kept": {"centre": centre}}}
    write_run_record(work.round(0), RunRecord("cleaned", 0, {}, {}, {"quality": quality, "verdicts": 3}))
    counts = {"labelled_frames": 200, "teacher_frames": 8, "student_frames": 200}
    write_run_record(work.round(1), RunRecord("labelled", 1, {}, {}, counts, facts))
    agreement = {"survival": {"value": 0.8}}
    write_run_record(
        work.round(1), RunRecord("cleaned", 1, {}, {}, {"quality": {}, "agreement": agreement, "verdicts": 7})
    )
    bill = read_bill(work)
    rows = bill.rounds.set_index("round")
    assert rows.loc[0, ["teacher_s", "student_s", "f1"]].tolist() == pytest.approx([8.0, 0.0, 0.75])
    assert rows.loc[1, ["teacher_s", "student_s", "f1"]].tolist() == pytest.approx([4.0, 4.0, 0.8])
    assert (bill.verdicts, bill.everywhere, bill.everywhere_s) == (7, 200, pytest.approx(80.0))
    lines = "\n".join(bill_lines(bill))
    assert "14.0% of everywhere" in lines and "7 verdicts" in lines and "F1 0.750 on its sample" in lines


def test_a_sample_before_is_no_growth_and_no_fall():
    """Round 0 kept 60 boxes in 100 frames with F1 0.9; round 1 keeps 600 in 1000 with 0.7."""
    signs = {"videos": 10, "confident": 0, "kept_confident": 0, "kept_balls": 0, "kept_without_confident_track": 0}
    signs |= {"old_kept": 60, "found_again": 50}
    before = {
        "videos": 10,
        "frames": 100,
        "kept_by_class": {BALL: 60},
        "quality": {"training": {"kept": {"centre": {"f1": 0.9}}}},
    }
    now = signs | {
        "frames": 1000,
        "kept_by_class": {BALL: 600},
        "quality": {"training": {"kept": {"centre": {"f1": 0.7}}}},
    }
    assert find_alarms(now, before) == []
    alarms = find_alarms(now, before | {"frames": 1000})
    assert [alarm.split(":")[0] for alarm in alarms] == ["growth", "probe"]


def test_the_round_is_named_again_with_its_sample(tmp_path):
    from labels.records.next_command import label_boxes, with_teachers

    work = WorkFolder(tmp_path)
    said = {"detector": ["a.onnx"], "share": 0.05, "ask": [], "stride": 1}
    write_run_record(work.round(0), RunRecord("labelled", 0, said, {}))
    assert label_boxes(work, 0).endswith("--round 0 --detector a.onnx --share 0.05")
    assert label_boxes(work, 1).endswith("--round 1")
    write_run_record(work.round(0), RunRecord("trained", 0, {}, {}, facts={"metrics": {"weak_classes": [BALL]}}))
    assert with_teachers(work, 1) == {}  # it was to label a share: who lets it label everything, says so
