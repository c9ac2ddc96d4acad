"""Generated data and the tiny base model."""

from winnow.fabricate import write_corpus
from winnow.params import FabricateParams, Machine
from winnow.stages import Finished, filled, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1


def fabricate_corpus(params: FabricateParams, machine: Machine) -> tuple[Finished, Finished]:
    """Write raw files with planted truth; the truth is a dataset of its own."""
    settings = params.model_dump(mode="json", exclude={"model", "selector"})
    place = locate(machine.data_root / "01_raw", "fabricated", REVISION, settings, {})
    finished = filled(place, lambda work: write_corpus(work, params))
    return finished, finished.only("planted")


def fabricate_base_model(params: FabricateParams, machine: Machine) -> Finished:
    """Train the tiny base model in a worker."""
    settings = params.model_dump(mode="json", include={"seed", "facts", "model"})
    place = locate(machine.data_root / "06_models", "base", REVISION, settings, {})
    if place.finished() is None:
        require_build([place])
        task = {"params": params.model_dump(mode="json")}
        launch_missing("fabricate", task, {"base": place}, machine.one_process())
    return Finished.open(place.folder)


def fabricate_selector(params: FabricateParams, machine: Machine) -> Finished:
    """Train the tiny mixture of experts in a worker, on the same text."""
    settings = params.model_dump(mode="json", include={"seed", "facts", "selector"})
    place = locate(machine.data_root / "06_models", "base", REVISION, settings, {})
    if place.finished() is None:
        require_build([place])
        task = {"params": params.model_dump(mode="json")}
        launch_missing("fabricate", task, {"selector": place}, machine.one_process())
    return Finished.open(place.folder)
