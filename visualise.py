"""Stage 5, look: draw a round's labels, and tell the story of all rounds in one page.

Reads   the videos, their truth where there is any, and the cleaned labels and students of every round.
Writes  rounds/NN/pictures/   overlay videos (H.264) and contact sheets of round NN
        report.html           one self-contained page over all rounds
        verdicts.csv          with --review only: what a person said of labels

    python visualise.py work --round 1
    python visualise.py work --round 1 --videos clip_03,clip_07 --set seconds=0
    python visualise.py work --round 1 --set limit=0      # an overlay of every video
    python visualise.py work --review                     # a page on which a person judges labels, and tries clips
    python visualise.py work --round 1 --set gif=yes      # and each as a small GIF
    python visualise.py work --round 1 --audit 60         # draw 60 kept labels for you to judge
    python visualise.py work --diff 0 1                   # what round 1 added, lost and moved
    python visualise.py work --why 6f0c2a9d81b3e457       # one label's life, rule by rule
    python visualise.py --clip some.avi --recogniser work/rounds/01/trained/recogniser.pt    # what happens in a clip

Without --round it shows the last round that is cleaned. Overlays show the frames the labeller looked at: kept boxes
solid, interpolated dotted, a person's thick, ignored thin, dropped dashed with the reason, truth as white corners, and
what is done (actions) in words. Videos drawn already from the same labels are not drawn again. Ends with the table of
rounds: precision, recall and F1 against truth. An audit is filled in (y or n) in rounds/NN/pictures/audit.csv; the
cleaner reads it, and the report says how many of the kept labels are right by it. What can be said beside --clip:
`python visualise.py --clip some.avi --help`.
"""

import argparse
import sys

from labels.pictures.settings import REVIEW, PictureSettings
from labels.records.command_line import Summary, add_force, positive_number, round_number, run_stage, stage_parser


def get_args(argv: list[str] | None) -> argparse.Namespace:
    settings = PictureSettings()
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--round", type=round_number, default=None, help="the round to show; the last cleaned one if not given"
    )
    parser.add_argument(
        "--videos", default=None, metavar="ID,ID", help="overlay these videos instead of those most worth seeing"
    )
    parser.add_setting("limit", int, settings.limit, "overlay videos at most; 0: all")
    parser.add_setting("seconds", float, settings.seconds, "length of an overlay at most; 0: all of it")
    parser.add_setting("gif", bool, settings.gif, "each overlay as a GIF too, small and short")
    parser.add_setting("port", int, REVIEW.port, "of the review page, on this machine; 0: any")
    add_force(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--review", action="store_true", help="serve a page on which a person judges labels")
    asked.add_argument("--audit", type=positive_number, metavar="N", help="draw N kept labels for a person to judge")
    asked.add_argument("--diff", type=round_number, nargs=2, metavar="ROUND", help="what changed between two rounds")
    asked.add_argument("--why", metavar="LABEL_UID", help="one label's life: born, judged, fused, decided on")
    return parser.parse_args(argv)


def visualise(args: argparse.Namespace) -> Summary:
    """Do the one thing that is asked for; without any, draw the pictures of a round and write the report."""
    if args.review:
        from labels.pictures.review.app import review

        return review(args.work, args.round, args.port)
    from tqdm import tqdm

    from labels.pictures import stage as round_pictures
    from labels.records.errors import InputError
    from labels.records.work_folder import WorkFolder
    from labels.videos.videos_table import refuse_replaced_clips

    if args.limit < 0 or not 0 <= args.seconds < 1e6:
        raise InputError("--set limit and --set seconds must be 0 or more")
    work = WorkFolder(args.work)
    replaced = refuse_replaced_clips(work, args.force)
    settings = PictureSettings(limit=args.limit, seconds=args.seconds, gif=args.gif)
    # On a terminal only: elsewhere it would stand in the line of whatever goes wrong.
    with work.writing(), tqdm(unit="video", desc="drawing", leave=False, disable=None) as bar:

        def progress(video_id: str) -> None:
            bar.set_postfix_str(video_id, refresh=False)
            bar.update()

        if args.why is not None:
            return round_pictures.explain_label(work, args.why, settings, progress)
        if args.diff is not None:
            return round_pictures.draw_difference(work, *args.diff, settings, progress)
        if args.audit is not None:
            return round_pictures.draw_audit(work, args.round, args.audit, settings, progress)
        summary = round_pictures.draw_round(work, args.round, args.videos, settings, progress)
    summary.lines += replaced
    return summary


def main(argv: list[str] | None = None) -> int:
    if any(word == "--clip" or word.startswith("--clip=") for word in (sys.argv[1:] if argv is None else argv)):
        from labels.pictures.settings import clip_arguments

        clip = clip_arguments(argv)
        from labels.pictures.overlay.clip import answer_clip

        return run_stage(lambda: answer_clip(clip))
    args = get_args(argv)
    return run_stage(lambda: visualise(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
