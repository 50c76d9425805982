"""A cleaned round with known labels, for the tests of the foreign formats. No video is decoded for it.

Two videos of 200 x 100 pixels: `v0` at 25 frames a second, 100 frames, the clip of a YouTube video from its 10th second
on; `v1` at 12.5, 40 frames. Boxes have halves and quarters for corners, so that a wrong pixel or percent shows.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from labels.exchange.formats.coco import IMAGES, write_coco
from labels.records import tables
from labels.records.run_records import RunRecord, write_run_record
from labels.records.safe_writing import write_bytes, write_parquet
from labels.records.work_folder import WorkFolder

WIDTH, HEIGHT = 200, 100
URL = "https://www.youtube.com/watch?v=abcdefghijk"
# label_uid, video, frame, x1, y1, x2, y2, class, track, decision
BOXES = [
    ("a0", "v0", 0, 10.25, 20.5, 30.75, 40.0, "sports ball", 3, "keep"),
    ("a1", "v0", 1, 12.25, 20.5, 32.75, 40.0, "sports ball", 3, "keep"),
    ("a2", "v0", 2, 14.25, 20.5, 34.75, 40.0, "sports ball", 3, "keep"),
    ("a5", "v0", 5, 20.25, 20.5, 40.75, 40.0, "sports ball", 3, "keep"),  # after a gap of two frames
    ("b1", "v0", 1, 100.0, 50.0, 120.0, 90.0, "person", 7, "keep"),
    ("c9", "v0", 99, 0.0, 0.0, 200.0, 100.0, "sports ball", -1, "keep"),  # the last frame, all of it
    ("i8", "v0", 8, 60.0, 60.0, 70.0, 70.0, "sports ball", -1, "ignore"),
    ("d8", "v0", 8, 80.0, 10.0, 90.0, 20.0, "sports ball", -1, "drop"),
    *((f"p{frame:02d}", "v0", frame, 100.0, 50.0, 120.0, 90.0, "person", 7, "keep") for frame in (25, 50)),
    ("e0", "v1", 3, 5.0, 6.0, 7.5, 9.25, "sports ball", 0, "keep"),
]
# label_uid, video, track, start, end, class, decision
ACTIONS = [
    ("act0", "v0", -1, 0, 50, "tennis", "keep"),
    ("act1", "v0", 7, 20, 60, "hit (a ball)", "keep"),
    ("act2", "v1", -1, 5, 9, "tennis", "ignore"),
]
IMAGE_FRAMES = {"v0": [0, 1, 2, 5, 8, 25, 50, 60, 99], "v1": [3]}  # frame 60 surely holds nothing


def a_round(root: Path, boxes=BOXES, actions=ACTIONS) -> WorkFolder:
    """Round 0 as if it had been cleaned."""
    work = WorkFolder(root)
    videos = [_video("v0", 25.0, 100, URL, 10.0), _video("v1", 12.5, 40, "", 0.0)]
    named = {name: [video[name] for video in videos] for name in tables.VIDEOS}
    work.write_videos(tables.make_table(tables.VIDEOS, named))
    folder, shards = work.round(0), []
    for video in videos:
        shard = _boxes([row for row in boxes if row[1] == video["video_id"]], video["fps"])
        facts = {"stride": 1, "fps": video["fps"], "frame_count": video["frame_count"]}
        write_parquet(folder.boxes("cleaned", video["video_id"]), shard, facts)
        shards.append(shard)
        said = [row for row in actions if row[1] == video["video_id"]]
        if said:
            write_parquet(folder.actions("cleaned", video["video_id"]), _actions(said, video["fps"]))
    picture = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()
    images = tables.concatenate([_images(video) for video in videos], IMAGES)
    for name in images["file_name"]:
        write_bytes(folder.dataset / name, picture)
    alive = pd.concat(shards)
    alive = alive[alive["decision"] != "drop"]
    write_coco(folder.dataset / "annotations.json", images, alive, ("person", "sports ball"))
    write_run_record(folder, RunRecord("cleaned", 0, {}, {}))
    return work


def _video(video_id: str, fps: float, frame_count: int, url: str, start_s: float) -> dict[str, object]:
    return {
        "video_id": video_id, "status": "ok", "reason": "", "file": f"{video_id}.mp4",
        "source": f"/clips/{video_id}.mp4", "url": url,
        "group": f"g{video_id}", "class_name": "", "split": "val" if video_id == "v1" else "",
        "start_s": start_s, "end_s": start_s + frame_count / fps, "fps": fps, "frame_count": frame_count,
        "width": WIDTH, "height": HEIGHT, "sha256": video_id,
    }  # fmt: skip


def _boxes(rows: list[tuple], fps: float) -> pd.DataFrame:
    names = ["label_uid", "video_id", "frame_index", *tables.BOX_COLUMNS, "class_name", "track_id", "decision"]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    decision = np.array(columns["decision"], dtype=object)
    return tables.make_table(
        tables.BOXES | tables.DECIDED,
        columns
        | {
            "time_s": np.array(columns["frame_index"], dtype=float) / fps,
            "score": 0.75,
            "origin": "detected",
            "round_born": 0,
            "quality": 0.5,
            "reason": np.where(decision == "keep", "", "rule: 1 > 0"),
        },
    )


def _actions(rows: list[tuple], fps: float) -> pd.DataFrame:
    names = ["label_uid", "video_id", "track_id", "start_frame", "end_frame", "class_name", "decision"]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return tables.make_table(
        tables.ACTIONS | tables.DECIDED,
        columns
        | {
            "start_s": np.array(columns["start_frame"]) / fps,
            "end_s": np.array(columns["end_frame"]) / fps,
            "score": 0.9,
            "probabilities": "{}",
            "origin": "detected",
            "round_born": 0,
            "quality": 0.5,
            "reason": "rule: 1 > 0",
        },
    )


def _images(video: dict) -> pd.DataFrame:
    video_id, frames = video["video_id"], np.array(IMAGE_FRAMES[video["video_id"]])
    return tables.make_table(
        IMAGES,
        {
            "file_name": [f"images/{video_id}_{frame:06d}.jpg" for frame in frames],
            "width": WIDTH,
            "height": HEIGHT,
            "video_id": video_id,
            "frame_index": frames,
            "time_s": frames / video["fps"],
            "split": video["split"],
            "group": video["group"],
        },
    )
