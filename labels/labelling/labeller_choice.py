"""Who labels: what the user named, or a pretrained detector in round 0 and then the round before's student."""

from collections.abc import Sequence
from pathlib import Path

from labels.models.settings import DEFAULT_DETECTOR, STUDENT
from labels.records.errors import InputError
from labels.records.run_records import require_run_record
from labels.records.work_folder import WorkFolder


def choose_detectors(
    work: WorkFolder, number: int, named: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names or files of the detectors, and the digest of the training one comes from, by that input's name.

    Raises InputError, with the command to run, when the student that is asked for was not trained.
    """
    if number == 0:
        if STUDENT in (named or []):
            raise InputError(f"--detector {STUDENT}: round 0 has no round before it; name another")
        return tuple(named or [DEFAULT_DETECTOR]), {}
    before = work.round(number - 1)
    student, file = str(before.detector), before.detector.resolve()
    names = tuple(student if name == STUDENT or Path(name).resolve() == file else name for name in named or [STUDENT])
    if student not in names:
        return names, {}
    record = require_run_record(before, "trained", f"python train.py {work.root} --round {before.number}")
    return names, {f"round {before.number} trained": record.output}
