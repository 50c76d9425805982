"""The tables Rally keeps: their columns, types and checks. One place, so that every stage means the same.

- **videos**: a row for every clip asked for, also those that failed.
- **boxes**: a row for every box in a frame; pixels, half-open, float32, of the upright decoded frame.
- **actions**: a row for every interval in which someone does something; frames half-open.
- **truth**: boxes again, with `visibility`. Only the frames it names count. A frame without the object is a row whose
  box is NaN; where only the centre is known, the box is that point (x1 == x2 and y1 == y2).
- **camera**: for each frame the affine transform that takes its pixels to the frame before, and the shot it is in.

A table may carry more columns than these; the checks ask for these and leave the others alone.
"""

import hashlib

import numpy as np
import pandas as pd

NO_TRACK = -1
ORIGINS = ("detected", "interpolated", "human")
DECISIONS = ("keep", "ignore", "drop")
VIDEO_STATUSES = ("ok", "failed", "skipped")

VIDEOS = {
    "video_id": "str",
    "status": "str",  # ok | failed | skipped
    "reason": "str",  # empty when ok
    "file": "str",  # name inside videos/, empty unless ok
    "source": "str",  # where it came from: a path, a URL, "synthetic"
    "url": "str",
    "group": "str",  # what must not be split between training and validation
    "class_name": "str",  # the clip's own label in its list; empty when none
    "split": "str",  # train | val | test where the source has official splits; empty otherwise
    "start_s": "float64",
    "end_s": "float64",
    "fps": "float64",
    "frame_count": "int64",  # as decoded
    "width": "int64",
    "height": "int64",
    "sha256": "str",
}
BOXES = {
    "label_uid": "str",
    "video_id": "str",
    "frame_index": "int64",
    "time_s": "float64",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
    "class_name": "str",
    "score": "float32",
    "track_id": "int64",  # NO_TRACK when none
    "origin": "str",
    "round_born": "int64",
}
SEEN = {  # what stage 2 adds to boxes: how they were found. Boxes from elsewhere may lack it
    "source": "str",  # which detector, or look of one, found it, where several looked; else empty
    "appearance": "str",  # what is in the box, see models/appearance.py: features in 0-1 as hexadecimal bytes
}
ACTIONS = {
    "label_uid": "str",
    "video_id": "str",
    "track_id": "int64",  # NO_TRACK for the whole frame
    "start_frame": "int64",
    "end_frame": "int64",
    "start_s": "float64",
    "end_s": "float64",
    "class_name": "str",  # in truth empty while something goes on that nobody could name
    "score": "float32",
    "probabilities": "str",  # JSON: class name -> probability
    "origin": "str",
    "round_born": "int64",
}
DECIDED = {"quality": "float32", "decision": "str", "reason": "str"}  # what stage 3 adds to boxes and actions
TRUTH = {
    "frame_index": "int64",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
    "class_name": "str",
    "track_id": "int64",
    "visibility": "float32",  # share of the box that can be seen, 0-1
}
CAMERA = {
    "frame_index": "int64",
    "shot_index": "int64",  # counts scene cuts
    **dict.fromkeys(("a", "b", "tx", "c", "d", "ty"), "float64"),  # previous = [[a b tx] [c d ty]] @ (x, y, 1)
}

BOX_COLUMNS = ["x1", "y1", "x2", "y2"]


def empty_table(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def make_table(columns: dict[str, str], values: dict[str, object]) -> pd.DataFrame:
    """A table of exactly these columns and types from arrays or scalars, which are repeated."""
    missing = set(columns) - set(values)
    if missing:
        raise ValueError(f"table lacks {sorted(missing)}")
    lengths = {len(value) for value in values.values() if not np.isscalar(value)}  # type: ignore[arg-type]
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    index = pd.RangeIndex(lengths.pop() if lengths else 1)
    return pd.DataFrame({name: pd.Series(values[name], index=index).astype(kind) for name, kind in columns.items()})


def concatenate(tables: list[pd.DataFrame], columns: dict[str, str]) -> pd.DataFrame:
    """All rows of tables of one kind, also when there is none; extra columns are kept."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else empty_table(columns)


def check_columns(table: pd.DataFrame, columns: dict[str, str], where: str) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{where}: columns missing: {', '.join(missing)}")
    for name, kind in columns.items():
        found = table[name].dtype
        if kind == "str":
            if not (pd.api.types.is_string_dtype(found) or not len(table)):
                raise ValueError(f"{where}: column {name} must be text, not {found}")
        elif str(found) != kind:
            raise ValueError(f"{where}: column {name} must be {kind}, not {found}")


def check_boxes(boxes: pd.DataFrame, where: str, decided: bool = False) -> pd.DataFrame:
    """Return `boxes` if it is a sound boxes table (after stage 3: `decided`); otherwise ValueError says what is not."""
    check_columns(boxes, BOXES | (DECIDED if decided else {}), where)
    xyxy = boxes[BOX_COLUMNS].to_numpy()
    bad = ~np.isfinite(xyxy).all(axis=1) | (xyxy[:, 2] <= xyxy[:, 0]) | (xyxy[:, 3] <= xyxy[:, 1])
    if bad.any():
        raise ValueError(f"{where}: {int(bad.sum())} boxes are not finite or empty, the first {xyxy[bad][0].tolist()}")
    if boxes["label_uid"].duplicated().any():
        raise ValueError(f"{where}: label_uid {boxes['label_uid'][boxes['label_uid'].duplicated()].iloc[0]} twice")
    if not boxes["score"].between(0, 1).all():
        raise ValueError(f"{where}: a score is not within 0 and 1")
    if (boxes["frame_index"] < 0).any():
        raise ValueError(f"{where}: a frame_index is negative")
    check_words(boxes, "origin", ORIGINS, where)
    if decided:
        check_words(boxes, "decision", DECISIONS, where)
        if (boxes.loc[boxes["decision"] != "keep", "reason"] == "").any():
            raise ValueError(f"{where}: a box that is not kept has no reason")
        if not boxes["quality"].between(0, 1).all():
            raise ValueError(f"{where}: a quality is not within 0 and 1")
    return boxes


def check_actions(actions: pd.DataFrame, where: str, decided: bool = False) -> pd.DataFrame:
    """Return `actions` if it is a sound actions table (after stage 3: `decided`); otherwise ValueError says why not."""
    check_columns(actions, ACTIONS | (DECIDED if decided else {}), where)
    if (actions["start_frame"] < 0).any() or (actions["end_frame"] <= actions["start_frame"]).any():
        raise ValueError(f"{where}: an interval is empty or begins before the video")
    if actions["label_uid"].duplicated().any():
        raise ValueError(f"{where}: label_uid {actions['label_uid'][actions['label_uid'].duplicated()].iloc[0]} twice")
    if not actions["score"].between(0, 1).all():
        raise ValueError(f"{where}: a score is not within 0 and 1")
    check_words(actions, "origin", ORIGINS, where)
    if decided:
        check_words(actions, "decision", DECISIONS, where)
        if (actions.loc[actions["decision"] != "keep", "reason"] == "").any():
            raise ValueError(f"{where}: an action that is not kept has no reason")
        if not actions["quality"].between(0, 1).all():
            raise ValueError(f"{where}: a quality is not within 0 and 1")
    return actions


def check_words(table: pd.DataFrame, column: str, allowed: tuple[str, ...], where: str) -> None:
    """ValueError when a column holds another word than the allowed ones."""
    unknown = set(table[column].unique()) - set(allowed)
    if unknown:
        raise ValueError(f"{where}: {column} must be one of {', '.join(allowed)}, not {sorted(unknown)}")


def box_uids(
    video_id: str, round_born: int, frame_index: np.ndarray, class_name: np.ndarray, xyxy: np.ndarray, origin: str
) -> list[str]:
    """A name for each new label, the same whenever the same label is made again: 16 hex digits."""
    return [
        hashlib.blake2b(
            f"{video_id}|{round_born}|{frame}|{name}|{origin}|{box.tobytes().hex()}".encode(), digest_size=8
        ).hexdigest()
        for frame, name, box in zip(frame_index, class_name, np.asarray(xyxy, dtype="<f4"), strict=True)
    ]


def make_boxes(
    video_id: str,
    round_born: int,
    frame_index: np.ndarray,
    time_s: np.ndarray,
    xyxy: np.ndarray,
    class_name: np.ndarray,
    score: np.ndarray,
    origin: str = "detected",
    track_id: np.ndarray | int = NO_TRACK,
    source: np.ndarray | str = "",
    appearance: np.ndarray | str = "",
) -> pd.DataFrame:
    """New rows of the boxes table from arrays of one length N; `xyxy` is (N, 4) pixels."""
    xyxy = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
    return make_table(
        BOXES | SEEN,
        {
            "label_uid": box_uids(video_id, round_born, frame_index, class_name, xyxy, origin),
            "video_id": [video_id] * len(xyxy),
            "frame_index": frame_index,
            "time_s": time_s,
            "x1": xyxy[:, 0],
            "y1": xyxy[:, 1],
            "x2": xyxy[:, 2],
            "y2": xyxy[:, 3],
            "class_name": class_name,
            "score": score,
            "track_id": track_id,
            "origin": origin,
            "round_born": round_born,
            "source": source,
            "appearance": appearance,
        },
    )


def sort_boxes(boxes: pd.DataFrame) -> pd.DataFrame:
    """The one order boxes are written in, so that the same labels give the same bytes."""
    return boxes.sort_values(["frame_index", "class_name", "x1", "y1", "label_uid"], ignore_index=True)


def is_point(truth: pd.DataFrame) -> np.ndarray:
    """Truth rows that know only the centre, (N,) bool."""
    return ((truth["x1"] == truth["x2"]) & (truth["y1"] == truth["y2"])).to_numpy()


def is_empty_frame(truth: pd.DataFrame) -> np.ndarray:
    """Truth rows that say that a frame holds no object, (N,) bool."""
    return truth["x1"].isna().to_numpy()
