"""How long cleaning takes on one core and how much memory: simulated scenes, round 0 and round 1 merged with it.

    OMP_NUM_THREADS=1 python tests/bench/cleaning_speed.py [--boxes 100000] [--profile]

Each scene has 300 frames with a dozen boxes or so in each, of two looks, with what boxes look like; scenes are made
before the clock starts. The processor's time is what counts, so that other work on the machine does not; frames and
JPEGs are left out, because decoding them is no part of deciding. The bar is 60 s and 2 GB for 100,000 boxes, without
torch.
"""

import argparse
import cProfile
import pstats
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from simulated_balls import Scene, clean_table, make_scene  # noqa: E402

from labels.cleaning.features.scores import ScoreScale  # noqa: E402
from labels.cleaning.settings import CleaningSettings  # noqa: E402
from labels.records.detections import as_text  # noqa: E402

SCALES = {(source, "sports ball"): ScoreScale(0.5) for source in ("near", "far")}
FEATURES = 56


def make_scenes(boxes: int, first_seed: int) -> list[Scene]:
    """Scenes with at least `boxes` boxes in all."""
    scenes: list[Scene] = []
    while sum(len(scene.labelled) for scene in scenes) < boxes:
        seed = first_seed + len(scenes)
        scene = make_scene(seed, frame_count=300, video_id=f"scene{seed}")
        rng = np.random.default_rng(seed)
        scene.labelled["source"] = rng.choice(["near", "far"], len(scene.labelled))
        scene.labelled["appearance"] = as_text(rng.random((len(scene.labelled), FEATURES)))
        scenes.append(scene)
    return scenes


def clean_all(rounds: list[list[Scene]]) -> None:
    """Each round merged with the one before; prints what it took."""
    before = [None] * len(rounds[0])
    for number, scenes in enumerate(rounds):
        started, boxes = time.process_time(), 0
        for place, scene in enumerate(scenes):
            if place >= len(before):
                before.append(None)
            cleaned = clean_table(scene.labelled, number, SCALES, CleaningSettings(), before[place], scene.camera)
            before[place], boxes = cleaned.boxes, boxes + len(scene.labelled)
        took = time.process_time() - started
        share = 100_000 / boxes
        print(f"round {number}: {boxes:,} boxes in {took:.1f} s, {share * took:.1f} s for 100,000", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    args = parser.parse_args()
    # A later round sees the same balls with other misses and other stray finds, as another labeller would.
    rounds = [make_scenes(args.boxes, 0) for _ in range(args.rounds)]
    for later in rounds[1:]:
        for scene in later:
            seen = np.random.default_rng(len(scene.labelled)).random(len(scene.labelled)) < 0.9
            attrs = scene.labelled.attrs
            scene.labelled = scene.labelled[seen].reset_index(drop=True)
            scene.labelled["label_uid"] = "later-" + scene.labelled["label_uid"]
            scene.labelled.attrs = attrs
    profile = cProfile.Profile(time.process_time)
    if args.profile:
        profile.runcall(clean_all, rounds)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    else:
        clean_all(rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"most memory: {peak:.2f} GB; torch {'was' if 'torch' in sys.modules else 'was not'} imported")


if __name__ == "__main__":
    main()
