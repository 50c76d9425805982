"""Actions through the stage scripts, on clips made here: squares that go right, go left or fall."""

import csv
import json
import shlex
import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
import visualise
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_intervals import share_of, videos_taught
from labels.models.checkpoints import RECOGNISER, load_checkpoint
from labels.models.pose_estimators import People
from labels.models.recognisers.recogniser import recogniser_from_file
from labels.pictures.overlay import clip as clip_actions
from labels.records import next_command
from labels.records.errors import InputError
from labels.records.run_records import UNFINISHED, RunRecord, out_of_date, write_run_record
from labels.records.safe_writing import file_digest, read_json, read_parquet, write_parquet
from labels.records.tables import check_actions
from labels.records.work_folder import WorkFolder
from labels.training.actions.data import LabelledWindow, by_label, gather_actions
from labels.training.actions.metrics import calibration_error
from labels.training.actions.round import preset_for
from labels.training.settings import RecognitionSettings
from labels.training.splits import require_no_group_twice
from tests.conftest import write_test_video

STAGES = ("labelled", "cleaned", "trained")
MOVES = {"goes right": (1, 0), "goes left": (-1, 0), "falls": (0, 1)}
SHORT = ["--architecture", "cnn3d", "--set", "window_frames=4", "--set", "window_seconds=0.4", "--batch-size", "16"]


def frames_of(move, seed, count=10):
    random = np.random.default_rng(seed)
    ground, start, speed = random.integers(0, 100, 3), random.uniform(20, 28, 2), random.uniform(1.2, 2)
    for at in range(count):
        rgb = np.tile(ground, (48, 48, 1)).astype(np.uint8)
        x, y = (start + speed * (at - count / 2) * np.array(MOVES[move])).astype(int)
        rgb[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = 235
        yield rgb


@dataclass(frozen=True)
class ShortEpochs(RecognitionSettings):
    epoch_frames: int = 96
    epoch_poses: int = 96


@dataclass(frozen=True)
class MoreFaults(ActionSettings):
    prune_share: float = 0.5  # of three or four labels of a class


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labels.training.actions.round.RecognitionSettings", ShortEpochs)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """train/ and test/ of a Kinetics folder, four and one clips a class."""
    root = tmp_path_factory.mktemp("archive")
    for number, move in enumerate(MOVES):
        for clip in range(5):
            split = "test" if clip == 4 else "train"
            path = root / split / move / f"{move.replace(' ', '')}_{clip}.mp4"
            write_test_video(path, frames_of(move, 10 * number + clip), width=48, height=48)
    return root


@pytest.fixture(scope="module")
def trained(archive, tmp_path_factory):
    """A work folder whose round 0 is trained."""
    work = tmp_path_factory.mktemp("trained") / "work"
    assert dataset_downloader.main([str(work), "--from", "kinetics-folder", "--path", str(archive)]) == 0
    assert dataset_processor.main([str(work), "--round", "0", "--recogniser", "human"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    assert train.main([str(work), "--round", "0", *SHORT, "--epochs", "2"]) == 0
    return work


@pytest.fixture
def work(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "work")


def actions_of(work, number, stage="cleaned"):
    folder = WorkFolder(work).round(number)
    videos = WorkFolder(work).usable_videos()["video_id"]
    return pd.concat([read_parquet(folder.actions(stage, video)) for video in videos], ignore_index=True)


def test_human_labels_of_training_clips_are_the_first_labels_and_test_clips_have_none(trained):
    rows = check_actions(actions_of(trained, 0), "test", decided=True)
    assert len(rows) == 12 and set(rows["origin"]) == {"human"} and set(rows["decision"]) == {"keep"}
    assert not rows["video_id"].str.endswith("_4").any()
    listed = list(csv.DictReader((trained / "rounds/00/cleaned/dataset/actions.csv").open()))
    assert len(listed) == 12 and {row["label"] for row in listed} == set(MOVES)


def test_after_an_archive_of_actions_comes_the_labelling_of_actions(archive, tmp_path, capsys):
    work = tmp_path / "my work"
    assert dataset_downloader.main([str(work), "--from", "kinetics-folder", "--path", str(archive)]) == 0
    assert f"next: python dataset_processor.py '{work}' --round 0 --recogniser human\n" in capsys.readouterr().out
    # Clips that nobody labelled join it, and what people said of the others is still the beginning.
    write_test_video(tmp_path / "more" / "clip.mp4", frames_of(next(iter(MOVES)), 99), width=48, height=48)
    assert dataset_downloader.main([str(work), "--from", "folder", "--path", str(tmp_path / "more")]) == 0
    assert f"next: python dataset_processor.py '{work}' --round 0 --recogniser human\n" in capsys.readouterr().out


def test_training_leaves_what_it_promises(trained):
    folder = trained / "rounds/00/trained"
    names = sorted(MOVES)
    table = list(csv.reader((folder / "confusion.csv").open()))
    assert table[0][1:] == names and [row[0] for row in table[1:]] == names
    assert [sum(map(int, row[1:])) for row in table[1:]] == [1, 1, 1]  # the test clips, rows are the truth
    assert (folder / "confusion.png").is_file() and (folder / "actions/curves.png").is_file()
    epochs = pd.read_csv(folder / "actions/metrics.csv")
    assert len(epochs) == 2 and {"top1", "macro_f1", "balanced_accuracy", "ece", "loss"} <= set(epochs)
    metrics = read_json(folder / "actions/metrics.json")
    assert metrics["confusion_of"] == "test" and metrics["test"]["groups"] == 3 and "parts" not in metrics
    assert len(metrics["test"]["top1_interval"]) == 2


def test_no_test_clip_is_in_training_or_validation(trained):
    split = {row["group"]: row["split"] for row in csv.DictReader((trained / "split.csv").open())}
    assert [group[-1] for group, side in split.items() if side == "test"] == ["4"] * 3
    assert all(side != "test" for group, side in split.items() if not group.endswith("_4"))
    assert sorted(split.values()).count("val") == 2


def test_a_planted_leak_is_seen(work, monkeypatch):
    """Clips of one group on both sides of the split: whoever made the split wrong, training stops."""
    import labels.training.actions.data as action_data

    videos = WorkFolder(work).read_videos()
    videos["group"] = videos["class_name"]  # the test clip is of a training clip's group
    videos["split"] = ""
    WorkFolder(work).write_videos(videos)
    sides = {video: "test" if video.endswith("_4") else "train" for video in videos["video_id"]}
    monkeypatch.setattr(action_data, "split_videos", lambda *_: sides)
    with pytest.raises(AssertionError, match="trained on and judged by"):
        train.main([str(work), "--round", "0", *SHORT, "--epochs", "1", "--seed", "5"])


def test_the_assertion_itself():
    one = [LabelledWindow("a", "v1", "g1", 0, 0)]
    require_no_group_twice(one, [LabelledWindow("b", "v2", "g2", 0, 0)])
    for leak in (LabelledWindow("b", "v2", "g1", 0, 0), LabelledWindow("b", "v1", "g2", 0, 0)):
        with pytest.raises(AssertionError):
            require_no_group_twice(one, [leak])


def test_trained_again_is_not_trained_again(work, capsys):
    before = file_digest(work / "rounds/00/trained/recogniser.pt")
    assert train.main([str(work), "--round", "0", *SHORT, "--epochs", "2"]) == 0
    assert "trained already" in capsys.readouterr().out
    assert file_digest(work / "rounds/00/trained/recogniser.pt") == before


def test_killed_after_an_epoch_and_run_again_gives_the_same_bytes(work, monkeypatch):
    import labels.training.fit as loop

    folder = work / "rounds/00/trained"
    before = {name: file_digest(folder / name) for name in ("recogniser.pt", "actions/metrics.csv", "confusion.csv")}
    shutil.rmtree(folder)
    real = loop.Optimisation.run_epoch

    def killed(self, epoch, progress):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(self, epoch, progress)

    monkeypatch.setattr(loop.Optimisation, "run_epoch", killed)
    assert train.main([str(work), "--round", "0", *SHORT, "--epochs", "2"]) == 130
    assert not (folder / "actions/run.json").is_file()
    monkeypatch.setattr(loop.Optimisation, "run_epoch", real)
    assert train.main([str(work), "--round", "0", *SHORT, "--epochs", "2"]) == 0
    assert {name: file_digest(folder / name) for name in before} == before


def test_the_student_labels_the_next_round_and_humans_stay(work, capsys):
    assert dataset_processor.main([str(work), "--round", "1"]) == 0  # it holds nothing but actions: no need to say so
    assert dataset_cleaner.main([str(work), "--round", "1"]) == 0
    assert "against human labels that were not used" in capsys.readouterr().out
    rows = check_actions(actions_of(work, 1), "test", decided=True)
    human = rows[rows["origin"] == "human"]
    assert len(human) == 12 and set(human["decision"]) == {"keep"}
    found = rows[rows["origin"] == "detected"]
    assert set(found[found["video_id"].str.endswith("_4")]["decision"]) <= {"keep", "ignore"}
    assert found[~found["video_id"].str.endswith("_4")]["reason"].str.startswith("overruled:").all()
    record = json.loads((work / "rounds/01/cleaned/actions/run.json").read_text())
    assert record["counts"]["quality"]["test"]["labelled"]["coverage"] > 0
    # Again: nothing is done, and nothing changes.
    before = record["output"]
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert "15 videos were labelled already" in capsys.readouterr().out
    assert dataset_cleaner.main([str(work), "--round", "1"]) == 0
    assert json.loads((work / "rounds/01/cleaned/actions/run.json").read_text())["output"] == before


def test_out_of_fold_students_are_heard_in_the_next_round(work, capsys, monkeypatch):
    import labels.training.actions.out_of_fold as folds

    asked = []
    real = folds.require_no_group_twice

    def counted(training, judged):
        asked.append((training, judged))
        real(training, judged)

    monkeypatch.setattr(folds, "require_no_group_twice", counted)
    command = [str(work), "--round", "0", *SHORT, "--epochs", "2", "--folds", "2"]
    assert train.main(command) == 0
    out = capsys.readouterr().out
    assert "trained already" in out and "2 out-of-fold students were asked about 10 labels" in out
    assert len(asked) == 2 and sum(len({window.label for window in own}) for _, own in asked) == 10
    table = read_parquet(WorkFolder(work).round(0).out_of_fold)
    assert (
        len(table) == 10
        and set(table["origin"]) == {"human"}
        and not list((work / "rounds/00/trained").glob("**/fold*"))
    )
    assert train.main(command) == 0 and len(asked) == 2  # not once more
    assert "--folds 2" in next_command.train(WorkFolder(work), 1, actions=True)
    # They are sure that one label is wrong: its human is asked, and it is kept.
    uid, name = table["label_uid"][0], table["class_name"][0]
    other = next(move for move in MOVES if move != name)
    said = [json.dumps({move: float(move == each) for move in sorted(MOVES)}) for each in table["class_name"]]
    said[0] = json.dumps({move: float(move == other) for move in sorted(MOVES)})
    write_parquet(WorkFolder(work).round(0).out_of_fold, table.assign(probabilities=said), {"key": "planted"})
    monkeypatch.setattr("labels.cleaning.actions.round.ActionSettings", MoreFaults)
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "1"]) == 0
    review = pd.read_csv(work / "rounds/01/cleaned/actions/review.csv")
    assert review.set_index("label_uid").loc[uid, ["class_name", "student_class"]].tolist() == [name, other]
    rows = actions_of(work, 1).set_index("label_uid")
    assert rows.loc[uid, "decision"] == "keep" and "human labels that a student doubts" in capsys.readouterr().out
    assert train.main([*command[:-1], "99"]) == 2


def test_a_round_that_collapses_ends_with_3_unless_forced(work, capsys, monkeypatch):
    alarm = "survival: 0.10 < 0.3: planted"
    monkeypatch.setattr("labels.cleaning.actions.round.find_action_alarms", lambda *_: [alarm])
    (work / "verdicts.csv").write_text("label_uid,verdict\nnobody,y\n")  # something to clean anew
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 3
    said = capsys.readouterr()
    assert f"alarm: {alarm}" in said.err and "next:" not in said.out
    assert dataset_cleaner.main([str(work), "--round", "0", "--force"]) == 0
    said = capsys.readouterr()
    assert f"alarm, but --force: {alarm}" in said.out and "next: python train.py" in said.out


def test_a_share_of_the_human_labels(work, capsys):
    assert dataset_processor.main([str(work), "--round", "0", "--recogniser", "human", "--set", "human_share=0.5"]) == 0
    assert "6 human labels are held back to judge by" in capsys.readouterr().out
    videos = WorkFolder(work).usable_videos()
    mine = videos[videos["split"] != "test"]
    group_of = dict(zip(mine["video_id"], mine["group"], strict=True))
    shards = (work / "rounds/00/labelled/actions").glob("*.parquet")
    used = {path.stem for path in shards if len(read_parquet(path))}
    assert len({group_of[video_id] or video_id for video_id in used}) == 6  # of 12 clips, each its own group
    whole = videos_taught(WorkFolder(work), videos, 1.0)
    assert used < whole == set(mine["video_id"])
    # Of the groups that someone labelled: six of twelve clips are, in three groups, of which two are used whole.
    pairs = {name: f"pair{at // 2}" for at, name in enumerate(sorted(whole))}
    for name in sorted(whole)[:6]:
        WorkFolder(work).truth_actions(name).unlink()
    paired = videos.assign(group=videos["video_id"].map(pairs).fillna(""))
    used = videos_taught(WorkFolder(work), paired, 0.6)
    assert len(used) == 4 and len({pairs[name] for name in used}) == 2 and used < set(sorted(whole)[6:])
    assert videos_taught(WorkFolder(work), videos[videos["split"] == "test"], 0.5) == set()


def test_a_larger_share_takes_what_a_smaller_one_took():
    groups = [f"g{n // 3}" for n in range(90)]
    shares = [share_of(groups, share) for share in (0.01, 0.1, 0.5, 1.0)]
    assert [len(used) for used in shares] == [1, 3, 15, 30]
    assert shares[0] < shares[1] < shares[2] < shares[3] == set(groups)


def test_what_was_said_is_said_again_in_the_next_command(work, capsys):
    def following(script, *options):
        assert script.main([str(work), *options]) == 0
        return capsys.readouterr().out.splitlines()[-1].removeprefix("next: python ")

    labelled = following(dataset_processor, "--round", "0", "--recogniser", "human", "--set", "human_share=0.8")
    assert labelled == f"dataset_cleaner.py {work} --round 0"
    following(dataset_cleaner, "--round", "0", "--keep", "0.7")
    assert following(dataset_processor, "--round", "0", "--recogniser", "human", "--set", "human_share=0.8") == (
        f"dataset_cleaner.py {work} --round 0 --keep 0.7"
    )
    said = following(train, "--round", "0", *SHORT, "--epochs", "1", "--batch-size", "8")
    assert said == f"dataset_processor.py {work} --round 1 --set human_share=0.8"
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert "round 0 was labelled with --set human_share=0.8, this one with no such option" in capsys.readouterr().out
    assert dataset_processor.main(shlex.split(said)[1:]) == 0
    out = capsys.readouterr().out
    assert "was labelled with" not in out
    cleaning = out.splitlines()[-1].removeprefix("next: python ")
    assert cleaning == f"dataset_cleaner.py {work} --round 1 --keep 0.7"
    again = following(dataset_cleaner, *shlex.split(cleaning)[2:], "--force")
    assert again == (
        f"train.py {work} --round 1 --architecture cnn3d --batch-size 8 --epochs 1 "
        "--set window_frames=4 --set window_seconds=0.4"
    )


def test_where_a_detector_was_trained_too_the_next_command_says_whose_turn_it_is(work, capsys):
    assert train.main([str(work), "--round", "0", *SHORT, "--epochs", "1"]) == 0
    capsys.readouterr()
    write_run_record(WorkFolder(work).round(0), RunRecord("trained", 0, {}, {}, output="detector"))
    assert train.main([str(work), "--round", "0", "--task", "actions", *SHORT, "--epochs", "1"]) == 0
    said = capsys.readouterr().out.splitlines()[-1].removeprefix("next: python ")
    assert said == f"dataset_processor.py {work} --round 1 --recogniser {work}/rounds/00/trained/recogniser.pt"
    assert dataset_processor.main(shlex.split(said)[1:]) == 0
    record = json.loads((work / "rounds/01/labelled/actions/run.json").read_text())
    assert "round 0 trained/actions" in record["inputs"]  # so that it is out of date when that student is trained anew


def test_a_verdict_on_an_action(work):
    rows = actions_of(work, 0)
    (work / "verdicts.csv").write_text(f"label_uid,verdict\n{rows['label_uid'][0]},n\n")
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    after = actions_of(work, 0).set_index("label_uid")
    assert after.loc[rows["label_uid"][0], "decision"] == "drop"
    assert (after["decision"] == "keep").sum() == 11


def test_a_verdict_that_renames_an_action(work):
    rows = actions_of(work, 0)
    uid, name = rows["label_uid"][0], next(move for move in MOVES if move != rows["class_name"][0])
    (work / "verdicts.csv").write_text(f"label_uid,verdict,class_name\n{uid},y,{name}\n")
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    after = actions_of(work, 0).set_index("label_uid")
    assert after.loc[uid, ["class_name", "decision", "origin"]].tolist() == [name, "keep", "human"]
    assert len(after) == 12


HUMAN_HEADER = "label_uid,video_id,track_id,start_frame,end_frame,class_name"


def test_stretches_of_a_person_replace_and_add(work, capsys):
    """The first label is said twice, the last time counts; one stretch is new; one is of a video unknown here."""
    rows = actions_of(work, 0)
    uid, video, name = rows.loc[0, ["label_uid", "video_id", "class_name"]]
    said = [f"{uid},{video},-1,0,9,{name}", f"{uid},{video},-1,2,6,{name}", f",{video},-1,6,8,rests", ",no,-1,0,1,x"]
    (work / "human_actions.csv").write_text("\n".join([HUMAN_HEADER, *said, ""]))
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    out = capsys.readouterr().out
    assert "12 labelled + 0 merged in + 2 of human_actions.csv - 1 that they replace" in out
    assert "human_actions.csv: 1 lines are of videos not usable here" in out
    assert "round 0 trained/actions: out of date, because round 0 cleaned/actions changed" in out
    after = actions_of(work, 0)
    assert len(after) == 13 and set(after["decision"]) == {"keep"} and set(after["origin"]) == {"human"}
    spans = after.set_index("label_uid").loc[uid, ["start_frame", "end_frame", "end_s"]].tolist()
    assert spans == [2, 6, pytest.approx(6 / WorkFolder(work).usable_videos()["fps"][0])]
    assert (after["class_name"] == "rests").sum() == 1
    # In the next round they stand too, and what the student says in their place does not.
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "1"]) == 0
    later = actions_of(work, 1)
    human = later[later["origin"] == "human"].set_index("label_uid")
    assert len(human) == 13 and human.loc[uid, "end_frame"] == 6
    # A person's own stretch is moved by its name, as it comes back from an export.
    own = after.loc[after["class_name"] == "rests", "label_uid"].iloc[0]
    with (work / "human_actions.csv").open("a") as opened:
        opened.write(f"{own},{video},-1,5,7,rests\n")
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    moved = actions_of(work, 0).set_index("label_uid")
    assert len(moved) == 13 and moved.loc[own, ["start_frame", "end_frame"]].tolist() == [5, 7]
    # Taken back, they are gone.
    (work / "human_actions.csv").unlink()
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    pd.testing.assert_frame_equal(actions_of(work, 0), rows)


@pytest.mark.parametrize("line", ["{0},-1,5,5,x", "{0},-1,0,999,x", "{0},-1,a,5,x", "{0},-1,0,5,", "{0},-2,0,5,x"])
def test_a_bad_stretch_is_named_and_changes_nothing(work, capsys, line):
    video = actions_of(work, 0)["video_id"][0]
    (work / "human_actions.csv").write_text(f"{HUMAN_HEADER}\n,{line.format(video)}\n")
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 2
    assert "human_actions.csv: line 2" in capsys.readouterr().err
    assert (work / "rounds/00/cleaned/actions/run.json").is_file()


def test_true_actions_and_players_boxes_are_inputs(work):
    truth = WorkFolder(work).truth_actions(actions_of(work, 0)["video_id"][0])
    write_parquet(truth, read_parquet(truth).assign(end_frame=4))
    late = out_of_date(WorkFolder(work))
    assert [line.split(":")[0] for line in late] == [f"round 0 {stage}/actions" for stage in STAGES]
    assert all("true actions changed" in line for line in late)
    arguments = ["--recogniser", "human", "--set", "per=player"]
    assert dataset_processor.main([str(work), "--round", "0", *arguments]) == 0
    inputs = read_json(work / "rounds/00/labelled/actions/run.json")["inputs"]
    assert inputs["round 0 cleaned"] == UNFINISHED and "truth" in inputs
    assert not any(line.startswith("round 0 labelled") for line in out_of_date(WorkFolder(work)))
    write_run_record(WorkFolder(work).round(0), RunRecord("cleaned", 0, {}, {}, output="boxes"))
    assert "round 0 labelled/actions: out of date, because round 0 cleaned changed" in out_of_date(WorkFolder(work))


def test_a_round_of_actions_alone_is_exported_and_looked_at(work, capsys):
    for name in ("kinetics", "labelstudio"):
        assert dataset_cleaner.main([str(work), "--round", "0", "--export", name]) == 0
        assert "= 12 used" in capsys.readouterr().out
    assert len((work / "rounds/00/export/kinetics/kinetics.csv").read_text().splitlines()) == 13
    for name, said in (("coco", "round 0 has actions alone, and coco holds boxes"), ("ava", "no action of a player")):
        assert dataset_cleaner.main([str(work), "--round", "0", "--export", name]) == 2
        assert said in capsys.readouterr().err
    assert visualise.main([str(work), "--set", "limit=1"]) == 0
    assert "visualise: 1 videos = 1 used" in capsys.readouterr().out
    report = (work / "report.html").read_text()
    assert "<h3>Actions</h3>" in report and "--audit 60" not in report and "unknown" not in report
    assert not list((work / "rounds/00/pictures").glob("sheet_*")) and "boxes dropped, by rule" not in report
    assert "Round 0 kept 12 actions." in report and "No clip here has truth" not in report and "boxes in" not in report
    assert "15 clips came with human labels of actions." in report and "No clip has truth" not in report
    for asked in (["--audit", "5"], ["--diff", "0", "0"]):
        assert visualise.main([str(work), *asked]) == 2, asked
        assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--without", "still"], ["--set", "min_size_pixels=2"]])
def test_options_of_boxes_are_refused_for_actions(work, capsys, options):
    assert dataset_cleaner.main([str(work), "--round", "0", *options]) == 2
    assert f"error: {options[0]}: of boxes alone" in capsys.readouterr().err


def test_keep_counts_for_actions_also_where_it_is_what_boxes_have(work):
    assert dataset_cleaner.main([str(work), "--round", "0", "--keep", "0.7"]) == 0
    assert read_json(work / "rounds/00/cleaned/actions/run.json")["arguments"]["keep_quality"] == 0.7


def test_a_clip_in_an_answer_out(work, archive, tmp_path, capsys):
    clip = archive / "test" / "falls" / "falls_4.mp4"
    student = work / "rounds/00/trained/recogniser.pt"
    assert visualise.main(["--clip", str(clip), "--recogniser", str(student), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "whole clip:" in out and all(move in out for move in MOVES)
    assert (tmp_path / "falls_4_actions.mp4").is_file()
    assert (tmp_path / "falls_4_actions.gif").read_bytes()[:6] == b"GIF89a"
    assert visualise.main(["--clip", str(tmp_path / "no.mp4"), "--recogniser", str(student)]) == 2
    assert visualise.main(["--clip", str(clip), "--recogniser", str(clip)]) == 2


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        (dataset_processor, ["--recogniser", "nobody"], "no such recogniser"),
        (dataset_processor, ["--recogniser", "human", "--detector", "motion"], "boxes or actions"),
        (dataset_processor, ["--masks", "sam", "--recogniser", "human"], "--masks: "),
        (dataset_processor, ["--masks", "sam", "--detector", "motion"], "--masks: "),
        (dataset_processor, ["--set", "track_masks=yes"], "--set track_masks: "),
        (dataset_processor, ["--recogniser", "human", "--set", "human_share=2"], "--set human_share"),
        (train, ["--task", "actions", "--architecture", "r4d"], "unknown"),
        (train, ["--task", "actions", "--continue"], "no round before"),
        (train, ["--task", "actions", "--architecture", "cnn3d+cnn3d"], "of pixels and joints"),
        (train, ["--task", "actions", "--architecture", "cnn3d", "--pose", "brought"], "looks at no joints"),
        (dataset_processor, ["--recogniser", "human", "--pose", "brought"], "--pose: "),
        (dataset_processor, ["--recogniser", "human", "--stride", "2"], "--stride: of boxes alone"),
        (dataset_processor, ["--detector", "motion", "--set", "per=player"], "--set per: of actions alone"),
        (
            train,
            ["--task", "actions", "--architecture", "pose", "--set", "mask_channel=yes"],
            "--set mask_channel: pose",
        ),
        (train, ["--task", "actions", *SHORT, "--folds", "99"], "--folds 99: fewer groups"),
        (
            train,
            ["--task", "actions", "--architecture", "mvit_v2_s", "--set", "window_frames=4"],
            "--set window_frames",
        ),
        (
            train,
            ["--architecture", "cnn3d", "--set", "window_seconds=0.001"],
            "--set window_seconds=0.001: from 0.05 to 60",
        ),
        (train, ["--architecture", "cnn3d+pose", "--set", "window_seconds=1e3"], "window_seconds=1000: from 0.05 to"),
    ],
)
def test_wrong_input_gets_one_line(work, capsys, script, arguments, said):
    assert script.main([str(work), "--round", "0", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error:" in error and said in error


def test_joints_that_came_with_clips_train_a_recogniser_of_poses(work, archive, tmp_path, monkeypatch, capsys):
    """Joints as an archive brings them, made here: they go where the square goes."""
    videos = WorkFolder(work).usable_videos()
    joints = ["nose", *(f"{side}{part}" for part in ("shoulder", "hip", "wrist") for side in "lr")]
    for video in videos.itertuples():
        random = np.random.default_rng(abs(hash(video.video_id)) % 1000)
        place = random.normal(0, 1, (len(joints), 2)) + np.arange(len(joints))[:, None]
        rows = [
            (at, joint, *(place[number] + (at if joint.endswith("wrist") else 0) * np.array(MOVES[video.class_name])))
            for at in range(int(video.frame_count))
            for number, joint in enumerate(joints)
        ]
        table = pd.DataFrame(rows, columns=["frame_index", "joint", "x", "y"])
        table = table.astype({"x": "float32", "y": "float32"})
        write_parquet(WorkFolder(work).truth_joints(video.video_id), table)
    assert train.main([str(work), "--round", "0", "--architecture", "pose_gru", "--epochs", "1"]) == 0
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    rows = actions_of(work, 1, "labelled")
    assert (rows["origin"] == "detected").sum() > 0
    changed = WorkFolder(work).truth_joints(videos["video_id"][0])
    write_parquet(changed, read_parquet(changed).assign(x=0.0).astype({"x": "float32"}))
    late = out_of_date(WorkFolder(work))
    assert "round 0 trained/actions: out of date, because true joints changed" in late
    assert (
        "round 1 labelled/actions: out of date, because round 0 trained/actions changed and true joints changed" in late
    )
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert f"{len(videos) - 1} videos were labelled already" in capsys.readouterr().out
    student = work / "rounds/00/trained/recogniser.pt"
    assert train.main([str(work), "--round", "0", "--architecture", "pose_gru", "--epochs", "1"]) == 0
    with_pixels = ["--architecture", "cnn3d+pose_gru", *SHORT[2:], "--epochs", "1"]
    assert train.main([str(work), "--round", "0", *with_pixels]) == 0
    settings = load_checkpoint(student, RECOGNISER)["settings"]
    assert 0 <= settings["weight"] <= 1 and settings["pixels"]["settings"]["frames"] == 4
    assert load_checkpoint(student, RECOGNISER)["temperature"] == 1  # its parts have theirs
    the_parts_of_a_fusion_are_measured_alone(work, RecognitionSettings("cnn3d+pose_gru", frames=4, seconds=0.4))
    before = file_digest(student)
    capsys.readouterr()
    assert train.main([str(work), "--round", "0", *with_pixels]) == 0 and file_digest(student) == before
    out = capsys.readouterr().out
    assert "trained already" in out and "  cnn3d alone: top-1 " in out and "  pose_gru alone: top-1 " in out
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    rows = actions_of(work, 1, "labelled")
    assert (rows["origin"] == "detected").sum() > 0
    clip = archive / "test" / "falls" / "falls_4.mp4"
    of_pixels = work / "rounds/00/trained/actions/cnn3d/recogniser.pt"  # asks for no joints
    assert visualise.main(["--clip", str(clip), "--recogniser", str(of_pixels), "--out", str(tmp_path / "pixels")]) == 0
    assert "whole clip:" in capsys.readouterr().out
    asked = ["--clip", str(clip), "--recogniser", str(student), "--out", str(tmp_path)]
    monkeypatch.setattr(clip_actions, "load_pose_estimator", nobody)
    assert visualise.main(asked) == 2
    assert f"no weights; or --recogniser {of_pixels}, which looks at pixels" in capsys.readouterr().err
    monkeypatch.setattr(clip_actions, "load_pose_estimator", lambda name, device: Seen())
    assert visualise.main(asked) == 0
    assert "whole clip:" in capsys.readouterr().out and (tmp_path / "falls_4_actions.gif").is_file()


def the_parts_of_a_fusion_are_measured_alone(work, settings):
    """By what each part's own file says of the test clips' windows; calibration errors tell any two apart."""
    folder = WorkFolder(work).round(0)
    measured = read_json(folder.stage("trained") / "actions/metrics.json")
    data = gather_actions(WorkFolder(work), folder, preset_for(settings), settings)
    windows = data.windows["test"]
    for name, reads in (("cnn3d", "pixels"), ("pose_gru", "joints")):
        part = recogniser_from_file(folder.stage("trained") / "actions" / name / "recogniser.pt")
        said = part.recognise(np.stack([data.read(window)[reads] for window in windows]))
        labels, said = by_label(windows, said)
        error = calibration_error(np.array([label.class_id for label in labels]), said)
        assert measured["parts"][name]["test"]["ece"] == pytest.approx(error, abs=1e-3)
        assert measured["parts"][name]["validation"]["labels"] == measured["validation"]["labels"]


def nobody(name, device):
    raise InputError("no weights")


class Seen:
    """Stands in for a keypoint network: one person, all joints in the middle of the frame."""

    name, digest, batch_size = "seen", "1", 4

    def look(self, rgbs, boxes=None):
        return [People(np.array([[5, 5, 40, 40.0]]), np.ones(1), np.full((1, 13, 2), 20.0)) for _ in rgbs]
