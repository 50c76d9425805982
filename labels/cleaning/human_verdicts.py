"""What a human said of single labels: `verdicts.csv` in the work folder, `label_uid,verdict`, y or n, kept for ever."""

import csv

from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.work_folder import WorkFolder


def read_verdicts(work: WorkFolder) -> dict[str, str]:
    """label_uid -> "y" or "n"; the last word counts. Empty when there is no file; rows not filled in say nothing."""
    path = work.root / VERDICTS_FILE
    if not path.is_file():
        return {}
    verdicts = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            if not {"label_uid", "verdict"} <= set(reader.fieldnames or []):
                raise InputError(f"{path}: needs the columns label_uid and verdict")
            for number, row in enumerate(reader, start=2):
                uid, verdict = (row["label_uid"] or "").strip(), (row["verdict"] or "").strip().lower()
                if verdict in ("y", "n") and uid:
                    verdicts[uid] = verdict
                elif verdict:
                    raise InputError(f"{path}: line {number}: a verdict is y or n, not '{verdict}'")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    return verdicts
