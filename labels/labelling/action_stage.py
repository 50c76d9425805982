"""Stage 2 for actions, as the script calls it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labels.labelling.action_settings import LASTING, said_words
from labels.models.recogniser_settings import BROUGHT
from labels.models.settings import HUMAN
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import (
    HUMAN_ACTIONS_FILE,
    digest_of_true_actions,
    digest_of_true_joints,
    digest_of_videos,
    inputs_of_players,
    out_of_date,
    read_run_record,
    require_run_record,
)
from labels.records.said_options import typed
from labels.records.work_folder import ACTIONS_LABELLED, ACTIONS_TRAINED, RoundFolder, WorkFolder


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
        from labels.labelling.action_labelling import ActionLabelling, finish_actions, label_actions, subject_of
        from labels.labelling.player_tracks import PLAYER
        from labels.models.class_maps import MappedRecogniser, read_class_map
        from labels.models.loading import torch_device
        from labels.models.recogniser import Recogniser, load_recogniser

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
            from labels.labelling.round_mask_channel import inputs_of_masks

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
    now = typed(said_words(arguments, LASTING))
    was = typed(said_words(record.arguments, LASTING)) if record is not None else now
    none = " no such option"
    return [f"round {before.number} was labelled with{was or none}, this one with{now or none}"] * (was != now)
