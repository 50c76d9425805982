"""The windows that a recogniser is trained on: its architecture's own, or what was said of them."""

from dataclasses import replace

from labels.models.fused_recogniser import fused_preset
from labels.models.recogniser import is_fusion, preset_of
from labels.models.recogniser_settings import BROUGHT, JOINTS, KEYPOINTRCNN, Preset
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.training.fusion_training import fusion_parts
from labels.training.recognition_settings import RecognitionSettings

SHORTEST_S, LONGEST_S = 0.05, 60.0  # a window is; stage 4 keeps all of them on disk


def preset_for(settings: RecognitionSettings) -> Preset:
    """The windows of an architecture, or what was said of them."""
    if settings.mask_channel and settings.rand_augment:
        raise InputError(
            "--rand-augment: moves the colours of a window and not its masks; say it without --mask-channel"
        )
    if is_fusion(settings.architecture):
        return fused_preset(*map(preset_for, fusion_parts(settings)))
    if settings.seconds and not SHORTEST_S <= settings.seconds <= LONGEST_S:
        raise InputError(f"--window-seconds {settings.seconds:g}: from {SHORTEST_S:g} to {LONGEST_S:g}")
    preset = preset_of(settings.architecture)
    of_pixels = {"--mask-channel": settings.mask_channel, "--rand-augment": settings.rand_augment}
    of_joints = {f"--pose {settings.pose}": settings.pose, "--any-side": settings.any_side}
    foreign, seen = (of_pixels, "joints") if preset.reads == JOINTS else (of_joints, "no joints")
    for option, said in foreign.items():
        if said:
            raise InputError(f"{option}: {settings.architecture} looks at {seen}; leave it out")
    if preset.reads == JOINTS:
        preset = replace(preset, pose=settings.pose or preset.pose)
    frames = settings.frames or preset.frames
    if preset.reads == JOINTS and settings.seconds and not settings.frames:
        frames = max(2, round(settings.seconds * preset.rate))  # joints keep their rate
    if frames != preset.frames and settings.architecture.startswith("mvit"):
        raise InputError(f"--window-frames: {settings.architecture} takes exactly {preset.frames}; leave it out")
    rate = frames / settings.seconds if settings.seconds else preset.rate
    return replace(preset, frames=frames, rate=rate, masked=settings.mask_channel)


def with_pose(settings: RecognitionSettings, work: WorkFolder) -> RecognitionSettings:
    """The settings, and where joints come from if nobody said it: brought, where a clip has some; else found."""
    parts = settings.architecture.split("+")
    if settings.pose or all(preset_of(part).reads != JOINTS for part in parts):
        return settings
    some = any(work.truth_joints(str(name)).is_file() for name in work.usable_videos()["video_id"])
    return replace(settings, pose=BROUGHT if some else KEYPOINTRCNN)
