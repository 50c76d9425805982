"""Stage 5, look: draw a round's labels, and tell the story of all rounds in one page.

Reads   the videos, their truth where there is any, and the cleaned labels and students of every round.
Writes  rounds/NN/pictures/   overlay videos (H.264) and contact sheets of round NN
        report.html           one self-contained page over all rounds

    python visualise.py work --round 1
    python visualise.py work --round 1 --videos clip_03,clip_07 --seconds 0
    python visualise.py work --round 1 --limit 0          # an overlay of every video
    python visualise.py --clip some.avi --recogniser work/rounds/01/trained/recogniser.pt    # what happens in a clip

Without --round it shows the last round that is cleaned. Overlays show the frames the labeller looked at: kept boxes
solid, interpolated dotted, ignored thin, dropped dashed with the reason, truth as white corners. Videos drawn already
from the same labels are not drawn again. Ends with the table of rounds: precision, recall and F1 against truth.
"""

import argparse
import sys

from labels.pictures.settings import PictureSettings
from labels.records.command_line import Summary, round_number, run_stage, stage_parser


def get_args(argv: list[str] | None) -> argparse.Namespace:
    settings = PictureSettings()
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--round", type=round_number, default=None, help="the round to show; the last cleaned one if not given"
    )
    parser.add_argument(
        "--videos", default=None, metavar="ID,ID", help="overlay these videos instead of those most worth seeing"
    )
    parser.add_argument("--limit", type=int, default=settings.limit, help="overlay videos at most; 0: all")
    parser.add_argument(
        "--seconds", type=float, default=settings.seconds, help="length of an overlay at most; 0: all of it"
    )
    return parser.parse_args(argv)


def visualise(args: argparse.Namespace) -> Summary:
    """Draw the pictures of a round and write the report."""
    from tqdm import tqdm

    from labels.pictures.picture_making import make_overlays, make_sheets
    from labels.pictures.report import write_report
    from labels.pictures.report_contents import Rounds
    from labels.pictures.round_reading import read_round, require_cleaned_round
    from labels.pictures.round_survey import survey_rounds
    from labels.pictures.rounds_table import rounds_table
    from labels.pictures.sheet_choice import plan_sheets
    from labels.pictures.video_choice import named_videos, videos_worth_seeing
    from labels.records.errors import InputError
    from labels.records.run_records import out_of_date
    from labels.records.work_folder import WorkFolder

    if args.limit < 0 or not 0 <= args.seconds < 1e6:
        raise InputError("--limit and --seconds must be 0 or more")
    work = WorkFolder(args.work)
    videos = work.usable_videos()
    found = [read_round(work, number) for number in work.round_numbers()]
    cleaned = [each.number for each in found if each.is_cleaned]
    here = require_cleaned_round(work, (cleaned[-1] if cleaned else 0) if args.round is None else args.round)
    before = next((each for each in reversed(found) if each.is_cleaned and each.number < here.number), None)
    settings = PictureSettings(limit=args.limit, seconds=args.seconds)
    with work.writing(), tqdm(unit="video", desc="drawing", leave=False, disable=None) as bar:

        def progress(video_id: str) -> None:
            bar.set_postfix_str(video_id, refresh=False)
            bar.update()

        surveys = survey_rounds(work, videos, found)
        survey = next(each for each in surveys if each.number == here.number)
        if args.videos is not None:
            chosen = named_videos(args.videos, videos)
        else:
            chosen = videos_worth_seeing(survey, videos, args.limit)
        overlays = make_overlays(work, here, videos, chosen, settings, progress)
        plans = plan_sheets(videos, here, before, settings)
        unreadable = make_sheets(work, here, videos, plans, settings, progress)
        write_report(work, Rounds(found, surveys), here.number, overlays, plans)
    skipped: dict[str, int] = {}
    for overlay in overlays:
        if overlay.failure:
            skipped[overlay.failure] = skipped.get(overlay.failure, 0) + 1
    lines = [f"{overlay.video_id}: no overlay, {overlay.failure}" for overlay in overlays if overlay.failure]
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    if args.videos is None and len(chosen) < survey.videos:
        lines.append(
            f"overlays of {len(chosen)} of {survey.videos} videos (--limit 0 draws all): {here.folder.pictures}"
        )
    else:
        lines.append(f"overlays: {here.folder.pictures}")
    lines += [f"report: {work.report}", *out_of_date(work), "", *rounds_table(surveys), ""]
    return Summary("visualise", "videos", len(overlays), len(overlays) - sum(skipped.values()), skipped, lines)


def main(argv: list[str] | None = None) -> int:
    if any(word == "--clip" or word.startswith("--clip=") for word in (sys.argv[1:] if argv is None else argv)):
        from labels.pictures.clip_answer import answer_clip, clip_arguments

        clip = clip_arguments(argv)
        return run_stage(lambda: answer_clip(clip))
    args = get_args(argv)
    return run_stage(lambda: visualise(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
