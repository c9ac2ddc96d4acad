"""The base model with trash-can experts, and the proof that nothing else has changed."""

import pandas as pd

from winnow.params import Machine, SelectMoeParams
from winnow.stages import Finished, Place, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1
_CONVERTED = {"trash_experts", "trash_init_std", "seed", "dtype", "full_checkpoint"}
_VERIFIED = _CONVERTED | {"tolerance"}


def convert_selector(base: Finished, params: SelectMoeParams, machine: Machine) -> Finished:
    """Add trash rows to the gates of each router."""
    settings = params.model_dump(mode="json", include=_CONVERTED)
    inputs = {"base_model": base.fingerprint}
    place = locate(machine.data_root / "06_models", "select_moe_converted", REVISION, settings, inputs)
    return _built("select_moe_convert", place, {"base_model": base}, params, machine)


def verify_selector(
    base: Finished, converted: Finished, params: SelectMoeParams, machine: Machine
) -> tuple[Finished, pd.DataFrame]:
    """Compare the conversion with its base model; the table of checks is there only where all are passed."""
    settings = params.model_dump(mode="json", include=_VERIFIED)
    inputs = {"base_model": base.fingerprint, "converted": converted.fingerprint}
    place = locate(machine.data_root / "08_reporting", "select_moe_verified", REVISION, settings, inputs)
    verified = _built("select_moe_verify", place, {"base_model": base, "converted": converted}, params, machine)
    return verified, verified.scan("checks").collect().to_pandas()


def _built(
    worker: str, place: Place, inputs: dict[str, Finished], params: SelectMoeParams, machine: Machine
) -> Finished:
    if place.finished() is None:
        require_build([place])
        task = {name: str(part.path) for name, part in inputs.items()} | {"params": params.model_dump(mode="json")}
        launch_missing(worker, task, {place.stage: place}, machine.one_process())
    return Finished.open(place.folder)
