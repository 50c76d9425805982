"""Actions, GIFs, a person's labels and the charts over classes: drawn where they should be, counted as they are."""

import numpy as np
import pandas as pd
import pytest
from picture_work import FRAMES, Clip, action_rows, clip_boxes, make_work, write_cleaned
from PIL import Image

import visualise
from labels.pictures.overlay.overlay import draw_legend
from labels.pictures.overlay.round_pictures import gif_path, make_overlays, overlay_path
from labels.pictures.overlay.timeline import ActionDrawing, action_words
from labels.pictures.overlay.timeline import action_rows as timeline_of
from labels.pictures.palette import STYLES
from labels.pictures.report.charts import agreement_chart, class_balance_chart, confusion_chart, read_confusion
from labels.pictures.report.rounds import read_round, truth_actions_of
from labels.pictures.report.rounds_table import action_rows as report_rows
from labels.pictures.report.survey import survey_rounds
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.records.matching import action_is_right, covered_frames, is_judged
from labels.records.safe_writing import read_parquet, write_parquet
from labels.videos.decoding.frames import probe_video
from labels.videos.encoding import GifWriter

NOBODY = tables.NO_TRACK
SAID = [
    (NOBODY, 0, 10, "run", 0.9, "keep", ""),
    (NOBODY, 10, 20, "walk", 0.4, "ignore", "quality: 0.4 < 0.7"),
    (1, 5, 15, "shoot", 0.8, "keep", ""),
    (9, 5, 15, "pass", 0.1, "drop", "quality: 0.1 < 0.2"),
]


def colours(canvas):
    return {tuple(colour) for colour in canvas.reshape(-1, 3).tolist()}


def test_an_action_of_the_frame_frames_it_and_a_players_stands_under_the_player():
    boxes = clip_boxes(Clip("a", [range(FRAMES)]), 0)  # its track 1 is the ball, 12 px at (10 + 4 f, 40)
    drawing = ActionDrawing(action_rows("a", SAID), boxes)
    canvas = np.zeros((288, 480, 3), dtype=np.uint8)
    drawing.draw(canvas, 2, 3.0)
    assert tuple(canvas[150, 4]) == STYLES["kept"].colour and not canvas[140:170, 60:470].any()
    canvas[:] = 0
    drawing.draw(canvas, 7, 3.0)
    below = canvas[(40 + 12) * 3 + 3 : (40 + 12) * 3 + 30, 38 * 3 : 38 * 3 + 80]
    assert (below.max(axis=2) > 150).any()  # words under the ball of frame 7, which begins at x = 38
    assert STYLES["dropped"].colour in colours(canvas[:80])  # player 9 has no box: said in the corner
    canvas[:] = 0
    drawing.draw(canvas, 15, 3.0)
    assert STYLES["kept"].colour not in colours(canvas) and STYLES["ignored"].colour in colours(canvas)
    canvas[:] = 0
    drawing.draw(canvas, 20, 3.0)  # half-open: nothing goes on any more
    assert not canvas.any()


def test_words_say_what_became_of_an_action():
    kept, ignored = (action_rows("a", SAID).assign(style=["kept", "ignored", "kept", "dropped"]).itertuples(),) * 2
    assert action_words(next(kept)) == "run 0.90"
    assert action_words(next(ignored)) == "walk 0.40, ignored: quality"


def test_the_timeline_of_actions():
    frames = np.arange(0, 20, 2)
    truth = action_rows("a", SAID[:1])[list(tables.ACTIONS)]
    rows = {row.name: row for row in timeline_of(action_rows("a", SAID), truth, frames)}
    assert list(rows) == ["action: run", "action: shoot", "actions ignored", "actions dropped", "truth: run"]
    assert rows["action: run"].frames.tolist() == [True] * 5 + [False] * 5
    assert rows["action: shoot"].frames.tolist() == [False] * 3 + [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ((NOBODY, 2, 8, "run"), True),
        ((NOBODY, 2, 8, "walk"), False),
        ((NOBODY, 6, 16, "run"), False),  # its middle, 11, lies behind the end
        ((3, 2, 8, "shoot"), True),
        ((4, 2, 8, "shoot"), False),  # another player's
        ((NOBODY, 2, 8, "shoot"), True),
    ],
)
def test_an_action_is_right_when_it_goes_on_in_its_middle(said, right):
    truth = action_rows("a", [(NOBODY, 0, 10, "run", 1, "keep", ""), (3, 0, 10, "shoot", 1, "keep", "")])
    assert action_is_right(action_rows("a", [(*said, 0.9, "keep", "")]), truth).tolist() == [right]


def test_what_nobody_could_name_is_not_judged():
    truth = action_rows("a", [(3, 0, 10, "", 1, "keep", ""), (3, 10, 20, "run", 1, "keep", "")])
    labels = action_rows(
        "a", [(3, 2, 8, "run", 0.9, "keep", ""), (4, 2, 8, "run", 0.9, "keep", ""), (3, 8, 18, "run", 0.9, "keep", "")]
    )
    assert is_judged(labels, truth).tolist() == [False, True, True]
    of_all = action_rows("a", [(NOBODY, 2, 8, "run", 0.9, "keep", "")])
    told = action_rows("a", [(5, 0, 10, "run", 1, "keep", "")])
    assert is_judged(of_all, truth).tolist() == [False]
    assert is_judged(of_all, pd.concat([truth, told])).tolist() == [True]  # of another player it is known
    assert covered_frames(labels, truth) == 8  # of the time that has a name


@pytest.fixture
def work(tmp_path):
    """Two clips: one with boxes and actions, one with actions alone."""
    work = make_work(tmp_path / "w", [Clip("a", [range(8)]), Clip("b", [range(3)], split="test")], 1)
    folder = work.round(0)
    write_parquet(folder.actions("cleaned", "a"), action_rows("a", SAID))
    folder.boxes("cleaned", "b").unlink()
    write_parquet(folder.actions("cleaned", "b"), action_rows("b", SAID[:2]))
    for name in "ab":
        truth = action_rows(name, [(NOBODY, 0, 20, "run", 1.0, "keep", "")])[list(tables.ACTIONS)]
        write_parquet(work.truth_actions(name), truth)
    return work


def test_a_round_with_actions_is_counted_and_drawn(work):
    (survey,) = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])
    assert survey.actions.groupby("style")["labels"].sum().to_dict() == {"kept": 3, "ignored": 2, "dropped": 1}
    (row,) = report_rows([survey])
    assert row["sides"] == ["0.500 (1 of 2)", "1.000 (1 of 1)"]
    bars = class_balance_chart([survey]).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["sports ball", "run", "shoot"]
    (work.round(0).stage("trained") / "confusion.csv").write_text("truth \\ predicted,run,walk\nrun,3,1\nwalk,0,4\n")
    assert visualise.main([str(work.root)]) == 0
    assert probe_video(overlay_path(work.round(0), "b")).frame_count == FRAMES
    text = work.report.read_text()
    assert "<h3>Actions</h3>" in text and "1.000 (1 of 1)" in text and "Labels kept of each class" in text
    assert "What the student of round 0 takes for what" in text


def test_what_people_said_of_a_clip_is_no_truth_to_judge_its_labels_by(work):
    """A denied label would call what is right there wrong."""
    path = work.round(0).actions("cleaned", "a")
    actions = read_parquet(path)
    denied = actions.iloc[:1].assign(label_uid="h", origin="human", decision="drop", reason="human: no")
    write_parquet(path, pd.concat([actions, denied], ignore_index=True))
    here = read_round(work, 0)
    assert truth_actions_of(work, "a", here.actions("a")) is None
    assert truth_actions_of(work, "b", here.actions("b")) is not None
    (survey,) = survey_rounds(work, work.usable_videos(), [here])
    assert survey.true_actions["video_id"].tolist() == ["b"]


def test_a_gif_is_drawn_on_demand_and_goes_with_its_overlay(work, capsys):
    path, videos = gif_path(work.round(0), "a"), work.usable_videos()
    (overlay,) = make_overlays(work, read_round(work, 0), videos, {"a": "asked for"}, PictureSettings())
    assert overlay.gif is None and not path.exists()
    assert visualise.main([str(work.root), "--videos", "a", "--set", "gif=yes"]) == 0
    assert "overlay_a.gif: 0." in capsys.readouterr().out and path.stat().st_size < 1_000_000
    with Image.open(path) as gif:
        assert gif.size[0] == 480 and gif.n_frames == 5  # 20 frames at 25 fps, every fourth
        assert gif.info["duration"] == 160
    assert 'href="rounds/00/pictures/overlay_a.gif"' in work.report.read_text()
    write_cleaned(work, 0, {"a": clip_boxes(Clip("a", [range(2)]), 0)})
    make_overlays(work, read_round(work, 0), videos, {"a": "asked for"}, PictureSettings())
    assert not path.exists()


def test_a_gif_without_a_frame_is_refused_and_a_failure_leaves_none(tmp_path):
    with pytest.raises(ValueError, match="without a frame"), GifWriter(tmp_path / "a.gif", 25):
        pass
    with pytest.raises(RuntimeError), GifWriter(tmp_path / "a.gif", 25) as writer:
        writer.write(np.zeros((8, 8, 3), dtype=np.uint8))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_a_person_said_counts_as_kept(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(8)])], 1)
    boxes = read_round(work, 0).boxes("a")
    human = boxes["label_uid"] == boxes.loc[boxes["decision"] == "keep", "label_uid"].iloc[0]
    write_cleaned(work, 0, {"a": boxes.assign(origin=boxes["origin"].where(~human, "human"))})
    (survey,) = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])
    assert (survey.count("human"), survey.count("interpolated"), survey.kept) == (1, 1, 8)


def test_the_confusion_matrix_of_a_recogniser_by_hand(tmp_path):
    path = tmp_path / "confusion.csv"
    path.write_text("truth \\ said,run,walk\nrun,3,1\nwalk,0,4\n")
    confusion = read_confusion(path)
    assert confusion.class_names == ["run", "walk"] and confusion.counts.tolist() == [[3, 1], [0, 4]]
    axes = confusion_chart(confusion).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["run (4)", "walk (4)"]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3", "4"]


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "x,run,walk\nrun,1,2\nwalk,3\n", "x,run\nwalk,1\n", "x,run\nrun,-1\n", "x,r\nr,nan\n"]
)
def test_a_broken_confusion_matrix_is_named(tmp_path, text):
    path = tmp_path / "confusion.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="not a confusion matrix"):
        read_confusion(path)


def test_many_classes_are_folded(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(3)])], 1)
    said = [(NOBODY, 0, 5, f"class {n:02d}", 0.9, "keep", "") for n in range(30)]
    write_parquet(work.round(0).actions("cleaned", "a"), action_rows("a", said))
    (survey,) = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])
    names = [label.get_text() for label in class_balance_chart([survey]).axes[0].get_yticklabels()]
    assert names[0] == "sports ball" and names[-1] == "11 other classes" and len(names) == 21
    assert class_balance_chart([pd.NA] * 0) is None


def test_the_legend_takes_as_many_lines_as_it_needs():
    wide, narrow = (draw_legend(["kept", "ignored", "dropped"], True, width) for width in (960, 300))
    assert len(narrow) == 3 * len(wide) and narrow.shape[1] == 300  # two short ones in a line, the long ones alone
    for name in ("kept", "ignored", "dropped"):
        assert STYLES[name].colour in colours(narrow)


def test_agreement_is_shown_with_its_interval(tmp_path):
    clips = [Clip(f"a{n}", [range(10), range(10 - n)], truth=False) for n in range(3)]
    work = make_work(tmp_path / "w", clips, 2)
    surveys = survey_rounds(work, work.usable_videos(), [read_round(work, number) for number in (0, 1)])
    (axes,) = agreement_chart(surveys).axes
    (words,) = [label.get_text() for label in axes.get_yticklabels()]
    # 27 labels of the new round are among 30 of the old one: 2 · 27 / (2 · 27 + 3); clips alone give 1 to 16 / 18.
    assert words.startswith("round 1 with the one before: 0.95") and words.endswith("0.89 to 1.00, 3 source videos")
