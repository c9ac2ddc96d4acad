"""An arm's mix in the files that other trainers read: the conversations, and settings that repeat them as often."""

from winnow.records.export import FORMATS
from winnow.records.trainers.llamafactory import LLAMAFACTORY
from winnow.records.trainers.mix import Mix, read_mix
from winnow.records.trainers.ms_swift import MS_SWIFT
from winnow.records.trainers.trainer import Trainer
from winnow.records.trainers.write import export_mix
from winnow.records.trainers.xtuner import XTUNER

TRAINERS: dict[str, Trainer] = {
    "llamafactory": LLAMAFACTORY,
    "ms-swift": MS_SWIFT,
    "xtuner": XTUNER,
    **{name: Trainer(shape) for name, shape in FORMATS.items()},
}

__all__ = ["TRAINERS", "Mix", "Trainer", "export_mix", "read_mix"]
