"""How well boxes agree with labels, or with truth: one rule for both, that of `records.matching`.

Scores are swept in one go: labels are matched best score first, so a threshold takes matches away and never changes
one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster

from labels.records.geometry import xyxy_to_xywh
from labels.records.matching import MIN_VISIBILITY, MatchCounts, count_matches, match_video
from labels.records.tables import BOX_COLUMNS, is_empty_frame, is_point
from labels.training.optimisation import jackknife_error

LEAST_SHARE = 0.5  # of the best precision x recall: more is not given up for precision
SLOPES = (0.5, 5.0)  # what validation frames may say of a detector's sureness; few frames say too much

Tables = Mapping[str, pd.DataFrame]  # video_id -> detections (frame_index, box, class_name, score) or truth


@dataclass(frozen=True)
class BoxMetrics:
    """At the working threshold, by the centre rule, the mean over classes; `ap` is COCO's, over all scores and IoU 0.5
    to 0.95. A mean, because a class with a thousand boxes must not hide that another is not found at all.
    """

    precision: float
    recall: float
    f1: float
    f1_error: float  # standard error of the F1, by the jackknife over videos; NaN where they are too few to tell
    mean_iou: float
    ap: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN."""
        values = {name: round(float(value), 6) for name, value in vars(self).items()}
        return {name: None if math.isnan(value) else value for name, value in values.items()}


def best_threshold(score: np.ndarray, right: np.ndarray, wanted: int, precision_floor: float) -> float:
    """The score from which on boxes are kept for the best precision x recall, among precise enough ones.

    Labels that were never made count their boxes as wrong. With a share of the labels missing at random, precision and
    measured recall lose a constant factor and no more, so that their product has its maximum where it had it (Lee and
    Liu, Learning with positive and unlabeled examples, ICML 2003); that of F1 moves. Precise enough is a threshold when
    the lower bound of its precision reaches the floor (`wilson_lower_bound`) and its product at least `LEAST_SHARE` of
    the best there is: a handful of right boxes at the top says nothing of the thousands below. Where none is, the best
    product counts alone. The threshold lies midway to the next lower score.

    Args:
        score: (N,) of the boxes that count.
        right: (N,) bool, whether each is right when all that score higher are there.
        wanted: how many objects there are to find.
    """
    if not len(score) or not right.any():
        return 0.5
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    kept = np.arange(1, len(score) + 1)
    product = hits / kept * (hits / max(wanted, 1))
    last_of_score = np.append(score[1:] < score[:-1], True)
    precise = last_of_score & (wilson_lower_bound(hits, kept) >= precision_floor)
    precise &= product >= LEAST_SHARE * product[last_of_score].max()
    candidates = np.flatnonzero(precise if precise.any() else last_of_score)
    best = candidates[np.argmax(product[candidates])]
    lower = score[best + 1] if best + 1 < len(score) else 0.0
    return float((score[best] + lower) / 2)


def wilson_lower_bound(hits: np.ndarray, tries: np.ndarray) -> np.ndarray:
    """The lower end of the one-sided 95 % score interval of a share (Wilson, 1927); 25 of 25 are needed for 0.9."""
    z2 = 1.6449**2
    share = hits / tries
    spread = np.sqrt(z2 * (share * (1 - share) / tries + z2 / (4 * tries**2)))
    return (share + z2 / (2 * tries) - spread) / (1 + z2 / tries)


def find_thresholds(
    found: Tables, labels: Tables, class_names: tuple[str, ...], precision_floor: float
) -> dict[str, float]:
    """The working threshold of each class (see `best_threshold`)."""
    thresholds = {}
    for name in class_names:
        scores, rights, wanted = [np.zeros(0)], [np.zeros(0, dtype=bool)], 0
        for video_id, label in labels.items():
            boxes = found[video_id]
            boxes = boxes[boxes["class_name"] == name]
            verdict = match_video(boxes, label)
            scores.append(boxes["score"].to_numpy()[verdict >= 0])
            rights.append(verdict[verdict >= 0] == 1)
            wanted += int(((label["class_name"] == name) & (label["visibility"] >= MIN_VISIBILITY)).sum())
        threshold = best_threshold(np.concatenate(scores), np.concatenate(rights), wanted, precision_floor)
        thresholds[name] = round(threshold, 4)
    return thresholds


def find_slopes(found: Tables, labels: Tables, thresholds: Mapping[str, float]) -> dict[str, float]:
    """How much surer than its scores say a detector is, by class: Platt scaling through the working threshold.

    The slope of a logistic regression of right or wrong on the log-odds of the score against the threshold's (Platt,
    Probabilistic outputs for support vector machines, 1999), within `SLOPES`. Heat maps trained with the focal loss are
    right far more often than a score of 0.7 says. Only frames with a label of the class are asked: elsewhere the object
    may be there and merely have no label.
    """
    slopes = {}
    for name, threshold in thresholds.items():
        odds, right = [np.zeros(0)], [np.zeros(0)]
        for video_id, label in labels.items():
            boxes = found[video_id]
            labelled = label["frame_index"][(label["class_name"] == name) & (label["visibility"] >= MIN_VISIBILITY)]
            boxes = boxes[(boxes["class_name"] == name) & boxes["frame_index"].isin(labelled)]
            verdict = match_video(boxes, label)
            score = np.clip(boxes["score"].to_numpy(dtype=np.float64)[verdict >= 0], 1e-4, 1 - 1e-4)
            odds.append(np.log(score / (1 - score)) - np.log(threshold / (1 - threshold)))
            right.append((verdict[verdict >= 0] == 1).astype(float))
        slopes[name] = round(_platt_slope(np.concatenate(odds), np.concatenate(right)), 3)
    return slopes


def _platt_slope(odds: np.ndarray, right: np.ndarray) -> float:
    """Newton's method on the two parameters, with a weak pull towards slope 1 that settles what separates cleanly."""
    slope, shift = 1.0, 0.0
    features = np.stack([odds, np.ones_like(odds)], axis=1)
    for _ in range(25):
        chance = 1 / (1 + np.exp(-np.clip(slope * odds + shift, -30, 30)))
        gradient = features.T @ (chance - right) + np.array([slope - 1.0, shift])
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + np.eye(2)
        slope, shift = np.array([slope, shift]) - np.linalg.solve(curvature, gradient)
    return float(np.clip(slope, *SLOPES))


def measure(found: Tables, labels: Tables, thresholds: Mapping[str, float]) -> BoxMetrics:
    """The metrics over several videos, the mean over the classes that the labels hold."""
    by_class = counts_by_class(found, labels, thresholds)
    shown = {name: counts for name, counts in by_class.items() if any(one.right + one.missed for one in counts)}
    by_class = shown or by_class
    totals = [sum(counts, MatchCounts()) for counts in by_class.values()]
    precision, recall, f1 = (
        float(np.mean([getattr(total, name) for total in totals])) for name in ("precision", "recall", "f1")
    )
    ap = coco_ap(found, labels, thresholds)
    return BoxMetrics(precision, recall, f1, f1_error(list(by_class.values())), sum(totals, MatchCounts()).mean_iou, ap)


def counts_by_class(found: Tables, labels: Tables, thresholds: Mapping[str, float]) -> dict[str, list[MatchCounts]]:
    """At the working threshold of each class, the counts of each video."""
    return {
        name: [
            count_matches(
                boxes[(boxes["class_name"] == name) & (boxes["score"] >= threshold)], label, class_names=(name,)
            )
            for boxes, label in ((found[video_id], label) for video_id, label in labels.items())
        ]
        for name, threshold in thresholds.items()
    }


def agreement_by_class(
    found: Tables, labels: Tables, thresholds: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """For JSON: precision, recall and F1 of each class; None where there is nothing to divide by."""
    figures = {}
    for name, counts in counts_by_class(found, labels, thresholds).items():
        total = sum(counts, MatchCounts())
        given, there = total.right + total.wrong, total.right + total.missed
        figures[name] = {
            "precision": round(total.precision, 4) if given else None,
            "recall": round(total.recall, 4) if there else None,
            "f1": round(total.f1, 4) if there else None,
            "labels": there,
        }
    return figures


def f1_error(by_class: Sequence[Sequence[MatchCounts]]) -> float:
    """Standard error of the mean F1 of classes, each with counts by video, by leaving out a video at a time (jackknife,
    Tukey 1958).
    """
    videos = len(by_class[0]) if by_class else 0
    without = [
        float(np.mean([sum((*counts[:at], *counts[at + 1 :]), MatchCounts()).f1 for counts in by_class]))
        for at in range(videos)
    ]
    return jackknife_error(without)


def coco_ap(found: Tables, labels: Tables, class_names: Mapping[str, float] | tuple[str, ...]) -> float:
    """COCO's average precision; NaN when the labels hold no box. What can hardly be seen is a crowd: never missed."""
    category = {name: at for at, name in enumerate(class_names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for video_id, label in labels.items():
        frames = np.unique(label["frame_index"])
        image_of = {int(frame): len(images) + at for at, frame in enumerate(frames, start=1)}
        images += [{"id": image, "file_name": f"{video_id}_{frame}"} for frame, image in image_of.items()]
        label = label[~is_empty_frame(label) & ~is_point(label) & label["class_name"].isin(category)]
        boxes = found[video_id]
        boxes = boxes[boxes["frame_index"].isin(image_of) & boxes["class_name"].isin(category)]
        for rows, out in ((label, annotations), (boxes, results)):
            xywh = xyxy_to_xywh(rows[BOX_COLUMNS].to_numpy(dtype=np.float64))
            values = rows["visibility" if rows is label else "score"].astype(float)
            for box, frame, name, value in zip(
                xywh.tolist(), rows["frame_index"], rows["class_name"], values, strict=True
            ):
                row = {"image_id": image_of[int(frame)], "category_id": category[name], "bbox": box}
                if rows is label:
                    row |= {"id": len(out) + 1, "area": box[2] * box[3], "iscrowd": int(value < MIN_VISIBILITY)}
                out.append(row if rows is label else row | {"score": value})
    if not any(not annotation["iscrowd"] for annotation in annotations):
        return float("nan")
    if not results:
        return 0.0
    categories = [{"id": number, "name": name} for name, number in category.items()]
    truth = COCO({"images": images, "annotations": annotations, "categories": categories})
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox")
    evaluation.run()
    return float(evaluation.stats[0])
