"""What is particular to a trainer: the shape of its records, and the settings it is started with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from winnow.records.shapes import Message


@dataclass(frozen=True)
class ClusterFile:
    """The file of one cluster: each of its conversations once, and how often they are wanted in all."""

    cluster: str
    file: str
    distinct: int
    rows: int

    @property
    def name(self) -> str:
        """The file's name without its ending, for trainers that name their data sets."""
        return PurePath(self.file).stem


Shape = Callable[[Sequence[Message]], dict[str, Any]]
Settings = Callable[[str, Sequence[ClusterFile]], Mapping[str, str]]


def no_settings(arm: str, files: Sequence[ClusterFile]) -> Mapping[str, str]:
    """For shapes that belong to no trainer."""
    return {}


@dataclass(frozen=True)
class Trainer:
    """How a trainer's records and settings are written.

    ``shape`` makes a record of messages, and raises `Unusable` where the trainer would skip or refuse it. ``settings``
    makes texts by file name, of the arm's name and the files of its clusters.
    """

    shape: Shape
    settings: Settings = no_settings
