"""The command lines that stages print: what to run next, what has to run first, what made a round.

Each is rebuilt from the arguments in run.json, so that options given once are repeated. `OPTIONS` lists, for every
argument, its option and the default that need not be repeated; options of older versions stay in it under the name
they have today.
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from labels.records.old_names import REMOVED_RULES, new_name
from labels.records.run_records import last_arguments, last_run, read_run_record
from labels.records.safe_writing import read_object, read_parquet_metadata
from labels.records.work_folder import (
    ACTIONS_CLEANED,
    ACTIONS_LABELLED,
    ACTIONS_TRAINED,
    STAGES,
    RoundFolder,
    WorkFolder,
    typed_folder,
)

SCRIPTS = {"labelled": "dataset_processor.py", "cleaned": "dataset_cleaner.py", "trained": "train.py"}
OF_ACTIONS = (ACTIONS_LABELLED, ACTIONS_CLEANED, ACTIONS_TRAINED)
SET = "--set"  # as `command_line` has it
HUMAN, STUDENT, BALLNET = "human", "student", "ballnet"  # as they are typed
DEFAULT_DETECTOR = "fasterrcnn_resnet50_fpn_v2"  # labels where nobody was named; that of models/settings


class Option(NamedTuple):
    """How an argument of a run record is typed. `usual`: the values that need not be said."""

    option: str
    usual: tuple[Any, ...] = ()
    repeated: bool = False  # once for each value, rather than values with commas between


# The options that are said again. Others say where and how a stage ran (--device, --force), not what it made.
OPTIONS: dict[str, dict[str, Option]] = {
    "labelled": {
        "detector": Option("--detector", repeated=True),
        "classes": Option("--classes"),
        "stride": Option("--stride", (1,)),
        "input_size": Option("--input-size"),
        "tiles": Option("--tiles"),
        "mirrored": Option("--mirrored"),
        "class_list": Option("--class-list"),
        "prompts": Option("--class-list"),
        "backbone": Option("--set backbone"),
        "share": Option("--share"),
        "ask": Option("--ask", repeated=True),
    },
    "cleaned": {
        "keep_quality": Option("--keep", (0.5,)),
        "ignore_quality": Option("--ignore", (0.2,)),
        "max_per_frame": Option("--set max_per_frame", (0,)),
        "without": Option("--without", repeated=True),
        "set": Option("--set", repeated=True),
    },
    "trained": {
        "architecture": Option("--architecture", (BALLNET,)),
        "epochs": Option("--epochs", (12,)),
        "batch_size": Option("--batch-size", (16,)),
        "learning_rate": Option("--lr"),
        "seed": Option("--seed", (0,)),
        "long_side": Option("--set long_side", (512,)),
        "from_scratch": Option("--from-scratch"),
        "continue": Option("--continue"),
    },
    ACTIONS_LABELLED: {
        "recogniser": Option("--recogniser"),
        "map": Option("--class-list"),
        "pose": Option("--pose"),
        "per": Option("--set per", ("auto",)),
        "human_share": Option("--set human_share", (1.0,)),
    },
    ACTIONS_CLEANED: {
        "keep_quality": Option("--keep", (0.9,)),
        "ignore_quality": Option("--ignore", (0.2,)),
    },
    ACTIONS_TRAINED: {
        "architecture": Option("--architecture"),  # which one is usual depends on the machine
        "epochs": Option("--epochs", (30,)),
        "batch_size": Option("--batch-size", (16,)),
        "learning_rate": Option("--lr"),
        "seed": Option("--seed", (0,)),
        "frames": Option("--set window_frames", (0,)),
        "seconds": Option("--set window_seconds", (0.0,)),
        "mask_channel": Option("--set mask_channel"),
        "pose": Option("--pose"),
        "from_scratch": Option("--from-scratch"),
        "continue": Option("--continue"),
    },
}
# Learning rates that suit an architecture are not said: those of our own small networks, and of all others.
USUAL_RATES: dict[str, tuple[dict[str, tuple[float, ...]], tuple[float, ...]]] = {
    "trained": ({BALLNET: (1e-3, 3e-3)}, (2e-4,)),
    ACTIONS_TRAINED: ({"cnn3d": (3e-3,), "pose": (3e-3,), "pose_gru": (3e-3,)}, (1e-3, 5e-4)),
}
# What once had an option of its own and is --set NAME=VALUE now, and what it was where nobody said it.
ONCE_OPTIONS = {"max_overlap": 0.4, "max_aspect": 3.0, "min_size_pixels": 3.0, "max_frame_share": 0.4}
LASTING = ("per", "human_share")  # what holds for the actions of the round after too


def typed(words: Iterable[str]) -> str:
    """Words as they are typed after a command: quoted, each with a space before."""
    return "".join(f" {shlex.quote(word)}" for word in words)


def command(script: str, root: object, number: int | None = None, *words: str) -> str:
    """A line for the shell."""
    numbered = [] if number is None else ["--round", str(number)]
    return f"python {script} {typed_folder(root)}{typed([*numbered, *words])}"


def options_of(stage: str, arguments: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """The words that a stage was run with, from the arguments of its run record: options with values, then switches.

    Args:
        arguments: also of an older version, with others than there are now; what is off or empty is not said.
        names: of these arguments alone.
    """
    arguments = _as_today(stage, arguments)
    words: list[str] = []
    switches: list[str] = []
    wanted = OPTIONS[stage] if names is None else {name: OPTIONS[stage][name] for name in names}
    for name, (option, usual, repeated) in sorted(wanted.items(), key=lambda item: item[1].option):
        value = arguments.get(name)
        if value is None or value is False or value in ("", [], ()) or value in usual:
            continue
        if value is True and not option.startswith(SET):
            switches.append(option)
        elif repeated and not isinstance(value, str):
            words += [word for item in value for word in _words_of(option, str(item))]
        else:
            words += _words_of(option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return words + switches


def _words_of(option: str, value: str) -> list[str]:
    if option.startswith(f"{SET} "):
        return [SET, f"{option.removeprefix(f'{SET} ')}={'yes' if value == 'True' else value}"]
    return [f"{option}={value}"] if value.startswith("-") else [option, value]


def _as_today(stage: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(arguments)
    if found.get("without"):
        found["without"] = [name for old in found["without"] if (name := new_name(old)) not in REMOVED_RULES]
    if stage == "cleaned" and "set" not in found:
        once = {name: found[name] for name, usual in ONCE_OPTIONS.items() if found.get(name, usual) != usual}
        found["set"] = [f"{name}={value}" for name, value in once.items()]
    if stage in USUAL_RATES:
        own, others = USUAL_RATES[stage]
        architecture = str(found.get("architecture") or next(iter(own))).split("+")[0]
        if found.get("learning_rate") in own.get(architecture, others):
            found["learning_rate"] = None
    return found


def stage_command(stage: str, root: object, number: int, arguments: Mapping[str, Any]) -> str:
    """What made a round's stage, so that it runs the same again beside whatever else the round holds."""
    task = ["--task", "actions"] if stage in (ACTIONS_CLEANED, ACTIONS_TRAINED) else []
    return command(SCRIPTS[stage.split("/")[0]], root, number, *task, *options_of(stage, arguments))


def lasting(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of a round's arguments those that hold for the next one too: the stride, and who labels beside a student.

    Sizes and tiles do not: the next student may be of another kind.
    """
    named = arguments.get("detector")  # of old records a string
    names = ("stride", "detector", "mirrored") if isinstance(named, list) and STUDENT in named else ("stride",)
    return {name: arguments[name] for name in names if name in arguments}


def with_teachers(work: WorkFolder, number: int) -> dict[str, Any]:
    """What round `number` is labelled with because its student is weak: arguments of stage 2, as run records keep them.

    A student that hardly finds one of its classes (`weak_classes` of its training) does not label alone: the teachers
    of the last round that had some label again, as they did then, and it is one voice among them. Empty where the
    student is strong, or was not trained here, and where teachers were to label a share only: the user says when they
    are asked again.
    """
    trained = read_run_record(work.round(number - 1), "trained") if number > 0 else None
    if trained is None or not trained.facts.get("metrics", {}).get("weak_classes"):
        return {}
    for at in range(number - 1, -1, -1):
        record = read_run_record(work.round(at), "labelled")
        if record is not None and record.arguments.get("share"):
            return {}
        named = record.arguments.get("detector") if record is not None else None
        teachers = [named] if isinstance(named, str) else list(named or ([] if at else [DEFAULT_DETECTOR]))
        teachers = [name for name in teachers if name != STUDENT and not name.endswith(".pt")]
        if record is not None and teachers:
            return dict(record.arguments) | {"detector": [*teachers, STUDENT]}
    return {}


def label_boxes(work: WorkFolder, number: int) -> str:
    """What labels a round's boxes as they were labelled last, or else with what lasts of the round before."""
    record, before = (read_run_record(work.round(at), "labelled") if at >= 0 else None for at in (number, number - 1))
    arguments = with_teachers(work, number) or (lasting(before.arguments) if before is not None else {})
    arguments = record.arguments if record is not None else arguments
    return stage_command("labelled", work.root, number, arguments)


def label_actions(work: WorkFolder, number: int) -> str:
    """What labels a round's actions as they were labelled last, or else with what people said of the clips."""
    record = read_run_record(work.round(number), ACTIONS_LABELLED)
    arguments = record.arguments if record is not None else {"recogniser": HUMAN}
    return stage_command(ACTIONS_LABELLED, work.root, number, arguments)


def label_next_actions(work: WorkFolder, number: int) -> str:
    """What labels the actions of round `number` with the student of the round before, with what lasts of that one."""
    before = work.round(number - 1)
    words = options_of(ACTIONS_LABELLED, last_arguments(work, number - 1, ACTIONS_LABELLED) or {}, LASTING)
    if read_run_record(before, "trained") is not None:  # a detector's turn comes too: say whose it is
        words = ["--recogniser", str(before.recogniser), *words]
    return command(SCRIPTS["labelled"], work.root, number, *words)


def clean(work: WorkFolder, number: int, actions: bool = False) -> str:
    """What cleans a round's boxes, or its actions, as they, or those of the round before, were cleaned last."""
    stage = ACTIONS_CLEANED if actions else "cleaned"
    has_boxes = read_run_record(work.round(number), "labelled") is not None
    words = ["--task", "actions"] if actions and has_boxes else []
    words += options_of(stage, last_arguments(work, number, stage) or {})
    return command(SCRIPTS["cleaned"], work.root, number, *words)


def train(work: WorkFolder, number: int, actions: bool = False) -> str:
    """What trains a round's detector, or its recogniser, as it, or that of the round before, was trained last."""
    stage = ACTIONS_TRAINED if actions else "trained"
    run = last_run(work, number, stage)
    has_boxes = read_run_record(work.round(number), "cleaned") is not None
    words = ["--task", "actions"] if actions and has_boxes else []
    if run is not None:
        folds = _folds_of(run[0], actions)
        words += [*(["--folds", str(folds)] if folds else []), *options_of(stage, run[1].arguments)]
    return command(SCRIPTS["trained"], work.root, number, *words)


def look(work: WorkFolder, number: int) -> str:
    """What draws a round."""
    return command("visualise.py", work.root, number)


def _folds_of(folder: RoundFolder, actions: bool) -> int:
    """How many students were trained beside the round's own, each without some groups. No run record says it: they
    change nothing about that one."""
    record = read_parquet_metadata(folder.out_of_fold) if actions else read_object(folder.folds)
    return int((record or {}).get("folds", 0))


def first_unfinished(finished: Mapping[str, object], usual: Mapping[str, Any], root: object, number: int) -> str | None:
    """The command of the first stage of a round that is not finished yet; None when all are.

    Args:
        finished: of each stage its run record, or None.
        usual: the same of the round before. Its options hold; of labelling those that last, for another labeller's
            turn comes.
    """
    kinds = [kind for kind in (tuple(SCRIPTS), OF_ACTIONS) if any(finished[stage] is not None for stage in kind)]
    for stage in (stage for kind in kinds or [tuple(SCRIPTS)] for stage in kind):
        if finished[stage] is None:
            record = usual.get(stage) if stage != ACTIONS_LABELLED else None
            arguments = record.arguments if record is not None else {}
            return stage_command(stage, root, number, lasting(arguments) if stage == "labelled" else arguments)
    return None


def commands_of(finished: Mapping[str, Any], root: object, number: int) -> list[str]:
    """The commands of the stages of a round that are finished, in order."""
    return [
        stage_command(stage, root, number, record.arguments)
        for stage in STAGES
        if (record := finished[stage]) is not None
    ]
