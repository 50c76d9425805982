"""The review page in a real browser: judged by keyboard, corrected by dragging, clips tried, hostile ones too.

Skipped where there is no Chromium, no playwright, or no starlette and uvicorn. With LABELS_SCREENSHOTS=FOLDER it leaves
pictures there to look at.
"""

import os
import shutil
import struct
import time
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import write_test_video
from picture_work import action_rows
from review_server import ReviewServer

import dataset_cleaner
import dataset_downloader
import dataset_processor
from labels.models.checkpoints import RECOGNISER, save_checkpoint
from labels.models.recognisers.recogniser import build_recogniser, preset_of
from labels.records import tables
from labels.records.run_records import RunRecord, start_run, write_run_record
from labels.records.safe_writing import read_parquet, write_parquet, write_text
from labels.records.verdicts import read_verdicts
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_TRAINED, WorkFolder

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
SCREENSHOTS = os.environ.get("LABELS_SCREENSHOTS")
WAIT_MS = 300_000  # it comes; how fast is for the bench


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder whose round 0 is cleaned."""
    root = tmp_path_factory.mktemp("review") / "work"
    source = "--from synthetic --set sport=volleyball --set difficulty=easy --clips 3 --set frames=30"
    assert dataset_downloader.main([str(root), *source.split()]) == 0
    assert dataset_processor.main([str(root), "--round", "0", "--detector", "motion"]) == 0
    assert dataset_cleaner.main([str(root), "--round", "0"]) == 0
    return WorkFolder(root)


@pytest.fixture
def recogniser(work):
    """A student of chance weights that tells two actions; gone afterwards."""
    names = ("run", "walk")
    network = build_recogniser("cnn3d", len(names), preset_of("cnn3d"), pretrained=False)
    payload = {"architecture": "cnn3d", "class_names": list(names), "settings": {}}
    payload |= {"working_threshold": dict.fromkeys(names, 0.4), "network": network.state_dict()}
    save_checkpoint(work.round(0).recogniser, payload, RECOGNISER)
    write_run_record(work.round(0), RunRecord(ACTIONS_TRAINED, 0, {}, {}, {}, {}))
    yield names
    work.round(0).recogniser.unlink()
    start_run(work.round(0), ACTIONS_TRAINED)


@pytest.fixture
def actions(work):
    """Two actions in round 0, the first of a person whom a student doubts; gone afterwards."""
    video_id = str(work.usable_videos()["video_id"].iloc[0])
    said = [(-1, 0, 12, "run", 1.0, "keep", ""), (-1, 12, 30, "jump", 0.8, "ignore", "quality: 0.80 < 0.90")]
    table = action_rows(video_id, said)
    table.loc[0, "origin"] = "human"
    folder = work.round(0)
    write_parquet(folder.actions("cleaned", video_id), table, {"video_id": video_id})
    doubts = "label_uid,video_id,track_id,start_s,end_s,class_name,student_class,student_score\n"
    doubts += f"{video_id}-a0,{video_id},-1,0,0.5,run,jump,0.9\n"
    write_text(folder.stage(ACTIONS_CLEANED) / "review.csv", doubts)
    write_run_record(folder, RunRecord(ACTIONS_CLEANED, 0, {}, {}, {}, {"class_names": ["jump", "run", "throw"]}))
    yield list(table["label_uid"])
    start_run(folder, ACTIONS_CLEANED)


@pytest.fixture
def later_round(work, actions):
    """Round 1, as round 0 is but for its actions, which it has none of; gone afterwards."""
    shutil.copytree(work.round(0).path, work.round(1).path)
    start_run(work.round(1), ACTIONS_CLEANED)
    yield 1
    shutil.rmtree(work.round(1).path)


@pytest.fixture
def server(work, warm_stages):
    (work.root / "verdicts.csv").unlink(missing_ok=True)
    with ReviewServer(work.root, start=warm_stages.Popen) as running:
        yield running
        assert running.stop()[0] == 0


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium, server, scheme: str):
    """The loaded page; at its end nothing may have gone wrong in the console."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1360, "height": 850})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda asked: asked.url.startswith((server.address, "data:", "blob:")) or wrong.append(asked.url)
    )
    page.scheme, page.expected = scheme, None  # `expected`: what the console may say all the same
    page.goto(server.newest_link())
    page.wait_for_selector("html[data-first-view]", timeout=WAIT_MS)
    yield page
    assert [text for text in wrong if page.expected is None or page.expected not in text] == []
    context.close()


# The scheme changes colours alone: `test_dark_is_dark` looks at these, and pictures are wanted of both.
@pytest.fixture(params=["light", "dark"] if SCREENSHOTS else ["light"])
def page(request, server, chromium):
    with opened(chromium, server, request.param) as page:
        yield page


def shoot(page, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}_{page.scheme}.png"))


def predictions_of(work, wanted, page):
    """The verdicts on disk as soon as `wanted` holds of them."""
    end = time.monotonic() + 10
    while not wanted(verdicts := read_verdicts(work)):
        assert time.monotonic() < end, verdicts
        page.wait_for_timeout(20)
    return verdicts


def until_shown(page, uid: str) -> None:
    page.wait_for_function("uid => document.documentElement.dataset.shown === uid", arg=uid, timeout=WAIT_MS)


def give(page, path: Path) -> None:
    page.click("#tab-clip")
    page.set_input_files("#file", str(path))


def test_twenty_labels_by_keyboard_one_by_dragging_and_the_next_clean_uses_them(page, server, work):
    queue = server.json("/api/items")["items"][:20]
    for place, item in enumerate(queue):
        until_shown(page, item["shown"])
        page.keyboard.press("n" if place % 3 == 2 else "y")
        predictions_of(work, lambda said, item=item: all(row["uid"] in said for row in item["rows"]), page)
    shoot(page, "judged")
    before = read_verdicts(work)
    assert len(before) >= sum(item["count"] for item in queue)
    page.keyboard.press("u")
    predictions_of(work, lambda said: not any(row["uid"] in said for row in queue[19]["rows"]), page)
    until_shown(page, queue[19]["shown"])
    page.keyboard.press("y")
    predictions_of(work, lambda said: all(row["uid"] in said for row in queue[19]["rows"]), page)

    page.keyboard.press("ArrowUp")  # back to the label just judged
    until_shown(page, queue[19]["shown"])
    corner = page.evaluate(
        """() => { const zoom = document.getElementById('zoom').getBoundingClientRect();
        return [zoom.left + zoom.width / 2, zoom.top + zoom.height / 2]; }"""
    )
    page.mouse.move(*corner)
    page.mouse.down()
    page.mouse.move(corner[0] + 20, corner[1] + 10, steps=5)
    page.mouse.move(corner[0] + 40, corner[1] + 20, steps=5)
    page.mouse.up()
    uid = queue[19]["shown"]
    said = predictions_of(work, lambda said: said[uid].xyxy is not None, page)
    moved = [new - old for new, old in zip(said[uid].xyxy, said[uid].judged_xyxy, strict=True)]
    assert moved[0] == pytest.approx(moved[2], abs=0.05) and moved[0] > 1  # all of the box, to the right
    shoot(page, "dragged")

    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    cleaned = [read_parquet(path) for path in sorted(work.round(0).stage("cleaned").glob("boxes/*.parquet"))]
    labels = tables.concatenate(cleaned, tables.BOXES).set_index("label_uid")
    for uid, verdict in said.items():
        row = labels.loc[uid]
        wanted = ("keep", "human", "") if verdict.verdict == "y" else ("drop", row["origin"], "human: no")
        assert (row["decision"], row["origin"], row["reason"]) == wanted
        if verdict.xyxy:
            assert [row[name] for name in tables.BOX_COLUMNS] == pytest.approx(verdict.xyxy, abs=0.01)


def test_keys_that_move_play_enlarge_reclass_and_draw(page, server, work):
    item = server.json("/api/items")["items"][0]
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", " ", "z", " ", "z", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
        page.wait_for_timeout(120)
    until_shown(page, item["shown"])
    for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "Alt+ArrowUp"):
        page.keyboard.press(key)
    corrected = lambda said: [each for each in said.values() if each.xyxy]  # noqa: E731
    said = predictions_of(work, lambda said: any(each.xyxy[3] != each.judged_xyxy[3] for each in corrected(said)), page)
    (uid,) = [uid for uid, verdict in said.items() if verdict.xyxy]
    x1, y1, x2, y2 = said[uid].judged_xyxy
    assert said[uid].xyxy == pytest.approx((x1 - 2, y1, x2 - 2, y2 - 1), abs=0.02)
    page.keyboard.press("a")
    frame = page.locator("#frame").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] * 0.3, frame["y"] + frame["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.4, frame["y"] + frame["height"] * 0.6, steps=4)
    page.mouse.up()
    said = predictions_of(work, lambda said: any(verdict.judged_xyxy is None for verdict in said.values()), page)
    shoot(page, "drawn")
    drawn = next(verdict for verdict in said.values() if verdict.judged_xyxy is None)
    assert drawn.verdict == "y" and drawn.video_id == item["video"]
    page.keyboard.press("1")
    predictions_of(work, lambda said: all(row["uid"] in said for row in item["rows"]), page)


def until_played(page, uid: str) -> None:
    page.wait_for_function("uid => document.documentElement.dataset.segment === uid", arg=uid, timeout=WAIT_MS)


def test_actions_are_played_and_judged_by_keyboard(actions, page, work):
    doubted, sure = actions
    page.click("#tab-segments")
    until_played(page, doubted)
    assert "a student says jump" in page.inner_text("#segment-facts")
    shown = {page.inner_text("#segment-where") for _ in range(12) if page.wait_for_timeout(60) is None}
    assert len(shown) > 1  # it plays
    page.keyboard.press(" ")
    still = page.inner_text("#segment-where")
    page.wait_for_timeout(300)
    assert page.inner_text("#segment-where") == still
    page.keyboard.press("3")
    said = predictions_of(work, lambda said: doubted in said, page)
    assert (said[doubted].verdict, said[doubted].class_name) == ("y", "throw")
    until_played(page, sure)
    shoot(page, "actions")
    page.keyboard.press("n")
    predictions_of(work, lambda said: said.get(sure) is not None and said[sure].verdict == "n", page)
    page.wait_for_selector("#segment-empty:not([hidden])", timeout=WAIT_MS)
    # What was judged last is taken back where it was judged, whatever tab is open.
    page.click("#tab-judge")
    page.keyboard.press("u")
    predictions_of(work, lambda said: sure not in said, page)
    page.wait_for_selector("#segments:not([hidden])", timeout=WAIT_MS)
    until_played(page, sure)


def test_another_round_while_an_action_plays(actions, later_round, page, work):
    page.select_option("#round", "0")
    page.click("#tab-segments")
    until_played(page, actions[0])
    page.keyboard.press("n")
    predictions_of(work, lambda said: actions[0] in said, page)
    until_played(page, actions[1])
    page.select_option("#round", str(later_round))
    page.wait_for_selector("#judge:not([hidden])", timeout=WAIT_MS)
    assert not page.is_visible("#tab-segments")
    page.wait_for_timeout(300)  # what played would tick
    page.keyboard.press("u")  # it was said of the other round: it is taken back, and this one stays open
    predictions_of(work, lambda said: actions[0] not in said, page)
    page.wait_for_timeout(200)
    assert page.is_visible("#judge") and not page.is_visible("#segments") and not page.is_visible("#trouble")


def test_a_held_key_judges_one_action_and_a_refused_verdict_is_not_shown_as_said(actions, page, work):
    page.click("#tab-segments")
    until_played(page, actions[0])
    page.route("**/api/action-verdict*", lambda route: route.fulfill(json={"error": "no space left"}))
    page.keyboard.press("y")
    page.wait_for_selector("#trouble:not([hidden])", timeout=WAIT_MS)
    page.keyboard.press("ArrowUp")
    until_played(page, actions[0])
    assert "no space left" in page.inner_text("#trouble") and "you said" not in page.inner_text("#segment-facts")
    page.unroute("**/api/action-verdict*")
    page.keyboard.down("1")
    until_played(page, actions[1])
    for _ in range(5):
        page.keyboard.down("1")  # a key that is held comes again and again
        page.wait_for_timeout(60)
    page.keyboard.up("1")
    assert set(predictions_of(work, lambda said: actions[0] in said, page)) == {actions[0]}


def test_dark_is_dark(server, chromium):
    """Light letters on a dark ground, and the other way round."""
    brightness = """name => { const colour = getComputedStyle(document.body)[name];
    return colour.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3; }"""
    for scheme in ("light", "dark"):
        with opened(chromium, server, scheme) as page:
            ground, letters = page.evaluate(brightness, "backgroundColor"), page.evaluate(brightness, "color")
            assert (letters - ground > 120) if scheme == "dark" else (ground - letters > 120), (scheme, ground, letters)


def test_a_round_without_actions_offers_none(page, server):
    assert not page.is_visible("#tab-segments") and page.is_visible("#tab-judge")


def test_a_clip_is_labelled_and_shown(page, work):
    page.wait_for_timeout(100)
    give(page, next(work.videos.glob("*.mp4")))
    page.wait_for_selector("#clip-result:not([hidden])", timeout=WAIT_MS)
    page.wait_for_function("() => document.getElementById('clip-video').readyState >= 2", timeout=WAIT_MS)
    assert "sports ball" in page.inner_text("#clip-boxes")
    assert "by motion, because no student is trained yet" in page.inner_text("#clip-words")
    assert "no student tells actions yet" in page.inner_text("#clip-words")
    shoot(page, "clip")


def test_a_clip_shows_what_its_players_do_over_time(page, work, recogniser):
    give(page, next(work.videos.glob("*.mp4")))
    page.wait_for_selector("#clip-result:not([hidden])", timeout=WAIT_MS)
    page.wait_for_function("() => document.getElementById('clip-video').readyState >= 2", timeout=WAIT_MS)
    assert "actions by the student of round 0" in page.inner_text("#clip-words")
    assert page.locator("#clip-actions .lane").count() == len(recogniser)
    assert all(name in page.inner_text("#clip-actions") for name in recogniser)
    page.locator("#clip-actions .lane").first.click()  # in its middle
    share = "document.getElementById('clip-video').currentTime / document.getElementById('clip-video').duration"
    page.wait_for_function(f"() => Math.abs({share} - 0.5) < 0.2", timeout=WAIT_MS)
    shoot(page, "clip_actions")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    shoot(page, "clip_actions_narrow")


def huge_picture(side: int) -> bytes:
    """A PNG of one colour whose header says that it is `side` pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * side + 1) * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tell(page, about: dict) -> None:
    """Let the page believe this of its server."""
    page.route("**/api/about*", lambda route: route.fulfill(json=about))


def test_hostile_clips_get_a_clear_message_and_the_page_lives_on(page, server, work, tmp_path):
    (tmp_path / "huge.mp4").write_bytes(huge_picture(30_000))
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    with zipfile.ZipFile(tmp_path / "bomb.mp4", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.txt", b"0" * 2_000_000)
    with open(tmp_path / "large.mp4", "wb") as large:
        large.truncate(300 * 2**20)
    before = {path: path.stat().st_mtime_ns for path in work.root.rglob("*") if path.is_file()}
    messages = {"text.mp4": "text.mp4: ", "bomb.mp4": "bomb.mp4: ", "huge.mp4": "huge.mp4: "}
    messages |= {"large.mp4": "larger than 200 MB", "large.mp4 sent all the same": "larger than 200 MB"}
    for name, message in messages.items():
        if name.endswith("same"):  # a page that does not look first: the server hears it out and says why
            tell(page, server.json("/api/about") | {"clip_mb": 10_000})
            page.expected = "status of 413"  # the browser itself says so too
            page.reload()
            page.wait_for_selector("html[data-first-view]", timeout=WAIT_MS)
            name = name.split()[0]
        give(page, tmp_path / name)
        page.wait_for_selector("#clip-state.bad", timeout=WAIT_MS)
        assert message in page.inner_text("#clip-state")
        assert "\n" not in page.inner_text("#clip-state").strip()
        shoot(page, f"hostile_{name.split('.')[0]}")
        page.evaluate("document.getElementById('clip-state').className = ''")
    assert {path: path.stat().st_mtime_ns for path in work.root.rglob("*") if path.is_file()} == before
    give(page, write_test_video(tmp_path / "fine.mp4", 10))
    page.wait_for_selector("#clip-result:not([hidden])", timeout=WAIT_MS)
    page.click("#tab-judge")
    page.keyboard.press("y")
    predictions_of(work, lambda said: bool(said), page)


def test_browsing_filters_and_leads_to_a_label(page, work):
    page.click("#tab-browse")
    page.wait_for_selector("#labels tbody tr")
    every = page.inner_text("#found")
    page.select_option("[name=decision]", "drop")
    page.wait_for_function("text => document.getElementById('found').textContent !== text", arg=every)
    page.wait_for_timeout(1000)
    shoot(page, "browsed")
    assert set(page.locator("#labels tbody tr td:nth-child(7)").all_inner_texts()) == {"dropped"}
    page.locator("#labels tbody tr").first.click()
    page.wait_for_selector("#judge:not([hidden])")
    page.wait_for_timeout(300)
    assert "dropped" in page.inner_text("#facts")
