"""A mask as the fourth channel of a recogniser's windows: cut, augmented, learnt from, asked for when it is missing."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_test_video
from torch import nn

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
from labels.engine.runner import Loaded
from labels.labelling.action_windows import WindowStore
from labels.labelling.masks import RoundMasks, _FrameMasks, mask_round
from labels.models.recognisers.clip_networks import build_clip_network, widen_first_convolution, with_mask_channel
from labels.models.recognisers.recogniser import load_recogniser
from labels.models.recognisers.settings import PRESETS
from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import encode_mask
from labels.records.run_records import RunRecord, out_of_date, read_run_record, write_run_record
from labels.records.safe_writing import write_parquet
from labels.records.work_folder import ACTIONS_LABELLED, WorkFolder
from labels.training.actions.task import augment_clip
from labels.training.settings import ClipAugmentation, RecognitionSettings
from labels.videos.decoding.frames import DecodeError

SHORT = ["--architecture", "cnn3d", "--set", "window_frames=4", "--set", "window_seconds=0.4", "--epochs", "1"]


@pytest.mark.parametrize("architecture", ["cnn3d", "tsn_resnet50", "mc3_18"])
def test_a_fourth_channel_changes_nothing_until_it_is_trained(architecture):
    preset = replace(PRESETS[architecture], frames=4)
    torch.manual_seed(0)
    plain = build_clip_network(architecture, 3, preset, pretrained=False).eval()
    torch.manual_seed(0)
    network = build_clip_network(architecture, 3, replace(preset, masked=True), pretrained=False).eval()
    rgb = torch.randint(0, 256, (2, 4, 114, 120, 3), dtype=torch.uint8)
    masks = torch.randint(0, 2, (2, 4, 114, 120, 1), dtype=torch.uint8) * 255
    both = torch.cat([rgb, masks], dim=4)
    assert torch.allclose(plain(rgb), network(both), atol=1e-4)
    network(both).sum().backward()
    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Conv3d))
    assert first.weight[:, 3].abs().sum() == 0 and first.weight.grad[:, 3].abs().sum() > 0
    with pytest.raises(ValueError, match="channels, not the three"):
        widen_first_convolution(network)


def test_masks_become_a_clips_channel():
    rgb, masks = np.zeros((2, 4, 6, 3), dtype=np.uint8), np.full((2, 4, 6), 255, dtype=np.uint8)
    both = with_mask_channel(rgb, masks)
    assert both.shape == (2, 4, 6, 4) and (both[..., 3] == 255).all() and (both[..., :3] == 0).all()
    with pytest.raises(ValueError, match="masks of"):
        with_mask_channel(rgb[:1], masks)


def test_augmenting_moves_a_mask_with_its_colours_and_lights_only_these():
    window = torch.zeros(2, 40, 40, 4, dtype=torch.uint8)
    window[:, 10:30, 12:24] = 255  # white where the mask is
    torch.manual_seed(3)
    calm = ClipAugmentation(brightness=0, contrast=0, colour=0, colourless=0, erased=0)
    clip = augment_clip(window, 32, True, calm)
    assert clip.shape == (4, 2, 32, 32)
    assert torch.allclose(clip[0], clip[3], atol=0.5) and clip[3].max() > 250
    torch.manual_seed(3)  # the same place
    lit = augment_clip(window, 32, True, replace(calm, brightness=0.9, contrast=0.9, colour=0.9))
    assert torch.equal(lit[3], clip[3]) and not torch.allclose(lit[0], clip[0], atol=5)
    torch.manual_seed(3)
    erased = augment_clip(window * 0 + 255, 32, True, replace(calm, erased=1.0))
    hole = erased[0] == 114
    assert hole.any() and (erased[3][hole] == 0).all()


def test_a_players_window_has_the_players_own_mask():
    """Two boxes in a frame: the crop around one of them shows its mask, the whole frame both."""
    left, right = np.zeros((20, 40), dtype=bool), np.zeros((20, 40), dtype=bool)
    left[5:15, 2:10] = right[5:15, 30:38] = True
    boxes = pd.DataFrame(
        {
            "frame_index": [3, 3], "x1": [2.0, 30.0], "y1": [5.0, 5.0], "x2": [10.0, 38.0], "y2": [15.0, 15.0],
            "mask_rle": [encode_mask(left), encode_mask(right)],
        }
    )  # fmt: skip
    masks = _FrameMasks(boxes, 20, 40)
    assert (masks.nearest(3, np.array([33.0, 10.0, 16.0])) == right * 255).all()
    assert (masks.of_all(3) == (left | right) * 255).all()
    assert masks.nearest(3, np.array([20.0, 10.0, 8.0])).max() == 0  # nobody in the crop
    assert masks.of_all(4).max() == 0 == masks.nearest(4, np.array([33.0, 10.0, 16.0])).max()


class Fill:
    """A segmenter that fills each box."""

    name, digest = "fill", "1"

    def masks(self, prompts):
        for prompt in prompts:
            y, x = np.mgrid[: prompt.rgb.shape[0], : prompt.rgb.shape[1]]
            inside = [(x >= x1) & (x < x2) & (y >= y1) & (y < y2) for x1, y1, x2, y2 in prompt.xyxy]
            yield np.array(inside), np.ones(len(inside), dtype=np.float32)


def box_of(direction, at):
    """A square of 12 px that moves 2 px a frame, in frame `at` of 8: (x1, y1, x2, y2)."""
    x = 18 + direction * 2 * (at - 4)
    return [x, 18, x + 12, 30]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A round 0 with actions of two classes and the box of who acts, cleaned; not segmented yet."""
    root = tmp_path_factory.mktemp("masked")
    for name, direction in (("left", -1), ("right", 1)):
        for clip in range(4):
            frames = []
            for at in range(8):
                rgb = np.full((48, 48, 3), 40 + 20 * clip, dtype=np.uint8)
                x1, y1, x2, y2 = box_of(direction, at)
                rgb[y1:y2, x1:x2] = 230
                frames.append(rgb)
            write_test_video(root / "clips/train" / name / f"{name}_{clip}.mp4", frames, width=48, height=48)
    folder = str(root / "work")
    assert dataset_downloader.main([folder, "--from", "kinetics-folder", "--path", str(root / "clips")]) == 0
    assert dataset_processor.main([folder, "--round", "0", "--recogniser", "human"]) == 0
    assert dataset_cleaner.main([folder, "--round", "0"]) == 0
    work = WorkFolder(root / "work")
    for video in work.usable_videos().itertuples():
        direction = -1 if video.class_name == "left" else 1
        boxes = tables.make_boxes(
            video.video_id, 0, np.arange(8), np.arange(8) / 25, np.array([box_of(direction, at) for at in range(8)]),
            np.array(["person"] * 8, dtype=object), np.full(8, 0.9),
        )  # fmt: skip
        boxes = boxes.assign(track_id=0, quality=np.float32(0.9), decision="keep", reason="")
        shape = {"frame_count": 8, "stride": 1, "fps": 25.0, "width": 48, "height": 48}
        write_parquet(work.round(0).boxes("cleaned", video.video_id), boxes, {"video_id": video.video_id, **shape})
    write_run_record(work.round(0), RunRecord("cleaned", 0, {}, {}, {}, {}, output="boxes"))
    return work


@dataclass(frozen=True)
class ShortEpochs(RecognitionSettings):
    epoch_frames: int = 16


def test_a_masked_recogniser_is_trained_labels_and_says_when_masks_are_missing(work, capsys, monkeypatch):
    monkeypatch.setattr("labels.training.actions.round.RecognitionSettings", ShortEpochs)
    masked = [str(work.root), "--round", "0", "--task", "actions", *SHORT, "--set", "mask_channel=yes"]
    assert train.main(masked) == 2
    command = f"python dataset_processor.py {work.root} --round 0 --masks facebook/sam2.1-hiera-tiny"
    assert f"there are none; make them first: {command}" in capsys.readouterr().err
    mask_round(work, 0, Loaded(Fill()))
    assert train.main(masked) == 0
    student = load_recogniser(str(work.round(0).recogniser))
    assert student.preset.masked and student.network.mean.flatten().tolist()[3] == 127.5

    store = WindowStore(work, student.preset, masks=RoundMasks(work, 0))
    video = next(work.usable_videos().itertuples())
    window = store.ensure(video, None)
    assert window.values.shape[1:] == (4, 72, 72, 4)
    bright = np.asarray(window.values[..., 0], dtype=int) > 180
    assert (np.asarray(window.values[..., 3]) > 128)[bright].mean() > 0.9  # the mask lies on who moves

    assert dataset_processor.main([str(work.root), "--round", "1", "--recogniser", str(work.round(0).recogniser)]) == 0
    record = read_run_record(work.round(1), ACTIONS_LABELLED)
    assert {"round 1 masks", "round 0 masks"} <= set(record.inputs)
    assert out_of_date(work) == []
    shards = list(work.round(0).masks("x").parent.glob("*.parquet"))
    for path in shards[1:]:
        path.unlink()
    assert any("labelled" in line and "round 0 masks changed" in line for line in out_of_date(work))
    with pytest.raises(DecodeError, match="no masks in round 0"):
        RoundMasks(work, 1).key("nobody")
    capsys.readouterr()
    assert dataset_processor.main([str(work.root), "--round", "1", "--recogniser", str(work.round(0).recogniser)]) == 0
    assert capsys.readouterr().out.count("skipped: it has no masks in round 0") == 7
    shards[0].unlink()
    assert dataset_processor.main([str(work.root), "--round", "1", "--recogniser", str(work.round(0).recogniser)]) == 2
    assert "--round 1 --masks facebook/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--architecture", "pose"], "--set mask_channel: pose looks at joints"),
    ],
)
def test_what_does_not_go_with_masks_is_refused(work, capsys, arguments, said):
    assert (
        train.main([str(work.root), "--round", "0", "--task", "actions", *arguments, "--set", "mask_channel=yes"]) == 2
    )
    assert said in capsys.readouterr().err


def test_a_round_without_masks_is_named(work):
    with pytest.raises(InputError, match="this recogniser looks at masks"):
        RoundMasks(WorkFolder(work.root.parent / "nowhere"), 2)
