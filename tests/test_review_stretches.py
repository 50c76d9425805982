"""Actions on the review page without a browser: what is asked first, what is told, what is saved and taken back."""

import pytest
from picture_work import FPS, FRAMES, Clip, action_rows, make_work, rows
from review_server import ReviewServer

from labels.cleaning.verdict_file import append_verdicts, read_verdicts
from labels.pictures.review_desk import ReviewDesk
from labels.pictures.review_frames import ReviewFrames
from labels.pictures.review_settings import REVIEW
from labels.pictures.review_stretch_desk import StretchDesk
from labels.pictures.review_stretches import shown_frames
from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, write_run_record
from labels.records.safe_writing import write_parquet, write_text
from labels.records.work_folder import ACTIONS_CLEANED

BARS = {"run": 0.8, "throw": 0.6}
SAID = [
    (-1, 0, 20, "run", 0.99, "keep", ""),  # far above its bar
    (-1, 0, 10, "run", 0.81, "keep", ""),  # at its bar, half as long as the next
    (3, 0, 20, "throw", 0.61, "keep", ""),  # at its bar
    (3, 5, 9, "run", 0.5, "keep", ""),  # a person's, doubted
    (-1, 2, 4, "throw", 0.9, "keep", ""),  # a person's
    (-1, 2, 4, "run", 0.3, "drop", "human: a human said what happens here"),
]
HUMAN = (3, 4)


def write_actions(work, number=0, said=SAID, human=HUMAN, output="a1"):
    actions = action_rows("clip_a", said)
    actions.loc[list(human), "origin"] = "human"
    actions["probabilities"] = '{"run": 0.3, "throw": 0.6, "jump": 0.06, "stand": 0.04}'
    write_parquet(work.round(number).actions("cleaned", "clip_a"), actions, {"video_id": "clip_a"})
    doubts = "label_uid,video_id,track_id,start_s,end_s,class_name,student_class,student_score\n"
    doubts += "clip_a-a3,clip_a,3,0.2,0.36,run,throw,0.93\n"
    write_text(work.round(number).stage(ACTIONS_CLEANED) / "review.csv", doubts)
    facts = {"class_names": ["run", "throw", "jump"]}
    arguments = {"keep_quality": 0.9, "ignore_quality": 0.2}
    write_run_record(
        work.round(number), RunRecord(ACTIONS_CLEANED, number, arguments, {}, {"bars": BARS}, facts, 0, output)
    )


@pytest.fixture
def work(tmp_path):
    """Two clips, of which one has a player that moves to the right, and actions."""
    work = make_work(tmp_path / "work", [Clip("clip_a", [range(12)]), Clip("clip_b", [range(4)])], 1)
    frames = [0, 4, 8, 12, 16]
    people = rows("clip_a", 0, frames, [[f, 10, f + 20, 60] for f in frames], class_name="person", track_id=3)
    metadata = {"video_id": "clip_a", "stride": 1, "frame_count": FRAMES, "fps": FPS, "width": 160, "height": 96}
    write_parquet(work.round(0).boxes("cleaned", "clip_a"), people, metadata)
    write_actions(work)
    return work


@pytest.fixture
def desk(work, tmp_path):
    return StretchDesk(ReviewDesk(work, ReviewFrames(work, tmp_path / "frames")))


def ids(desk, offset=0, count=40):
    return [item["id"][-2:] for item in desk.items(0, offset, count)["items"]]


def test_what_a_student_doubts_comes_first_then_what_a_verdict_changes_most(desk):
    # Then by nearness to the bar of their class times seconds; what a person said last, what was overruled never.
    assert ids(desk) == ["a3", "a2", "a1", "a0", "a4"]


def test_it_is_told_what_there_is_to_judge(desk):
    doubted, thrown, *_ = desk.items(0, 0, 40)["items"]
    assert doubted["doubt"] == {"class": "throw", "score": 0.93} and doubted["origin"] == "human"
    assert thrown["doubt"] is None and (thrown["track"], thrown["class"]) == (3, "throw")
    assert (thrown["start_s"], thrown["end_s"], thrown["quality"]) == (0.0, 0.8, 0.61)
    assert thrown["likely"] == [("throw", 0.6), ("run", 0.3), ("jump", 0.06)]
    assert desk.about(0) == {"stretches": 5, "actions": ["jump", "run", "throw"]}


def test_a_players_box_is_told_for_each_frame_while_it_is_seen(desk):
    thrown = desk.item(0, "clip_a-a2")
    assert thrown["frames"] == shown_frames(0, 20, FPS)
    boxes = dict(zip(thrown["frames"], thrown["boxes"], strict=True))
    assert boxes[0] == [0, 10, 20, 60] and boxes[19] is None
    between = next(frame for frame in thrown["frames"] if frame % 4)
    assert boxes[between] == [between, 10, between + 20, 60]
    assert set(map(str, desk.item(0, "clip_a-a0")["boxes"])) == {"None"}  # of the whole frame


def test_of_long_actions_some_frames_are_shown_of_short_ones_all():
    assert shown_frames(5, 9, 25.0) == [5, 6, 7, 8]
    long = shown_frames(100, 1100, 25.0)
    assert len(long) == REVIEW.stretch_most_frames and (long[0], long[-1]) == (100, 1099)
    second = shown_frames(0, 50, 25.0)
    assert len(second) == 2 * REVIEW.stretch_fps


def test_verdicts_are_saved_and_what_is_judged_is_not_asked_again(desk, work):
    assert desk.judge(0, {"item": "clip_a-a2", "verdict": "n"})["total"] == 1
    assert desk.judge(0, {"item": "clip_a-a3", "verdict": "y", "class_name": "throw"})["right_class"] == "throw"
    assert desk.judge(0, {"item": "clip_a-a1", "verdict": "y", "class_name": "run"})["right_class"] == ""  # it is that
    said = {uid: (verdict.verdict, verdict.class_name) for uid, verdict in read_verdicts(work).items()}
    assert said == {"clip_a-a2": ("n", ""), "clip_a-a3": ("y", "throw"), "clip_a-a1": ("y", "")}
    assert ids(desk) == ["a0", "a4"]
    assert (desk.item(0, "clip_a-a3")["verdict"], desk.item(0, "clip_a-a3")["right_class"]) == ("y", "throw")


def test_pages_go_on_where_the_one_before_ended(desk):
    first = desk.items(0, 0, 2)
    assert [item["id"][-2:] for item in first["items"]] == ["a3", "a2"] and first["next"] == 2
    assert ids(desk, 2, 2) == ["a1", "a0"] and desk.items(0, 4, 2)["next"] is None


def test_taking_back_tells_boxes_from_actions(work, tmp_path):
    boxes = ReviewDesk(work, ReviewFrames(work, tmp_path / "frames"))
    desk = StretchDesk(boxes)
    label = boxes.items(0, 0, 40)["items"][0]
    boxes.judge(0, {"item": label["id"], "verdict": "y"})
    desk.judge(0, {"item": "clip_a-a2", "verdict": "n"})
    assert boxes.verdicts.saved_actions == 1
    assert boxes.take_back() == {"item": "clip_a-a2", "labels": 1, "of_actions": True, "total": label["count"]}
    assert (boxes.take_back()["of_actions"], boxes.verdicts.saved, boxes.verdicts.saved_actions) == (False, 0, 0)
    assert not read_verdicts(work)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"item": "none", "verdict": "y"}, "load the page again"),
        ({"item": "clip_a-a5", "verdict": "y"}, "load the page again"),  # overruled
        ({"item": "clip_a-a1", "verdict": "perhaps"}, "a verdict is y or n"),
        ({"item": "clip_a-a1", "verdict": "n", "class_name": "throw"}, "cannot be corrected"),
        ({"item": "clip_a-a1", "verdict": "y", "class_name": "a\nb"}, "no name of a class"),
    ],
)
def test_what_cannot_be_is_refused(desk, work, said, message):
    with pytest.raises(InputError, match=message):
        desk.judge(0, said)
    assert not read_verdicts(work)


def test_actions_that_were_cleaned_anew_are_read_anew(desk, work):
    assert len(ids(desk)) == 5
    write_actions(work, said=SAID[:1], human=(), output="a2")
    assert desk.about(0)["stretches"] == 1 and len(ids(desk)) == 1


def test_a_round_without_actions_has_none(tmp_path):
    work = make_work(tmp_path / "work", [Clip("clip_a", [range(12)])], 1)
    desk = StretchDesk(ReviewDesk(work, ReviewFrames(work, tmp_path / "frames")))
    assert desk.about(0) == {"stretches": 0, "actions": []} and desk.items(0, 0, 40) == {"items": [], "next": None}


def test_a_round_of_actions_alone_is_served_and_its_end_names_the_right_cleaning(tmp_path):
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    work = make_work(tmp_path / "work", [Clip("clip_a", [])], 0)
    write_actions(work)
    with ReviewServer(work.root) as server:
        assert "round 0: 5 actions to judge" in server.said
        about = server.json("/api/about")
        assert (about["labels"], about["stretches"], about["rounds"]) == (0, 5, [0])
        items = server.json("/api/actions?round=0")["items"]
        frame = items[0]["frames"][0]
        assert server.get(f"/frames/clip_a/{frame}.jpg?round=0&width=80")[:2] == b"\xff\xd8"
        assert server.json("/api/action?round=0&label=clip_a-a0")["class"] == "run"
        status, answer = server.tell("/api/action-verdict?round=0", {"item": items[0]["id"], "verdict": "y"})
        assert (status, answer["total"]) == (200, 1)
        assert server.tell("/api/action-verdict?round=0", {"item": "x", "verdict": "y"})[0] == 400
        code, printed, wrong = server.stop()
    assert (code, wrong) == (0, "") and f"next: python dataset_cleaner.py {work.root} --round 0" in printed


def test_what_another_process_says_meanwhile_is_known(desk, work):
    append_verdicts(work, [{"label_uid": "clip_a-a3", "verdict": "y"}])
    assert ids(desk) == ["a2", "a1", "a0", "a4"]
    assert set(tables.ACTIONS) <= set(desk.round(0).actions.columns)
