"""What happens in a synthetic clip: who runs where, who passes the ball and when, and where the ball flies.

The ball obeys gravity, drag, bounces and rolling friction; a player takes it where it arrives, carries it, passes it
on. Nothing is drawn here.
"""

from dataclasses import dataclass, field

import numpy as np

from labels.videos.synthetic.camera import STEP_S, smooth
from labels.videos.synthetic.poses import MOVES, READY, RUN_STRIDE_M, gait_pose, hit_point, move_pose, place, skeleton
from labels.videos.synthetic.settings import Difficulty, Sport

LEAD_S = 2.0  # every path starts before the first frame
RUNNING_MS = 0.9  # who is slower stands
SWING_MS = 9.0  # a hand or foot in the middle of a move


@dataclass
class Doing:
    """One move of one player in time."""

    move: str
    start_s: float
    heading: float

    @property
    def end_s(self) -> float:
        return self.start_s + MOVES[self.move].duration_s


@dataclass
class Player:
    """One player: where they go, what they do, and once settled the path, every STEP_S."""

    team: int
    size: float
    left_handed: bool
    ready: bool  # stands crouching
    waypoints: list[tuple[float, float, float]] = field(default_factory=list)  # time_s, x, y
    doings: list[Doing] = field(default_factory=list)
    path: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    heading: np.ndarray = field(default_factory=lambda: np.zeros(0))
    speed: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def last(self) -> np.ndarray:
        return np.array(self.waypoints[-1][1:])

    def walk_to(self, start_s: float, end_s: float, spot: np.ndarray) -> None:
        x, y = self.last()
        begin = max(start_s, self.waypoints[-1][0] + 0.01)
        if end_s > begin + 0.05:
            self.waypoints += [(begin, x, y), (end_s, float(spot[0]), float(spot[1]))]

    def is_busy(self, start_s: float, end_s: float) -> bool:
        return any(doing.start_s < end_s and start_s < doing.end_s for doing in self.doings)

    def settle(self, step_count: int, ball_xy: np.ndarray) -> None:
        """Make the path from the waypoints; who stands looks at the ball (N, 2)."""
        time_s = STEP_S * np.arange(step_count) - LEAD_S
        when, x, y = np.array(self.waypoints).T
        raw = np.stack([np.interp(time_s, when, x), np.interp(time_s, when, y)], axis=1)
        self.path = smooth(raw, 0.12 / STEP_S)
        velocity = smooth(np.gradient(self.path, STEP_S, axis=0), 0.04 / STEP_S)
        self.speed = np.linalg.norm(velocity, axis=1)
        self.steps = np.cumsum(self.speed) * STEP_S / (RUN_STRIDE_M * self.size)
        to_ball = ball_xy - self.path
        to_ball = to_ball / np.maximum(np.linalg.norm(to_ball, axis=1, keepdims=True), 0.1)
        facing = velocity * np.clip(self.speed - 0.5, 0, 3)[:, None] + 0.6 * to_ball
        for doing in self.doings:
            during = (time_s >= doing.start_s) & (time_s <= doing.end_s)
            facing[during] = 8 * np.array([np.cos(doing.heading), np.sin(doing.heading)])
        facing = smooth(facing, 0.08 / STEP_S)
        self.heading = np.arctan2(facing[:, 1], facing[:, 0])

    def joint_speed(self, time_s: float) -> float:
        """About how fast the fastest hand or foot is, m/s."""
        step = int(np.clip(round((time_s + LEAD_S) / STEP_S), 0, len(self.path) - 1))
        swinging = any(doing.start_s <= time_s <= doing.end_s for doing in self.doings)
        return SWING_MS if swinging else 2.2 * float(self.speed[step])

    def at(self, time_s: float) -> tuple[np.ndarray, str]:
        """Joints in the world (17, 3) and the name of what the player does."""
        step = int(np.clip(round((time_s + LEAD_S) / STEP_S), 0, len(self.path) - 1))
        speed = float(self.speed[step])
        angles = gait_pose(float(self.steps[step]), speed)
        sway = 4 * np.sin(1.7 * time_s + 5 * self.size * self.team + self.waypoints[0][1])
        still = max(0.0, 1 - speed / 0.8)
        if self.ready:
            angles = angles * (1 - still) + np.array(READY) * still
        angles[[2, 5, 7]] += still * sway
        lift_m, class_name = 0.0, "run" if speed > RUNNING_MS else "stand"
        for doing in self.doings:
            phase = (time_s - doing.start_s) / MOVES[doing.move].duration_s
            if 0 <= phase <= 1:
                moved, lift_m = move_pose(MOVES[doing.move], phase)
                legs = min(speed / 4, 0.6) if doing.move in ("throw", "push") else 0.0
                share = min(1.0, phase / 0.12, (1 - phase) / 0.12)
                moved[8:] = moved[8:] * (1 - legs) + angles[8:] * legs
                angles, lift_m = angles * (1 - share) + moved * share, lift_m * share
                class_name = MOVES[doing.move].class_name
        x, y = self.path[step]
        joints = skeleton(angles, lift_m, self.left_handed)
        return place(joints, x, y, float(self.heading[step]), self.size), class_name


@dataclass(frozen=True)
class Ball:
    """One ball: its path (N, 3) metres every STEP_S from -LEAD_S, and its turn (N,) radians about `axis`."""

    path: np.ndarray
    turn: np.ndarray
    axis: np.ndarray

    def at(self, time_s: float) -> np.ndarray:
        spot = min(max((time_s + LEAD_S) / STEP_S, 0.0), len(self.path) - 1.001)
        before = int(spot)
        share = spot - before
        return self.path[before] * (1 - share) + self.path[before + 1] * share

    def turn_at(self, time_s: float) -> float:
        return float(self.turn[int(np.clip((time_s + LEAD_S) / STEP_S, 0, len(self.turn) - 1))])


GRAVITY_MS2 = 9.81
BLEND_S = 0.14  # a carried ball goes this long between flight and hand or foot
IDLE_MOVES = ("jump", "throw", "kick", "swing", "smash", "push")


@dataclass(frozen=True)
class Play:
    players: list[Player]
    balls: list[Ball]  # the first is the one played with
    hits: list[tuple[float, int]]  # when it is sent on, and by which player


def fly(position: np.ndarray, velocity: np.ndarray, step_count: int, sport: Sport) -> np.ndarray:
    """The flight of a ball, (step_count, 3) metres every STEP_S, the first step after the start."""
    path = np.empty((step_count, 3))
    p, v = position.astype(float).copy(), velocity.astype(float).copy()
    radius = sport.ball_radius_m
    for step in range(step_count):
        v *= max(0.0, 1 - sport.drag * float(np.sqrt(v @ v)) * STEP_S)
        v[2] -= GRAVITY_MS2 * STEP_S
        p += v * STEP_S
        if p[2] < radius:
            p[2] = radius
            if v[2] < -0.6:
                v[2] *= -sport.restitution
                v[:2] *= 0.86
            else:  # it rolls
                v[2] = 0.0
                flat = float(np.hypot(v[0], v[1]))
                v[:2] *= max(0.0, 1 - sport.rolling_ms2 * STEP_S / max(flat, 1e-6))
        path[step] = p
    return path


def aim(
    rng: np.random.Generator, sport: Sport, start: np.ndarray, target_xy: np.ndarray, flight_s: float
) -> np.ndarray:
    """The velocity (3,) that brings the ball over `target_xy` after about `flight_s`, with or without a bounce."""
    flat = (target_xy - start[:2]) / flight_s
    touch_s = flight_s
    end_z = rng.uniform(*sport.arrive_z_m)
    if rng.random() < sport.bounce_share:
        touch_s, end_z = flight_s * rng.uniform(*sport.bounce_at), sport.ball_radius_m
        flat = flat * 1.08
    up = (end_z - start[2]) / touch_s + GRAVITY_MS2 * touch_s / 2
    return np.array([*(flat * (1 + sport.drag * 2)), up])


def plan_play(rng: np.random.Generator, sport: Sport, difficulty: Difficulty, duration_s: float) -> Play:
    """Choreograph a clip of `duration_s` seconds."""
    step_count = int((duration_s + LEAD_S + 0.5) / STEP_S)
    players = _cast(rng, sport, difficulty)
    ball_path, carried, hits = _pass_around(rng, sport, players, step_count)
    _idle_moves(rng, difficulty, players, duration_s)
    for player in players:
        player.settle(step_count, ball_path[:, :2])
    for holder, start, end in carried:
        _carry(rng, sport, players[holder], ball_path, start, end)
    lying = [_still_ball(rng, sport, step_count) for _ in range(int(rng.choice(difficulty.still_balls)))]
    return Play(players, [_rolled(rng, sport, ball_path), *lying], hits)


def _cast(rng: np.random.Generator, sport: Sport, difficulty: Difficulty) -> list[Player]:
    extra = int(rng.integers(difficulty.extra_players[0], difficulty.extra_players[1] + 1))
    count = max(2, int(rng.integers(sport.players[0], sport.players[1] + 1)) + extra)
    players: list[Player] = []
    for index in range(count):
        team = index % 2
        player = Player(team, rng.uniform(0.93, 1.08), bool(rng.random() < 0.12), bool(sport.net_z_m))
        spots = [_spot(rng, sport, team) for _ in range(8)]
        spread = [min([np.hypot(*(spot - other.last())) for other in players] or [9.0]) for spot in spots]
        x, y = spots[int(np.argmax(spread))]
        player.waypoints.append((-LEAD_S - 1, float(x), float(y)))
        players.append(player)
    return players


def _spot(rng: np.random.Generator, sport: Sport, team: int) -> np.ndarray:
    """Somewhere a player of a team may be, (2,)."""
    along, deep = sport.area_m
    x, y = rng.uniform(-along, along), rng.uniform(-deep, deep)
    if sport.net_z_m:
        y = (-1 if team == 0 else 1) * (1.0 + abs(y) * (deep - 1.0) / deep)
    return np.array([x, y])


def _pass_around(
    rng: np.random.Generator, sport: Sport, players: list[Player], step_count: int
) -> tuple[np.ndarray, list[tuple[int, int, int]], list[tuple[float, int]]]:
    """Send the ball from player to player. Returns its path, who carries it from step to step, and who hits it when."""
    path = np.zeros((step_count, 3))
    carried: list[tuple[int, int, int]] = []
    hits: list[tuple[float, int]] = []
    step, holder = 0, int(rng.integers(len(players)))
    arrived: np.ndarray | None = None
    while step < step_count:
        giver, now_s = players[holder], step * STEP_S - LEAD_S
        contact = step + int(rng.uniform(*sport.carry_s) / STEP_S)
        contact_s = contact * STEP_S - LEAD_S
        if contact > step:
            wander = rng.normal(0, 2.2, 2) * (contact_s - now_s)
            giver.walk_to(now_s, contact_s, _within(sport, giver.last() + wander, giver.team))
        taker_index = _receiver(rng, sport, players, holder)
        taker = players[taker_index]
        target = _within(sport, taker.last() + rng.normal(0, 1.1, 2), taker.team)
        way = target - giver.last()
        heading = float(np.arctan2(way[1], way[0]))
        name = str(rng.choice(sport.strikes))
        if arrived is not None and sport.carry == "none":
            name = "smash" if arrived[2] > 2.0 else ("push" if name == "push" else "swing")
        move = MOVES[name]
        hit = place(
            hit_point(move, giver.left_handed)[None],
            float(giver.last()[0]),
            float(giver.last()[1]),
            heading,
            giver.size,
        )[0]
        if sport.carry == "none" and arrived is not None:
            hit = arrived
        hit = np.maximum(hit, [-99, -99, sport.ball_radius_m])
        giver.doings.append(Doing(name, contact_s - move.contact * move.duration_s, heading))
        hits.append((contact_s, holder))
        flight_s = float(np.clip(np.hypot(*(target - hit[:2])) / rng.uniform(*sport.pass_ms), 0.35, 1.5))
        flight = fly(hit, aim(rng, sport, hit, target, flight_s), int(flight_s / STEP_S), sport)
        if contact > step:
            carried.append((holder, step, min(contact, step_count)))
        end = min(contact + len(flight), step_count)
        if contact < step_count:
            path[step:contact] = hit
            path[contact:end] = flight[: end - contact]
        else:
            path[step:] = hit
        arrived = flight[-1]
        taker.walk_to(contact_s + 0.1, contact_s + flight_s, arrived[:2] - _reach(sport, taker, -way))
        for index, other in enumerate(players):
            if index not in (holder, taker_index) and rng.random() < 0.65:
                spot = _within(sport, other.last() + rng.normal(0, 1.8, 2), other.team)
                pace = rng.uniform(1.0, 5.0)
                other.walk_to(contact_s, contact_s + max(0.3, float(np.hypot(*(spot - other.last()))) / pace), spot)
        step, holder = contact + len(flight), taker_index
    return path, carried, hits


def _receiver(rng: np.random.Generator, sport: Sport, players: list[Player], holder: int) -> int:
    others = [index for index in range(len(players)) if index != holder]
    if sport.net_z_m:
        across = [index for index in others if players[index].team != players[holder].team]
        same = [index for index in others if players[index].team == players[holder].team]
        others = same if same and not sport.racket and rng.random() < 0.55 else across
    return int(rng.choice(others))


def _reach(sport: Sport, taker: Player, towards: np.ndarray) -> np.ndarray:
    """How far in front of and beside a player the ball is when it arrives, (2,) metres."""
    ahead = towards / max(float(np.hypot(*towards)), 0.1)
    beside = np.array([ahead[1], -ahead[0]]) * (-1 if taker.left_handed else 1)
    if sport.racket:
        return 0.5 * ahead + 0.75 * beside
    return 0.4 * ahead + (0.15 * beside if sport.carry == "none" else 0.0)


def _within(sport: Sport, spot: np.ndarray, team: int) -> np.ndarray:
    along, deep = sport.area_m
    low, high = np.array([-along, -deep]), np.array([along, deep])
    if sport.net_z_m:
        low[1], high[1] = (-deep, -0.8) if team == 0 else (0.8, deep)
    return np.clip(spot, low, high)


def _idle_moves(rng: np.random.Generator, difficulty: Difficulty, players: list[Player], duration_s: float) -> None:
    """Moves without a ball: who swings or throws does not always have one."""
    for player in players:
        for _ in range(max(1, round(duration_s / difficulty.idle_every_s))):
            if rng.random() < difficulty.idle_share:
                name, start_s = str(rng.choice(IDLE_MOVES)), rng.uniform(-0.3, duration_s)
                if not player.is_busy(start_s - 0.2, start_s + MOVES[name].duration_s + 0.2):
                    player.doings.append(Doing(name, start_s, rng.uniform(-np.pi, np.pi)))


def _carry(rng: np.random.Generator, sport: Sport, holder: Player, ball_path: np.ndarray, start: int, end: int) -> None:
    """Put a carried ball at its holder's hand or foot, in place."""
    before = ball_path[start - 1].copy() if start else None
    after = ball_path[min(end, len(ball_path) - 1)].copy()
    bounce_s = rng.uniform(0.45, 0.6)
    dribbles = sport.carry == "hands" and (end - start) * STEP_S > 0.5 and rng.random() < 0.7
    blend = max(1, min(int(BLEND_S / STEP_S), (end - start) // 2))
    for step in range(start, end):
        ahead = np.array([np.cos(holder.heading[step]), np.sin(holder.heading[step])])
        beside = np.array([ahead[1], -ahead[0]])
        spot = np.empty(3)
        if sport.carry == "feet":
            spot[:2] = holder.path[step] + (0.42 + 0.12 * np.sin(4 * np.pi * holder.steps[step])) * ahead
            spot[2] = sport.ball_radius_m
        elif dribbles:
            spot[:2] = holder.path[step] + 0.35 * ahead + 0.25 * beside
            phase = (step - start) * STEP_S / bounce_s + 0.5
            high = 1 - (2 * (phase % 1) - 1) ** 2  # a parabola from bounce to bounce
            spot[2] = sport.ball_radius_m + 0.8 * high
        else:
            spot[:2], spot[2] = holder.path[step] + 0.38 * ahead, 1.15
        to_before = max(0.0, 1 - (step - start) / blend) if before is not None else 0.0
        to_after = max(0.0, 1 - (end - step) / blend)
        if before is not None:
            spot = spot * (1 - to_before) + before * to_before
        ball_path[step] = spot * (1 - to_after) + after * to_after


def _still_ball(rng: np.random.Generator, sport: Sport, step_count: int) -> Ball:
    along, deep = sport.area_m
    spot = np.array([rng.uniform(-along, along), rng.uniform(-deep, deep), sport.ball_radius_m])
    return Ball(np.tile(spot, (step_count, 1)), np.full(step_count, rng.uniform(0, 6)), _axis(rng))


def _rolled(rng: np.random.Generator, sport: Sport, path: np.ndarray) -> Ball:
    way = np.linalg.norm(np.diff(path, axis=0, prepend=path[:1]), axis=1)
    way = np.minimum(way, 30 * STEP_S)  # a carried ball may be put down at once
    return Ball(path, rng.uniform(0.3, 0.8) * np.cumsum(way) / sport.ball_radius_m, _axis(rng))


def _axis(rng: np.random.Generator) -> np.ndarray:
    axis = rng.normal(size=3)
    return axis / np.linalg.norm(axis)
