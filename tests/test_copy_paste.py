"""Copy-paste: what is cut out, where it is laid, and that it moves between the frames of a triple."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from labels.records.matching import MatchCounts
from labels.training.boxes.augmentation import Cutting, PasteSettings, cut_out, draw_source, paste
from labels.training.boxes.data import empty_frame
from labels.training.boxes.metrics import f1_error
from labels.training.boxes.task import sureness

ALWAYS = PasteSettings(share=1.0, scale=(1.0, 1.0))
FAST = PasteSettings(share=1.0, speed=(2.0, 2.0))
WHITE = Cutting(torch.full((3, 8, 8), 255.0), torch.ones(8, 8))
LYING = replace(WHITE, flies=False)
NOTHING = np.zeros((0, 4), dtype=np.float32)


def test_an_ellipse_is_cut_out():
    picture = torch.zeros(5, 20, 30, dtype=torch.uint8)
    picture[:3, 4:12, 10:20] = 200
    cutting = cut_out(picture, np.array([10.0, 4, 20, 12]), ALWAYS)
    assert cutting.colour.shape == (3, 8, 10) and (cutting.colour == 200).all()
    assert cutting.cover[4, 5] == 1 and cutting.cover[0, 0] == 0
    assert cutting.flies  # it is in this frame and in neither neighbour
    picture[3:, 4:12, 10:20] = 200
    assert not cut_out(picture, np.array([10.0, 4, 20, 12]), ALWAYS).flies
    assert cut_out(picture, np.array([10.0, 4, 12, 12]), ALWAYS) is None  # two pixels across show nothing
    assert cut_out(picture, np.array([29.0, 4, 39, 12]), ALWAYS) is None  # one pixel of it is in the picture


def test_what_lies_is_in_all_three_frames_and_what_flies_in_each_elsewhere():
    torch.manual_seed(0)
    lying, box = paste(torch.zeros(5, 64, 64, dtype=torch.uint8), LYING, NOTHING, FAST)
    left, top, right, bottom = box.astype(int)
    assert (lying[:, top:bottom, left:right] == 255).all()
    assert lying.float().sum() == 5 * 64 * 255
    flown = 0
    for _ in range(20):
        triple, box = paste(torch.zeros(5, 64, 64, dtype=torch.uint8), WHITE, NOTHING, FAST)
        left, top, right, bottom = box.astype(int)
        assert (triple[:3, top:bottom, left:right] == 255).all()
        before, after = triple[3].nonzero().float(), triple[4].nonzero().float()
        if len(before) == len(after) == 64:  # both whole: as far to one side as to the other
            flown += 1
            middle = torch.tensor([(top + bottom - 1) / 2, (left + right - 1) / 2], dtype=torch.float32)
            assert torch.allclose(before.mean(0) + after.mean(0), 2 * middle, atol=1.01)
            assert (before.mean(0) - middle).norm() == pytest.approx(16, abs=1)
    assert flown


def test_nothing_is_laid_over_what_is_there_and_the_picture_given_stays_as_it_is():
    picture = torch.zeros(3, 32, 32)
    assert paste(picture, WHITE, np.array([[0.0, 0, 32, 32]]), ALWAYS) is None
    assert paste(torch.zeros(3, 6, 6), WHITE, NOTHING, ALWAYS) is None
    assert paste(picture, WHITE, NOTHING, ALWAYS) is not None
    assert not picture.any()


def test_only_sure_labels_are_copied():
    assert draw_source([np.array([0.5]), np.array([0.3, 0.9])], ALWAYS) == (1, 1)
    assert draw_source([np.array([0.5])], ALWAYS) is None
    assert draw_source([np.array([0.9])], PasteSettings(share=0.0)) is None


def test_the_standard_error_of_an_f1_by_hand():
    # left out in turn: 1, 0.5, 0.5; the mean is 2/3, the deviation sqrt(1/18), times sqrt(3 - 1)
    videos = [MatchCounts(wrong=1, missed=1), MatchCounts(right=1), MatchCounts(right=1)]
    assert f1_error([videos]) == pytest.approx(1 / 3)
    assert np.isnan(f1_error([videos[:2]]))
    # with a class beside it that is always right the mean is (x + 1) / 2: half the error
    assert f1_error([videos, [MatchCounts(right=1)] * 3]) == pytest.approx(1 / 6)


def test_frames_are_drawn_as_often_as_their_labels_are_sure():
    empty = empty_frame("v", 0, 9)
    frames = [replace(empty, weight=np.array([0.8, 0.4])), empty]
    assert sureness(frames).tolist() == pytest.approx([0.6, 1.0])
