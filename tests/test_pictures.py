"""The pictures room: drawing, choosing, counting, comparing. Numbers are worked out by hand."""

import numpy as np
import pandas as pd
import pytest

import dataset_cleaner
from labels.cleaning.rules import SWITCH_HELP, rule_of
from labels.pictures.overlay.contact_sheets import doubtful_labels, spread_sample
from labels.pictures.overlay.drawing import draw_outline, draw_text, draw_truth, fit_text, outline_of, text_width
from labels.pictures.overlay.overlay import TrackTails, drawn_scale
from labels.pictures.overlay.timeline import NAME_PX, Timeline, timeline_rows
from labels.pictures.palette import STYLES, style_names
from labels.pictures.report.comparison import f1_difference, f1_interval, signed
from labels.pictures.report.rounds import CleanedRound, as_truth
from labels.pictures.report.survey import changes_between
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.next_command import stage_command
from labels.records.run_records import RunRecord
from labels.records.safe_writing import write_parquet
from labels.records.work_folder import STAGES, WorkFolder


def decided_boxes(rows, video_id="a", class_name="sports ball", **shared):
    """Rows (frame_index, x, y, decision) as a decided table of 10 px boxes at (x, y)."""
    frames, x, y, decisions = zip(*rows, strict=True) if rows else ([], [], [], [])
    x, y = np.array(x, dtype=float), np.array(y, dtype=float)
    boxes = tables.make_boxes(
        video_id,
        0,
        np.array(frames, dtype=int),
        np.array(frames, dtype=float) / 25,
        np.stack([x, y, x + 10, y + 10], axis=1),
        np.array([class_name] * len(rows), dtype=object),
        np.linspace(0.5, 0.9, len(rows)),
        track_id=shared.get("track_id", tables.NO_TRACK),
    )
    reasons = ["" if decision == "keep" else "isolated: 1 frame" for decision in decisions]
    return boxes.assign(
        quality=np.linspace(0.1, 0.9, len(rows)).astype(np.float32),
        decision=pd.Series(list(decisions), dtype="str"),
        reason=pd.Series(reasons, dtype="str"),
    )


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("isolated: 1 of 12 frames", "isolated"),
        ("score 0.12 below 0.3", "score"),
        ("too large (area 900)", "too large"),
        ("off the path", "off the path"),
        ("overlap=0.9", "overlap"),
        ("jump <4", "jump"),
        (": odd", ": odd"),
    ],
)
def test_the_rule_is_the_reason_without_its_values(reason, rule):
    assert rule_of(reason) == rule


def test_each_decision_has_its_own_line_and_colour():
    boxes = decided_boxes([(0, 0, 0, "keep"), (1, 0, 0, "ignore"), (2, 0, 0, "drop"), (3, 0, 0, "keep")])
    boxes.loc[3, "origin"] = "interpolated"
    assert style_names(boxes).tolist() == ["kept", "ignored", "dropped", "interpolated"]
    assert len({style.colour for style in STYLES.values()}) == len({(s.width, s.dash) for s in STYLES.values()}) == 5


def test_a_solid_outline_is_closed_and_a_dashed_one_has_gaps():
    inked = {}
    for name in ("kept", "dropped", "interpolated"):
        canvas = np.zeros((60, 60, 3), dtype=np.uint8)
        draw_outline(canvas, (10, 10, 50, 50), STYLES[name])
        inked[name] = (canvas[10, 10:51] == STYLES[name].colour).all(axis=1).mean()
    assert inked["kept"] == 1.0
    assert 0.3 < inked["dropped"] < 0.9
    assert 0.3 < inked["interpolated"] < 0.9


def test_an_outline_runs_around_the_object_and_is_never_too_small_to_see():
    assert outline_of(np.array([10, 10, 30, 30]), 2.0) == (18, 18, 62, 62)
    assert outline_of(np.array([10, 10, 12, 12]), 1.0) == (6, 6, 16, 16)  # 2 px become 10 around the same centre


def test_truth_points_are_crosses_and_drawing_beyond_the_border_is_harmless():
    canvas = np.zeros((40, 40, 3), dtype=np.uint8)
    draw_truth(canvas, np.array([20, 20, 20, 20], dtype=np.float32), 1.0, seen=True)
    assert (canvas[20, 16:25] == 255).all() and not canvas[10].any()
    draw_truth(canvas, np.array([-500, -500, 900, 900], dtype=np.float32), 1.0, seen=False)
    draw_outline(canvas, (-30, -30, 900, 20), STYLES["dropped"])
    draw_text(canvas, "Łódź – Fußball", -20, 30)
    draw_text(canvas, "outside", 200, 200)
    assert canvas.shape == (40, 40, 3)


def test_a_long_name_loses_its_middle_and_fits():
    name = "a_very_long_video_name_of_a_match_0001"
    fitted = fit_text(name, 120, 12)
    assert text_width(fitted, 12) <= 120
    assert fitted[:3] == "a_v" and fitted[-3:] == "001" and "…" in fitted
    assert fit_text("short", 120, 12) == "short"


@pytest.mark.parametrize(("width", "height", "scale"), [(320, 180, 3.0), (1280, 720, 1.0), (1920, 1080, 2 / 3)])
def test_small_frames_are_enlarged_and_large_ones_reduced(width, height, scale):
    assert drawn_scale(width, height, PictureSettings()) == pytest.approx(scale)


def test_an_upright_frame_keeps_within_the_height():
    assert 1920 * drawn_scale(1080, 1920, PictureSettings()) == 960


def test_the_timeline_shows_what_is_where_and_the_gaps():
    boxes = decided_boxes([(0, 0, 0, "keep"), (4, 0, 0, "keep"), (4, 50, 0, "drop"), (4, 90, 0, "drop")])
    truth = as_truth(boxes[:1], np.arange(0, 10, 2))
    rows = {row.name: row for row in timeline_rows(boxes, truth, np.arange(0, 10, 2))}
    assert rows["kept"].frames.tolist() == [True, False, True, False, False]
    assert rows["dropped"].count == 2 and rows["dropped"].frames.sum() == 1
    assert rows["ignored"].count == 0
    assert rows["truth"].frames.tolist() == [True, False, False, False, False]
    strip = Timeline(list(rows.values()), 960)
    kept_row = strip.image[3 + 6, NAME_PX : NAME_PX + strip.bar_px]
    blue = (kept_row == STYLES["kept"].colour).all(axis=1)
    assert blue[: strip.bar_px // 5].all() and not blue[strip.bar_px // 5 + 1 : 2 * strip.bar_px // 5].any()
    assert (strip.at(2) != strip.image).any()


def test_the_timeline_has_a_row_for_each_class_and_one_for_the_rest():
    many = pd.concat(
        [decided_boxes([(frame, 0, 0, "keep")], class_name=f"class {frame}") for frame in range(6)], ignore_index=True
    )
    names = [row.name for row in timeline_rows(many, None, np.arange(6))]
    assert names[:5] == [*(f"kept class {n}" for n in range(4)), "kept, 2 more classes"]


def test_tails_follow_the_camera_and_stop_at_a_cut():
    kept = decided_boxes([(f, 100, 50, "keep") for f in range(4)], track_id=7)
    # The camera pans 10 px to the right each frame: this frame's x is 10 more in the frame before. Frame 2 is a cut.
    camera = tables.make_table(
        tables.CAMERA,
        {
            "frame_index": np.arange(4),
            "shot_index": [0, 0, 1, 1],
            "a": 1.0,
            "b": 0.0,
            "tx": [0.0, 10.0, 0.0, 10.0],
            "c": 0.0,
            "d": 1.0,
            "ty": 0.0,
        },
    )
    tails = TrackTails(kept, camera, length=10)
    assert tails.at(0) == []
    assert tails.at(1)[0].tolist() == [[95, 55], [105, 55]]
    last = tails.at(3)[0]
    assert np.isnan(last[:2]).all() and last[2:].tolist() == [[95, 55], [105, 55]]
    assert TrackTails(kept, None, 10).at(3)[0].tolist() == [[105, 55]] * 4
    assert TrackTails(kept.assign(track_id=tables.NO_TRACK), camera, 10).at(3) == []


def test_changes_between_rounds_by_hand():
    frames = np.arange(0, 6)
    old = decided_boxes([(0, 0, 0, "keep"), (1, 0, 0, "keep"), (2, 0, 0, "keep")])
    new = decided_boxes([(1, 2, 2, "keep"), (2, 200, 0, "keep"), (4, 0, 0, "keep")])
    changes = changes_between(new, old, frames)
    assert sorted(changes.added["frame_index"]) == [2, 4]
    assert sorted(changes.lost["frame_index"]) == [0, 2]
    assert (changes.agreement.right, changes.agreement.wrong, changes.agreement.missed) == (1, 2, 2)
    same = changes_between(old, old, frames)
    assert len(same.added) == len(same.lost) == 0 and same.agreement.f1 == 1.0


def test_a_class_the_other_round_never_had_is_added():
    ball, person = decided_boxes([(0, 0, 0, "keep")]), decided_boxes([(0, 50, 0, "keep")], class_name="person")
    changes = changes_between(pd.concat([ball, person], ignore_index=True), ball, np.arange(2))
    assert changes.added["class_name"].tolist() == ["person"]
    nothing = ball[:0]
    assert len(changes_between(ball, nothing, np.arange(2)).added) == 1
    assert len(changes_between(nothing, ball, np.arange(2)).lost) == 1


def test_frames_only_one_round_looked_at_are_no_change():
    old, new = decided_boxes([(0, 0, 0, "keep")]), decided_boxes([(0, 0, 0, "keep"), (1, 0, 0, "keep")])
    assert len(changes_between(new, old, np.array([0, 5])).added) == 0


def test_labelled_frames_are_every_stride_th(tmp_path):
    folder = WorkFolder(tmp_path).round(0)
    facts = {"stride": 5, "frame_count": 12}
    write_parquet(folder.boxes("cleaned", "v"), decided_boxes([]), facts)
    record = RunRecord("cleaned", 0, {}, {})
    here = CleanedRound(folder, dict.fromkeys(STAGES) | {"cleaned": record})
    assert here.labelled_frames("v", 99).tolist() == [0, 5, 10]
    assert here.labelled_frames("not there", 3).tolist() == [0, 1, 2]


def matched(rows):
    return pd.DataFrame(rows, columns=["group", "right", "wrong", "missed"])


def test_the_difference_of_f1_by_hand_and_its_interval():
    old = matched([("a", 5, 0, 5), ("b", 5, 0, 5), ("c", 5, 0, 5)])
    new = matched([("a", 8, 0, 2), ("b", 8, 0, 2), ("c", 8, 0, 2)])
    difference = f1_difference(new, old)
    expected = 16 / 18 - 10 / 15
    # Every source video gained the same, so no resample can tell otherwise.
    assert [difference.value, difference.low, difference.high] == pytest.approx([expected] * 3)
    assert difference.excludes_zero and difference.clusters == 3


def test_opposite_changes_leave_the_interval_around_zero():
    old = matched([("a", 5, 5, 5), ("b", 5, 5, 5)])
    new = matched([("a", 9, 1, 1), ("b", 1, 9, 9)])
    difference = f1_difference(new, old)
    assert difference.value == pytest.approx(0) and difference.low == pytest.approx(-0.4)
    assert difference.high == pytest.approx(0.4) and not difference.excludes_zero


def test_clips_of_one_source_are_one_cluster_and_one_cluster_gives_no_interval():
    rows = matched([("a", 5, 1, 1), ("a", 1, 1, 1)])
    interval = f1_interval(rows)
    assert interval.clusters == 1 and not interval.is_known and interval.value == pytest.approx(12 / 16)
    assert f1_difference(rows, matched([])) is None
    assert not f1_difference(rows, rows).excludes_zero


@pytest.mark.parametrize(("value", "text"), [(0.05, "+0.050"), (-0.05, "−0.050"), (0.0, "0.000"), (-0.0001, "0.000")])
def test_differences_are_written_with_their_sign(value, text):
    assert signed(value) == text


def test_a_sample_is_spread_over_classes_and_time():
    balls = decided_boxes([(f, 0, 0, "keep") for f in range(100)])
    person = decided_boxes([(f, 0, 0, "keep") for f in range(3)], class_name="person")
    sample = spread_sample(pd.concat([balls, person], ignore_index=True), 10)
    assert sample["class_name"].value_counts().to_dict() == {"sports ball": 7, "person": 3}
    frames = sample.loc[sample["class_name"] == "sports ball", "frame_index"].tolist()
    assert frames[0] == 0 and frames[-1] == 99 and len(set(frames)) == 7
    assert len(spread_sample(balls[:0], 10)) == 0
    shuffled = balls.sample(frac=1, random_state=1)
    assert spread_sample(shuffled, 5)["label_uid"].tolist() == spread_sample(balls, 5)["label_uid"].tolist()


def test_of_doubtful_neighbours_only_the_worst_is_shown():
    kept = decided_boxes([(f, 0, 0, "keep") for f in (0, 1, 2, 30)])  # quality rises with the row
    assert doubtful_labels(kept, 10)["frame_index"].tolist() == [0, 30]
    assert doubtful_labels(kept, 1)["frame_index"].tolist() == [0]
    assert len(doubtful_labels(kept[:0], 5)) == 0


def test_a_command_is_put_together_so_that_a_shell_reads_it_back():
    arguments = {"detector": "my model.pt", "classes": ["sports ball", "person"], "mirrored": True, "tiles": None}
    command = stage_command("labelled", "work", 1, arguments | {"work": "x", "strict": False})
    assert command == (
        "python dataset_processor.py work --round 1 --classes 'sports ball,person' --detector 'my model.pt' --mirrored"
    )


def test_a_command_shows_only_what_was_set_and_repeats_what_is_repeated():
    arguments = {"keep_quality": 0.9, "ignore_quality": 0.2, "min_size_pixels": 2.0, "without": ["flat", "path_size"]}
    assert stage_command("cleaned", "w", 0, arguments) == (
        "python dataset_cleaner.py w --round 0 --keep 0.9 --set min_size_pixels=2.0 --without flat"
    )
    assert stage_command("trained", "w", 0, {"epochs": 12, "seed": 3}) == "python train.py w --round 0 --seed 3"


def test_what_can_be_switched_off_in_cleaning_is_explained_in_its_help(capsys):
    with pytest.raises(SystemExit):
        dataset_cleaner.get_args(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, meaning in SWITCH_HELP.items():
        assert f"{name} {meaning}" in said
