"""Any list of addresses: a CSV with the columns `url` and, where wanted, `start`, `end`, `label` and `split`.

Times are seconds or `h:mm:ss`; both empty means the whole video.
"""

from collections.abc import Iterator
from pathlib import Path

from labels.videos.download.list_reading import BadEntry, csv_rows
from labels.videos.download.requests import ClipRequest, RequestMaker, split_name, split_of_file


def read_urls(path: Path, maker: RequestMaker) -> Iterator[ClipRequest]:
    """The entries of a list of URLs, in its order."""
    file_split = split_of_file(path.stem)
    for number, row in csv_rows(path, ("url",)):
        entry = f"{path.name} line {number}"
        if isinstance(row, BadEntry):
            yield maker.refused(row.reason, (), file_split, entry)
            continue
        label = row.get("label", "").strip()
        yield maker.web(
            row["url"].strip(),
            row.get("start"),
            row.get("end"),
            (label,) if label else (),
            split_name(row.get("split", "")) or file_split,
            entry,
        )
