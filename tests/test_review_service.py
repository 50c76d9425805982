"""The review page without a browser: what is asked and answered, who is refused, what is saved, what clips may do."""

import asyncio
import csv
import http.client
import time
import zipfile
from dataclasses import astuple

import pytest
from picture_work import BALL_TOP, Clip, ball_box, make_work
from review_server import ReviewServer

import visualise
from labels.pictures.review.app import Guard, Sessions
from labels.pictures.review.clip import measured
from labels.pictures.review.frames import ReviewFrames
from labels.pictures.review.segments import SegmentService
from labels.pictures.review.service import ReviewService, strip_step
from labels.pictures.review.uploads import ClipService, current_models, shown_name
from labels.pictures.settings import ReviewSettings
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, write_run_record
from labels.records.verdicts import append_verdicts, read_verdicts
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_TRAINED
from labels.videos.decoding.frames import DecodeError


@pytest.fixture
def work(tmp_path):
    return make_work(tmp_path / "work", [Clip("clip_a", [range(12)]), Clip("clip_b", [range(4)])], 1)


@pytest.fixture
def service(work, tmp_path):
    return ReviewService(work, ReviewFrames(work, tmp_path / "frames"))


def track_of(service, video_id="clip_a"):
    return next(item for item in service.items(0, 0, 40)["items"] if item["track"] and item["video"] == video_id)


# --- items and verdicts ---


def test_a_verdict_on_a_track_is_a_line_for_each_of_its_labels_and_its_item_is_done(service, work):
    item = track_of(service)
    assert item["count"] == 12
    answer = service.judge(0, {"item": item["id"], "verdict": "y"})
    assert (answer["saved"], answer["total"]) == (12, 12)
    said = read_verdicts(work)
    assert set(said) == {row["uid"] for row in item["rows"]}
    assert {verdict.frame_index for verdict in said.values()} == set(range(12))
    first = said[item["rows"][0]["uid"]]
    assert (first.verdict, first.xyxy, first.judged_xyxy) == ("y", None, tuple(ball_box(0)))
    assert item["id"] not in {each["id"] for each in service.items(0, 0, 40)["items"]}


def test_one_label_of_a_track_can_be_judged_alone(service, work):
    item = track_of(service)
    service.judge(0, {"item": item["id"], "verdict": "n", "only": item["rows"][5]["uid"]})
    assert [(uid, verdict.verdict) for uid, verdict in read_verdicts(work).items()] == [(item["rows"][5]["uid"], "n")]
    assert item["id"] in {each["id"] for each in service.items(0, 0, 40)["items"]}


def test_what_was_said_of_one_label_stands_when_its_track_is_judged(service, work):
    item = track_of(service)
    wrong = item["rows"][5]["uid"]
    service.judge(0, {"item": item["id"], "verdict": "n", "only": wrong})
    assert service.judge(0, {"item": item["id"], "verdict": "y"})["saved"] == 11
    assert [uid for uid, verdict in read_verdicts(work).items() if verdict.verdict == "n"] == [wrong]
    service.take_back()
    service.take_back()  # then it is one of the track again
    assert service.judge(0, {"item": item["id"], "verdict": "y"})["saved"] == 12


def test_a_corrected_box_and_class_stay_when_the_label_is_confirmed_and_go_when_it_is_denied(service, work):
    item = track_of(service)
    uid = item["rows"][3]["uid"]
    service.judge(0, {"item": item["id"], "verdict": "y", "only": uid, "box": [20, 41, 36, 55]})
    service.judge(0, {"item": item["id"], "verdict": "y", "class_name": "person"})
    service.judge(0, {"item": item["id"], "verdict": "y"})
    said = read_verdicts(work)
    assert (said[uid].xyxy, said[uid].class_name, said[uid].judged_xyxy) == (
        (20, 41, 36, 55),
        "person",
        tuple(ball_box(3)),
    )
    assert {verdict.class_name for verdict in said.values()} == {"person"}
    service.judge(0, {"item": item["id"], "verdict": "n"})
    assert read_verdicts(work)[uid].xyxy is None


def test_taking_back_gives_what_was_said_before_step_by_step(service, work):
    item = track_of(service)
    uid = item["rows"][0]["uid"]
    append_verdicts(work, [{"label_uid": uid, "verdict": "n"}])  # somebody else, before
    service.judge(0, {"item": item["id"], "verdict": "y"})
    service.judge(0, {"item": item["id"], "verdict": "y", "only": uid, "box": [20, 41, 36, 55]})
    assert service.take_back()["labels"] == 1
    assert read_verdicts(work)[uid].xyxy is None
    assert service.take_back() == {"item": item["id"], "labels": 12, "of_actions": False, "total": 0}
    assert {uid: verdict.verdict for uid, verdict in read_verdicts(work).items()} == {uid: "n"}
    assert service.take_back() == {"item": "", "labels": 0, "of_actions": False, "total": 0}


def test_what_another_process_says_meanwhile_is_known(service, work):
    item = track_of(service)
    append_verdicts(work, [{"label_uid": row["uid"], "verdict": "y"} for row in item["rows"]])
    assert item["id"] not in {each["id"] for each in service.items(0, 0, 40)["items"]}


def test_a_drawn_box_is_saved_and_shown(service, work):
    asked = {"video": "clip_b", "frame": 9, "class_name": "sports ball", "box": [150, 90, 400, 400]}
    uid = service.draw(0, asked)["uid"]
    assert read_verdicts(work)[uid].xyxy == (150, 90, 160, 96)  # no further than the frame
    assert [each["box"] for each in service.around(0, "clip_b", 5, 12)["drawn"]] == [(150, 90, 160, 96)]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"item": "none", "verdict": "y"}, "load the page again"),
        ({"verdict": "maybe"}, "a verdict is y or n"),
        ({"verdict": ""}, "a verdict is y or n"),
        ({"verdict": "y", "only": "none"}, "not in the round any more"),
        ({"verdict": "y", "box": [5, 5, 5, 9], "box_of": "first"}, "the box is empty"),
        ({"verdict": "y", "box": ["a", 1, 2, 3], "box_of": "first"}, "a box is four numbers"),
        ({"verdict": "y", "box": [float("nan"), 1, 20, 30], "box_of": "first"}, "a box is four numbers"),
        ({"verdict": "n", "class_name": "person"}, "cannot be corrected"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_nothing_is_written(service, work, said, message):
    item = track_of(service)
    given = {"item": item["id"]} | said
    if given.get("box_of") == "first":
        given["box_of"] = item["rows"][0]["uid"]
    with pytest.raises(InputError, match=message):
        service.judge(0, given)
    assert read_verdicts(work) == {}


def test_the_strip_goes_in_whole_strides_about_a_second_each_way():
    assert [strip_step(25, 1), strip_step(25, 10), strip_step(30, 2), strip_step(1, 1)] == [6, 10, 8, 1]


def test_frames_are_those_of_the_video_also_where_none_is_stored(service):
    import cv2
    import numpy as np

    for frame in (3, 17):
        bgr = cv2.imdecode(np.frombuffer(service.frame(0, "clip_a", frame, 0), dtype=np.uint8), cv2.IMREAD_COLOR)
        assert bgr.shape == (96, 160, 3)
        bright = np.flatnonzero(bgr[BALL_TOP + 6].min(axis=1) > 200)
        assert bright.mean() == pytest.approx(10 + 4 * frame + 5.5, abs=1.0)
    assert len(service.crop(0, track_of(service)["rows"][0]["uid"])) > 500
    with pytest.raises(InputError, match="has no frame 20"):
        service.frame(0, "clip_a", 20, 0)
    with pytest.raises(InputError, match="no such video"):
        service.frame(0, "../../etc/passwd", 0, 0)


# --- who may speak ---


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"host": "127.0.0.1:80"}, False),
        ({"host": "LOCALHOST:80"}, False),
        ({"host": "evil.example:80"}, True),
        ({"host": "127.0.0.1:81"}, True),
        ({}, True),
        ({"host": "127.0.0.1:80", "origin": "http://evil.example"}, True),
        ({"host": "127.0.0.1:80", "origin": "null"}, True),
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80"}, False),
    ],
)
def test_only_our_own_page_is_answered(headers, refused):
    guard = Guard(lambda *_: None, 80, Sessions(80))
    assert bool(guard.refusal({name.encode(): value.encode() for name, value in headers.items()})) is refused


def test_a_link_opens_the_page_once_and_each_browser_has_a_cookie_of_its_own():
    links = []
    sessions = Sessions(80, links.append)
    first = sessions.opened(links[0].partition("key=")[2])
    assert first.endswith("; HttpOnly; SameSite=Strict; Path=/")
    assert len(links) == 2 and sessions.opened(links[0].partition("key=")[2]) is None
    second = sessions.opened(links[1].partition("key=")[2])
    clients = [sessions.client(cookie.partition(";")[0].encode()) for cookie in (first, second)]
    assert None not in clients and clients[0] != clients[1]
    for wrong in (b"", b"rally-review-80=", b"rally-review-80=x", f"rally-review-81={clients[0]}".encode()):
        assert sessions.client(wrong) is None


def test_a_program_that_opened_no_link_reads_and_writes_nothing(work, warm_stages):
    pytest.importorskip("uvicorn")
    with ReviewServer(work.root, start=warm_stages.Popen) as server:
        for path in ("/", "/api/about", "/review_asking.js"):
            assert server.ask("GET", path, None, {"cookie": ""})[0] == 403
        assert server.ask("POST", "/api/undo", b"{}", {"cookie": ""})[0] == 403
        assert server.open(server.link) == ""  # it was used
        assert server.open(server.newest_link()).startswith("rally-review-")


def test_what_is_sent_is_bounded_as_it_comes(work, warm_stages):
    pytest.importorskip("uvicorn")
    with ReviewServer(work.root, start=warm_stages.Popen) as server:
        deep = b"[" * 30_000 + b"]" * 30_000
        assert server.ask("POST", "/api/verdict", deep, {})[0] == 400
        connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=60)
        pieces = iter([b"x" * 30_000] * 40)  # no content-length: the body is sent in chunks
        connection.request("POST", "/api/verdict", pieces, {"cookie": server.cookie}, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, b"too much" in answer.read()) == (400, True)


def test_a_browser_takes_back_its_own_verdicts_only(service, work):
    item = track_of(service)
    uid = item["rows"][5]["uid"]
    service.judge(0, {"item": item["id"], "verdict": "y"}, "first")
    service.judge(0, {"item": item["id"], "verdict": "n", "only": uid}, "second")
    assert service.take_back("third")["labels"] == 0
    assert service.take_back("first")["labels"] == 11  # not the one that another browser judged since
    assert {name: verdict.verdict for name, verdict in read_verdicts(work).items()} == {uid: "n"}
    assert service.take_back("second")["labels"] == 1
    assert read_verdicts(work)[uid].verdict == "y"  # as it stood before


# --- clips from outside ---


async def _chunks(parts):
    for part in parts:
        yield part


@pytest.fixture
def clips(work, tmp_path):
    service = ClipService(
        work, tmp_path / "clips", ReviewSettings(clip_bytes=200_000, clip_seconds=0.5, clip_pixels=500_000)
    )
    yield service
    service.close()


def given(clips, name, data, declared_bytes=None):
    key = asyncio.run(clips.take(name, declared_bytes, _chunks([data[:1000], data[1000:]])))
    end = time.monotonic() + 300  # it ends; how fast is for the bench
    while clips.clips[key].state in ("waiting", "working"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return key, clips.clips[key]


@pytest.mark.parametrize(("said", "data"), [(200_001, b""), (None, b"x" * 200_001), (5, b"x" * 200_001)])
def test_a_clip_that_is_too_large_leaves_nothing(clips, tmp_path, said, data):
    with pytest.raises(InputError, match=r"^big.mp4: larger than"):
        asyncio.run(clips.take("big.mp4", said, _chunks([data[:150_000], data[150_000:]])))
    assert not list(tmp_path.glob("clips/*"))


def test_what_is_no_video_is_told_in_a_line_and_thrown_away(clips, tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../evil", "x")
    for name, data in (
        ("text.mp4", b"hello\n" * 400),
        ("a.zip", archive.read_bytes()),
        ("../../etc/x.mp4", b"#EXTM3U\n/etc/passwd\n"),
    ):
        _, clip = given(clips, name, data)
        assert clip.state == "failed"
        assert clip.error.startswith(shown_name(name) + ": ")
        assert "\n" not in clip.error
        assert str(tmp_path) not in clip.error
        assert not clip.folder.exists()
    with pytest.raises(InputError, match="an empty file"):
        asyncio.run(clips.take("none.mp4", 0, _chunks([])))


def test_a_frame_that_is_too_large_is_refused(clips, make_video):
    video = make_video("wide.mp4", 2, width=1000, height=600)
    _, clip = given(clips, "wide.mp4", video.read_bytes())
    assert clip.state == "failed"
    assert "1000" in clip.error


def test_a_clip_is_labelled_by_motion_where_there_is_no_student_and_only_its_first_seconds(clips, make_video):
    video = make_video("fine.mp4", 30, fps=25.0)
    key, clip = given(clips, "C:\\clips\\fine.mp4", video.read_bytes())
    assert (clip.state, clip.error, clip.name) == ("done", "", "fine.mp4")
    assert (clip.result["frames"], clip.result["whole"]) == (13, False)  # frames 0 to 0.48 s
    assert clip.result["models"]["detector"] == "motion" and clip.result["models"]["detector_round"] is None
    assert (clip.result["width"], clip.result["height"], clip.result["fps"]) == (96, 64, 25.0)
    assert clip.overlay.read_bytes()[4:8] == b"ftyp"
    assert not clip.path.exists()
    assert key in clips.clips


def test_old_clips_make_room(clips, monkeypatch):
    monkeypatch.setattr(clips, "_look_at", lambda clip: None)
    keys = [given(clips, f"{number}.mp4", b"x" * 300)[0] for number in range(7)]
    assert list(clips.clips) == keys[-4:]


def test_the_models_are_the_newest_finished_student(work, tmp_path):
    models = current_models(work)
    assert (models.detector, models.detector_round, models.recogniser) == ("motion", None, "")
    work.round(0).detector.write_bytes(b"x")
    assert current_models(work).detector_round == 0
    work.round(0).recogniser.write_bytes(b"x")
    assert current_models(work).recogniser == ""  # not finished
    write_run_record(work.round(0), RunRecord(ACTIONS_CLEANED, 0, {}, {}, {}, {"per": "player"}))
    write_run_record(work.round(0), RunRecord(ACTIONS_TRAINED, 0, {}, {}, {}, {}))
    models = current_models(work)
    assert (models.detector_round, models.recogniser_round, models.per) == (0, 0, "player")
    work.round(0).detector.unlink()
    assert current_models(work).detector == ""  # what tells actions alone is not helped by balls that move


def test_a_clip_is_measured_by_its_frames(make_video):
    settings = ReviewSettings(clip_seconds=0.4)
    long = measured(make_video("a.mp4", 30, fps=25.0), settings)
    assert astuple(long) == pytest.approx((25.0, 96, 64, 11, 0.48), abs=0.01) and not long.is_whole
    short = measured(make_video("b.mp4", 5, fps=25.0), settings)
    assert (short.frames, short.length_s) == pytest.approx((5, 0.2), abs=0.01) and short.is_whole
    with pytest.raises(DecodeError):
        measured(make_video("c.mp4", 5).with_name("absent.mp4"), settings)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.mp4", "x.mp4"),
        ("a\\b\\c.mov", "c.mov"),
        ("", "the clip"),
        ("..", ".."),
        ("a\x00\n\u202eb", "ab"),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_name_from_outside_is_made_harmless(name, shown):
    assert shown_name(name) == shown


# --- the server ---


def test_the_page_is_served_judged_and_ended_with_ctrl_c(work):
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with ReviewServer(work.root) as server:
        assert server.address.startswith("http://127.0.0.1:")
        assert server.json("/api/about")["labels"] == 12 + 3 + 4 + 3
        item = server.json("/api/items")["items"][0]
        assert server.tell("/api/verdict", {"item": item["id"], "verdict": "y"})[0] == 200
        assert server.tell("/api/verdict", {"item": item["id"], "verdict": "?"})[0] == 400
        assert server.tell("/api/verdict", [1])[0] == 400
        assert server.ask("GET", "/api/about", None, {"host": "evil.example"})[0] == 403
        for path in (
            "/review_page.py",
            "/..%2f..%2fpyproject.toml",
            "/frames/..%2f../0.jpg",
            "/api/clip/none",
            "/clips/x/overlay.mp4",
        ):
            assert server.ask("GET", path, None, {})[0] in (400, 404), path
        with work.writing():  # a stage runs beside it
            assert server.tell("/api/undo", {})[1]["labels"] == item["count"]
            server.tell("/api/verdict", {"item": item["id"], "verdict": "n"})
        code, printed, wrong = server.stop()
    assert code == 0
    assert f"verdicts on {item['count']} labels saved: {work.root / 'verdicts.csv'}" in printed
    assert f"next: python dataset_cleaner.py {work.root} --round 0" in printed
    assert "Traceback" not in wrong
    with open(work.root / "verdicts.csv", newline="") as opened:
        assert [row["verdict"] for row in csv.DictReader(opened)] == [
            word for word in ("y", "", "n") for _ in range(item["count"])
        ]


def test_a_clip_without_a_stated_length_is_heard_out_before_it_is_refused(service, clips, tmp_path):
    """A browser whose connection ends while it sends shows no message."""
    pytest.importorskip("starlette")
    from labels.pictures.review.app import make_app

    links: list[str] = []
    sessions = Sessions(8777, links.append)
    cookie = sessions.opened(links[0].partition("key=")[2]).partition(";")[0]
    app = make_app(service, SegmentService(service), clips, 0, 8777, sessions)
    waiting, said = [b"x" * 100_000] * 5, []

    async def receive():
        body = waiting.pop()
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        said.append(message)

    headers = [(b"host", b"127.0.0.1:8777"), (b"cookie", cookie.encode()), (b"x-clip-name", b"big.mp4")]
    scope = {"type": "http", "method": "POST", "path": "/api/clip", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert not waiting and said[0]["status"] == 413
    assert b"big.mp4: larger than" in said[1]["body"]
    assert not list(tmp_path.glob("clips/*"))


def test_verdicts_reach_the_disk_beside_the_work_and_what_goes_wrong_is_told():
    from labels.pictures.review.saving import DiskSync

    done = []
    disk = DiskSync(lambda: done.append(1))
    disk.soon()
    disk.close()
    assert done
    full = DiskSync(lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    full.soon()
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_without_the_libraries_there_is_one_line(work, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert visualise.main([str(work.root), "--review"]) == 2
    assert "pip install starlette uvicorn" in capsys.readouterr().err


def test_what_cannot_be_served_is_one_line(work, tmp_path, capsys):
    pytest.importorskip("uvicorn")
    assert visualise.main([str(work.root), "--review", "--round", "7"]) == 2
    assert "there is no round 7; there is round 0 only" in capsys.readouterr().err
    assert visualise.main([str(work.root), "--review", "--set", "port=70000"]) == 2
    assert "--set port=70000" in capsys.readouterr().err
    assert visualise.main([str(tmp_path / "none"), "--review"]) == 2


def test_every_file_of_the_page_is_there_and_nothing_is_fetched_from_elsewhere():
    from pathlib import Path

    from labels.pictures.review import app as review_app

    folder = Path(review_app.__file__).parent
    texts = {name: (folder / name).read_text() for name in review_app.PAGE_FILES}
    assert {path.name for path in folder.glob("review_*.js")} <= set(texts)
    for name, text in texts.items():
        assert "http://" not in text and "https://" not in text, name
