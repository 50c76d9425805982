"""Settings of the trackers. Imports nothing heavy, so that a script can take its defaults from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PathSettings:
    """How ball candidates become paths. Sizes are in units of the object's own size, times in seconds.

    Evidence is in nats: the log of how much likelier «this is one moving object» is than «these are chance finds».
    """

    max_gap_s: float = 0.24  # the longest time a path may go without a candidate
    max_gap_steps: int = 6  # and the most labelled frames, whatever their spacing
    min_gap_steps: int = 2
    turn_gap_steps: int = 3  # over a longer gap a bounce is not told from another object
    max_speed_diagonals_s: float = 1.6  # of the frame's diagonal
    max_speed_sizes_s: float = 400.0
    position_noise_sizes: float = 0.12  # of a detector's box centre
    position_noise_pixels: float = 0.8
    acceleration_sizes_s2: float = 120.0  # gravity on a tennis ball is 146, on a basketball 41
    speed_noise: float = 0.04  # share of the step: blur and camera error grow with it
    size_noise: float = 0.35  # of the logarithm
    max_size_ratio: float = 2.6
    max_links: int = 6  # nearest candidates followed, for each candidate and gap
    smooth_gain: float = 2.0  # the most a well-predicted step may add
    turn_probability: float = 0.05  # of a bounce or a hit, a step
    turn_speed_change: float = 0.5  # of the logarithm of the speed, at a turn
    turn_speed_cost: float = 5.0  # the most that a change of speed costs at a turn
    miss_cost: float = 0.7  # a labelled frame without a candidate
    birth_cost: float = 3.0
    min_path_evidence: float = 1.0
    min_path_boxes: int = 3
    max_passes: int = 8


@dataclass(frozen=True)
class PlayerSettings:
    """How boxes of large, slow things (people) become tracks."""

    min_iou: float = 0.2
    sure_log_odds: float = 0.0  # a box from which a track may start
    max_gap_s: float = 0.7
    acceleration_sizes_s2: float = 3.0
    position_noise_sizes: float = 0.05
