"""The base model with trash-can experts, and the proof that nothing else has changed."""

import pandas as pd

from winnow.params import Machine, SelectMoeParams
from winnow.stages import Finished, locate
from winnow.workers.launch import built

REVISION = 1
_CONVERTED = {"trash_experts", "trash_init_std", "seed", "dtype", "full_checkpoint"}
_VERIFIED = _CONVERTED | {"tolerance"}


def convert_selector(base: Finished, params: SelectMoeParams, machine: Machine) -> Finished:
    """Add trash rows to the gates of each router."""
    settings = params.model_dump(mode="json", include=_CONVERTED)
    inputs = {"base_model": base.fingerprint}
    place = locate(machine.data_root / "06_models", "select_moe_converted", REVISION, settings, inputs)
    task = {"base_model": str(base.path), "params": params.model_dump(mode="json")}
    return built("select_moe_convert", task, place, machine.one_process())


def verify_selector(
    base: Finished, converted: Finished, params: SelectMoeParams, machine: Machine
) -> tuple[Finished, pd.DataFrame]:
    """Compare the conversion with its base model; the table of checks is there only where all are passed."""
    settings = params.model_dump(mode="json", include=_VERIFIED)
    inputs = {"base_model": base.fingerprint, "converted": converted.fingerprint}
    place = locate(machine.data_root / "08_reporting", "select_moe_verified", REVISION, settings, inputs)
    task = {"base_model": str(base.path), "converted": str(converted.path), "params": params.model_dump(mode="json")}
    verified = built("select_moe_verify", task, place, machine.one_process())
    return verified, verified.scan("checks").collect().to_pandas()
