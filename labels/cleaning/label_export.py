"""Exporting a cleaned round to a foreign format, `rounds/NN/export/<format>/`, checked by reading it back.

`rounds/NN/export/history/` keeps every export as read back from its files: an edited file is later compared with what
the person was given, and not with what the round has become since. Where a format has no place for `label_uid`, boxes
are identified by their place in the frame.
"""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.audits import read_audits
from labels.cleaning.quality_estimate import quality_lines
from labels.exchange.formats.coco import IMAGES, CocoDataset, read_coco
from labels.exchange.known_formats import FORMATS, WITH_CARD, Format
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import DEFAULT_SPLIT, FOUND_ACTIONS, LabelSet
from labels.labelling.player_tracks import boxes_of_players
from labels.records import next_command, run_records, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.frame_times import read_frame_times
from labels.records.geometry import iou_matrix
from labels.records.masks import with_masks
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_and_metadata, whole_folder, write_parquet
from labels.records.video_labels import VideoFacts
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, RoundFolder, WorkFolder

PLACE = ["video_id", "frame_index"]
STRICTEST_FIRST = ("test", "val", "train", "")
VALIDATION_SHARE = 0.2  # of the groups, as in training
STAGES_CLEANED, STAGES_LABELLED = ("cleaned", ACTIONS_CLEANED), ("labelled", ACTIONS_LABELLED)
DECIDED_WORDS = (("keep", "kept"), ("ignore", "ignored"), ("images", "pictures"))
ASKED = ("classes", "stride", "prompts", "class_list", "per", "human_share")  # arguments that a card repeats
POINT_SHARE = 1 / 40  # of a frame's height: a ball whose size nobody said, where no label is like it


def match_boxes(
    found: pd.DataFrame, ours: pd.DataFrame, min_iou: float, same_class: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of row positions (in `found`, in `ours`), each row in one pair at most, the best overlaps first."""
    if not len(found) or not len(ours):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    here, there = found.groupby(PLACE, sort=False).indices, ours.groupby(PLACE, sort=False).indices
    pairs: list[tuple[int, int]] = []
    boxes, own = (table[tables.BOX_COLUMNS].to_numpy(dtype=np.float64) for table in (found, ours))
    names, own_names = found["class_name"].to_numpy(dtype=object), ours["class_name"].to_numpy(dtype=object)
    for place in here.keys() & there.keys():
        rows, others = here[place], there[place]
        overlap = iou_matrix(boxes[rows], own[others])
        same = names[rows][:, None] == own_names[others][None]
        overlap = np.where(same, overlap + 1e-6, -1.0 if same_class else overlap)  # of equals, the one of its class
        for _ in range(min(overlap.shape)):
            row, other = np.unravel_index(int(overlap.argmax()), overlap.shape)
            if overlap[row, other] < min_iou:
                break
            pairs.append((int(rows[row]), int(others[other])))
            overlap[row], overlap[:, other] = -1.0, -1.0
    matched = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return matched[:, 0], matched[:, 1]


JUDGED = [f"judged_{name}" for name in tables.BOX_COLUMNS]  # a label's own box, before the format rounded it


@dataclass(frozen=True)
class Exported:
    """What was written where; `lines` name what the format could not hold."""

    folder: Path
    boxes: int
    actions: int
    left_out: dict[str, int]
    lines: list[str]

    def summary(self, stage: str) -> Summary:
        written = self.boxes + self.actions
        lines = [*self.lines, f"written: {self.folder}"]
        found = written + sum(self.left_out.values())
        return Summary(stage, "labels", found, written, self.left_out, lines)


def export_stage(root: Path, number: int, format_name: str | None, push_name: str | None = None) -> Summary:
    """`dataset_cleaner.py ROOT --round NUMBER --export FORMAT [--push NAME]`."""
    if format_name is None or (push_name is not None and format_name not in WITH_CARD):
        raise InputError(f"--push {push_name}: goes with --export {' or '.join(WITH_CARD)}")
    work = WorkFolder(root)
    work.read_videos()
    with work.writing():
        exported = export_round(work, number, format_name)
    if push_name is not None:
        from labels.exchange.formats.hugging_face import push

        exported.lines.append(f"pushed: {push(exported.folder, push_name)}")
    return exported.summary(f"export round {number} as {format_name}")


def export_round(work: WorkFolder, number: int, format_name: str) -> Exported:
    """Write a round's labels in a format. InputError when the round is not cleaned or has no labels of that kind."""
    folder, kind = work.round(number), FORMATS[format_name]
    command = next_command.clean(work, number)
    of_actions = run_records.read_run_record(folder, ACTIONS_CLEANED) is not None
    if not (of_actions and kind.holds_actions):
        if of_actions and run_records.read_run_record(folder, "cleaned") is None:
            raise InputError(f"{folder.path}: round {number} has actions alone, and {format_name} holds boxes")
        run_records.require_run_record(folder, "cleaned", command)
    labels = label_set(work, folder)
    if format_name == "ava" and not len(labels.boxes):  # it says where the players of the actions are
        labels = with_players(work, folder, labels)
    if kind.needs_actions and not len(labels.actions):
        raise InputError(f"{folder.path}: round {number} has no labels of actions, and {format_name} holds no others")
    target = export_folder(folder, format_name)
    with whole_folder(target) as aside:
        lines = kind.write(aside, labels)
        boxes, actions = read_back(aside, kind, format_name, work, labels)
    history = target.parent / "history" / f"{format_name}-{digest_of([_rows(boxes), _rows(actions)])}.parquet"
    write_parquet(history, boxes)
    write_parquet(history.with_suffix(".actions.parquet"), actions)
    not_held = {
        "boxes that it cannot hold": len(labels.boxes) - len(boxes),
        "actions that it cannot hold": len(labels.actions) - len(actions) if format_name != "ava" else 0,
    }
    return Exported(target, len(boxes), len(actions), {name: n for name, n in not_held.items() if n > 0}, lines)


def export_folder(folder: RoundFolder, format_name: str) -> Path:
    return folder.path / "export" / format_name


def label_set(work: WorkFolder, folder: RoundFolder) -> LabelSet:
    """The labels of a cleaned round that were not dropped; no boxes where only its actions are cleaned.

    A video that is in no sample is left out: without a box it would look as if it held none.
    """
    videos = work.usable_videos()
    of_boxes = run_records.read_run_record(folder, "cleaned") is not None
    dataset = read_coco(folder.dataset / "annotations.json") if of_boxes else CocoDataset.empty()
    labelled = {str(name) for name in dataset.images["video_id"]}
    labelled |= {name for name in videos["video_id"] if folder.actions("cleaned", name).is_file()}
    split = splits_of(videos, _frozen_splits(work.split_table), labelled)
    videos = videos.assign(split=[split[name] for name in videos["video_id"]])
    images = dataset.images[dataset.images["video_id"].isin(videos["video_id"])]
    images = images.assign(
        split=[split[name] for name in images["video_id"]],
        picture=[str(folder.dataset / name) for name in images["file_name"]],
    )
    boxes, actions, stride = [], [], {}
    unseen: dict[str, int] = {}  # frames that no labeller looked at
    for video_id in videos["video_id"]:
        path = folder.boxes("cleaned", video_id)
        if of_boxes and path.is_file():
            shard, metadata = read_parquet_and_metadata(path)
            stride[video_id] = int(metadata.get("stride", 1))
            if metadata.get("stretches") is not None:
                facts = VideoFacts.from_metadata(metadata, str(path))
                unseen[video_id] = len(range(0, facts.frame_count, facts.stride)) - len(facts.labelled_frames)
            shard = with_masks(shard, folder, video_id)
            boxes.append(shard[shard["decision"] != "drop"])
        path = folder.actions("cleaned", video_id)
        if path.is_file():
            shard = read_parquet(path)
            actions.append(shard[shard["decision"] != "drop"])
    all_boxes = tables.concatenate(boxes, tables.BOXES | tables.DECIDED)
    all_actions = tables.concatenate(actions, tables.ACTIONS | tables.DECIDED)
    with_labels = {*all_boxes["video_id"], *all_actions["video_id"], *images["video_id"]}
    videos = videos[[name in with_labels or not unseen.get(name) for name in videos["video_id"]]]
    if "mask_rle" in all_boxes:
        all_boxes["mask_rle"] = all_boxes["mask_rle"].fillna("")
    return LabelSet(
        videos=videos,
        images=tables.concatenate([images], IMAGES | {"picture": "str"}),
        boxes=all_boxes,
        actions=all_actions,
        class_names=tuple(sorted({*dataset.class_names, *all_boxes["class_name"].unique()})),
        stride=stride,
        times={
            str(row["video_id"]): read_frame_times(work.frame_times, row)
            for row in videos.to_dict("records")
            if (work.frame_times / f"{row['video_id']}.parquet").is_file()
        },
        clips=work.videos,
        title=f"Labels of sports video: {work.root.resolve().name}, round {folder.number}",
        about=tuple(about(work, folder, videos)),
        unseen=sum(unseen.get(name, 0) for name in videos["video_id"]),
    )


def with_players(work: WorkFolder, folder: RoundFolder, labels: LabelSet) -> LabelSet:
    """The labels of a round of actions alone with the boxes by which their players were followed."""
    videos = sorted(set(labels.actions["video_id"][labels.actions["track_id"] != tables.NO_TRACK]))
    boxes = [boxes_of_players(work, folder.number, str(video_id)) for video_id in videos]
    return replace(labels, boxes=tables.concatenate(boxes, tables.BOXES | tables.DECIDED))


def read_back(
    path: Path, kind: Format, format_name: str, work: WorkFolder, labels: LabelSet
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The boxes and actions that the written files say, each box with its label_uid and its own corners (JUDGED).

    AssertionError when they do not say what the labels are.
    """
    videos = KnownVideos(work.usable_videos(), work.frame_times)
    options = {"of_predictions": True} if format_name == "labelstudio" else {}
    found = kind.read(path / kind.file, videos, **options)
    boxes = with_sizes(found.boxes.drop(columns="mask_rle", errors="ignore"), labels.boxes, videos.rows)
    if videos.unknown:
        raise AssertionError(f"{format_name}: what was written names unknown videos: {sorted(videos.unknown)[:3]}")
    own = labels.boxes.set_index("label_uid")[tables.BOX_COLUMNS]
    if not kind.holds_uids:
        here, there = match_boxes(boxes, labels.boxes, min_iou=0.5)
        uid = boxes["label_uid"].to_numpy(dtype=object, copy=True)
        uid[here] = labels.boxes["label_uid"].to_numpy(dtype=object)[there]
        boxes["label_uid"] = pd.Series(uid, dtype="str")
    unnamed = int((boxes["label_uid"] == "").sum())
    if format_name not in ("ava", "tracknet") and (unnamed or boxes["label_uid"].duplicated().any()):
        raise AssertionError(f"{format_name}: {unnamed} of {len(boxes)} boxes written are no labels, or stand twice")
    judged = own.reindex(boxes["label_uid"]).to_numpy(dtype=np.float32)
    for column, name in enumerate(JUDGED):
        boxes[name] = judged[:, column]
    return boxes, found.actions[list(FOUND_ACTIONS)]


def with_sizes(found: pd.DataFrame, ours: pd.DataFrame, videos: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Boxes around the points among `found` (x1 == x2): as large as our label there, else as such labels mostly are."""
    points = found["x1"] == found["x2"]
    if not points.any():
        return found
    found = found.copy()
    sizes = ours.assign(width=ours["x2"] - ours["x1"], height=ours["y2"] - ours["y1"])
    usual = sizes.groupby("class_name")[["width", "height"]].median()
    places = sizes.groupby(["video_id", "frame_index", "class_name"]).indices
    for row in np.flatnonzero(points):
        box = found.iloc[row]
        x, y = float(box["x1"]), float(box["y1"])
        near = sizes.iloc[places.get((box["video_id"], box["frame_index"], box["class_name"]), [])]
        near = near[(x - (near["x1"] + near["x2"]) / 2).abs().lt(near["width"]) & near["y1"].lt(y + near["height"])]
        near = near[near["y2"].gt(y - near["height"])]
        if len(near):
            width, height = near[["width", "height"]].iloc[0]
        elif box["class_name"] in usual.index:
            width, height = usual.loc[box["class_name"]]
        else:
            width = height = max(POINT_SHARE * float(videos[str(box["video_id"])]["height"]), 2.0)
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        for name, value in zip(tables.BOX_COLUMNS, corners, strict=True):
            found.iloc[row, found.columns.get_loc(name)] = value
    return found


def _rows(table: pd.DataFrame) -> list[list[str]]:
    return [[str(value) for value in row] for row in table.itertuples(index=False)]


def splits_of(videos: pd.DataFrame, frozen: Mapping[str, str], labelled: Collection[str]) -> dict[str, str]:
    """train, val or test by video_id, the same for all clips of a group and for all that share a file's bytes.

    A split that training froze holds, else the one of the clips' list; of two, the one further from training. Where
    nothing validates yet, a fifth of the groups with labels does, drawn by their names, if there are two or more.
    """
    groups = [group or name for name, group in zip(videos["video_id"], videos["group"], strict=True)]
    keys = [
        [f"group {group}", *([f"bytes {sha}"] if sha else [])]
        for group, sha in zip(groups, videos["sha256"], strict=True)
    ]
    part = _joined(keys)
    split: dict[str, str] = {}
    for name, group, listed in zip(part, groups, videos["split"], strict=True):
        of_group = frozen.get(group) or str(listed)
        split[name] = min(split.get(name, ""), of_group, key=STRICTEST_FIRST.index)
    if "val" not in split.values() and not frozen:
        free = {name for name, video in zip(part, videos["video_id"], strict=True) if video in labelled}
        drawn = sorted((name for name in free if split[name] != "test"), key=digest_of)
        split |= dict.fromkeys(drawn[: max(1, round(VALIDATION_SHARE * len(drawn)))] if len(drawn) > 1 else [], "val")
    return {str(video): split[name] or DEFAULT_SPLIT for name, video in zip(part, videos["video_id"], strict=True)}


def _joined(keys: list[list[str]]) -> list[str]:
    """A name for each entry, the same for all that share a key with it, or with one that does."""
    name = {key: key for each in keys for key in each}
    changed = True
    while changed:
        changed = False
        for each in keys:
            first = min(name[key] for key in each)
            changed |= any(name[key] != first for key in each)
            name |= dict.fromkeys(each, first)
    return [name[each[0]] for each in keys]


def about(work: WorkFolder, folder: RoundFolder, videos: pd.DataFrame) -> list[str]:
    """Markdown for a data set's card: what was asked, who labelled, how far the labels are right, what is wrong."""
    lines = [f"# Labels of sports video, round {folder.number}", "", "## What was asked", ""]
    found = {stage: run_records.read_run_record(folder, stage) for stage in STAGES_CLEANED}
    records = {stage: record for stage, record in found.items() if record is not None}
    for stage, record in records.items():
        counts = ", ".join(f"{record.counts[name]} {word}" for name, word in DECIDED_WORDS if name in record.counts)
        names = record.facts.get("class_names") or record.facts.get("labeller", {}).get("class_names", [])
        lines.append(f"- {'actions' if stage == ACTIONS_CLEANED else 'boxes'} of {', '.join(names)}: {counts}")
    kinds = videos["source"].where(videos["url"] == "", "the web").where(videos["source"] != "synthetic", "synthetic")
    kinds = kinds.where(kinds.isin(("the web", "synthetic")), "files")
    lines.append("- clips: " + ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.value_counts().items())))
    lines += ["", "## Who labelled", ""]
    for number in (each for each in work.round_numbers() if each <= folder.number):
        for stage in STAGES_LABELLED:
            if (labelled := run_records.read_run_record(work.round(number), stage)) is not None:
                lines += _labellers(number, labelled)
    audits = [audit for audit in read_audits(work) if audit.round == folder.number and audit.precision is not None]
    lines += ["", "## How far they are right", ""]
    lines += [f"- audit by a person: {audit.precision.in_words()}" for audit in audits if audit.precision is not None]
    if not audits:
        lines.append("- nobody has looked at a sample of this round: how many are right is not known")
    if "cleaned" in records and records["cleaned"].counts.get("quality"):
        lines += ["", "```", *quality_lines(records["cleaned"].counts["quality"]), "```"]
    lines += ["", "## Known faults", ""]
    for record in records.values():
        lines += [f"- {alarm}" for alarm in record.counts.get("alarms", [])]
        if lost := record.counts.get("no_confident_track"):
            lines.append(f"- {len(lost)} videos have no confident track; mistrust what is labelled in them")
        if skipped := record.counts.get("skipped"):
            lines.append(f"- {len(skipped)} videos could not be labelled or cleaned and are missing")
    lines.append(
        "- labels are a network's, decided on by rules: some objects are missing, and those are background here"
    )
    lines.append("- the licences above are those of the labellers; the footage has its own, which are not known here")
    return lines


def _labellers(number: int, record: run_records.RunRecord) -> list[str]:
    labeller = record.facts.get("labeller", {})
    lines = [f"- round {number}: {labeller.get('name', 'unknown')}"]
    for source, origin in sorted(labeller.get("origins", {}).items()):
        place = f"{origin.get('place', '')} {origin.get('revision', '')}".strip()
        lines.append(f"  - {source}: {place}, licence {origin.get('licence', 'unknown')}")
    asked = {name: value for name, value in record.arguments.items() if name in ASKED and value}
    lines += [f"  - {name}: {value}" for name, value in sorted(asked.items())]
    return lines


def _frozen_splits(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8") as opened:
            frozen = {row["group"]: row["split"] for row in csv.DictReader(opened)}
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as the table of splits: {error}") from None
    if unknown := set(frozen.values()) - set(STRICTEST_FIRST):
        raise InputError(f"{path}: no split is called {min(unknown)!r}")
    return frozen
