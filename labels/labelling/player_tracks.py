"""The subjects of windows: each player of a video by its track, or the whole frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.safe_writing import digest_of, read_parquet
from labels.records.tables import BOX_COLUMNS, NO_TRACK
from labels.records.work_folder import WorkFolder
from labels.tracks.players import CropPath, crop_path

PERSON = "person"
FRAME, PLAYER, AUTO = "frame", "player", "auto"


def tracks_of(work: WorkFolder, round_number: int, video_id: str, fps: float) -> list[CropPath]:
    """The players of a video: the tracks that came with it (people's boxes in its truth), else those cleaning found.

    Cleaned boxes are taken from this round, or from the last one before it that has some.
    """
    boxes = _boxes(work, round_number, video_id)
    return [] if boxes is None else players_in(boxes, fps)


def players_in(boxes: pd.DataFrame, fps: float, least_frames: int = 5) -> list[CropPath]:
    """The crops of the people in a table of boxes (BOXES, or of truth), while they are in sight for so many frames."""
    people = boxes[(boxes["class_name"] == PERSON) & (boxes["track_id"] != NO_TRACK) & boxes["x1"].notna()]
    paths = []
    for track_id, own in people.groupby("track_id"):
        own = own.drop_duplicates("frame_index")
        if len(own) >= least_frames:
            path = crop_path(int(str(track_id)), own["frame_index"].to_numpy(), own[BOX_COLUMNS].to_numpy(), fps)
            lasting = tuple((first, end) for first, end in path.sights if end - first >= least_frames)
            if lasting:
                paths.append(replace(path, in_sight=lasting))
    return paths


def boxes_of_players(work: WorkFolder, round_number: int, video_id: str) -> pd.DataFrame:
    """The boxes by which the players of a round were followed, as kept BOXES: to show and to export who does what."""
    boxes = _boxes(work, round_number, video_id)
    kinds = tables.BOXES | tables.DECIDED
    if boxes is None:
        return tables.empty_table(kinds)
    people = boxes[(boxes["class_name"] == PERSON) & (boxes["track_id"] != NO_TRACK) & boxes["x1"].notna()]
    people = people.drop_duplicates(["frame_index", "track_id"]).reset_index(drop=True)
    if "label_uid" in people:  # of a round, kept or ignored
        return people[list(kinds)].assign(decision="keep", reason="")
    fps = work.usable_videos().set_index("video_id").at[video_id, "fps"]
    frames = people["frame_index"].to_numpy()
    made = tables.make_boxes(
        *(video_id, 0, frames, frames / fps, people[BOX_COLUMNS].to_numpy(), people["class_name"].to_numpy(object)),
        score=np.ones(len(people)),
        origin="human",
        track_id=people["track_id"].to_numpy(),
    )
    return made[list(tables.BOXES)].assign(quality=np.float32(1), decision="keep", reason="")


def digest_of_tracks(tracks: list[CropPath] | None) -> str:
    """Changes when a crop, or a box that joints are looked for in, would lie elsewhere."""
    facts = []
    for path in tracks or []:
        places = [path.squares] if path.boxes is None else [path.squares, path.boxes]
        all_along = path.sights == ((path.first_frame, path.end_frame),)
        in_sight = () if all_along else path.in_sight
        facts.append([path.track_id, path.first_frame, *in_sight, *(place.round(1).tolist() for place in places)])
    return digest_of([tracks is None, facts])


def _boxes(work: WorkFolder, round_number: int, video_id: str) -> pd.DataFrame | None:
    truth = work.read_truth(video_id)
    if truth is not None and (truth["class_name"] == PERSON).any():
        return truth
    for number in range(round_number, -1, -1):
        path: Path = work.round(number).boxes("cleaned", video_id)
        if path.is_file():
            cleaned = read_parquet(path)
            return cleaned[cleaned["decision"] != "drop"]
    return None
