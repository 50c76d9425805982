"""Which models of a work folder are the newest: what a clip from outside is looked at with."""

from dataclasses import dataclass

from labels.records.run_records import read_run_record
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_TRAINED, WorkFolder

MOTION = "motion"


@dataclass(frozen=True)
class CurrentModels:
    """The newest finished students: files of train.py, each empty where there is none, with the round that made it.

    `detector` is `motion`, of no round, where there is no student at all. `per` is what the recogniser was taught on:
    windows of each player, or of the whole frame.
    """

    detector: str = ""
    detector_round: int | None = None
    recogniser: str = ""
    recogniser_round: int | None = None
    per: str = "frame"


def current_models(work: WorkFolder) -> CurrentModels:
    """The newest student that finds boxes and the newest one that tells actions, each where there is one."""
    detector, detector_round = "", None
    recogniser, recogniser_round, per = "", None, "frame"
    for number in work.round_numbers():
        folder = work.round(number)
        if folder.detector.is_file() and read_run_record(folder, "trained") is not None:
            detector, detector_round = str(folder.detector), number
        if folder.recogniser.is_file() and read_run_record(folder, ACTIONS_TRAINED) is not None:
            recogniser, recogniser_round = str(folder.recogniser), number
            cleaned = read_run_record(folder, ACTIONS_CLEANED)
            per = (cleaned.facts.get("per") if cleaned is not None else None) or "frame"
    return CurrentModels(
        detector or ("" if recogniser else MOTION), detector_round, recogniser, recogniser_round, str(per)
    )
