"""The commands that stages name say again what was said, and nothing that need not be said."""

import shlex
from dataclasses import asdict

import pytest

import dataset_cleaner
import dataset_processor
import train
import visualise
from labels.cleaning.settings import ActionSettings, CleaningSettings
from labels.labelling.settings import ACTION_OPTIONS, LabellingSettings
from labels.models.recognisers.settings import PRESETS
from labels.models.settings import HUMAN, STUDENT
from labels.records import next_command
from labels.records.next_command import OPTIONS, options_of, stage_command
from labels.records.run_records import RunRecord, write_run_record
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, WorkFolder
from labels.training.settings import RecognitionSettings, TrainingSettings

SCRIPTS = {
    "dataset_processor.py": dataset_processor, "dataset_cleaner.py": dataset_cleaner, "train.py": train,
    "visualise.py": visualise,
}  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "usual"),
    [
        ("labelled", asdict(LabellingSettings())),
        ("cleaned", asdict(CleaningSettings())),
        ("trained", asdict(TrainingSettings())),
        (ACTIONS_LABELLED, {name: value for name, (_, value) in ACTION_OPTIONS.items()}),
        (ACTIONS_CLEANED, asdict(ActionSettings())),
        (ACTIONS_TRAINED, asdict(RecognitionSettings())),
    ],
)
def test_what_is_usual_is_what_the_settings_say(stage, usual):
    """The table of options repeats the settings' defaults, so that it need not import what lies below it."""
    for name, (_, values, _) in OPTIONS[stage].items():
        if values:
            assert values == (usual[name],), name
        elif name not in ("learning_rate", "architecture"):
            assert not usual.get(name), name
    if stage != ACTIONS_TRAINED:  # which architecture is usual there depends on the machine
        assert options_of(stage, usual) == []


def test_what_is_called_by_name_is_called_so():
    assert (next_command.HUMAN, next_command.STUDENT) == (HUMAN, STUDENT)
    assert TrainingSettings.architecture == next_command.BALLNET
    for name in ("ballnet", "ssdlite320_mobilenet_v3_large"):
        arguments = asdict(TrainingSettings(architecture=name, learning_rate=TrainingSettings.rate_for(name)))
        assert "--lr" not in options_of("trained", arguments)
    for name in (*PRESETS, "cnn3d+pose"):
        arguments = asdict(RecognitionSettings(architecture=name, learning_rate=RecognitionSettings.rate_for(name)))
        assert "--lr" not in options_of(ACTIONS_TRAINED, arguments), name
    assert options_of("trained", {"architecture": "ballnet", "learning_rate": 0.01}) == ["--lr", "0.01"]


def test_what_was_said_is_said_again():
    cleaned = asdict(CleaningSettings(max_per_frame=1, keep_quality=0.75, without=("flat",)))
    assert options_of("cleaned", cleaned) == [
        "--keep", "0.75", "--set", "max_per_frame=1", "--without", "flat"
    ]  # fmt: skip
    trained = asdict(TrainingSettings(epochs=8)) | {"continue": True, "from_scratch": False, "device": "cpu"}
    assert options_of("trained", trained) == ["--epochs", "8", "--continue"]
    assert options_of("trained", asdict(TrainingSettings(long_side=960))) == ["--set", "long_side=960"]
    other = asdict(TrainingSettings(architecture="ssdlite320_mobilenet_v3_large", learning_rate=2e-4, long_side=320))
    assert options_of("trained", other) == ["--architecture", "ssdlite320_mobilenet_v3_large", "--set", "long_side=320"]
    of_another_version = cleaned | {"max_shadow_flatness": 1.2, "min_shadow_steps": 8, "least_quality": 0.4}
    assert options_of("cleaned", of_another_version) == options_of("cleaned", cleaned)
    assert options_of("trained", {"epoch_frames": 7, "device": "cuda", "epochs": 8}) == ["--epochs", "8"]


def test_what_had_an_option_of_its_own_is_said_as_it_is_today():
    once = asdict(CleaningSettings()) | {"max_aspect": 4.0, "min_size_pixels": 3.0}
    assert options_of("cleaned", once) == ["--set", "max_aspect=4.0"]
    assert options_of("cleaned", {"set": ["max_aspect=4.0", "min_still_s=0.5"]}) == [
        "--set", "max_aspect=4.0", "--set", "min_still_s=0.5"
    ]  # fmt: skip


@pytest.mark.parametrize("root", ["work", "a b", "-w", "--round", "it's"])
def test_a_command_can_be_pasted_whatever_the_folder_is_called(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    work = WorkFolder(WorkFolder(tmp_path / root).root.relative_to(tmp_path))
    write_run_record(work.round(0), RunRecord("labelled", 0, {"detector": ["-d.onnx"], "tiles": 480}, {}))
    write_run_record(work.round(0), RunRecord("cleaned", 0, {"without": ["still"]}, {}))
    for command in (
        next_command.label_boxes(work, 0), next_command.clean(work, 1), next_command.train(work, 0, actions=True),
        next_command.look(work, 2),
    ):  # fmt: skip
        python, script, *words = shlex.split(command)
        args = SCRIPTS[script].get_args(words)
        assert (python, str(args.work)) == ("python", root)
    args = dataset_processor.get_args(shlex.split(next_command.label_boxes(work, 0))[2:])
    assert (args.detector, args.tiles) == (["-d.onnx"], 480)


def test_a_command_beside_the_other_task_names_its_own(tmp_path):
    work = WorkFolder(tmp_path / "w")
    assert next_command.clean(work, 0, actions=True).endswith("--round 0")
    write_run_record(work.round(0), RunRecord("labelled", 0, {}, {}))
    assert next_command.clean(work, 0, actions=True).endswith("--round 0 --task actions")
    assert stage_command(ACTIONS_TRAINED, "w", 1, {"epochs": 3}) == (
        "python train.py w --round 1 --task actions --epochs 3"
    )
