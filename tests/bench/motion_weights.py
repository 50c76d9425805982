"""Fits the weights of the `motion` labeller's scores on rendered clips, and says what they are worth on others.

    python tests/bench/motion_weights.py --keep FOLDER            # writes labels/models/motion_weights.json
    python tests/bench/motion_weights.py --keep FOLDER --check    # only judges those that are there
    python tests/bench/motion_weights.py --keep FOLDER --fit score --filmed WORK    # on filmed clips with truth too

A blob is the ball when its centre lies in the box of the ball in play and it is about as large; what lies within
another ball's box, or a hardly visible one's, is left out. First the network that judges a look is fitted, then, on
what it says, the logistic sum of look and path; of blobs that share a place, the weights that are there choose the one
that counts for that. Filmed clips count alike, and together as much as the rendered ones; of each it is printed what
weights that were fitted without it make of it. About a quarter of an hour on one core.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from loop_runs import BALL, stage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from labels.models.detectors.motion import (
    WEIGHTS,
    WEIGHTS_FILE,
    MotionDetector,
    Seen,
    best_of_each,
    look_features,
    network_odds,
    score_features,
    score_of,
)
from labels.models.settings import MotionSettings
from labels.records.geometry import centre_of, contains_matrix, size_of
from labels.records.safe_writing import write_text
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import Frame, decode_frames
from labels.videos.synthetic.rendering import FIRST_BALL_TRACK

SETTINGS = MotionSettings()
LEAST_SEEN = 0.3  # of a ball, from which it counts
SIZES = (0.5, 1.6)  # of a ball's: what is smaller or larger is not it alone
HIDDEN, EPOCHS = 16, 40
FRAMES = 60  # of a clip
EVERY = 2  # frame of a clip: its neighbours are much alike

Judged = tuple[Seen, np.ndarray, np.ndarray]  # a frame, the boxes (N, 4) of blobs in its copy, their features (N, F)


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
CHECKED = (Clips(43, "hard", 640, 16), Clips(57, "easy", 320, 16))


def rendered(folder: Path, clips: Clips) -> WorkFolder:
    work = folder / f"{clips.difficulty}{clips.seed}_{clips.count}x{FRAMES}x{clips.width}"
    if not (work / "videos.parquet").is_file():
        sizes = {"clips": clips.count, "frames": FRAMES, "width": clips.width, "height": clips.width * 9 // 16}
        words = ["--seed", str(clips.seed), "--set", f"difficulty={clips.difficulty}", "--held-out", "0"]
        words += [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
        stage("dataset_downloader.py", work, "--from", "synthetic", *words)
    return WorkFolder(work)


def is_ball(xyxy: np.ndarray, truth: pd.DataFrame, filmed: bool) -> np.ndarray:
    """Of boxes (N, 4) of one frame: 1 a ball (of rendered ones, that in play), 0 not, -1 nobody can say."""
    said = np.zeros(len(xyxy), dtype=int)
    centre, size = centre_of(xyxy), np.sqrt(size_of(xyxy).prod(axis=1))
    for ball in truth[truth["class_name"].isin(BALL)].itertuples():
        box = np.array([[ball.x1, ball.y1, ball.x2, ball.y2]])
        if ball.x1 == ball.x2:  # a point, of a ball of whatever size
            inside = contains_matrix(xyxy, centre_of(box))[:, 0]
            whole = np.median(size[inside]) if inside.any() else 1.0
        else:
            inside = contains_matrix(box, centre)[0]
            whole = np.sqrt(size_of(box).prod())
        counts = (filmed or ball.track_id <= FIRST_BALL_TRACK) and ball.visibility >= LEAST_SEEN
        fits = inside & (size > SIZES[0] * whole) & (size < SIZES[1] * whole)
        said[inside & (said == 0)] = -1
        said[fits & counts] = 1
    return said


def looks_in(frames: Iterable[Frame]) -> Iterator[Judged]:
    """All blobs of each frame, and what is seen of them."""
    for seen, blobs in MotionDetector().blobs_of(frames):
        yield seen, blobs.xyxy, look_features(blobs, seen.small.pixels.shape[0])


def paths_in(frames: Iterable[Frame]) -> Iterator[Judged]:
    """The best of those that share a place in each frame, and what their score is the sum of."""
    for seen, evidence in MotionDetector().judged(frames):
        features = score_features(seen.look, evidence, SETTINGS)
        best = best_of_each(seen.blobs.xyxy, score_of(seen.look, evidence, SETTINGS))
        yield seen, seen.blobs.xyxy[best], features[best]


def gather(
    work: WorkFolder, judged_in: Callable[[Iterable[Frame]], Iterator[Judged]], filmed: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each clip of a folder the features (N, F) of its blobs, and whether each is the ball (N,)."""
    for video in work.usable_videos().itertuples():
        truth, parts = work.read_truth(video.video_id), []
        frames = (frame for frame in decode_frames(work.videos / video.file) if not frame.is_repeated)
        for seen, xyxy, features in judged_in(frames):
            at = seen.frame.frame_index
            of_frame = truth[truth["frame_index"] == at]
            if len(of_frame) if filmed else at % EVERY == 0:  # a filmed frame without truth is unknown
                parts.append((features, is_ball(xyxy / seen.small.scale, of_frame, filmed)))
        features, said = (np.concatenate(part) for part in zip(*parts, strict=True))
        yield features[said >= 0], said[said >= 0]


def joined(clips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([features for features, _ in clips]), np.concatenate([said for _, said in clips])


def weighed(
    rendered_clips: list[tuple[np.ndarray, np.ndarray]], filmed_clips: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All features (N, F), what is a ball (N,), and how much each counts (N,), 1 on average."""
    features, said = joined([*rendered_clips, *filmed_clips])
    total = sum(len(one) for _, one in rendered_clips)
    parts = [np.ones(total)]
    parts += [np.full(len(one), total / len(filmed_clips) / max(len(one), 1)) for _, one in filmed_clips]
    weight = np.concatenate(parts)
    return features, said, weight / weight.mean()


def fitted_look(features: np.ndarray, said: np.ndarray, weight: np.ndarray) -> list:
    scaler = StandardScaler().fit(features)
    steps = {"batch_size": 256, "learning_rate_init": 1e-3, "max_iter": EPOCHS, "n_iter_no_change": EPOCHS}
    network = MLPClassifier((HIDDEN,), "tanh", alpha=3e-3, random_state=0, **steps)
    network.fit(scaler.transform(features), said, sample_weight=weight)
    first = network.coefs_[0] / scaler.scale_[:, None]
    layers = [(first, network.intercepts_[0] - scaler.mean_ @ first), (network.coefs_[1], network.intercepts_[1])]
    return [[weights.round(4).tolist(), biases.round(4).tolist()] for weights, biases in layers]


def fitted_score(features: np.ndarray, said: np.ndarray, weight: np.ndarray) -> list:
    fit = LogisticRegression(C=10, fit_intercept=False, max_iter=1000).fit(features, said, sample_weight=weight)
    return fit.coef_[0].round(4).tolist()


def judge(name: str, log_odds: np.ndarray, said: np.ndarray) -> None:
    if not 0 < said.sum() < len(said):
        return
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
    parser.add_argument("--keep", type=Path, help="keep the clips here; a new folder where the renderer changed")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--fit", nargs="*", choices=list(STEPS), default=list(STEPS), help="what is fitted anew")
    parser.add_argument("--filmed", type=Path, help="a work folder of filmed clips with truth, fitted to as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        works = [] if args.check else [rendered(folder, clips) for clips in FITTED]
        for name in args.fit if works else ():
            judged_in, fit, log_odds_of = STEPS[name]
            clips = [clip for work in works for clip in gather(work, judged_in)]
            filmed = list(gather(WorkFolder(args.filmed), judged_in, filmed=True)) if args.filmed else []
            features, said, weight = weighed(clips, filmed)
            print(f"{name}: fitted to {len(said)} blobs, {said.sum()} of them balls", flush=True)
            for number, video_id in enumerate(WorkFolder(args.filmed).usable_videos()["video_id"] if filmed else ()):
                others = filmed[:number] + filmed[number + 1 :]
                judge(
                    f"{video_id}, {name}",
                    log_odds_of(fit(*weighed(clips, others)), filmed[number][0]),
                    filmed[number][1],
                )
            WEIGHTS[name] = fit(features, said, weight)  # by which the second fit judges looks
        if works:
            lines = ",\n".join(f' "{name}": {json.dumps(values)}' for name, values in WEIGHTS.items())
            write_text(WEIGHTS_FILE, f"{{\n{lines}\n}}\n")
        for clips in CHECKED:
            for name, (judged_in, _, log_odds_of) in STEPS.items():
                features, said = joined(list(gather(rendered(folder, clips), judged_in)))
                judge(
                    f"{clips.difficulty} clips of seed {clips.seed}, {name}", log_odds_of(WEIGHTS[name], features), said
                )


# What is fitted: the features, the fit, and the log-odds of features (N, F) by weights.
STEPS = {
    "look": (looks_in, fitted_look, lambda weights, features: network_odds(features, weights)),
    "score": (paths_in, fitted_score, lambda weights, features: features @ np.array(weights)),
}

if __name__ == "__main__":
    main()
