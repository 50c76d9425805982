"""Faults planted among true boxes of rendered clips are found: shifted, swapped onto heads or logos, left out."""

import numpy as np
import pytest
from planted_faults import fates, found_share, lost_share, plant

from labels.tracks.camera_motion import CameraMotion, camera_table
from labels.videos.synthetic.rendering import Scene, truth_table
from labels.videos.synthetic.settings import SceneSettings


@pytest.fixture(scope="module")
def clips():
    """Truth, camera motion as it is measured from the pixels, and metadata, of two clips: volleyball and tennis."""
    made = []
    for seed, sport in ((11, "volleyball"), (12, "tennis")):
        settings = SceneSettings(seed, sport, "easy", frame_count=40)
        camera, steps, truth = CameraMotion(), [], []
        for frame in Scene(settings).frames():
            steps.append(camera.update(frame.rgb))
            truth.append(frame.truth)
        meta = {"video_id": sport, "frame_count": 40, "stride": 1, "fps": 25.0, "width": 320, "height": 180}
        made.append((truth_table(truth), camera_table(range(40), steps), meta))
    return made


def test_faults_are_found_and_what_is_right_is_not_dropped(clips):
    """Six drawings of faults on each clip: nine wrong of ten are not kept, at most 3 % of the right are dropped."""
    total = sum(
        fates(plant(truth, meta, seed), truth, camera, max_per_frame=1)
        for truth, camera, meta in clips
        for seed in range(6)
    )
    assert total.loc[["shifted", "head", "logo"]].to_numpy().sum() >= 15
    assert found_share(total) >= 0.9, total
    assert lost_share(total) <= 0.03, total
    assert total.loc["right", "keep"] >= 0.9 * total.loc["right"].sum(), total


def test_a_fault_is_planted_where_it_says(clips):
    truth, _, meta = clips[0]
    planted = plant(truth, meta, 0, share=1.0)
    assert set(planted.kind) <= {"shifted", "head", "logo"}
    logo = planted.labelled[planted.kind == "logo"]
    centre = np.array([(logo["x1"] + logo["x2"]) / 2, (logo["y1"] + logo["y2"]) / 2])
    assert np.abs(centre - np.array([[0.06 * 320], [0.08 * 180]])).max() < 5
    assert set(plant(truth, meta, 0, share=0.0).kind) == {"right"}
    balls = truth[(truth["class_name"] == "sports ball") & (truth["visibility"] >= 0.25)]
    outside = len(balls) - len(planted.labelled) - len(planted.missing)
    assert 0 <= outside <= 0.3 * len(balls)  # shifted out of the picture
