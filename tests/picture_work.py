"""A small work folder for the tests of stage 5: tables written directly, videos of a moving ball, no model.

In each video a white ball of 12 px moves 4 px a frame along a row, so that the truth of frame f is known: x from
10 + 4 f. What a round kept is then chosen frame by frame, and precision and recall follow by counting.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.run_records import RunRecord, digest_of_videos, write_run_record
from labels.records.safe_writing import file_digest, write_json, write_parquet, write_text
from labels.records.work_folder import WorkFolder
from labels.videos.encoding import VideoWriter

WIDTH, HEIGHT, FRAMES, FPS, BALL_PX = 160, 96, 20, 25.0, 12
BALL_TOP = 40


@dataclass
class Clip:
    """A video to make; `found[round]` are the frames in which that round's labeller finds the ball."""

    video_id: str
    found: list[range]
    split: str = ""
    truth: bool = True
    group: str = ""
    wrong: list[int] = field(default_factory=list)  # for each round: how many false labels are kept


def ball_box(frame_index: int) -> list[float]:
    left = 10.0 + 4 * frame_index
    return [left, BALL_TOP, left + BALL_PX, BALL_TOP + BALL_PX]


@cache
def film(frames: int) -> bytes:
    """All clips show the same: it is encoded once."""
    shade = np.linspace(60, 130, WIDTH, dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with VideoWriter(path, FPS, crf=18) as writer:
            for frame_index in range(frames):
                rgb = np.stack([shade // 2, shade, shade // 3], axis=-1)[None].repeat(HEIGHT, axis=0)
                x1, y1, x2, y2 = (int(value) for value in ball_box(frame_index))
                rgb[y1:y2, x1:x2] = 245
                writer.write(rgb)
        return path.read_bytes()


def write_clip(path: Path, frames: int = FRAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(film(frames))


def video_row(work: WorkFolder, clip: Clip) -> dict[str, object]:
    file = f"{clip.video_id}.mp4"
    write_clip(work.videos / file)
    return {
        "video_id": clip.video_id, "status": "ok", "reason": "", "file": file, "source": "test", "url": "",
        "group": clip.group or clip.video_id, "class_name": "", "split": clip.split, "start_s": 0.0,
        "end_s": FRAMES / FPS, "fps": FPS, "frame_count": FRAMES, "width": WIDTH, "height": HEIGHT,
        "sha256": file_digest(work.videos / file),
    }  # fmt: skip


def failed_row(video_id: str, reason: str) -> dict[str, object]:
    empty = {name: "" if kind == "str" else 0 for name, kind in tables.VIDEOS.items()}
    return empty | {"video_id": video_id, "status": "failed", "reason": reason}


def truth_table(class_name: str = "sports ball") -> pd.DataFrame:
    boxes = np.array([ball_box(frame) for frame in range(FRAMES)], dtype=np.float32)
    values = {name: boxes[:, column] for column, name in enumerate(tables.BOX_COLUMNS)}
    return tables.make_table(
        tables.TRUTH,
        values | {"frame_index": np.arange(FRAMES), "class_name": class_name, "track_id": 0, "visibility": 1.0},
    )


def rows(
    video_id: str,
    round_number: int,
    frames: list[int],
    xyxy: list[list[float]],
    decision: str = "keep",
    reason: str = "",
    class_name: str = "sports ball",
    **columns: object,
) -> pd.DataFrame:
    """Decided boxes of one kind."""
    boxes = tables.make_boxes(
        video_id, round_number, np.array(frames, dtype=int), np.array(frames, dtype=float) / FPS,
        np.array(xyxy, dtype=float).reshape(-1, 4), np.array([class_name] * len(frames), dtype=object),
        np.linspace(0.4, 0.95, len(frames)), str(columns.pop("origin", "detected")),
    )  # fmt: skip
    quality = np.linspace(0.3, 0.99, len(frames)).astype(np.float32)
    boxes = boxes.assign(quality=quality)
    for name, value in {"decision": decision, "reason": reason}.items():
        boxes[name] = pd.Series([value] * len(boxes), dtype="str")
    return boxes.assign(**columns)


def clip_boxes(clip: Clip, number: int) -> pd.DataFrame:
    """What round `number` says of a clip: the balls it found, one ignored, two dropped, some wrong ones kept."""
    found = list(clip.found[number])
    parts = [rows(clip.video_id, number, found, [ball_box(frame) for frame in found], track_id=1)]
    if len(parts[0]) > 3:
        parts[0].loc[2, "origin"] = "interpolated"
    wrong = clip.wrong[number] if clip.wrong else 0
    parts.append(rows(clip.video_id, number, list(range(wrong)), [[100, 70, 112, 82]] * wrong))
    parts.append(rows(clip.video_id, number, [3], [[80, 10, 95, 25]], "ignore", "quality: 0.41 below 0.5"))
    parts.append(rows(clip.video_id, number, [4], [[20, 5, 26, 30]], "drop", "shape: 6 × 25 px"))
    parts.append(rows(clip.video_id, number, [5], [[120, 5, 130, 15]], "drop", "isolated: 1 frame"))
    return tables.sort_boxes(tables.concatenate(parts, tables.BOXES | tables.DECIDED))


def write_cleaned(work: WorkFolder, number: int, boxes: dict[str, pd.DataFrame], stride: int = 1) -> None:
    """The labelled and the cleaned stage of a round as stage 5 reads them."""
    folder = work.round(number)
    for video_id, table in boxes.items():
        metadata = {"video_id": video_id, "key": "k", "stride": stride, "frame_count": FRAMES, "fps": FPS}
        write_parquet(folder.boxes("cleaned", video_id), table, metadata | {"width": WIDTH, "height": HEIGHT})
    name = "motion" if number == 0 else f"rounds/{number - 1:02d}/trained/detector.pt"
    facts = {"labeller": {"name": name, "digest": "d", "class_names": ["sports ball"]}, "stride": stride}
    inputs = {"videos": digest_of_videos(work)}
    if number:
        inputs[f"round {number - 1} trained"] = f"t{number - 1}"
    arguments = {"detector": None, "stride": stride}
    write_run_record(folder, RunRecord("labelled", number, arguments, inputs, {}, facts, 0, f"l{number}"))
    inputs = {f"round {number} labelled": f"l{number}"}
    write_run_record(folder, RunRecord("cleaned", number, {"keep_quality": 0.6}, inputs, {}, {}, 0, f"c{number}"))


def write_labelled(work: WorkFolder, number: int, found: dict[str, list[tuple[int, list[float], float]]]) -> None:
    """Stage 2 as if it had run: (frame, box, score) of each video. Stage 3 can then be run on it."""
    folder = work.round(number)
    for video_id, rows_found in found.items():
        frames, xyxy, scores = (list(column) for column in zip(*rows_found, strict=True))
        boxes = tables.make_boxes(
            video_id, number, np.array(frames), np.array(frames) / FPS, np.array(xyxy),
            np.array(["sports ball"] * len(frames), dtype=object), np.array(scores),
        )  # fmt: skip
        metadata = {"video_id": video_id, "key": "k", "stride": 1, "frame_count": FRAMES, "fps": FPS}
        write_parquet(folder.boxes("labelled", video_id), boxes, metadata | {"width": WIDTH, "height": HEIGHT})
    facts = {"labeller": {"name": "motion", "class_names": ["sports ball"], "working_threshold": {"sports ball": 0.5}}}
    inputs = {"videos": digest_of_videos(work)}
    write_run_record(folder, RunRecord("labelled", number, {}, inputs, {}, facts, 0, f"l{number}"))


def action_rows(video_id: str, said: list[tuple]) -> pd.DataFrame:
    """Decided actions: (track_id, start_frame, end_frame, class_name, score, decision, reason) each."""
    track, start, end, names, scores, decisions, reasons = (list(column) for column in zip(*said, strict=True))
    actions = tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [f"{video_id}-a{row}" for row in range(len(said))], "video_id": video_id, "track_id": track,
            "start_frame": start, "end_frame": end, "start_s": np.array(start) / FPS, "end_s": np.array(end) / FPS,
            "class_name": names, "score": scores, "probabilities": "{}", "origin": "detected", "round_born": 0,
        },
    )  # fmt: skip
    decided = {"decision": pd.Series(decisions, dtype="str"), "reason": pd.Series(reasons, dtype="str")}
    return actions.assign(quality=np.array(scores, dtype=np.float32), **decided)


def write_trained(work: WorkFolder, number: int, f1: tuple[float, ...] = (0.2, 0.7, 0.6)) -> None:
    folder = work.round(number).stage("trained")
    lines = ["epoch,loss,precision,recall,f1,mean_iou,ap"]
    lines += [f"{epoch + 1},{1 / (epoch + 1):.3f},0.9,0.5,{value},0.6,0.4" for epoch, value in enumerate(f1)]
    write_text(folder / "metrics.csv", "\n".join(lines) + "\n")
    best = {"precision": 0.9, "recall": 0.5, "f1": max(f1, default=0.0), "ap": 0.4}
    accuracy = {"against": "truth", "f1": 0.65}
    write_json(folder / "metrics.json", {"best_epoch": 2, "agreement_with_labels": best, "accuracy": accuracy})
    inputs = {f"round {number} cleaned": f"c{number}"}
    write_run_record(
        work.round(number), RunRecord("trained", number, {"epochs": len(f1)}, inputs, {}, {}, 0, f"t{number}")
    )


def make_work(root: Path, clips: list[Clip], rounds: int, failed: list[dict[str, object]] | None = None) -> WorkFolder:
    """A work folder with the clips and `rounds` finished rounds."""
    work = WorkFolder(root)
    table = [video_row(work, clip) for clip in clips] + (failed or [])
    work.write_videos(pd.DataFrame(table).astype(tables.VIDEOS)[list(tables.VIDEOS)])
    for clip in clips:
        if clip.truth:
            write_parquet(work.truth_boxes(clip.video_id), truth_table())
    for number in range(rounds):
        write_cleaned(work, number, {clip.video_id: clip_boxes(clip, number) for clip in clips})
        write_trained(work, number)
    return work
