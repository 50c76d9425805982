"""Tennis shots from joints: trained on one player, judged on others; then with the others as unlabelled clips.

    python tests/bench/pose_transfer.py --path REAL/poses/tennis --train nadal --judge djoko_sock --seeds 0 1 2 3 4

`--path` holds a folder a player with CSVs of 13 joints (columns <joint>_y, <joint>_x, shot). Prints accuracy and
macro-F1 of round 0 (trained on --train alone) and of the rounds after, in which the judged players' clips are trained
on by the labels that the student before gave them, where cleaning kept these. `--kind pose_gru` for the baseline.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from labels.cleaning.actions.decisions import decide_actions
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_intervals import action_uid, probabilities_json
from labels.models.recognisers.pose_networks import JOINTS
from labels.models.recognisers.recogniser import build_recogniser, load_recogniser, preset_of
from labels.records import tables
from labels.training.actions.data import LabelledWindow
from labels.training.actions.metrics import confusion_matrix, macro_f1
from labels.training.actions.task import RecognitionTask
from labels.training.fit import fit
from labels.training.optimisation import seed_everything
from labels.training.settings import RecognitionSettings
from labels.training.training_folder import TrainingFolder


def read_player(folder: Path) -> dict[str, tuple[np.ndarray, str]]:
    clips = {}
    for path in sorted(folder.glob("*.csv")):
        rows = pd.read_csv(path)
        joints = np.stack([rows[[f"{name}_x", f"{name}_y"]].to_numpy(np.float32) for name in JOINTS], axis=1)
        clips[f"{folder.name}/{path.stem}"] = (joints, str(rows["shot"].iloc[0]))
    return clips


def rows_of(names, class_ids, scores, origin, classes, probabilities=None) -> pd.DataFrame:
    count = len(names)
    said = np.eye(len(classes))[class_ids] if probabilities is None else probabilities
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [
                action_uid(name, 0, -1, 0, 1, classes[at], origin) for name, at in zip(names, class_ids, strict=True)
            ],
            "video_id": list(names),
            "track_id": [tables.NO_TRACK] * count,
            "start_frame": [0] * count,
            "end_frame": [1] * count,
            "start_s": [0.0] * count,
            "end_s": [1.0] * count,
            "class_name": [classes[at] for at in class_ids],
            "score": scores,
            "probabilities": [probabilities_json(classes, row) for row in said],
            "origin": origin,
            "round_born": 0,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--train", nargs="+", default=["nadal"])
    parser.add_argument("--judge", nargs="+", default=["djoko_sock"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=2, help="after round 0")
    parser.add_argument("--kind", default="pose")
    parser.add_argument("--epochs", type=int, default=RecognitionSettings.epochs)
    args = parser.parse_args()
    taught = {key: clip for player in args.train for key, clip in read_player(args.path / player).items()}
    judged = {key: clip for player in args.judge for key, clip in read_player(args.path / player).items()}
    clips = taught | judged
    classes = tuple(sorted({shot for _, shot in taught.values()}))
    truth = np.array([classes.index(shot) for _, shot in judged.values()])
    preset = preset_of(args.kind)
    human = rows_of(list(taught), [classes.index(shot) for _, shot in taught.values()], 1.0, "human", classes)
    for seed in args.seeds:
        old = None
        rows = human.assign(decision="keep", quality=np.float32(1))
        for number in range(args.rounds + 1):
            started = time.monotonic()
            rate = RecognitionSettings.rate_for(args.kind)
            settings = RecognitionSettings(args.kind, args.epochs, 32, learning_rate=rate, seed=seed)
            windows = [
                LabelledWindow(
                    row.label_uid,
                    row.video_id,
                    row.video_id,
                    0,
                    classes.index(row.class_name),
                    float(row.quality),
                    row.origin == "human",
                )
                for row in rows.itertuples()
                if row.decision == "keep"
            ]
            task = RecognitionTask(classes, preset, lambda window: clips[window.video_id][0], settings)
            seed_everything(seed, 2**32 - 1)
            network = build_recogniser(args.kind, len(classes), preset, False)
            with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
                folder = TrainingFolder(Path(scratch), "recogniser")
                fit(network, task, windows, [], folder, str(asdict(settings)), asdict(preset))
                student = load_recogniser(str(folder.best))
            said = np.concatenate([student.recognise(joints[None]) for joints, _ in judged.values()])
            best = said.argmax(axis=1)
            confusion = confusion_matrix(truth, best, len(classes))
            line = f"accuracy {np.mean(best == truth):.3f}  macro-F1 {macro_f1(confusion):.3f}"
            found = rows_of(list(judged), best, said.max(axis=1), "detected", classes, said)
            decided = decide_actions(tables.concatenate([human, found], tables.ACTIONS), old, classes, ActionSettings())
            rows = old = decided.actions
            kept = rows[(rows["decision"] == "keep") & (rows["origin"] == "detected")]
            right = np.mean([judged[row.video_id][1] == row.class_name for row in kept.itertuples()])
            print(
                f"{args.kind} seed {seed} round {number}: {line}; its labels: {len(kept) / len(judged):.2f} kept, "
                f"{right:.3f} of them right; {time.monotonic() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
