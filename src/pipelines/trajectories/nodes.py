"""The loss of every training example at each checkpoint of the proxy."""

from winnow.checkpoints import checkpoint_folder, chosen_steps
from winnow.params import Machine, TrajectoriesParams
from winnow.stages import Finished, locate, require_build
from winnow.workers.launch import built, launch_missing

REVISION = 1


def follow_losses(
    checkpoints: Finished, tokens: Finished, base_model: Finished, params: TrajectoriesParams, machine: Machine
) -> Finished:
    """Pass over the examples with every chosen checkpoint that was not passed yet, and join the losses."""
    root = machine.data_root / "03_primary"
    available = chosen_steps(params.checkpoints, checkpoints.summary["steps"], "trajectories.checkpoints")
    steps = [str(step) for step in available]
    settings = params.model_dump(mode="json", include={"batch", "batch_tokens", "precision"})
    inputs = {
        "tokens": tokens.fingerprint,
        "base_model": base_model.fingerprint,
        "checkpoints": checkpoints.fingerprint,
    }
    passes = {
        step: locate(root, "checkpoint_losses", REVISION, {**settings, "step": int(step)}, inputs) for step in steps
    }
    whole = {**settings, "checkpoints": [int(step) for step in steps], "write_losses_pt": params.write_losses_pt}
    joined = locate(root, "losses", REVISION, whole, inputs)
    if (finished := joined.finished()) is not None:
        return finished.only("losses")
    missing = {step: place for step, place in passes.items() if place.finished() is None}
    require_build([*missing.values(), joined])
    task = {
        "params": params.model_dump(mode="json"),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "checkpoints": {step: str(checkpoint_folder(checkpoints, int(step))) for step in missing},
    }
    launch_missing("trajectories", task, missing, machine)
    parts = {step: str(place.folder) for step, place in passes.items()}
    task = {"tokens": str(tokens.path), "parts": parts, "write_losses_pt": params.write_losses_pt}
    return built("losses", task, joined, machine.one_process()).only("losses")
