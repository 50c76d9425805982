"""Actions on the review page without a browser: what is asked first, what is told, what is saved and taken back."""

import time
from dataclasses import replace

import pytest
from picture_work import FPS, FRAMES, Clip, action_rows, make_work, rows
from review_server import ReviewServer

from labels.cleaning.actions.decisions import OVERRULED
from labels.pictures.review.frames import ReviewFrames
from labels.pictures.review.segments import SegmentService, shown_frames
from labels.pictures.review.service import ReviewService
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, read_run_record, write_run_record
from labels.records.safe_writing import read_parquet, write_parquet, write_text
from labels.records.verdicts import append_verdicts, read_verdicts
from labels.records.work_folder import ACTIONS_CLEANED

BARS = {"run": 0.8, "throw": 0.6}
SAID = [
    (-1, 0, 20, "run", 0.99, "keep", ""),  # far above its bar
    (-1, 0, 10, "run", 0.81, "keep", ""),  # at its bar, half as long as the next
    (3, 0, 20, "throw", 0.61, "keep", ""),  # at its bar
    (3, 5, 9, "run", 0.5, "keep", ""),  # a person's, doubted
    (-1, 2, 4, "throw", 0.9, "keep", ""),  # a person's
    (-1, 2, 4, "run", 0.3, "drop", OVERRULED),
]
HUMAN = (3, 4)


DOUBTS = "label_uid,video_id,track_id,start_s,end_s,class_name,student_class,student_score\n"


def write_actions_of(work, video_id):
    """One action more, of another video, in round 0, cleaned anew."""
    write_parquet(work.round(0).actions("cleaned", video_id), action_rows(video_id, SAID[:1]), {"video_id": video_id})
    record = read_run_record(work.round(0), ACTIONS_CLEANED)
    write_run_record(work.round(0), replace(record, output=f"{record.output} and more"))


def write_actions(work, number=0, said=SAID, human=HUMAN, output="a1"):
    actions = action_rows("clip_a", said)
    actions.loc[list(human), "origin"] = "human"
    actions["probabilities"] = '{"run": 0.3, "throw": 0.6, "jump": 0.06, "stand": 0.04}'
    write_parquet(work.round(number).actions("cleaned", "clip_a"), actions, {"video_id": "clip_a"})
    doubts = work.round(number).stage(ACTIONS_CLEANED) / "review.csv"
    write_text(doubts, f"{DOUBTS}clip_a-a3,clip_a,3,0.2,0.36,run,throw,0.93\n")
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
def boxes_of(tmp_path):
    """A service for the boxes of a work folder; its decoding ends with the test."""
    opened = []

    def open_service(work, settings=REVIEW):
        opened.append(ReviewFrames(work, tmp_path / f"frames{len(opened)}", settings))
        return ReviewService(work, opened[-1], settings)

    yield open_service
    for frames in opened:
        frames.close()


@pytest.fixture
def service(work, boxes_of):
    return SegmentService(boxes_of(work))


def ids(service, offset=0, count=40, judged=False):
    items = service.items(0, offset, count)["items"]
    return [item["id"][-2:] for item in items if judged or "verdict" not in item]


def test_what_a_student_doubts_comes_first_then_what_a_verdict_changes_most(service):
    # Then by nearness to the bar of their class times seconds; what a person said last, what was overruled never.
    assert ids(service) == ["a3", "a2", "a1", "a0", "a4"]


def test_it_is_told_what_there_is_to_judge(service):
    doubted, thrown, *_ = service.items(0, 0, 40)["items"]
    assert doubted["doubt"] == {"class": "throw", "score": 0.93} and doubted["origin"] == "human"
    assert thrown["doubt"] is None and (thrown["track"], thrown["class"]) == (3, "throw")
    assert (thrown["start_s"], thrown["end_s"], thrown["quality"]) == (0.0, 0.8, 0.61)
    assert thrown["likely"] == [("throw", 0.6), ("run", 0.3), ("jump", 0.06)]
    assert service.about(0) == {"segments": 5, "actions": ["jump", "run", "throw"], "unreadable_actions": {}}


def test_a_players_box_is_told_for_each_frame_while_it_is_seen(service):
    thrown = service.item(0, "clip_a-a2")
    assert thrown["frames"] == shown_frames(0, 20, FPS)
    boxes = dict(zip(thrown["frames"], thrown["boxes"], strict=True))
    assert boxes[0] == [0, 10, 20, 60] and boxes[19] is None
    between = next(frame for frame in thrown["frames"] if frame % 4)
    assert boxes[between] == [between, 10, between + 20, 60]
    assert set(map(str, service.item(0, "clip_a-a0")["boxes"])) == {"None"}  # of the whole frame


def test_of_long_actions_some_frames_are_shown_of_short_ones_all():
    assert shown_frames(5, 9, 25.0) == [5, 6, 7, 8]
    long = shown_frames(100, 1100, 25.0)
    assert len(long) == REVIEW.segment_most_frames and (long[0], long[-1]) == (100, 1099)
    second = shown_frames(0, 50, 25.0)
    assert len(second) == 2 * REVIEW.segment_fps


def test_verdicts_are_saved_and_what_is_judged_is_not_asked_again(service, work):
    assert service.judge(0, {"item": "clip_a-a2", "verdict": "n"})["total"] == 1
    assert service.judge(0, {"item": "clip_a-a3", "verdict": "y", "class_name": "throw"})["right_class"] == "throw"
    assert (
        service.judge(0, {"item": "clip_a-a1", "verdict": "y", "class_name": "run"})["right_class"] == ""
    )  # it is that
    said = {uid: (verdict.verdict, verdict.class_name) for uid, verdict in read_verdicts(work).items()}
    assert said == {"clip_a-a2": ("n", ""), "clip_a-a3": ("y", "throw"), "clip_a-a1": ("y", "")}
    assert ids(service) == ["a0", "a4"]
    assert ids(service, judged=True) == ["a0", "a4", "a3", "a2", "a1"]  # what was judged comes last
    assert (service.item(0, "clip_a-a3")["verdict"], service.item(0, "clip_a-a3")["right_class"]) == ("y", "throw")


def test_pages_go_on_where_the_one_before_ended(service):
    first = service.items(0, 0, 2)
    assert [item["id"][-2:] for item in first["items"]] == ["a3", "a2"] and (first["next"], first["more"]) == (2, True)
    assert ids(service, 2, 2) == ["a1", "a0"] and service.items(0, 4, 2)["next"] is None
    service.judge(0, {"item": "clip_a-a2", "verdict": "y"})
    last = service.items(0, 2, 3)
    assert [item["id"][-2:] for item in last["items"]] == ["a1", "a0", "a4"] and not last["more"]
    after = service.items(0, last["next"], 3)
    assert ([item["id"][-2:] for item in after["items"]], after["next"]) == (["a2"], None)


def test_what_was_denied_and_cleaned_can_be_seen_and_what_is_held_out_comes_last(service, work):
    said = [(*SAID[0][:5], "drop", "human: no"), *SAID[1:]]
    write_actions(work, said=said, output="a2")
    write_actions_of(work, "clip_b")
    videos = work.read_videos()
    work.write_videos(videos.assign(split=videos["split"].where(videos["video_id"] != "clip_a", "test")))
    service.about(0)
    assert [(item["id"], item["held_out"]) for item in service.items(0, 0, 40)["items"]] == [
        ("clip_b-a0", False),
        *((f"clip_a-a{number}", True) for number in (3, 2, 1, 0, 4)),
    ]


def test_taking_back_tells_boxes_from_actions(work, boxes_of):
    boxes = boxes_of(work)
    service = SegmentService(boxes)
    label = boxes.items(0, 0, 40)["items"][0]
    boxes.judge(0, {"item": label["id"], "verdict": "y"})
    service.judge(0, {"item": "clip_a-a2", "verdict": "n"})
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
def test_what_cannot_be_is_refused(service, work, said, message):
    with pytest.raises(InputError, match=message):
        service.judge(0, said)
    assert not read_verdicts(work)


def test_actions_that_were_cleaned_anew_are_read_anew(service, work):
    assert len(ids(service)) == 5
    write_actions(work, said=SAID[:1], human=(), output="a2")
    assert service.about(0)["segments"] == 1 and len(ids(service)) == 1


def test_a_round_without_actions_has_none(tmp_path, boxes_of):
    work = make_work(tmp_path / "work", [Clip("clip_a", [range(12)])], 1)
    service = SegmentService(boxes_of(work))
    assert service.about(0)["segments"] == 0 and service.items(0, 0, 40) == {"items": [], "next": None, "more": False}


@pytest.mark.parametrize(
    "listed", ["", "label_uid,score\na,1\n", f"{DOUBTS}clip_a-a3,,,,,,run,sure\n", f"{DOUBTS}clip_a-a3,,,,,,run,nan\n"]
)
def test_doubts_that_cannot_be_read_are_named_and_the_actions_are_there(service, work, listed):
    path = work.round(0).stage(ACTIONS_CLEANED) / "review.csv"
    path.write_text(listed)
    about = service.about(0)
    assert about["segments"] == 5 and service.item(0, "clip_a-a3")["doubt"] is None
    assert list(about["unreadable_actions"].values()) == (
        [] if not listed else [about["unreadable_actions"]["review.csv"]]
    )
    path.write_bytes(b"\xff\xfe\x00")
    assert str(path) in service.about(0)["unreadable_actions"]["review.csv"]


def test_a_class_may_be_called_none(service, work):
    path = work.round(0).stage(ACTIONS_CLEANED) / "review.csv"
    path.write_text(f"{DOUBTS}clip_a-a3,clip_a,3,0,1,run,None,0.9\n")
    service.about(0)
    assert service.item(0, "clip_a-a3")["doubt"] == {"class": "None", "score": 0.9}


@pytest.mark.parametrize("probabilities", ["", "3", "[1]", '{"run": "x"}', '{"run": NaN}'])
def test_probabilities_that_cannot_be_read_are_left_out(service, work, probabilities):
    actions = action_rows("clip_a", SAID[:1]).assign(probabilities=probabilities)
    write_parquet(work.round(0).actions("cleaned", "clip_a"), actions, {"video_id": "clip_a"})
    assert service.item(0, "clip_a-a0")["likely"] == []


def test_a_shard_that_cannot_be_read_is_named_and_the_others_are_shown(service, work):
    write_parquet(work.round(0).actions("cleaned", "clip_b"), action_rows("clip_b", SAID[:1]).drop(columns="score"), {})
    about = service.about(0)
    assert about["segments"] == 5 and "score" in about["unreadable_actions"]["clip_b"]


def test_where_players_cannot_be_read_their_actions_are_told_without_boxes(service, work):
    boxes = read_parquet(work.round(0).boxes("cleaned", "clip_a"))
    assert any(service.item(0, "clip_a-a2")["boxes"])
    write_parquet(work.round(0).boxes("cleaned", "clip_a"), boxes.drop(columns="track_id"), {})
    assert not any(service.item(0, "clip_a-a2")["boxes"])


def test_a_player_out_of_sight_has_no_box(service, work):
    frames = [0, 1, 2, 3, 4, 5, 18, 19]  # half a second without
    people = rows("clip_a", 0, frames, [[f, 10, f + 20, 60] for f in frames], class_name="person", track_id=3)
    metadata = {"video_id": "clip_a", "stride": 1, "frame_count": FRAMES, "fps": FPS, "width": 160, "height": 96}
    write_parquet(work.round(0).boxes("cleaned", "clip_a"), people, metadata)
    thrown = service.item(0, "clip_a-a2")
    seen = [frame for frame, box in zip(thrown["frames"], thrown["boxes"], strict=True) if box]
    assert max(seen) <= 5 and min(seen) == 0


def test_actions_of_videos_whose_boxes_cannot_be_read_are_left_out(service, work):
    write_actions_of(work, "clip_b")
    write_parquet(work.round(0).boxes("cleaned", "clip_b"), action_rows("clip_b", SAID[:1]), {})
    assert service.about(0)["segments"] == 6
    assert {item["video"] for item in service.items(0, 0, 40)["items"]} == {"clip_a"}
    with pytest.raises(InputError, match="cannot be read"):
        service.item(0, "clip_b-a0")


def test_videos_that_come_to_a_round_of_actions_alone_are_shown(tmp_path, boxes_of):
    work = make_work(tmp_path / "work", [Clip("clip_a", []), Clip("clip_b", [])], 0)
    write_actions(work)
    boxes = boxes_of(work)
    service = SegmentService(boxes)
    assert len(ids(service)) == 5
    write_actions_of(work, "clip_b")
    boxes.about(0)
    assert service.about(0)["segments"] == 6 and len(ids(service)) == 6


def test_all_frames_that_will_be_shown_are_decoded_ahead(work, boxes_of):
    boxes = boxes_of(work, ReviewSettings(frames_ahead=3))
    shown = [item["frames"] for item in SegmentService(boxes).items(0, 0, 40)["items"]]
    video = boxes.round(0).videos["clip_a"]
    end = time.monotonic() + 60
    while not all(boxes.frames.has(video, frame) for each in shown for frame in each):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_page_of_both_names_both_cleanings(work, warm_stages):
    with ReviewServer(work.root, start=warm_stages.Popen) as server:
        assert "5 actions to judge" in server.printed and " boxes in " in server.printed
        server.tell("/api/action-verdict?round=0", {"item": "clip_a-a2", "verdict": "n"})
        _, printed, _ = server.stop()
    assert f"next: python dataset_cleaner.py {work.root} --round 0 --task actions\n" in printed
    with ReviewServer(work.root, start=warm_stages.Popen) as server:
        label = server.json("/api/items?round=0")["items"][0]
        server.tell("/api/action-verdict?round=0", {"item": "clip_a-a1", "verdict": "y"})
        server.tell("/api/verdict?round=0", {"item": label["id"], "verdict": "y"})
        _, printed, _ = server.stop()
    assert "of them actions: 1; clean these too: " in printed and "--task actions" not in printed.split("next: ")[1]


def test_a_round_of_actions_alone_is_served_and_its_end_names_the_right_cleaning(tmp_path, warm_stages):
    work = make_work(tmp_path / "work", [Clip("clip_a", [])], 0)
    write_actions(work)
    with ReviewServer(work.root, start=warm_stages.Popen) as server:
        assert "round 0: 5 actions to judge" in server.printed
        about = server.json("/api/about")
        assert (about["labels"], about["segments"], about["rounds"]) == (0, 5, [0])
        items = server.json("/api/actions?round=0")["items"]
        frame = items[0]["frames"][0]
        assert server.get(f"/frames/clip_a/{frame}.jpg?round=0&width=80")[:2] == b"\xff\xd8"
        assert server.json("/api/action?round=0&label=clip_a-a0")["class"] == "run"
        status, answer = server.tell("/api/action-verdict?round=0", {"item": items[0]["id"], "verdict": "y"})
        assert (status, answer["total"]) == (200, 1)
        assert server.tell("/api/action-verdict?round=0", {"item": "x", "verdict": "y"})[0] == 400
        code, printed, wrong = server.stop()
    assert (code, wrong) == (0, "") and f"next: python dataset_cleaner.py {work.root} --round 0" in printed


def test_what_another_process_says_meanwhile_is_known(service, work):
    append_verdicts(work, [{"label_uid": "clip_a-a3", "verdict": "y"}])
    assert ids(service) == ["a2", "a1", "a0", "a4"]
