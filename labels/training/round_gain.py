"""Whether rounds still gain anything: by the validation clips that humans labelled, the same in every round."""

from labels.records.safe_writing import read_json
from labels.records.work_folder import WorkFolder

PATIENCE = 2  # rounds without gain after which to stop
LEAST_GAIN = 0.005  # macro-F1 below it is noise


def validation_by_round(work: WorkFolder, number: int) -> dict[int, float]:
    """Macro-F1 on the validation clips' human labels of each trained round up to this one, where there is one."""
    found = {}
    for each in range(number + 1):
        path = work.round(each).stage("trained") / "actions" / "metrics.json"
        measured = read_json(path).get("validation") if path.is_file() else None
        if measured and measured.get("macro_f1") is not None and measured.get("human_labels"):
            found[each] = float(measured["macro_f1"])
    return found


def round_to_stay_with(work: WorkFolder, number: int) -> tuple[int, str] | None:
    """The best round so far and why to go no further; None while one of the last PATIENCE rounds gained."""
    values = validation_by_round(work, number)
    best = max(values, key=lambda each: (values[each], -each), default=None)
    first = min(
        (each for each in values if best is not None and values[each] >= values[best] - LEAST_GAIN), default=None
    )
    if first is None or number not in values or len([each for each in values if each > first]) < PATIENCE:
        return None
    listed = ", ".join(f"round {each} {value:.3f}" for each, value in sorted(values.items()))
    return (
        first,
        f"no gain in {PATIENCE} rounds (validation macro-F1: {listed}): stop here, with round {first}'s student",
    )
