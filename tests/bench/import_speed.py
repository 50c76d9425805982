"""How long a large file of labels takes to import, and how much memory: `dataset_downloader.py --import-labels`.

    python tests/bench/import_speed.py                                        # COCO, CVAT, YOLO; 1,000,000 boxes each
    python tests/bench/import_speed.py --formats coco --annotations 100000

The file is made for it: boxes in pictures of 50 clips, eight to a picture, none of them known here before. Each format
is read by a process of its own; printed are its seconds on the clock and on the processor, and its peak of resident
memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from labels.records import tables  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402

CLIPS, BOXES_A_FRAME, WIDTH, HEIGHT = 50, 8, 1920, 1080
CLASSES = ("person", "sports ball")


def make_folder(root: Path, frames: int) -> WorkFolder:
    """A work folder that knows the clips; none is decoded here."""
    work, rows = WorkFolder(root), []
    for number in range(CLIPS):
        name = f"clip_{number:02d}"
        rows.append(
            {name: "" if kind == "str" else 0 for name, kind in tables.VIDEOS.items()}
            | {"video_id": name, "status": "ok", "file": f"{name}.mp4", "group": name, "end_s": frames / 25}
            | {"fps": 25.0, "frame_count": frames, "width": WIDTH, "height": HEIGHT, "sha256": name}
        )
    work.write_videos(pd.DataFrame(rows).astype(tables.VIDEOS)[list(tables.VIDEOS)])
    return work


def pictures(annotations: int, frames: int) -> Iterator[tuple[int, str, int, list[list[float]]]]:
    """Number, clip, frame, and boxes of each picture as x, y, width, height."""
    random, number = np.random.default_rng(0), 0
    for clip in range(CLIPS):
        for frame in range(frames):
            count = min(BOXES_A_FRAME, annotations - number * BOXES_A_FRAME)
            if count <= 0:
                return
            corner = random.uniform(0, [WIDTH - 90, HEIGHT - 90], (count, 2))
            size = random.uniform(8, 90, (count, 2))
            yield number, f"clip_{clip:02d}", frame, np.hstack([corner, size]).round(2).tolist()
            number += 1


def write_coco(path: Path, annotations: int, frames: int) -> Path:
    path = path / "labels.json"
    with open(path, "w", encoding="utf-8") as opened:
        opened.write('{"images":[')
        for number, clip, frame, _ in pictures(annotations, frames):
            comma = "," if number else ""
            opened.write(
                f'{comma}{{"id":{number},"file_name":"{clip}_{frame:06d}.jpg","width":{WIDTH},"height":{HEIGHT}}}'
            )
        opened.write('],"annotations":[')
        made = 0
        for number, _, _, boxes in pictures(annotations, frames):
            for box in boxes:
                comma, area = "," if made else "", round(box[2] * box[3], 2)
                opened.write(
                    f'{comma}{{"id":{made},"image_id":{number},"category_id":{made % 2},"bbox":{box},"area":{area},'
                    '"iscrowd":0,"segmentation":[]}'
                )
                made += 1
        names = ",".join(f'{{"id":{at},"name":"{name}"}}' for at, name in enumerate(CLASSES))
        opened.write(f'],"categories":[{names}]}}')
    return path


def write_cvat(path: Path, annotations: int, frames: int) -> Path:
    """One file a clip, each box of a picture a track of its own."""
    tracks: dict[str, list[list[str]]] = {}
    for _, clip, frame, boxes in pictures(annotations, frames):
        for place, (x, y, width, height) in enumerate(boxes):
            tracks.setdefault(clip, [[] for _ in range(BOXES_A_FRAME)])[place].append(
                f'<box frame="{frame}" keyframe="1" outside="0" occluded="0" xtl="{x}" ytl="{y}" '
                f'xbr="{x + width:.2f}" ybr="{y + height:.2f}" z_order="0"></box>\n'
            )
    for clip, each in tracks.items():
        with open(path / f"{clip}.xml", "w", encoding="utf-8") as opened:
            opened.write(f"<annotations><meta><task><name>{clip}</name><size>{frames}</size></task></meta>\n")
            for number, boxes in enumerate(each):
                opened.write(f'<track id="{number}" label="{CLASSES[number % 2]}">{"".join(boxes)}</track>\n')
            opened.write("</annotations>")
    return path


def write_yolo(path: Path, annotations: int, frames: int) -> Path:
    (path / "labels").mkdir()
    (path / "data.yaml").write_text(f"names: {list(CLASSES)}\n")
    for _, clip, frame, boxes in pictures(annotations, frames):
        lines = [
            f"{place % 2} {(x + w / 2) / WIDTH:.6f} {(y + h / 2) / HEIGHT:.6f} {w / WIDTH:.6f} {h / HEIGHT:.6f}"
            for place, (x, y, w, h) in enumerate(boxes)
        ]
        (path / "labels" / f"{clip}_{frame:06d}.txt").write_text("\n".join(lines))
    return path


WRITERS = {"coco": write_coco, "cvat": write_cvat, "yolo": write_yolo}


def measure(name: str, annotations: int) -> str:
    frames = -(-annotations // (CLIPS * BOXES_A_FRAME))
    with tempfile.TemporaryDirectory() as folder:
        work = make_folder(Path(folder) / "work", frames)
        (source := Path(folder) / "labels").mkdir()
        path = WRITERS[name](source, annotations, frames)
        size = sum(found.stat().st_size for found in source.rglob("*") if found.is_file())
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "dataset_downloader.py"), str(work.root), "--import-labels", str(path)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        code = os.waitstatus_to_exitcode(status)
        lines = (work.root / "verdicts.csv").read_text().count("\n") - 1 if not code else 0
        if lines != annotations:
            return f"{name}: exit {code}, {lines} of {annotations} boxes written:\n{said}"
        return (
            f"{name}: {annotations} boxes, {size / 2**20:.0f} MiB: {seconds:.1f} s on the clock, "
            f"{used.ru_utime + used.ru_stime:.1f} s of one core, {used.ru_maxrss / 2**20:.2f} GiB"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=1_000_000, help="boxes in the file (default: 1,000,000)")
    parser.add_argument("--formats", nargs="+", choices=WRITERS, default=list(WRITERS), help="which (default: all)")
    args = parser.parse_args()
    for name in args.formats:
        print(f"{measure(name, args.annotations)}; load {os.getloadavg()[0]:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
