"""How far each joint is from the eye, learnt from flat joints alone, so that training sees bodies from other sides too.

A few labelled clips show an action from a few sides, and a recogniser takes the side for the action. Here a network
gives each joint a depth, so that a body can be turned about the upright before it is shown to the recogniser. Nobody
knows the true depth; the network learns what must be true of it, as in Chen et al. 2019 (arxiv.org/abs/1904.04812):
seen from another side the same body must come out, its bones keep their lengths, its limbs bend as limbs do.

A body is (B, T, J, 3) in torso lengths from the middle of the hips: x to the right, y down, z away from the eye.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from labels.models.recognisers.pose_networks import normalise
from labels.models.recognisers.skeletons import HIPS, JOINTS, MIRROR, SHOULDERS
from labels.records.errors import InputError
from labels.training.optimisation import seed_everything
from labels.training.settings import DepthSettings

DEPTH_SEED = 2**32 - 2  # far from any epoch's
REACH = 5.0  # torso lengths from the hips: where a joint is further away, the torso was not found where it is
NOSE = JOINTS.index("nose")
ARMS, LEGS = (
    tuple(tuple(JOINTS.index(f"{side}_{joint}") for joint in limb) for side in ("left", "right"))
    for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)
TRUNK = (*SHOULDERS, *HIPS)
# In torso lengths, of an adult, about: where learning begins. Left and right are as long.
USUAL_LENGTHS = {
    "trunk": 1.0,
    "shoulders": 0.75,
    "hips": 0.4,
    "neck": 0.45,
    "upper arm": 0.56,
    "forearm": 0.5,
    "thigh": 0.83,
    "shank": 0.8,
}
# Where each bone begins and ends: joints, whose middle it is.
BONES: tuple[tuple[tuple[int, ...], tuple[int, ...], str], ...] = (
    (SHOULDERS, HIPS, "trunk"),
    (SHOULDERS[:1], SHOULDERS[1:], "shoulders"),
    (HIPS[:1], HIPS[1:], "hips"),
    ((NOSE,), SHOULDERS, "neck"),
    *(((limb[at],), (limb[at + 1],), ("upper arm", "forearm")[at]) for limb in ARMS for at in range(2)),
    *(((limb[at],), (limb[at + 1],), ("thigh", "shank")[at]) for limb in LEGS for at in range(2)),
)
KIND_OF_BONE = [list(USUAL_LENGTHS).index(kind) for _, _, kind in BONES]


class DepthNetwork(nn.Module):
    """Flat bodies (B, T, J, 2) and which joints were seen (B, T, J) to their depth (B, T, J), moment by moment.

    With it come logarithms of how long the bodies' bones are, (B, bones): their proportions are learnt and the same for
    all; a body that leans to the eye or away has a short torso, so everything else of it is longer.
    """

    usual: Tensor

    def __init__(self, settings: DepthSettings) -> None:
        super().__init__()
        width = settings.width
        self.first = nn.Linear(3 * len(JOINTS), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(settings.blocks)
        )
        self.depth = nn.Linear(width, len(JOINTS))
        self.size = nn.Linear(width, 1)
        nn.init.zeros_(self.size.weight)
        nn.init.zeros_(self.size.bias)
        self.register_buffer("usual", torch.tensor(list(USUAL_LENGTHS.values())).log())
        self.proportions = nn.Parameter(self.usual.clone())

    def forward(self, flat: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        values = self.first(torch.cat([flat.flatten(2), seen], dim=2))
        for block in self.blocks:
            values = values + block(values)
        depth = self.depth(torch.relu(values))
        depth = depth - depth[:, :, HIPS].mean(dim=2, keepdim=True)
        # A joint that was never seen stands between the hips, and stays there.
        depth = depth * (seen.amax(dim=1, keepdim=True) > 0)
        return depth, self.proportions[KIND_OF_BONE] + self.size(values).mean(dim=1)

    def depth_of(self, joints: np.ndarray) -> np.ndarray | None:
        """The depth of the joints of a window (T, J, 2) in pixels: (T, J) torso lengths from the hips.

        None where no body can be made out, see `_flat_bodies`.
        """
        flat, seen = _flat_bodies([joints])
        if not len(flat):
            return None
        with torch.inference_mode():
            return self(flat, seen)[0][0].numpy()


def require_body(windows: Iterable[np.ndarray]) -> None:
    """InputError unless a body can be made out in one of these windows, see `_flat_bodies`."""
    if not any(len(_flat_bodies([joints])[0]) for joints in windows):
        raise InputError(
            "--any-side: in no window to train on can a body be made out (shoulders and hips seen half of the time, no "
            "joint far off); leave it out"
        )


def learn_depth(windows: Iterable[np.ndarray], settings: DepthSettings, seed: int) -> DepthNetwork | None:
    """A network of depth from windows of joints (T, J, 2). None where no body can be made out in any of them."""
    flat, seen = _flat_bodies(windows)
    if not len(flat):
        return None
    seed_everything(seed, DEPTH_SEED)
    network = DepthNetwork(settings)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    together = max(1, settings.batch_poses // flat.shape[1])
    for _ in tqdm(range(settings.steps), desc="learn depth", unit="step", leave=False):
        drawn = torch.randint(len(flat), (together,))
        loss = depth_loss(network, *_varied(flat[drawn], seen[drawn], settings), settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def depth_loss(network: DepthNetwork, flat: Tensor, seen: Tensor, settings: DepthSettings) -> Tensor:
    """How far what a network says of flat bodies (B, T, J, 2) is from what must be true of it."""
    known = seen > 0.5  # what was filled in between keeps no lengths
    depth, lengths = network(flat, seen)
    body = torch.cat([flat, depth[..., None]], dim=3)
    other = rotated(body, (torch.rand(len(body)) * 2 - 1) * math.pi)
    depth_again, _ = network(other[..., :2], seen)
    again = torch.cat([other[..., :2], depth_again[..., None]], dim=3)
    changed = depth[:, 2:] - 2 * depth[:, 1:-1] + depth[:, :-2]
    return (
        settings.bones * (wrong_lengths(body, lengths, known) + wrong_lengths(again, lengths, known))
        + settings.agreement * (depth_again - other[..., 2]).abs().mean()
        + settings.anatomy * unlikely_bends(body, known)
        + settings.steadiness * changed.abs().sum() / max(1, changed.numel())
        + settings.proportions * (network.proportions - network.usual).square().sum()
    )


def rotated(body: Tensor, radians: Tensor) -> Tensor:
    """Bodies (B, T, J, 3), each rotated about the upright by its angle (B,)."""
    cos, sin = radians.cos()[:, None, None], radians.sin()[:, None, None]
    x, y, z = body.unbind(dim=3)
    return torch.stack([x * cos + z * sin, y, z * cos - x * sin], dim=3)


def wrong_lengths(body: Tensor, lengths: Tensor, known: Tensor) -> Tensor:
    """By how much bones are longer or shorter than they are said to be (B, bones, logarithms), in shares of it.

    `known` (B, T, J) bool: which joints count.
    """
    parts, sure = [], []
    for at, (start, end, _) in enumerate(BONES):
        along = body[:, :, start].mean(dim=2) - body[:, :, end].mean(dim=2)
        wrong = along.norm(dim=2) / lengths[:, at, None].exp() - 1  # (B, T)
        parts.append(functional.smooth_l1_loss(wrong, torch.zeros_like(wrong), reduction="none", beta=0.1))
        sure.append(known[:, :, [*start, *end]].all(dim=2))
    return _mean_of_known(parts, sure)


def unlikely_bends(body: Tensor, known: Tensor) -> Tensor:
    """How far limbs are bent as none is: knees forwards, elbows backwards, a thigh or an arm far behind, the nose too.

    It is what tells a body from its reflection, which has the same bones.
    """
    trunk = body[:, :, SHOULDERS].mean(dim=2) - body[:, :, HIPS].mean(dim=2)
    left = _unit(body[:, :, SHOULDERS[0]] - body[:, :, SHOULDERS[1]] + body[:, :, HIPS[0]] - body[:, :, HIPS[1]])
    ahead = _unit(torch.linalg.cross(left, _unit(trunk)))
    parts, sure = [], []
    for limbs, way, free, behind in ((LEGS, 1, 0.0, 0.6), (ARMS, -1, 0.2, 0.75)):
        for root, middle, end in limbs:
            upper, lower = _unit(body[:, :, middle] - body[:, :, root]), _unit(body[:, :, end] - body[:, :, middle])
            bend = way * (torch.linalg.cross(upper, lower) * left).sum(dim=2)
            parts += [torch.relu(-free - bend), torch.relu(-behind - (upper * ahead).sum(dim=2))]
            sure += [known[:, :, [*TRUNK, *limb]].all(dim=2) for limb in ((middle, end), (middle,))]
    nose = body[:, :, NOSE] - body[:, :, SHOULDERS].mean(dim=2)
    parts.append(2 * torch.relu(0.05 - (nose * ahead).sum(dim=2)))
    sure.append(known[:, :, [*TRUNK, NOSE]].all(dim=2))
    return _mean_of_known(parts, sure) * len(parts)


def _mean_of_known(parts: list[Tensor], known: list[Tensor]) -> Tensor:
    """The mean of parts, each (B, T), where they are known, each (B, T) bool."""
    weight = torch.stack(known).float()
    return (torch.stack(parts) * weight).sum() / weight.sum().clamp(min=1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _varied(flat: Tensor, seen: Tensor, settings: DepthSettings) -> tuple[Tensor, Tensor]:
    """Bodies larger and smaller, and half of them in a mirror."""
    size = (settings.size * torch.randn(len(flat))).exp()[:, None, None, None]
    mirror = torch.rand(len(flat)) < 0.5
    other = flat[:, :, list(MIRROR)] * torch.tensor([-1.0, 1.0])
    flat = torch.where(mirror[:, None, None, None], other, flat) * size
    return flat, torch.where(mirror[:, None, None], seen[:, :, list(MIRROR)], seen)


def _flat_bodies(windows: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Flat bodies (N, T, J, 2) from the hips, and which joints were seen (N, T, J).

    Of the windows in which shoulders and hips are seen half of the time at least, and all joints in their reach.
    """
    bodies = []
    for joints in windows:
        pose = normalise(joints, len(joints))
        pose[..., :2] -= pose[:, HIPS, :2].mean(axis=1, keepdims=True)
        if pose[:, TRUNK, 2].min(axis=1).mean() >= 0.5 and np.abs(pose[..., :2]).max() <= REACH:
            bodies.append(pose)
    values = torch.from_numpy(np.stack(bodies)) if bodies else torch.zeros(0, 1, len(JOINTS), 3)
    return values[..., :2], values[..., 2]
