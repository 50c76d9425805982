"""Fits the weights of the `motion` labeller's scores on rendered clips, and says what they are worth on others.

    python tests/bench/motion_weights.py --keep FOLDER            # writes labels/models/motion_weights.json
    python tests/bench/motion_weights.py --keep FOLDER --check    # only judges those that are there

A blob is the ball when its centre lies in the box of the ball in play and it is about as large; what lies within
another ball's box, or a hardly visible one's, is left out. First the network that judges a look is fitted, then, on
what it says, the logistic sum of look and path. About a quarter of an hour on one core.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from loop_runs import BALL, stage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from labels.models import motion_scoring
from labels.models.motion import MotionDetector
from labels.models.motion_scoring import best_of_each, look_features, look_odds, score_features, score_of
from labels.models.settings import MotionSettings
from labels.records.geometry import centre_of, size_of
from labels.records.work_folder import WorkFolder
from labels.videos.decoding import decode_frames
from labels.videos.scene_rendering import FIRST_BALL_TRACK

SETTINGS = MotionSettings()
LEAST_SEEN = 0.3  # of a ball, from which it counts
SIZES = (0.5, 1.6)  # of a ball's: what is smaller or larger is not it alone
HIDDEN, EPOCHS = 16, 40
EVERY = 2  # frame of a clip: its neighbours are much alike


class Clips(NamedTuple):
    seed: int
    difficulty: str
    width: int
    count: int


FITTED = (
    Clips(51, "hard", 640, 32),
    Clips(52, "hard", 640, 32),
    Clips(53, "hard", 640, 32),
    Clips(54, "easy", 640, 24),
    Clips(55, "hard", 320, 24),
    Clips(56, "easy", 320, 24),
)
JUDGED = (Clips(43, "hard", 640, 16), Clips(57, "easy", 320, 16))


def rendered(folder: Path, clips: Clips) -> WorkFolder:
    work = folder / f"{clips.difficulty}{clips.seed}"
    if not (work / "videos.parquet").is_file():
        sizes = {"clips": clips.count, "frames": 60, "width": clips.width, "height": clips.width * 9 // 16}
        words = ["--seed", str(clips.seed), "--difficulty", clips.difficulty, "--held-out", "0"]
        words += [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
        stage("dataset_downloader.py", work, "--from", "synthetic", *words)
    return WorkFolder(work)


def is_ball(xyxy: np.ndarray, truth) -> np.ndarray:
    """Of boxes (N, 4) of one frame: 1 the ball in play, 0 not, -1 nobody can say."""
    said = np.zeros(len(xyxy), dtype=int)
    centre, size = centre_of(xyxy), np.sqrt(size_of(xyxy).prod(axis=1))
    for ball in truth[truth["class_name"].isin(BALL)].itertuples():
        inside = (centre >= (ball.x1, ball.y1)).all(axis=1) & (centre < (ball.x2, ball.y2)).all(axis=1)
        whole = np.sqrt((ball.x2 - ball.x1) * (ball.y2 - ball.y1))
        counts = ball.track_id <= FIRST_BALL_TRACK and ball.visibility >= LEAST_SEEN
        fits = inside & (size > SIZES[0] * whole) & (size < SIZES[1] * whole)
        said[inside & (said == 0)] = -1
        said[fits & counts] = 1
    return said


def seen_looks(work: WorkFolder) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of all blobs (N, F), and what they are (N,)."""
    parts = []
    for video in work.usable_videos().itertuples():
        truth = work.read_truth(video.video_id)
        for seen, blobs in MotionDetector().blobs_of(decode_frames(work.videos / video.file)):
            at = seen.frame.frame_index
            if at % EVERY == 0:
                said = is_ball(blobs.xyxy / seen.small.scale, truth[truth["frame_index"] == at])
                parts.append((look_features(blobs, seen.small.pixels.shape[0]), said))
    features, said = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features[said >= 0], said[said >= 0]


def seen_paths(work: WorkFolder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the score of the best of each blobs is the sum of (N, 4), their looks' part of it (N,), what they are."""
    parts = []
    for video in work.usable_videos().itertuples():
        truth = work.read_truth(video.video_id)
        for seen, evidence in MotionDetector().judged(decode_frames(work.videos / video.file)):
            at = seen.frame.frame_index
            if at % EVERY == 0:
                best = best_of_each(seen.blobs.xyxy, score_of(seen.look, evidence, SETTINGS))
                said = is_ball(seen.blobs.xyxy[best] / seen.small.scale, truth[truth["frame_index"] == at])
                parts.append((score_features(seen.look, evidence, SETTINGS)[best], said))
    features, said = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features[said >= 0], said[said >= 0]


def fitted_look(features: np.ndarray, said: np.ndarray) -> list:
    scaler = StandardScaler().fit(features)
    steps = {"batch_size": 256, "learning_rate_init": 1e-3, "max_iter": EPOCHS, "n_iter_no_change": EPOCHS}
    network = MLPClassifier((HIDDEN,), "tanh", alpha=3e-3, random_state=0, **steps)
    network.fit(scaler.transform(features), said)
    first = network.coefs_[0] / scaler.scale_[:, None]
    layers = [(first, network.intercepts_[0] - scaler.mean_ @ first), (network.coefs_[1], network.intercepts_[1])]
    return [[weights.round(4).tolist(), biases.round(4).tolist()] for weights, biases in layers]


def fitted_score(features: np.ndarray, said: np.ndarray) -> list:
    fit = LogisticRegression(C=10, fit_intercept=False, max_iter=1000).fit(features, said)
    return fit.coef_[0].round(4).tolist()


def judge(name: str, log_odds: np.ndarray, said: np.ndarray) -> None:
    chance = 1 / (1 + np.exp(-log_odds))
    found = np.sort(log_odds[said == 1])
    wrong = [int((log_odds[said == 0] >= found[int((1 - recall) * len(found))]).sum()) for recall in (0.5, 0.7, 0.9)]
    print(
        f"{name}: log loss {log_loss(said, chance):.5f}, area {roc_auc_score(said, log_odds):.4f}, {len(found)} balls; "
        f"others above 0.5, 0.7, 0.9 of them: {wrong}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the clips here")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        if not args.check:
            works = [rendered(folder, clips) for clips in FITTED]
            for name, gather, fit in (("look", seen_looks, fitted_look), ("score", seen_paths, fitted_score)):
                features, said = (np.concatenate(part) for part in zip(*map(gather, works), strict=True))
                print(f"{name}: fitted to {len(said)} blobs, {said.sum()} of them balls", flush=True)
                motion_scoring.WEIGHTS[name] = fit(features, said)
            lines = ",\n".join(f' "{name}": {json.dumps(values)}' for name, values in motion_scoring.WEIGHTS.items())
            motion_scoring.WEIGHTS_FILE.write_text(f"{{\n{lines}\n}}\n")
        for clips in JUDGED:
            work = rendered(folder, clips)
            for name, gather in (("look", seen_looks), ("score", seen_paths)):
                features, said = gather(work)
                log_odds = (
                    features @ np.array(motion_scoring.WEIGHTS["score"]) if name == "score" else look_odds(features)
                )
                judge(f"{clips.difficulty} clips of seed {clips.seed}, {name}", log_odds, said)


if __name__ == "__main__":
    main()
