"""Settings of the review page. Imports nothing heavy: the script takes its defaults from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReviewSettings:
    """What is worth a look, how much is shown of it, and what a clip from outside may cost."""

    port: int = 8777

    # What is worth a look
    reach: float = 0.3  # a quality this far from a threshold says that a verdict hardly changes anything
    least_change: float = 0.02  # of a label that is far from every threshold: rules and labellers can be wrong
    duplicate_iou: float = 0.5  # boxes of one class that overlap this much are one thing
    duplicate_steps: int = 3  # labelled frames between two of them

    # What is shown
    items_at_once: int = 40
    rows_shown: int = 240  # of a long track, evenly; a verdict is on all of it
    frame_px: int = 1280  # long side of a frame
    jpeg_quality: int = 88
    frames_kept: int = 4000  # of frames decoded for the page, in a temporary folder
    frames_ahead: int = 400  # decoded in one go for the items to come
    browse_rows: int = 60
    segment_fps: float = 25.0  # frames of an action that are shown of each of its seconds
    segment_least_frames: int = 12  # where it has so many
    segment_most_frames: int = 60

    # Clips from outside
    clip_bytes: int = 200 * 2**20
    clip_heard_out_bytes: int = 4 * 2**30  # of one that is too large, so that its sender hears why
    clip_seconds: float = 20.0  # labelled of it, from its start
    clip_frames: int = 1200  # and at most so many
    clip_pixels: int = 4096 * 2304  # of one frame
    clip_decode_s: int = 120  # processor time to decode it
    clip_memory_bytes: int = 4 * 2**30
    clip_wait_s: float = 600.0  # for all of it; then it is given up
    clip_players: int = 8  # whose actions are recognised, those seen longest; each costs as much as a whole clip
    clips_kept: int = 4  # results on the page; older ones go


REVIEW = ReviewSettings()
