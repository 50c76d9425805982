"""How the review page and the report bear 10,000 labels: first view, verdicts, size.

    python tests/bench/ten_thousand_labels.py            # 20 videos of 500 labels, in a folder that is gone afterwards
    python tests/bench/ten_thousand_labels.py --videos 4 --keep /tmp/labels

Prints, with the load of the machine: the bytes of report.html; the seconds from opening the page to a label on the
screen (in Chromium, where that and playwright are there); the seconds until a verdict is saved, at a person's pace,
beside those of an answer that costs the server nothing, which is what the machine itself takes.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import picture_work  # noqa: E402
from review_server import ReviewServer  # noqa: E402

import visualise  # noqa: E402
from labels.records import tables  # noqa: E402
from labels.records.safe_writing import file_digest  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402
from labels.videos.encoding import VideoWriter  # noqa: E402

FRAMES, WIDTH, HEIGHT, LABELS, ROUNDS = 250, 1280, 720, 500, 3
VERDICTS, PACE_S = 30, 0.5


def make_folder(root: Path, videos: int, seed: int = 0) -> WorkFolder:
    """Rounds of cleaned labels at random places of one video, which all others are copies of."""
    work, random = WorkFolder(root), np.random.default_rng(seed)
    picture_work.FRAMES, picture_work.WIDTH, picture_work.HEIGHT = FRAMES, WIDTH, HEIGHT
    first, rows = work.videos / "video_00.mp4", []
    with VideoWriter(first, 25.0) as writer:
        ground = random.integers(60, 140, (72, 128, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        for at in range(FRAMES):
            rgb = ground.copy()
            rgb[300:320, 100 + 4 * at : 120 + 4 * at] = 245
            writer.write(rgb)
    for number in range(videos):
        path = work.videos / f"video_{number:02d}.mp4"
        if number:
            shutil.copyfile(first, path)
        rows.append(
            {name: "" if kind == "str" else 0 for name, kind in tables.VIDEOS.items()}
            | {"video_id": path.stem, "status": "ok", "file": path.name, "group": path.stem, "end_s": FRAMES / 25}
            | {"fps": 25.0, "frame_count": FRAMES, "width": WIDTH, "height": HEIGHT, "sha256": file_digest(path)}
        )
    work.write_videos(pd.DataFrame(rows).astype(tables.VIDEOS)[list(tables.VIDEOS)])
    for number in range(ROUNDS):
        boxes = {str(row["video_id"]): _labels(str(row["video_id"]), number, random) for row in rows}
        picture_work.write_cleaned(work, number, boxes)
    return work


def _labels(video_id: str, number: int, random: np.random.Generator) -> pd.DataFrame:
    x, y = random.uniform(0, WIDTH - 80, LABELS), random.uniform(0, HEIGHT - 40, LABELS)
    frames = np.sort(random.integers(0, FRAMES, LABELS)).tolist()
    boxes = picture_work.rows(video_id, number, frames, np.stack([x, y, x + 20, y + 20], axis=1).tolist())
    quality = random.uniform(0, 1, LABELS).astype(np.float32)
    decision = np.where(quality > 0.7, "keep", np.where(quality > 0.2, "ignore", "drop"))
    reason = np.where(decision == "keep", "", "quality: 0.4 < 0.7")
    track = np.where(random.random(LABELS) < 0.3, random.integers(0, 15, LABELS), tables.NO_TRACK)
    boxes = boxes.assign(quality=quality, score=quality, decision=decision, reason=reason, track_id=track)
    return tables.sort_boxes(boxes.astype({"decision": "str", "reason": "str"}))


def time_of(ask, times: int) -> list[float]:
    """Seconds that each of `times` calls takes, at the pace of a person."""
    taken = []
    for number in range(times):
        time.sleep(PACE_S)
        start = time.perf_counter()
        ask(number)
        taken.append(time.perf_counter() - start)
    return taken


def words(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, worst of {len(seconds)} {max(seconds):.3f} s"


def first_view(address: str) -> str:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return "not measured: no Chromium, or no playwright"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        seen = []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1360, "height": 850})
            page.goto(address)
            page.wait_for_selector("html[data-first-view]", timeout=60_000)
            seen.append(int(page.evaluate("document.documentElement.dataset.firstView")) / 1000)
            page.close()
        browser.close()
    return f"first {seen[0]:.2f} s, again {', '.join(f'{each:.2f}' for each in seen[1:])} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20, help="of 500 labels each (default: 20)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the work folder here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = make_folder(args.keep or Path(folder) / "work", args.videos)
        print(f"{args.videos * LABELS} labels a round, {ROUNDS} rounds; load {os.getloadavg()[0]:.1f}", flush=True)
        code = visualise.main([str(work.root), "--set", "limit=2"])  # as many as the report holds
        report = f"report.html: {work.report.stat().st_size / 2**20:.1f} MiB; load {os.getloadavg()[0]:.1f}"
        if code != 0:
            return code
        with ReviewServer(work.root) as server:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            view = first_view(server.address)
            items = server.json("/api/items")["items"][:VERDICTS]
            floor = time_of(lambda _: opener.open(server.address + "/palette.css").read(), VERDICTS)
            taken = time_of(
                lambda number: server.tell("/api/verdict", {"item": items[number]["id"], "verdict": "y"}), len(items)
            )
            answer = json.loads(server.get("/api/about"))
            print(report)
            print(f"first view: {view}")
            print(f"a verdict on {answer['saved'] / len(items):.0f} labels: {words(taken)}")
            print(f"an answer that costs nothing: {words(floor)}; load {os.getloadavg()[0]:.1f}")
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
