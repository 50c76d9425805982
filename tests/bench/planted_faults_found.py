"""How many planted faults cleaning finds: a tenth of the true balls shifted, swapped onto heads or logos, or left out.

    python tests/bench/planted_faults_found.py --work FOLDER [FOLDER …] [--seeds 5] [--max-per-frame 1]

Takes truth and camera motion of work folders whose round 0 is labelled. The bar: at least 0.90 of the wrong boxes end
as ignore or drop, at most 0.03 of the right ones as drop. `missing` counts as kept where an interpolated box is right.
"""

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from planted_faults import fates, found_share, lost_share, plant  # noqa: E402

from labels.records.safe_writing import read_parquet  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=5, help="drawings of faults for each clip")
    parser.add_argument("--max-per-frame", type=int, default=0, help="as dataset_cleaner.py --set max_per_frame=N")
    args = parser.parse_args()
    for root in args.work:
        work, total = WorkFolder(root), 0
        for video in work.usable_videos().itertuples():
            truth, camera = work.read_truth(video.video_id), work.round(0).camera(video.video_id)
            names = ("video_id", "frame_count", "fps", "width", "height")
            meta = {name: getattr(video, name) for name in names} | {"stride": 1}
            for seed in range(args.seeds):
                planted = plant(truth, meta, seed)
                total = total + fates(planted, truth, read_parquet(camera), max_per_frame=args.max_per_frame)
        print(f"\n{root}: of the wrong {found_share(total):.3f} found, of the right {lost_share(total):.3f} dropped\n")
        print(total.to_string(), flush=True)


if __name__ == "__main__":
    main()
