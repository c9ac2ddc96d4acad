"""The base model where it is not fabricated."""

from winnow.params import Machine, ModelParams
from winnow.pretrained import record_pretrained
from winnow.stages import Finished


def use_base_model(model: ModelParams, machine: Machine) -> Finished:
    """Record the hub id or folder of `model.base`."""
    return record_pretrained(model, machine.data_root / "06_models")
