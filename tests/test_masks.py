"""Masks beside boxes: a small SAM 2 of the real class with random weights, and what becomes of masks on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_networks import make

import dataset_cleaner
import dataset_downloader
import dataset_processor
from labels.engine.runner import Loaded
from labels.labelling.masks import mask_round
from labels.models.segmenters import FrameSegmenter, Prompt, TrackingSegmenter, fits, load_segmenter
from labels.models.settings import SegmenterSettings
from labels.pictures.overlay.drawing import draw_mask
from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import decode_mask, encode_mask, with_masks
from labels.records.safe_writing import read_parquet
from labels.records.video_labels import read_video_labels, write_video_labels
from labels.records.work_folder import WorkFolder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with a small Sam2Model and a small Sam2VideoModel, as `save_pretrained` writes them."""
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("sam")
    return {tracked: make(kind, root / kind) for tracked, kind in ((False, "sam2"), (True, "sam2_video"))}


def a_prompt(seed, boxes, ids=None):
    rgb = np.random.default_rng(seed).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    xyxy = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return Prompt(rgb, xyxy, np.array(ids if ids is not None else [-1] * len(xyxy)))


BOXES = [[10, 10, 40, 40], [20, 20, 60, 60], [50, 5, 90, 60]]


def test_each_box_of_a_frame_gets_a_mask_of_the_frames_size(models):
    segmenter = load_segmenter(str(models[False]), tracked=False, device="cpu")
    assert isinstance(segmenter, FrameSegmenter)
    (masks, scores), (none, _) = segmenter.masks([a_prompt(0, BOXES), a_prompt(1, [])])
    assert (masks.shape, masks.dtype, scores.shape) == ((3, 64, 96), np.dtype(bool), (3,))
    assert none.shape == (0, 64, 96)
    assert len(set(scores.tolist())) == 3  # each box is a prompt of its own
    segmenter.settings = replace(segmenter.settings, boxes_at_once=2)
    again, same_scores = next(segmenter.masks([a_prompt(0, BOXES)]))
    assert (again == masks).mean() > 0.999  # batched or not
    assert same_scores == pytest.approx(scores, abs=1e-4)


def test_tracks_are_followed_and_what_is_old_is_let_go(models):
    segmenter = load_segmenter(str(models[True]), tracked=True, device="cpu")
    assert isinstance(segmenter, TrackingSegmenter)
    segmenter.settings = SegmenterSettings(min_inside=0.0, session_frames=4, remembered_frames=2)
    prompts = [a_prompt(seed, BOXES[: 2 + seed % 2], [7, 8, -1][: 2 + seed % 2]) for seed in range(6)]
    found = list(segmenter.masks(prompts))
    assert [masks.shape for masks, _ in found] == [(2 + seed % 2, 64, 96) for seed in range(6)]
    assert all((scores >= 0).all() and (scores <= 1).all() for _, scores in found)
    again = list(segmenter.masks(prompts))
    assert all((one[0] == other[0]).all() for one, other in zip(found, again, strict=True))


def test_memory_does_not_grow_with_the_video(models):
    from labels.models.segmenters import _Session

    segmenter = load_segmenter(str(models[True]), tracked=True, device="cpu")
    segmenter.settings = SegmenterSettings(remembered_frames=2)
    session = _Session(segmenter)
    for seed in range(6):
        prompt = a_prompt(seed, BOXES[:1], [3])
        session.look(prompt.rgb, prompt.xyxy, prompt.track_id)
    assert sum(frame.numel() for frame in session.state.processed_frames.values()) == 0
    remembered = [memory["non_cond_frame_outputs"] for memory in session.state.output_dict_per_obj.values()]
    assert [sorted(memory) for memory in remembered] == [[4, 5]]
    assert session.objects == {3}


@pytest.mark.parametrize("name", ["nothing/here", "empty"])
def test_what_cannot_be_loaded_is_refused_in_one_line(tmp_path, monkeypatch, name):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="--masks") as caught:
        load_segmenter(str(tmp_path / name), tracked=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([], False),
        ([(12, 12)], True),
        ([(12, 12), (50, 80)], True),  # half of it inside
        ([(12, 12), (50, 80), (51, 80)], False),
        ([(19, 20)], True),  # the column beside the box, within its tenth
        ([(19, 21)], False),
    ],
)
def test_a_mask_that_lies_elsewhere_is_of_something_else(pixels, expected):
    mask = np.zeros((64, 96), dtype=bool)
    for row, column in pixels:
        mask[row, column] = True
    assert fits(mask, np.array([10.0, 10.0, 20.0, 20.0]), SegmenterSettings()) == expected


class Ellipses:
    """A segmenter that fills each box with an ellipse, but for boxes on the left edge, where it sees nothing."""

    name, digest = "ellipses", "1"

    def masks(self, prompts):
        for prompt in prompts:
            y, x = np.mgrid[: prompt.rgb.shape[0], : prompt.rgb.shape[1]] + 0.5
            middle, half = (prompt.xyxy[:, :2] + prompt.xyxy[:, 2:]) / 2, (prompt.xyxy[:, 2:] - prompt.xyxy[:, :2]) / 2
            pairs = zip(middle, half, strict=True)
            masks = [((x - mx) / hx) ** 2 + ((y - my) / hy) ** 2 <= 1 for (mx, my), (hx, hy) in pairs]
            yield np.array(masks) & (prompt.xyxy[:, :1, None] > 60), np.full(len(masks), 0.9, dtype=np.float32)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("masks") / "work")
    clips = "--set sport=volleyball --set difficulty=easy --clips 1 --held-out 1 --set frames=20"
    assert dataset_downloader.main([root, "--from", "synthetic", *clips.split()]) == 0
    assert dataset_processor.main([root, "--round", "0", "--detector", "motion"]) == 0
    assert dataset_cleaner.main([root, "--round", "0"]) == 0
    return WorkFolder(Path(root))


def masked_boxes(work):
    folder = work.round(0)
    parts = []
    for video_id in work.usable_videos()["video_id"]:
        boxes = read_parquet(folder.boxes("cleaned", video_id))
        boxes = with_masks(boxes, folder, video_id)
        parts.append(boxes)
    return tables.concatenate(parts, tables.BOXES | tables.DECIDED)


def test_masks_lie_beside_the_boxes_and_go_out_with_them(work):
    first = mask_round(work, 0, Loaded(Ellipses()))
    boxes = masked_boxes(work)
    standing = boxes[boxes["decision"] != "drop"]
    made = standing[standing["mask_rle"] != ""]
    assert 0 < len(made) == int((standing["x1"] > 60).sum())
    assert (boxes.loc[boxes["decision"] == "drop", "mask_rle"] == "").all()
    assert f"{len(standing)} labels = {len(made)} masks + {len(standing) - len(made)} whose" in first.lines[-1]
    videos = work.usable_videos().set_index("video_id")
    for row in made.itertuples():
        size = int(videos.loc[row.video_id, "height"]), int(videos.loc[row.video_id, "width"])
        inside = decode_mask(row.mask_rle, *size)
        assert inside.sum() == pytest.approx(np.pi / 4 * (row.x2 - row.x1) * (row.y2 - row.y1), rel=0.15, abs=4)
    assert any("2 videos were segmented already" in line for line in mask_round(work, 0, Loaded(Ellipses())).lines)

    assert dataset_cleaner.main([str(work.root), "--round", "0", "--export", "coco"]) == 0
    content = json.loads((work.round(0).path / "export/coco/annotations/instances_default.json").read_text())
    masks = {item["attributes"]["label_uid"]: item.get("segmentation") for item in content["annotations"]}
    assert {uid: mask["counts"] for uid, mask in masks.items() if mask} == dict(
        zip(made["label_uid"], made["mask_rle"], strict=True)
    )
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--export", "labelstudio"]) == 0
    tasks = json.loads((work.round(0).path / "export/labelstudio/tasks_images.json").read_text())
    brushes = [
        region["value"]["brushlabels"]
        for task in tasks
        for said in task["predictions"]
        for region in said["result"]
        if region["type"] == "brushlabels"
    ]
    assert len(brushes) == int((made["decision"] == "keep").sum()) > 0


def test_pycocotools_sees_the_masks(work):
    mask_round(work, 0, Loaded(Ellipses()))
    pycocotools = pytest.importorskip("pycocotools.mask")
    videos = work.usable_videos().set_index("video_id")
    row = next(row for row in masked_boxes(work).itertuples() if row.mask_rle)
    size = [int(videos.loc[row.video_id, "height"]), int(videos.loc[row.video_id, "width"])]
    theirs = pycocotools.decode({"size": size, "counts": row.mask_rle.encode()})
    assert (theirs.astype(bool) == decode_mask(row.mask_rle, *size)).all()


def test_a_label_that_was_moved_has_no_mask_until_it_is_segmented_again(work):
    mask_round(work, 0, Loaded(Ellipses()))
    folder = work.round(0)
    video_id = next(row.video_id for row in masked_boxes(work).itertuples() if row.mask_rle)
    labels = read_video_labels(folder.boxes("cleaned", video_id))
    boxes = labels.boxes
    before = with_masks(boxes, folder, video_id)
    place = int(np.flatnonzero((before["mask_rle"] != "").to_numpy())[0])
    boxes.loc[place, "x1"] += np.float32(1)
    after = with_masks(boxes, folder, video_id)
    assert after["mask_rle"][place] == ""
    assert (after["mask_rle"].drop(place) == before["mask_rle"].drop(place)).all()
    write_video_labels(folder.boxes("cleaned", video_id), labels)
    mask_round(work, 0, Loaded(Ellipses()))
    assert with_masks(boxes, folder, video_id)["mask_rle"][place] != ""


def test_the_script_segments_with_a_model_from_a_folder(work, models, capsys):
    for tracked in (False, True):
        extra = ["--set", "track_masks=yes"] if tracked else []
        arguments = ["--round", "0", "--device", "cpu", "--masks", str(models[tracked]), *extra]
        assert dataset_processor.main([str(work.root), *arguments]) == 0
        assert "masks of round 0: 2 videos = 2 used + 0 skipped" in capsys.readouterr().out


def test_a_mask_is_drawn_where_it_is():
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:8, 4:16] = True
    canvas = np.full((20, 40, 3), 100, dtype=np.uint8)
    draw_mask(canvas, encode_mask(mask), (10, 20), (250, 0, 0))
    assert canvas[10, 20].tolist() == [160, 60, 60]
    assert canvas[2, 2].tolist() == [100, 100, 100]
    assert canvas[4, 8].tolist() == [250, 0, 0]  # the line around it
