"""What every rule of cleaning said of one label. The values are not on disk: its video is cleaned once more, as the run
record of the round says, and they are read off; nothing is written.
"""

from dataclasses import fields

import numpy as np
import pandas as pd

from labels.cleaning.outliers import usual_looks
from labels.cleaning.rules import RULES
from labels.cleaning.scores import scales_from
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.verdict_file import read_verdicts
from labels.cleaning.video_cleaning import CleanedVideo, clean_video
from labels.pictures.round_reading import CleanedRound
from labels.pictures.text_tables import text_table
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import RoundFolder, WorkFolder


def rule_lines(work: WorkFolder, here: CleanedRound, labelled: pd.DataFrame, row: pd.Series) -> list[str]:
    """Every rule's value for the label beside its limits."""
    settings = _settings_of(here)
    if not len(labelled):
        return ["  its video's labelled boxes are gone, so the rules' values cannot be told"]
    again = clean_again(work, here, labelled, settings)
    if row["label_uid"] not in again.evidence.index:
        return ["  the rules were not asked: it was filled in after them"]
    evidence = again.evidence.loc[[row["label_uid"]]]
    lines = []
    now = again.boxes[again.boxes["label_uid"] == row["label_uid"]].iloc[0]
    if (now["decision"], now["reason"]) != (row["decision"], row["reason"]):
        lines.append(f"  out of date: cleaned now, it would be {now['decision']} {now['reason']}".rstrip())
    return lines + [
        f"    {line}"
        for line in text_table(
            ["rule", "value", "drops", "ignores", ""], rule_rows(evidence, settings, row["reason"]), [0, 4]
        )
    ]


def rule_rows(evidence: pd.DataFrame, settings: CleaningSettings, reason: str) -> list[list[str]]:
    """Of one row of evidence: name, value and limits of each rule, in the order asked, and which one decided."""
    rows: list[list[str]] = []
    for rule in RULES:
        value = float(np.asarray(rule.values(evidence, settings), dtype=np.float64)[0])
        sign = ">" if rule.too == "high" else "<"
        limits = [
            f"{sign} {float(limit(evidence, settings)[0]):.3g}" if limit is not None else "–"
            for limit in (rule.drop, rule.ignore)
        ]
        decided = any(reason.startswith(f"{rule.name}: ") and reason.endswith(f" {limit}") for limit in limits)
        text = "switched off" if rule.name in settings.without else "–" if np.isnan(value) else f"{value:.3g}"
        rows.append([rule.name, text, *limits, "← decided" if decided else ""])
    return rows


def _settings_of(here: CleanedRound) -> CleaningSettings:
    record = here.records["cleaned"]
    known = {field.name for field in fields(CleaningSettings)}
    given = {name: value for name, value in (record.arguments if record else {}).items() if name in known}
    return CleaningSettings(**given | {"without": tuple(given.get("without", ()))})


def clean_again(
    work: WorkFolder, here: CleanedRound, labelled: pd.DataFrame, settings: CleaningSettings
) -> CleanedVideo:
    """What cleaning gives for a labelled shard of a round, with what it saw; nothing is written."""
    video_id = str(labelled["video_id"].iloc[0])
    record = here.records["labelled"]
    labeller = (record.facts.get("labeller") if record else None) or {}
    before: RoundFolder = work.round(here.number - 1)
    has_before = here.number > 0 and before.boxes("cleaned", video_id).is_file()
    camera = here.folder.camera(video_id)
    return clean_video(
        labelled,
        here.number,
        scales_from(labeller.get("sources", {})),
        settings,
        read_parquet(before.boxes("cleaned", video_id)) if has_before else None,
        read_parquet(camera) if camera.is_file() else None,
        verdicts=read_verdicts(work),
        usual=usual_looks(here.folder, before if here.number > 0 else None, settings),
    )
