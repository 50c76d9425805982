"""What a recogniser of poses costs beside its keypoint network: a clip of 300 frames from file to probabilities.

    python tests/bench/pose_cost.py --clip CLIP --min-size 256

Prints the time of everything (decoding, camera, tracking, windows, classifier, and the keypoint network) over the time
that was spent inside the keypoint network, in one run. Weights are random, which costs the same. `--min-size` is the
side that Keypoint R-CNN brings frames to: smaller is cheaper and the harder case, because the rest stays as it is.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from torchvision.models.detection import keypointrcnn_resnet50_fpn

from labels.models import pose_estimators
from labels.models.pose_estimators import COCO_NAMES, KeypointRcnn
from labels.models.recognisers.recogniser import NetworkRecogniser, build_recogniser, preset_of
from labels.models.recognisers.settings import POSE
from labels.pictures.overlay.clip import recognise_clip
from labels.videos.decoding.frames import decode_frames, probe_video
from labels.videos.encoding import VideoWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--min-size", type=int, default=800)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    network = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=args.min_size,
        max_size=2 * args.min_size,
        box_detections_per_img=2,  # as many people as a rally has, or random weights would find a hundred
    )
    pose_estimators.LEAST_PERSON = 0.0
    estimator = KeypointRcnn(network, COCO_NAMES, "random", args.device)
    inside = 0.0
    look = estimator.look

    def timed(*given):  # what it spends outside the network is a copy of a few numbers
        nonlocal inside
        begun = time.perf_counter()
        found = look(*given)
        inside += time.perf_counter() - begun
        return found

    estimator.look = timed  # type: ignore[method-assign]
    classifier = build_recogniser(POSE, 6, preset_of(POSE), False)
    student = NetworkRecogniser(classifier, tuple("abcdef"), preset_of(POSE), POSE, "", args.device)
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "clip.mp4"
        with VideoWriter(clip, probe_video(args.clip).fps) as writer:
            for frame in decode_frames(args.clip):
                if frame.frame_index < args.frames:
                    writer.write(frame.rgb)
        info = probe_video(clip)
        begun = time.perf_counter()
        decode = partial(decode_frames, clip)
        said = recognise_clip(decode, info.frame_count, info.fps, student, estimator=estimator)[0]
        total = time.perf_counter() - begun
    assert len(said.probabilities) == info.frame_count
    print(
        f"{info.frame_count} frames of {info.width}x{info.height} at --min-size {args.min_size}: keypoint network "
        f"{inside:.1f} s, all together {total:.1f} s: {total / inside:.3f} times as much"
    )


if __name__ == "__main__":
    main()
