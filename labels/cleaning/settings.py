"""Every threshold of stage 3, in one place. Imports nothing heavy: the script takes its defaults from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CleaningSettings:
    """Rules compare a value of each row with one of these. `size` is sqrt(width x height) of a box in pixels."""

    # What counts
    keep_quality: float = 0.7  # from here a label is trained on
    ignore_quality: float = 0.2  # from here it is neither a positive nor background
    without: tuple[str, ...] = ()  # names of rules that are switched off
    max_per_frame: int = 0  # balls in play at once, as far as the user knows; 0: nobody knows

    # Shape and size
    max_overlap: float = 0.4  # IoU with a better box of its class
    max_inside: float = 0.75  # share of the smaller of two boxes that lies in the other
    max_aspect: float = 3.0  # longer over shorter side; motion blur stretches a ball
    max_player_aspect: float = 6.0
    max_frame_share: float = 0.4  # size over the frame's shorter side
    max_player_frame_share: float = 1.2
    min_size_pixels: float = 3.0
    max_path_size_ratio: float = 2.0  # against the median size of its path nearby
    max_class_size_ratio: float = 6.0  # against the median size of the class in the video

    # Scores
    max_believed_per_frame: float = 1.2  # balls a frame above the working threshold, over the video; more is too many
    max_sobering: float = 2.5  # log-odds a labeller loses at most when it sees more

    # Several looks at a frame, and the looks of the things in it
    same_look_iou: float = 0.5  # two looks mean one thing
    agreeing_looks: int = 3  # what so many looks see alike is not taken for one of the many they see barely
    look_gain: float = 1.0  # log-odds each time the number of looks that agree doubles
    anchor_extent_sizes: float = 5.0  # what surely flies, and so far, shows what the ball looks like
    anchor_piece_sizes: float = 2.0  # and so far between two bounces, hits or gaps
    min_anchors: int = 5  # boxes; fewer show nothing
    size_unlike: float = 2.0  # log-odds an octave beside the anchors' sizes
    max_unlike: float = 5.0
    alike_gain: float = 1.5  # log-odds for what looks as the anchors do among themselves
    unlike_from: float = 2.0  # from this far off, in units of their spread, looks speak against it
    max_look_unlike: float = 1.0  # a game may have balls of two colours

    # Tracks that look unlike those that the round before kept in other videos
    min_usual_tracks: int = 20  # of a class; fewer say nothing
    max_outlier_share: float = 0.02  # of those tracks are themselves beyond the limit
    min_outlier_factor: float = 1.5  # and the limit is at least this local outlier factor

    # Paths
    max_misfit_sizes: float = 0.75  # distance from the smoothed path
    min_extent_sizes: float = 1.2  # a path that covers less stays where it is
    min_still_s: float = 0.4  # for at least this long before it counts as still
    min_scene_stay: float = 0.4  # share of the frames around it in which it is in its place: it lies still
    max_screen_stay: float = 0.3  # the same on the screen while the camera moves: it is painted there
    sure_still_log_odds: float = 2.0  # a still thing that the labeller is this sure of is a ball lying still
    vouched_log_odds: float = 3.0  # what a path on which a human drew a box is believed at least, all along
    isolated_log_odds: float = 2.0  # what a box on no path needs to be kept
    isolated_log_odds_sparse: float = (
        0.6  # the same where labelled frames are so far apart that no ball can be followed
    )
    isolated_player_log_odds: float = 0.7
    isolated_drop_below: float = 1.7  # dropped when it falls short by more than this
    sparse_step_s: float = 0.3
    unanchored_quality: float = 0.9  # what a path needs in a video where fewer than `min_anchors` boxes surely fly
    max_path_flatness: float = 1.5  # width over height all along a path, less what its speed explains
    max_path_uprightness: float = 1.5  # height over width, the same
    max_shadow_straightness: float = 2.0  # how much more the ball above rises and falls than what goes along below
    max_cast_constancy: float = 8.0  # spread of the distance to what moves above, over what strays from one direction
    min_shadow_flatness: float = 1.2  # width over height, against that ball; what is rounder must be less sure
    min_shadow_steps: int = 6  # labelled frames that tell whether a path is flat, or follows another that is seen too
    min_shadow_likeness: float = 0.95  # correlation of the two ways, left and right
    max_worn_share: float = 0.5  # of a path that is in one place at a player's head or feet, of a stretch at a head
    min_worn_steps: int = 6  # labelled frames of such a path
    sure_gap_steps: int = 2  # interpolated boxes are kept in gaps of at most this many labelled frames
    sure_gap_deviation_sizes: float = 0.2  # and where the smoothed path is known this well

    # Frames that a human drew
    drawn_gap_s: float = 2.0  # two drawn frames at most so far apart tell what is between them
    drawn_gap_sizes: float = 2.0  # where a box of the one lies so near to a box of the other

    # Rounds
    match_iou: float = 0.4  # two rounds mean the same object
    match_distance_sizes: float = 0.5  # or their centres are this near and their sizes alike
    old_share: float = 0.35  # how much a round's evidence is the older label's
    confirmed_gain: float = 0.25  # log-odds for each round that finds a label again
    lost_log_odds: float = -1.5  # what a round that did not find a label says of it, where it finds the others
    max_rounds_lost: int = 1  # then a label on no path is dropped rather than ignored

    # The dataset
    max_negative_share: float = 0.25  # frames without the object, for each frame with one
    sure_negative_steps: int = 2  # labelled frames around a negative that must be as empty


# What is no rule and can be switched off too, for a bench or a doubt, and what it does
PARTS = {
    "looks": "several looks at a frame are fused",
    "stays": "what stays in its place, in the scene or on the screen, is told before paths are looked for",
    "sobering": "a labeller that sees balls everywhere is believed less",
    "camera": "the camera's motion is taken out",
    "paths": "boxes are linked over time; without, the labeller's word alone counts",
    "likeness": "how like the video's surest balls a box is",
    "ground": "how large what lies is beside the players who stand there",
    "gaps": "boxes are interpolated where a path was not seen",
    "merging": "the round before is merged in",
}
RULE_NAMES = (
    "overlap",
    "aspect",
    "large",
    "small",
    "overlay",
    "still",
    "path_size",
    "class_size",
    "misfit",
    "isolated",
    "lost",
    "flat",
    "upright",
    "shadow",
    "cast",
    "worn",
    "crowded",
    "outlier",
    "unanchored",
    "quality",
)
