"""The masks of a round: a shard a video beside its boxes, a row for every label that was segmented."""

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import RoundFolder

MASKS = {
    "label_uid": "str",
    **dict.fromkeys(tables.BOX_COLUMNS, "float32"),  # the box that was the prompt
    "mask_rle": "str",  # COCO's compressed run lengths of the upright frame; empty: no mask that fits the box
    "mask_score": "float32",
}


def with_masks(boxes: pd.DataFrame, folder: RoundFolder, video_id: str) -> pd.DataFrame:
    """The boxes of one video with a column `mask_rle`, empty where there is no mask; as they are where there is none.

    A mask is that of a box: a label that was moved since has none until it is segmented again.
    """
    path = folder.masks(video_id)
    if not path.is_file():
        return boxes
    masks = read_parquet(path)
    try:
        tables.check_columns(masks, MASKS, str(path))
    except ValueError as error:
        raise InputError(str(error)) from None
    masks = masks.drop_duplicates("label_uid").set_index("label_uid").reindex(boxes["label_uid"])
    prompt, now = (table[tables.BOX_COLUMNS].to_numpy(dtype=np.float32) for table in (masks, boxes))
    same = (prompt == now).all(axis=1)
    rle = np.where(same, masks["mask_rle"].to_numpy(dtype=object), "")
    result = boxes.assign(mask_rle=pd.Series(rle, index=boxes.index, dtype="str"))
    result.attrs = dict(boxes.attrs)
    return result
