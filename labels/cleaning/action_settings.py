"""Every threshold of stage 3 for actions, in one place. Imports nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ActionSettings:
    keep_quality: float = 0.9  # from here a label is trained on, of the class that is learnt best
    least_quality: float = 0.85  # of the class that is learnt worst: its bar is lower, so that it can catch up
    ignore_quality: float = 0.2  # below, a label is dropped
    class_cap: float = 3.0  # kept pseudo-labels of a class, over its share of the human labels times all of them
    least_cap: int = 10  # but so many may always be kept
    match_overlap: float = 0.5  # temporal IoU from which two rounds mean the same action
    old_share: float = 0.35  # how much of the log-odds is the round before's
    doubt_quality: float = 0.8  # a student this sure that a human is wrong sends the label to review
    prune_share: float = 0.2  # of a class's labels at most that one round takes out by what out-of-fold students say
    trusted_precision: float = 0.95  # how often out-of-fold students must be right from a class's bar on
    least_trusted: int = 10  # labels of a class that tell this; with fewer, all classes together do
    least_agreement: float = 0.6  # share of an action's views that must say its class
    outlier_share: float = 0.05  # of a class's labels at most that one round calls outliers
    outlier_factor: float = 1.5  # local outlier factor from which a label is one
    neighbours: int = 20  # that it is compared with
    least_company: int = 30  # labels of a class, of which fewer tell nothing
