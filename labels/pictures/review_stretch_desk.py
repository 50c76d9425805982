"""What the review page asks of actions and is told: those to judge, single ones, verdicts. Without any HTTP."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from labels.pictures.review_desk import ReviewDesk
from labels.pictures.review_stretches import (
    ReviewStretches,
    digest_of_stretches,
    load_stretches,
    players_of,
    told_stretch,
)
from labels.records.errors import InputError
from labels.tracks.player_crops import CropPath


class StretchDesk:
    """The actions of the rounds that `desk` shows, judged into the same verdicts. May be used from many threads."""

    def __init__(self, desk: ReviewDesk) -> None:
        self._desk = desk
        self._rounds: dict[int, ReviewStretches] = {}
        self._loading = threading.Lock()

    def round(self, number: int, fresh: bool = False) -> ReviewStretches:
        """A round's actions, empty where it has none; `fresh` looks whether they were cleaned anew meanwhile."""
        work = self._desk.work
        with self._loading:
            held = self._rounds.get(number)
            if held is None or (fresh and digest_of_stretches(work, number) != held.digest):
                held = self._rounds[number] = load_stretches(work, number, self._desk.settings)
            return held

    def about(self, number: int) -> dict[str, Any]:
        """What the page is told first."""
        held = self.round(number, fresh=True)
        return {"stretches": len(held.actions), "actions": held.class_names, "unreadable_actions": held.unreadable}

    def items(self, number: int, offset: int, count: int) -> dict[str, Any]:
        """Actions from place `offset` on: those that are not judged yet, then the others.

        Places count twice through the round, once for what is open and once for what is judged. `next` is where to go
        on, None at the end; `more`: there is something open.
        """
        held, said = self.round(number), self._desk.verdicts.said()
        judged = held.actions["label_uid"].isin(list(said)).to_numpy()
        places = np.flatnonzero(np.concatenate([~judged, judged]))
        left = places[places >= offset]
        count = max(1, min(count, self._desk.settings.items_at_once))
        told = self._told(held, (left[:count] % max(len(judged), 1)).tolist())
        later = int(left[count]) if len(left) > count else None
        return {"items": told, "next": later, "more": later is not None and later < len(judged)}

    def item(self, number: int, label_uid: str) -> dict[str, Any]:
        """A single action, judged or not."""
        held = self.round(number)
        told = self._told(held, [_place_of(held, label_uid)])
        if not told:
            raise InputError("the labels of its video cannot be read")
        return told[0]

    def judge(self, number: int, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Save a verdict on an action, with its right class where one is given."""
        held = self.round(number)
        label = held.actions.iloc[_place_of(held, str(asked.get("item", "")))]
        word, class_name = str(asked.get("verdict", "")), str(asked.get("class_name") or "")
        verdicts = self._desk.verdicts
        said = verdicts.judge_action(label["label_uid"], label["class_name"], word, class_name)
        return {"total": verdicts.saved, "verdict": said.verdict, "right_class": said.class_name}

    def _told(self, held: ReviewStretches, places: list[int]) -> list[dict[str, Any]]:
        """Those of videos that can be shown. Their frames are decoded meanwhile, the first one's first."""
        desk, said = self._desk, self._desk.verdicts.said()
        videos = desk.round(held.number).videos
        players: dict[str, list[CropPath]] = {}
        told = []
        for place in places:
            video_id, uid = held.actions["video_id"].iloc[place], held.actions["label_uid"].iloc[place]
            if video_id not in videos:
                continue
            if video_id not in players:
                players[video_id] = players_of(desk.work, held.number, videos[video_id])
            item = told_stretch(held, place, videos[video_id], players[video_id], said.get(uid), desk.settings)
            told.append(item)
            desk.frames.expect(videos[video_id], item["frames"])
        return told


def _place_of(held: ReviewStretches, label_uid: str) -> int:
    place = held.place_of.get(label_uid)
    if place is None:
        raise InputError("this action is not in the round any more; load the page again")
    return place
