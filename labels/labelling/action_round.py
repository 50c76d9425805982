"""Stage 2 for actions, as the script calls it.

Actions of a round: what people said, and what a recogniser says of every video; one shard a video.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from labels.labelling.action_intervals import IntervalSettings, action_rows
from labels.labelling.action_windows import WindowStore, agreement_of, appearance_of, look_at, subjects_of
from labels.labelling.human_actions import TEST, human_actions, videos_taught
from labels.labelling.masks import NoMasks, RoundMasks
from labels.labelling.player_tracks import AUTO, FRAME, PLAYER, digest_of_tracks, tracks_of
from labels.labelling.poses import NoJoints
from labels.labelling.settings import LASTING, action_words
from labels.models.recognisers.recogniser import Recogniser
from labels.models.recognisers.settings import BROUGHT
from labels.models.settings import HUMAN
from labels.records import tables
from labels.records.command_line import DECODER_DIED, Summary
from labels.records.errors import InputError
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
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.records.said_options import typed
from labels.records.work_folder import ACTIONS_LABELLED, ACTIONS_TRAINED, RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError, DecoderDied

FORMAT = 3  # of the shards
KEPT_COLUMNS = {*tables.ACTIONS, "appearance"}  # the latter: what the recogniser sees of it, see models/window_features


@dataclass(frozen=True)
class ActionLabelling:
    """What of a round's labelling can be chosen. `per`: frame or player, see `player_tracks`."""

    per: str = AUTO
    human_share: float = 1.0
    intervals: IntervalSettings = field(default_factory=IntervalSettings)


@dataclass
class RoundActions:
    """How it went; counts are over all shards, also those that were there already."""

    made: int = 0
    untouched: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  # video_id -> reason
    lost: int = 0  # of the skipped: their decoder died, and another run may have them
    incomplete: int = 0  # of the skipped: no joints or masks came with them, and the recogniser looks at some
    human: int = 0
    held_back: int = 0  # human labels that are not used, of clips that are not held out
    detected: int = 0
    without_player: int = 0  # videos in which no player is known

    def why_skipped(self) -> dict[str, int]:
        """Kind of reason -> videos."""
        kinds = {
            "without joints or masks": self.incomplete,
            "cannot be decoded": len(self.skipped) - self.incomplete - self.lost,
            DECODER_DIED: self.lost,
        }
        return {kind: count for kind, count in kinds.items() if count}

    def lines(self) -> list[str]:
        lines = [f"{video_id}: skipped: {reason}" for video_id, reason in sorted(self.skipped.items())]
        if self.untouched:
            lines.append(f"{self.untouched} videos were labelled already and not touched")
        if self.without_player:
            lines.append(f"{self.without_player} videos have no player's track, so nothing was recognised in them")
        if self.held_back:
            lines.append(f"{self.held_back} human labels are held back to judge by (--human-share)")
        return [*lines, f"{self.human} human labels and {self.detected} recognised actions"]


def label_actions(
    work: WorkFolder, folder: RoundFolder, recogniser: Recogniser | None, settings: ActionLabelling
) -> RoundActions:
    """Label every usable video. Without a recogniser there are only human labels.

    A video that cannot be decoded is skipped with the reason, and has no shard.
    """
    videos = work.usable_videos()
    taught = videos_taught(work, videos, settings.human_share)
    start_run(folder, ACTIONS_LABELLED)
    store = None
    if recogniser is not None:
        masks = RoundMasks(work, folder.number) if recogniser.preset.masked else None
        store = WindowStore(work, recogniser.preset, device=recogniser.device, masks=masks)
    outcome = RoundActions()
    per = subject_of(work, settings.per)
    wanted = set(videos["video_id"])
    for path in folder.stage(ACTIONS_LABELLED).glob("*.parquet"):
        if path.stem not in wanted:
            path.unlink()
    for video in tqdm(videos.itertuples(), total=len(videos), desc="actions", unit="video"):
        video_id = str(video.video_id)
        said = human_actions(work, video_id) if video.split != TEST else None
        human = said if said is not None and video_id in taught else tables.empty_table(tables.ACTIONS)
        looked_at = per == PLAYER and recogniser is not None
        tracks = tracks_of(work, folder.number, video_id, video.fps) if looked_at else None
        key = digest_of(
            [
                *(FORMAT, video.sha256, video.frame_count, human.to_dict("list"), str(video.class_name)),
                *(recogniser.digest if recogniser else None, digest_of_tracks(tracks), asdict(settings.intervals)),
            ]
        )
        if store is not None:
            key = digest_of([key, _brought(store, video_id)])
        path = folder.actions("labelled", video_id)
        metadata = read_parquet_metadata(path)
        outcome.without_player += tracks == []
        if metadata is not None and metadata.get("key") == key:
            outcome.untouched += 1
        else:
            try:
                found = tables.empty_table(tables.ACTIONS)
                if store is not None and recogniser is not None:
                    # The class of an archive's clip is its human label: what is not used as one must not tell.
                    listed = "" if work.truth_actions(video_id).is_file() else str(video.class_name)
                    listed = getattr(recogniser, "class_map", {}).get(listed, listed)  # their list's name of it
                    windows = store.ensure(video, tracks)
                    probabilities, seen = look_at(windows, recogniser)
                    names, fps = recogniser.class_names, float(video.fps)
                    subjects = subjects_of(windows, probabilities, names, listed)
                    found = action_rows(video_id, folder.number, names, subjects, fps, settings.intervals)
                    agreement = agreement_of(found, windows, probabilities, names)
                    found = found.assign(appearance=appearance_of(found, windows, seen), agreement=agreement)
                    human = human.assign(appearance=appearance_of(human, windows, seen))
            except DecodeError as error:
                path.unlink(missing_ok=True)
                outcome.skipped[video_id] = str(error)
                outcome.incomplete += isinstance(error, NoJoints | NoMasks)
                outcome.lost += isinstance(error, DecoderDied)
                continue
            metadata = {
                "key": key,
                "video_id": video_id,
                "fps": float(video.fps),
                "frame_count": int(video.frame_count),
                "human": len(human),
                "detected": len(found),
            }
            rows = tables.concatenate([human[[name for name in human if name in KEPT_COLUMNS]], found], tables.ACTIONS)
            write_parquet(path, tables.check_actions(rows, str(path)), metadata)
            outcome.made += 1
        outcome.human += metadata["human"]
        outcome.held_back += len(said) - len(human) if said is not None else 0
        outcome.detected += metadata["detected"]
    return outcome


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


def finish_actions(
    folder: RoundFolder,
    recogniser: Recogniser | None,
    settings: ActionLabelling,
    per: str,
    outcome: RoundActions,
    arguments: dict[str, Any],
    inputs: dict[str, str],
) -> None:
    """Write run.json, which marks the round's actions as labelled."""
    names = list(recogniser.class_names) if recogniser else []
    labeller = {
        "name": recogniser.name if recogniser else "human",
        "digest": recogniser.digest if recogniser else "",
        "class_names": names,
        "working_threshold": recogniser.working_threshold if recogniser else {},
    }
    counts = {
        "videos": outcome.made + outcome.untouched + len(outcome.skipped),
        "used": outcome.made + outcome.untouched,
        "skipped": outcome.skipped,
        "human": outcome.human,
        "held_back": outcome.held_back,
        "detected": outcome.detected,
    }
    facts = {"labeller": labeller, "per": per, "human_share": settings.human_share}
    output = digest_of_files(action_shards(folder, "labelled"))
    write_run_record(
        folder, RunRecord(ACTIONS_LABELLED, folder.number, arguments, inputs, counts, facts, output=output)
    )


def action_shards(folder: RoundFolder, stage: str) -> list[Path]:
    return sorted((folder.stage(stage) / "actions").glob("[!.]*.parquet"))


def wants_actions(args: argparse.Namespace, work: WorkFolder) -> bool:
    """Whether actions are to be labelled: it was said, or the round before trained a recogniser and no detector."""
    if args.recogniser is not None or args.round == 0 or args.detector is not None:
        return args.recogniser is not None
    before = work.round(args.round - 1)
    return read_run_record(before, ACTIONS_TRAINED) is not None and read_run_record(before, "trained") is None


def label_actions_of(args: argparse.Namespace) -> Summary:
    """Label the actions of one round."""
    work = WorkFolder(args.work)
    found = len(work.usable_videos())
    if not 0 < args.human_share <= 1:
        raise InputError(f"--human-share: a share above 0 and at most 1, not {args.human_share:g}")
    if args.detector is not None:
        raise InputError("--detector and --recogniser: a run labels boxes or actions; run it twice for both")
    name, inputs = args.recogniser, {}
    before = work.round(max(args.round - 1, 0))
    own = before.recogniser if args.round > 0 else None  # the student whose turn it is
    if own is not None and (name is None or Path(name).resolve() == own.resolve()):
        trained = f"python train.py {args.work} --round {before.number} --task actions"
        inputs = {
            f"round {before.number} {ACTIONS_TRAINED}": require_run_record(before, ACTIONS_TRAINED, trained).output
        }
        name = str(own)
    if args.pose is not None and name == HUMAN:
        raise InputError("--pose: human labels need no joints; leave it out")
    if args.map is not None and name == HUMAN:
        raise InputError("--map: human labels are taken as they are; leave it out")
    with work.writing():
        from labels.labelling.player_tracks import PLAYER
        from labels.models.detectors.loading import torch_device
        from labels.models.recognisers.recogniser import MappedRecogniser, Recogniser, load_recogniser, read_class_map

        recogniser: Recogniser | None = None
        if name != HUMAN:
            recogniser = load_recogniser(name, torch_device(args.device), args.batch_size, args.pose)
            if args.map is not None:
                recogniser = MappedRecogniser(recogniser, read_class_map(args.map), f"--map {args.map}")
            inputs["labeller"] = recogniser.digest
        settings = ActionLabelling(args.per, args.human_share)
        folder = work.round(args.round)
        per = subject_of(work, args.per)
        inputs |= {"videos": digest_of_videos(work), "true actions": digest_of_true_actions(work)}
        if per == PLAYER:
            inputs |= inputs_of_players(work, args.round)
        if recogniser is not None and recogniser.preset.masked:
            from labels.labelling.masks import inputs_of_masks

            inputs |= inputs_of_masks(work, args.round)
        if recogniser is not None and recogniser.preset.joints_from == BROUGHT:
            inputs["true joints"] = digest_of_true_joints(work)
        outcome = label_actions(work, folder, recogniser, settings)
        imported = (work.root / HUMAN_ACTIONS_FILE).is_file()  # cleaning takes what stands there in
        if not outcome.human and recogniser is None and not imported:
            raise InputError(
                f"{work.videos}: no clip came with a human label; name a recogniser, or bring a labelled archive: "
                f"python dataset_downloader.py {args.work} --from kinetics-folder --path … (or --import-labels FILE)"
            )
        arguments = {key: getattr(args, key) for key in ("recogniser", "map", "pose", "per", "human_share")}
        finish_actions(folder, recogniser, settings, per, outcome, arguments, inputs)
        lines = [*outcome.lines(), *_said_otherwise(before, arguments), *out_of_date(work)]
    return Summary(
        "label actions",
        "videos",
        found,
        outcome.made + outcome.untouched,
        outcome.why_skipped(),
        lines,
    )


def _said_otherwise(before: RoundFolder, arguments: Mapping[str, Any]) -> list[str]:
    """A line that says so where the round before was labelled with other options that should last."""
    record = read_run_record(before, ACTIONS_LABELLED)
    now = typed(action_words(arguments, LASTING))
    was = typed(action_words(record.arguments, LASTING)) if record is not None else now
    none = " no such option"
    return [f"round {before.number} was labelled with{was or none}, this one with{now or none}"] * (was != now)
