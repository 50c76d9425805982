"""Fits the weights of a label's quality to clips with truth, and says what they are worth on clips left out.

    python tests/bench/fit_quality.py --work RENDERED [RENDERED …] --work REAL …     # writes quality_weights.json
    python tests/bench/fit_quality.py --work RENDERED --work REAL --check            # only judges

Work folders of one `--work` are one set. The last set, of filmed clips, counts twice as much as the others together,
which count alike; so does every clip of a set. All labelled rounds of a folder are cleaned again in memory, one after
the other. A box is right when its centre lies in a ball that is at least a quarter visible and it is about as large; of
several such boxes only the one of the best size counts. Frames without truth say nothing.

One more set are scenes without pixels (`tests/simulated_balls.py`): lamps, heads and strays of a labeller that is not
sure of anything. The fit is a logistic regression with a weak pull towards 0. Every weight keeps the sign of its term,
and no term may come to more than `MOST` log-odds. Because the surest balls of a clip, which the term `appearance`
compares with, depend on the weights, clips are cleaned and weights fitted twice. Printed are precision / recall / F1 of
the detected boxes of the last set from each quality on, of each clip by weights that were fitted without it, and the
reliability of those qualities.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from loop_runs import BALL, figures
from scipy.optimize import minimize

from labels.cleaning.features.quality import TERMS, WEIGHTS, WEIGHTS_FILE, quality_terms
from labels.cleaning.features.scores import ScoreScale, probability, scales_from
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.video import CleanedVideo, clean_video
from labels.records import tables
from labels.records.geometry import centre_of, contains_matrix, size_of
from labels.records.matching import MIN_VISIBILITY, MatchCounts, count_matches
from labels.records.run_records import read_run_record
from labels.records.safe_writing import read_parquet, write_text
from labels.records.video_labels import read_video_labels
from labels.records.work_folder import WorkFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from simulated_balls import clean_table, make_scene

MOST = 3.0  # log-odds that a term may come to
PULL = 0.005  # towards 0, of weights in units of their terms' spread
PASSES = 2
FILMED, FILMED_SHARE = -1, 2.0  # the number of the last set, and its weight against all the others together
SCENES = range(1000, 1016)  # seeds
MOST_SIZE_RATIO = 2.2
EARLY = ("overlap", "aspect", "large", "small", "overlay")  # rules that are asked before paths are looked for
LIMITS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)


@dataclass
class Round:
    """The boxes of one round of a clip that are judged by their quality, their terms, and whether they are right."""

    clip: str
    set_number: int
    boxes: pd.DataFrame
    terms: np.ndarray  # (N, T)
    right: np.ndarray  # (N,) 1, 0 or -1: nobody can say
    truth: pd.DataFrame


def is_right(boxes: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    """Of boxes (N,) of one video: 1 a ball, 0 not, -1 nobody can say."""
    frames = boxes["frame_index"].to_numpy()
    said = np.where(np.isin(frames, truth["frame_index"]), 0, -1)
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    size = np.sqrt(size_of(xyxy).prod(axis=1))
    for ball in truth[truth["class_name"].isin(BALL)].itertuples():
        at = np.flatnonzero(frames == ball.frame_index)
        box = np.array([[ball.x1, ball.y1, ball.x2, ball.y2]])
        if ball.x1 == ball.x2:  # a point: of the boxes that hold it the smallest is the ball
            at = at[contains_matrix(xyxy[at], centre_of(box))[:, 0]]
            off = np.log(size[at] / size[at].min()) if len(at) else size[at]
        else:
            at = at[contains_matrix(box, centre_of(xyxy[at]))[0]]
            off = np.abs(np.log(size[at] / np.sqrt(size_of(box).prod())))
        fits = off <= np.log(MOST_SIZE_RATIO)
        said[at[fits]] = -1
        if fits.any() and ball.visibility >= MIN_VISIBILITY:
            said[at[np.argmin(off)]] = 1
    return said


def read_rounds(root: Path, set_number: int) -> list[Round]:
    """All labelled rounds of a work folder's clips with truth, cleaned again by the weights that are in force."""
    work, rounds = WorkFolder(root), []
    numbers = [number for number in work.round_numbers() if read_run_record(work.round(number), "labelled")]
    for video_id in work.usable_videos()["video_id"]:
        truth, old = work.read_truth(video_id), None
        for number in numbers if truth is not None else ():
            folder = work.round(number)
            if not folder.boxes("labelled", video_id).is_file():
                break
            record = read_run_record(folder, "labelled")
            scales = scales_from(record.facts["labeller"]["sources"])
            labelled = read_video_labels(folder.boxes("labelled", video_id))
            camera = folder.camera(video_id)
            camera = read_parquet(camera) if camera.is_file() else None
            cleaned = clean_video(labelled, number, scales, CleaningSettings(), old, camera)
            old = cleaned.labels
            rounds.append(judged(f"{root.name}/{video_id}", set_number, cleaned, truth))
    return rounds


def judged(clip: str, set_number: int, cleaned: CleanedVideo, truth: pd.DataFrame) -> Round:
    """The balls of a cleaned video that no early rule took out."""
    boxes = cleaned.boxes.set_index("label_uid").loc[cleaned.evidence.index]
    asked = (boxes["class_name"].isin(BALL) & ~boxes["reason"].str.match("|".join(EARLY))).to_numpy()
    boxes, evidence = boxes[asked].reset_index(), cleaned.evidence[asked]
    terms = quality_terms(evidence).to_numpy(dtype=np.float64)
    return Round(clip, set_number, boxes, terms, is_right(boxes, truth), truth)


def simulated_rounds(set_number: int) -> list[Round]:
    """Scenes of no to three balls, with and without lamps and heads, under a camera that pans or does not."""
    rounds = []
    for seed in SCENES:
        rng = np.random.default_rng(seed)
        few = {
            name: int(rng.integers(*most)) for name, most in {"balls": (0, 4), "heads": (0, 5), "lamps": (0, 3)}.items()
        }
        shares = {"miss": float(rng.uniform(0.1, 0.5)), "pan": float(rng.uniform(0, 6))}
        scene = make_scene(seed, frame_count=90, stride=int(rng.integers(1, 3)), **few, **shares)
        scales = {("", BALL[0]): ScoreScale(0.5)}
        cleaned = clean_table(scene.labelled, 0, scales, CleaningSettings(), None, scene.camera)
        rounds.append(judged(f"simulated/{seed}", set_number, cleaned, scene.truth))
    return rounds


def fitted(rounds: Sequence[Round]) -> dict[str, float]:
    """The weights, with `constant`. Sets count alike, clips of a set, rounds of a clip, boxes of a round."""
    clips = pd.DataFrame({"set": [one.set_number for one in rounds], "clip": [one.clip for one in rounds]})
    share = 1 / clips.groupby("set")["clip"].transform("nunique") / clips.groupby("clip")["clip"].transform("size")
    share *= np.where(clips["set"] == FILMED, FILMED_SHARE * max(clips["set"].nunique() - 1, 1), 1.0)
    parts = [
        (one.terms[one.right >= 0], one.right[one.right >= 0], np.full((one.right >= 0).sum(), each))
        for one, each in zip(rounds, share / share.sum(), strict=True)
    ]
    parts = [(terms, right, weight / len(right)) for terms, right, weight in parts if len(right)]
    terms, right, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    weight = weight / weight.sum()
    middle = weight @ terms
    spread = np.maximum(np.sqrt(weight @ (terms - middle) ** 2), 1e-3)
    features = np.column_stack([terms / spread, np.ones(len(terms))])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        odds = features @ values
        gradient = features.T @ (weight * (probability(odds) - right))
        gradient[:-1] += PULL * values[:-1]
        return weight @ (np.logaddexp(0, odds) - right * odds) + PULL / 2 * (values[:-1] ** 2).sum(), gradient

    most = MOST * spread / np.array([term.limit for term in TERMS.values()])
    bounds = [
        (0 if term.sign > 0 else -limit, 0 if term.sign < 0 else limit)
        for term, limit in zip(TERMS.values(), most, strict=True)
    ]
    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    names = [*TERMS, "constant"]
    return {
        name: round(float(value), 3) for name, value in zip(names, [*found.x[:-1] / spread, found.x[-1]], strict=True)
    }


def qualities(one: Round, weights: dict[str, float]) -> np.ndarray:
    return probability(one.terms @ np.array([weights[name] for name in TERMS]) + weights["constant"])


def judge(rounds: list[Round]) -> None:
    """Print every clip as judged by weights that were fitted without it."""
    quality_of, totals = [], {}
    for clip in dict.fromkeys(one.clip for one in rounds if one.set_number == FILMED):
        weights = fitted([one for one in rounds if one.clip != clip])
        for one in (one for one in rounds if one.clip == clip):
            quality = qualities(one, weights)
            quality_of.append((one, quality))
            scored = one.boxes.assign(score=quality)
            counts = [count_matches(scored[quality >= limit], one.truth, class_names=BALL) for limit in LIMITS]
            for limit, found in zip(LIMITS, counts, strict=True):
                key = (one.set_number, limit)
                totals[key] = [*totals.get(key, []), found]
            print(
                f"{clip:40}",
                "  ".join(f"{limit}: {figures(found)}" for limit, found in zip(LIMITS, counts, strict=True)),
            )
    for (number, limit), found in sorted(totals.items()):
        mean = np.mean([one.f1 for one in found])
        print(f"set {number} from {limit}: {figures(sum(found, MatchCounts()))}, mean of clips {mean:.3f}")
    right = np.concatenate([one.right[one.right >= 0] for one, _ in quality_of])
    quality = np.concatenate([each[one.right >= 0] for one, each in quality_of])
    for low, high in pairwise(BINS):
        at = (quality >= low) & (quality < high)
        if at.any():
            print(f"{low} to {high}: {at.sum()} boxes, mean {quality[at].mean():.3f}, right {right[at].mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", action="append", required=True)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    sets = args.work[:-1]
    for turn in range(1 if args.check else PASSES):
        rounds = [one for number, roots in enumerate(sets) for root in roots for one in read_rounds(root, number)]
        rounds += [one for root in args.work[-1] for one in read_rounds(root, FILMED)] + simulated_rounds(len(sets))
        if not args.check:
            WEIGHTS.clear()
            WEIGHTS.update(fitted(rounds))
            print(f"pass {turn + 1}: {json.dumps(WEIGHTS)}", flush=True)
    judge(rounds)
    if not args.check:
        write_text(WEIGHTS_FILE, json.dumps(WEIGHTS, indent=1) + "\n")


if __name__ == "__main__":
    main()
