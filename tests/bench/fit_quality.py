"""Fits the weights of a label's quality to clips with truth, and says what they are worth on clips left out.

    python tests/bench/fit_quality.py --work RENDERED [RENDERED …] --work REAL …     # writes quality_weights.json
    python tests/bench/fit_quality.py --work RENDERED --work REAL --check            # only judges

Work folders of one `--work` are one set. The last set, of filmed clips, counts twice as much as the others together,
which count alike; so does every clip of a set. A clip may be in several folders, labelled by others. All labelled
rounds of a folder are cleaned again in memory, one after the other. A box is right when its centre lies in a ball that
is at least a quarter visible and it is about as large; of several such boxes only the one of the best size counts.
Frames without truth say nothing.

One more set are scenes without pixels (`tests/simulated_balls.py`): lamps, heads and strays of a labeller that is not
sure of anything. The fit is a logistic regression with a weak pull towards 0. Every weight keeps the sign of its term,
and no term may come to more than `MOST` log-odds. Because the surest balls of a clip, which the term `appearance`
compares with, depend on the weights, clips are cleaned and weights fitted twice. Printed are the kept labels of each
clip of the last set, cleaned by weights that were fitted without it, what became of its lost balls, and the reliability
of those qualities.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from loop_runs import BALL, figures
from scipy.optimize import minimize

from labels.cleaning.features.quality import TERMS, WEIGHTS, WEIGHTS_FILE, quality_terms
from labels.cleaning.features.scores import ScoreScale, probability, scales_from
from labels.cleaning.rules import rule_of
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


def cleaned_rounds(root: Path, video_ids: Sequence[str] = ()) -> Iterator[tuple[CleanedVideo, pd.DataFrame]]:
    """All labelled rounds of a work folder's clips, cleaned again by the weights in force, with their truth."""
    work = WorkFolder(root)
    numbers = [number for number in work.round_numbers() if read_run_record(work.round(number), "labelled")]
    for video_id in video_ids or work.usable_videos()["video_id"]:
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
            yield cleaned, truth


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


def judge(rounds: list[Round], roots: Sequence[Path]) -> None:
    """Print every filmed clip as cleaned by weights that were fitted without it: its kept labels, filled gaps among
    them, its wrong labels a frame, and what became of the balls it lost.
    """
    in_force, counts, judged_boxes = dict(WEIGHTS), {}, []
    for root in roots:
        for video_id in WorkFolder(root).usable_videos()["video_id"]:
            clip = f"{root.name}/{video_id}"  # the same clip labelled by others is left out too
            WEIGHTS.update(fitted([one for one in rounds if one.clip.split("/")[1] != video_id]))
            for number, (cleaned, truth) in enumerate(cleaned_rounds(root, [video_id])):
                kept = cleaned.boxes[cleaned.boxes["decision"] == "keep"]
                found = count_matches(kept, truth, class_names=BALL)
                counts.setdefault(number, []).append(found)
                one = judged(clip, FILMED, cleaned, truth)
                judged_boxes.append(one.boxes.assign(right=one.right)[["quality", "right"]])
                wrong = found.wrong / truth["frame_index"].nunique()
                fates = ", ".join(f"{count} {fate}" for fate, count in lost_balls(cleaned.boxes, truth).items())
                print(
                    f"{clip:32} round {number}: {figures(found)}  wrong a frame {wrong:.2f}; lost: {fates}", flush=True
                )
    WEIGHTS.update(in_force)
    for number, found in counts.items():
        seen = [one.f1 for one in found if one.right]
        print(f"round {number}: {figures(sum(found, MatchCounts()))}, mean F1 of {len(seen)} clips {np.mean(seen):.3f}")
    boxes = pd.concat(judged_boxes)
    boxes = boxes[boxes["right"] >= 0]
    for low, high in pairwise(BINS):
        of_bin = boxes[(boxes["quality"] >= low) & (boxes["quality"] < high)]
        if len(of_bin):
            quality, right = of_bin["quality"].mean(), of_bin["right"].mean()
            print(f"quality {low} to {high}: {len(of_bin)} boxes, mean {quality:.3f}, right {right:.3f}")


def lost_balls(boxes: pd.DataFrame, truth: pd.DataFrame) -> Counter[str]:
    """What became of the visible balls on which no kept label lies: the rule that took out the best box there."""
    fates: Counter[str] = Counter()
    of_balls = boxes[boxes["class_name"].isin(BALL) & ~boxes["reason"].str.startswith("overlap")]
    for frame, balls in truth[truth["class_name"].isin(BALL)].groupby("frame_index"):
        here = of_balls[of_balls["frame_index"] == frame]
        xyxy = here[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
        for ball in balls[balls["visibility"] >= MIN_VISIBILITY][tables.BOX_COLUMNS].to_numpy(dtype=np.float64):
            is_point = ball[0] == ball[2]
            on_it = (
                contains_matrix(xyxy, centre_of(ball[None]))[:, 0]
                if is_point
                else contains_matrix(ball[None], centre_of(xyxy))[0]
            )
            at = here[on_it]
            if not len(at):
                fates["no candidate"] += 1
            elif not (at["decision"] == "keep").any():
                best = at.loc[at["quality"].idxmax()]
                fates[rule_of(best["reason"]) + ("" if best["track_id"] >= 0 else " off paths")] += 1
    return fates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", action="append", required=True)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--no-judging", action="store_true", help="only fit")
    args = parser.parse_args()
    sets = args.work[:-1]
    for turn in range(1 if args.check else PASSES):
        rounds = [
            judged(f"{root.name}/{cleaned.video.video_id}", number, cleaned, truth)
            for number, roots in [*enumerate(sets), (FILMED, args.work[-1])]
            for root in roots
            for cleaned, truth in cleaned_rounds(root)
        ]
        rounds += simulated_rounds(len(sets))
        if not args.check:
            WEIGHTS.clear()
            WEIGHTS.update(fitted(rounds))
            print(f"pass {turn + 1}: {json.dumps(WEIGHTS)}", flush=True)
    if not args.no_judging:
        judge(rounds, args.work[-1])
    if not args.check:
        write_text(WEIGHTS_FILE, json.dumps(WEIGHTS, indent=1) + "\n")


if __name__ == "__main__":
    main()
