"""Stage 2 for actions: human labels, and a recogniser's predictions for every video, one shard a video."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from labels.engine.placement import placement_of
from labels.engine.runner import Account, Loaded, Outcome, Step, Task, run
from labels.labelling.action_intervals import TEST, IntervalSettings, action_rows, human_actions, videos_taught
from labels.labelling.action_windows import WindowStore, agreement_of, appearance_of, look_at, subjects_of
from labels.labelling.masks import NoMasks, RoundMasks, inputs_of_masks
from labels.labelling.player_tracks import AUTO, FRAME, PLAYER, digest_of_tracks, tracks_of
from labels.labelling.poses import NoJoints
from labels.models.detectors.loading import torch_device
from labels.models.recognisers.recogniser import MappedRecogniser, Recogniser, load_recogniser, read_class_map
from labels.models.recognisers.settings import BROUGHT
from labels.models.settings import HUMAN
from labels.records import next_command, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.frame_times import read_frame_times
from labels.records.run_records import (
    HUMAN_ACTIONS_FILE,
    RunRecord,
    digest_of_files,
    digest_of_true_actions,
    digest_of_true_joints,
    digest_of_videos,
    inputs_of_players,
    out_of_date,
    read_run_record,
    require_run_record,
    start_run,
    write_run_record,
)
from labels.records.safe_writing import digest_of, write_parquet
from labels.records.work_folder import ACTIONS_LABELLED, ACTIONS_TRAINED, RoundFolder, WorkFolder
from labels.tracks.players import CropPath
from labels.videos.decoding.frames import DecodeError

FORMAT = 3  # of the shards
KEPT_COLUMNS = {*tables.ACTIONS, "appearance"}  # the latter: what the recogniser sees of it, see models/window_features


@dataclass(frozen=True)
class ActionLabelling:
    """What of a round's labelling can be chosen. `per`: frame or player, see `player_tracks`."""

    per: str = AUTO
    human_share: float = 1.0
    intervals: IntervalSettings = field(default_factory=IntervalSettings)


@dataclass(frozen=True)
class ActionTask(Task):
    """The human labels of videos, and those a recogniser predicts; without a recogniser there are only human labels."""

    name, skips, counted = "actions", (DecodeError,), ("human", "detected")

    work: WorkFolder
    folder: RoundFolder
    recogniser: Loaded[Recogniser] | None
    settings: ActionLabelling

    @cached_property
    def videos(self) -> dict[str, Any]:
        return self.work.usable_rows()

    @cached_property
    def taught(self) -> set[str]:
        return videos_taught(self.work, self.work.usable_videos(), self.settings.human_share)

    @cached_property
    def per(self) -> str:
        return subject_of(self.work, self.settings.per)

    @cached_property
    def store(self) -> WindowStore | None:
        if self.recogniser is None:
            return None
        recogniser = self.recogniser.value
        masks = RoundMasks(self.work, self.folder.number) if recogniser.preset.masked else None
        return WindowStore(self.work, recogniser.preset, device=recogniser.device, masks=masks)

    def files(self, item: str) -> tuple[Path, ...]:
        return (self.folder.actions("labelled", item),)

    def kind_of(self, error: Exception) -> str:
        return "without joints or masks" if isinstance(error, NoJoints | NoMasks) else getattr(error, "kind", "")

    def human(self, item: str) -> pd.DataFrame:
        """The human labels of a video that are used."""
        labels = self._labels_of(item) if item in self.taught else None
        return tables.empty_table(tables.ACTIONS) if labels is None else labels

    def held_back(self, item: str) -> int:
        """How many are not, of a video that is not held out."""
        labels = self._labels_of(item) if item not in self.taught else None
        return 0 if labels is None else len(labels)

    def _labels_of(self, item: str) -> pd.DataFrame | None:
        return human_actions(self.work, item) if self.videos[item].split != TEST else None

    def tracks(self, item: str) -> list[CropPath] | None:
        """The players whose windows are looked at; None where whole frames are, or nothing is."""
        if self.per != PLAYER or self.recogniser is None:
            return None
        return tracks_of(self.work, self.folder.number, item, self.videos[item].fps)

    def key(self, item: str) -> str:
        video, recogniser = self.videos[item], self.recogniser.value if self.recogniser is not None else None
        key = digest_of(
            [
                *(FORMAT, video.sha256, video.frame_count, self.human(item).to_dict("list"), str(video.class_name)),
                *(recogniser.digest if recogniser else None, digest_of_tracks(self.tracks(item))),
                asdict(self.settings.intervals),
            ]
        )
        return key if self.store is None else digest_of([key, _brought(self.store, item)])

    def make(self, item: str, key: str, step: Step) -> Account:
        video, human, found = self.videos[item], self.human(item), tables.empty_table(tables.ACTIONS)
        if self.store is not None and self.recogniser is not None:
            recogniser = self.recogniser.value
            # The class of an archive's clip is its human label: what is not used as one must not tell.
            listed = "" if self.work.truth_actions(item).is_file() else str(video.class_name)
            listed = getattr(recogniser, "class_map", {}).get(listed, listed)  # their list's name of it
            windows = self.store.ensure(video, self.tracks(item))
            probabilities, seen = look_at(windows, recogniser)
            names, fps = recogniser.class_names, float(video.fps)
            subjects = subjects_of(windows, probabilities, names, listed)
            found = action_rows(item, self.folder.number, names, subjects, fps, self.settings.intervals)
            times = read_frame_times(self.work.frame_times, vars(video))
            found["start_s"], found["end_s"] = (times.seconds(found[f"{end}_frame"]) for end in ("start", "end"))
            agreement = agreement_of(found, windows, probabilities, names)
            found = found.assign(appearance=appearance_of(found, windows, seen), agreement=agreement)
            human = human.assign(appearance=appearance_of(human, windows, seen))
        metadata = {
            "key": key,
            "video_id": item,
            "fps": float(video.fps),
            "frame_count": int(video.frame_count),
            "human": len(human),
            "detected": len(found),
        }
        rows = tables.concatenate([human[[name for name in human if name in KEPT_COLUMNS]], found], tables.ACTIONS)
        (path,) = self.files(item)
        write_parquet(path, tables.check_actions(rows, str(path)), metadata)
        return metadata


def outcome_lines(task: ActionTask, outcome: Outcome) -> list[str]:
    """What to tell the user, a line each."""
    lines, asked = outcome.lines("labelled"), [*outcome.used, *outcome.skipped]
    if without_player := sum(task.tracks(item) == [] for item in asked):
        lines.append(f"{without_player} videos have no player's track, so nothing was recognised in them")
    if held_back := sum(map(task.held_back, outcome.used)):
        lines.append(f"{held_back} human labels are held back to judge by (--set human_share)")
    return [*lines, f"{outcome.totals['human']} human labels and {outcome.totals['detected']} recognised actions"]


def _brought(store: WindowStore, video_id: str) -> str:
    try:
        return store.brought(video_id)
    except DecodeError:
        return "none"


def subject_of(work: WorkFolder, per: str) -> str:
    """frame or player; `auto` is player where human labels are of players, or where players were tracked."""
    if per != AUTO:
        return per
    for video_id in work.usable_videos()["video_id"]:
        human = human_actions(work, video_id)
        if human is not None:
            return PLAYER if (human["track_id"] != tables.NO_TRACK).any() else FRAME
    return FRAME


def finish_actions(task: ActionTask, outcome: Outcome, arguments: dict[str, Any], inputs: dict[str, str]) -> None:
    """Write run.json, which marks the round's actions as labelled."""
    recogniser, folder = task.recogniser.value if task.recogniser is not None else None, task.folder
    names = list(recogniser.class_names) if recogniser else []
    labeller = {
        "name": recogniser.name if recogniser else "human",
        "digest": recogniser.digest if recogniser else "",
        "class_names": names,
        "working_threshold": recogniser.working_threshold if recogniser else {},
    }
    counts = {
        "videos": outcome.found,
        "used": len(outcome.used),
        "skipped": outcome.skipped,
        "human": outcome.totals["human"],
        "held_back": sum(map(task.held_back, outcome.used)),
        "detected": outcome.totals["detected"],
    }
    facts = {"labeller": labeller, "per": task.per, "human_share": task.settings.human_share}
    output = digest_of_files(action_shards(folder, "labelled"))
    write_run_record(
        folder, RunRecord(ACTIONS_LABELLED, folder.number, arguments, inputs, counts, facts, output=output)
    )


def action_shards(folder: RoundFolder, stage: str) -> list[Path]:
    return sorted((folder.stage(stage) / "actions").glob("[!.]*.parquet"))


def label_actions_of(args: argparse.Namespace) -> Summary:
    """Label the actions of one round."""
    work, where = WorkFolder(args.work), placement_of(args)
    work.usable_videos()
    if not 0 < args.human_share <= 1:
        raise InputError(f"--set human_share: a share above 0 and at most 1, not {args.human_share:g}")
    if args.detector is not None:
        raise InputError("--detector and --recogniser: a run labels boxes or actions; run it twice for both")
    name, inputs = args.recogniser, {}
    before = work.round(max(args.round - 1, 0))
    own = before.recogniser if args.round > 0 else None  # the student whose turn it is
    if own is not None and (name is None or Path(name).resolve() == own.resolve()):
        trained = next_command.command("train.py", args.work, before.number, "--task", "actions")
        inputs = {
            f"round {before.number} {ACTIONS_TRAINED}": require_run_record(before, ACTIONS_TRAINED, trained).output
        }
        name = str(own)
    if args.pose is not None and name == HUMAN:
        raise InputError("--pose: human labels need no joints; leave it out")
    if args.map is not None and name == HUMAN:
        raise InputError("--class-list: human labels are taken as they are; leave it out")
    with work.writing(where.name):
        loaded = recogniser = None
        if name != HUMAN:
            load = partial(load_labeller, name, args.device, args.batch_size, args.pose, args.map)
            loaded = Loaded(load=load, device=args.device)
            recogniser = loaded.value
            inputs["labeller"] = recogniser.digest
        folder, settings = work.round(args.round), ActionLabelling(args.per, args.human_share)
        task = ActionTask(work, folder, loaded, settings)
        inputs |= {"videos": digest_of_videos(work), "true actions": digest_of_true_actions(work)}
        if task.per == PLAYER:
            inputs |= inputs_of_players(work, args.round)
        if recogniser is not None and recogniser.preset.masked:
            inputs |= inputs_of_masks(work, args.round)
        if recogniser is not None and recogniser.preset.joints_from == BROUGHT:
            inputs["true joints"] = digest_of_true_joints(work)
        start_run(folder, ACTIONS_LABELLED)
        outcome = run(task, list(task.videos), where)
        imported = (work.root / HUMAN_ACTIONS_FILE).is_file()  # cleaning takes what stands there in
        if not outcome.totals["human"] and recogniser is None and not imported and not where.is_share:
            raise InputError(
                f"{work.videos}: no clip came with a human label; name a recogniser, or bring a labelled archive: "
                f"{next_command.command('dataset_downloader.py', args.work)} --from kinetics-folder --path … "
                "(or --import-labels FILE)"
            )
        lines = outcome_lines(task, outcome)
        if not where.is_share:
            arguments = {key: getattr(args, key) for key in ("recogniser", "map", "pose", "per", "human_share")}
            finish_actions(task, outcome, arguments, inputs)
            lines += [*_changed_arguments(before, arguments), *out_of_date(work)]
    return outcome.summary("label actions", lines, where)


def load_labeller(
    name: str, device: str, batch_size: int | None, pose: str | None, class_map: str | None
) -> Recogniser:
    """The recogniser that a user named, with its classes called as `class_map` says. InputError in one line."""
    recogniser: Recogniser = load_recogniser(name, torch_device(device), batch_size, pose)
    if class_map is not None:
        recogniser = MappedRecogniser(recogniser, read_class_map(class_map), f"--class-list {class_map}")
    return recogniser


def _lasting(arguments: Mapping[str, Any]) -> str:
    return next_command.typed(next_command.options_of(ACTIONS_LABELLED, arguments, next_command.LASTING))


def _changed_arguments(before: RoundFolder, arguments: Mapping[str, Any]) -> list[str]:
    """A line that says so where the round before was labelled with other options that should last."""
    record = read_run_record(before, ACTIONS_LABELLED)
    now = _lasting(arguments)
    was = _lasting(record.arguments) if record is not None else now
    none = " no such option"
    return [f"round {before.number} was labelled with{was or none}, this one with{now or none}"] * (was != now)
