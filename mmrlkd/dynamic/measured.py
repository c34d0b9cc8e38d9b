"""Measurements of single images, kept in files until the table is written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmrlkd.engine.atomic import write_atomically

_IDENTITY = 'profile.json'


@dataclass(frozen=True)
class ImageProfile:
    """What was measured of one image; S settings, R repeats.

    Attributes:
        image: index in the calibration set.
        image_id: its name.
        size: height and width of the model's input without padding, in px.
        difficulty: its stratum; None without.
        feature: (F,) what a controller sees.
        deciding_ms: (R,) what choosing adds to a run that continues from the
            feature's stage; empty if no setting does.
        looking_ms: (R,) likewise, to a run that does not continue from there.
        latency_ms: (S, R) of the model's run.
        quality: (S,) in [0, 1].
        log_prob: (S,) of the annotated class; None without.
    """
    image: int
    image_id: str
    size: tuple[int, int]
    difficulty: str | None
    feature: list[float]
    deciding_ms: list[float]
    looking_ms: list[float]
    latency_ms: list[list[float]]
    quality: list[float]
    log_prob: list[float | None]


class MeasuredImages:
    """A folder with a file for each image, so that a profiling that was killed
    goes on where it stood.

    Args:
        folder: is made.
        identity: what all measurements have in common, JSON-able: model,
            settings, machine.

    Raises:
        ValueError: the folder has measurements of another model, other settings
            or another machine.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        identity = json.loads(json.dumps(identity))
        path = folder / _IDENTITY
        if path.is_file():
            before = json.loads(path.read_text())
            other = [key for key in identity if before.get(key) != identity[key]]
            if other:
                raise ValueError(
                    f'{folder} has measurements with {other[0]}='
                    f'{before.get(other[0])!r}, and now it is '
                    f'{identity[other[0]]!r}; accepted: another --out, or '
                    'deleting that folder.')
        write_atomically(path, json.dumps(identity, indent=1).encode())

    def __contains__(self, image: int) -> bool:
        return self._path(image).is_file()

    def add(self, profile: ImageProfile) -> None:
        """Keep the measurements of an image, whole or not at all."""
        write_atomically(
            self._path(profile.image), json.dumps(asdict(profile)).encode())

    def load(self, image: int) -> ImageProfile:
        fields = json.loads(self._path(image).read_text())
        return ImageProfile(**dict(fields, size=tuple(fields['size'])))

    def _path(self, image: int) -> Path:
        return self.folder / f'{image:08d}.json'
