"""What training a round's detector came to, for the summary."""

from dataclasses import dataclass, field
from typing import Any

from labels.cleaning.agreement import agreement_lines
from labels.training.round_data import RoundData


@dataclass
class TrainedRound:
    """`metrics` are those of metrics.json."""

    data: RoundData
    metrics: dict[str, Any]
    done_before: bool
    folds: dict[str, Any] = field(default_factory=dict)  # agreement with out-of-fold students, where it was asked for

    def lines(self) -> list[str]:
        """What was used for what, and how good it is."""
        lines = ["this round was trained already with these settings and labels"] if self.done_before else []
        for split, counts in self.data.counts.items():
            lines.append(
                f"{split}: {counts.with_kept} frames with kept boxes, {counts.empty_used} surely empty ones; "
                f"left out: {counts.empty_unsure} frames with no box to learn from that may not be empty, "
                f"{counts.empty_left} empty ones more than needed"
            )
        if self.data.validates_on_training:
            lines.append(
                "no box was kept in clips of another source to validate on: agreement is with clips trained on, and "
                "says little; label some more clips"
            )
        judges = "training" if self.data.validates_on_training else "validation"
        for name, values in (
            (f"agreement with the {judges} labels", self.metrics["agreement_with_labels"]),
            (f"accuracy against {(self.metrics['accuracy'] or {}).get('against')}", self.metrics["accuracy"]),
        ):
            if values:
                lines.append(
                    f"{name}: F1 {values['f1']:.3f}, precision {values['precision']:.3f}, "
                    f"recall {values['recall']:.3f}, mean IoU {values['mean_iou'] or 0:.2f}, "
                    f"COCO AP {values['ap'] or 0:.3f}"
                )
        lines += [
            f"{video_id}: its truth is not used: {why}" for video_id, why in self.metrics["truth_not_used"].items()
        ]
        return [*lines, *agreement_lines(self.folds)]
