"""What holds for a whole video while its boxes are judged."""

from dataclasses import dataclass

from labels.cleaning.outliers import UsualLooks
from labels.cleaning.settings import CleaningSettings
from labels.tracks.candidates import Timeline
from labels.tracks.settings import PathSettings, PlayerSettings


@dataclass(frozen=True)
class Scene:
    """`has_past`: a round before is merged in."""

    timeline: Timeline
    labelled_frames: int
    has_past: bool
    usual: UsualLooks | None
    settings: CleaningSettings
    path_settings: PathSettings
    player_settings: PlayerSettings

    def has(self, part: str) -> bool:
        """Whether this part of cleaning is switched on."""
        return part not in self.settings.without
