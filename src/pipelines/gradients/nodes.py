"""Gradient features of the pool, and the gradients of the targets, at the checkpoints of the warm-up `less`."""

from dataclasses import dataclass
from typing import Any

from winnow.checkpoints import checkpoint_folder, chosen_steps, rate_sums, rate_weights
from winnow.errors import BadSetting
from winnow.params import GradientsParams, Machine
from winnow.stages import Finished, FinishedParts, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1
# Settings of the store, of the scores and of the machine leave a feature as it is.
_COLLECTED = {"feature", "adam", "projection", "seed", "parameters", "batch", "batch_tokens", "precision"}


def collect_train(
    checkpoints: Finished, tokens: Finished, base_model: Finished, params: GradientsParams, machine: Machine
) -> FinishedParts:
    """The optimizer features of every training row, stored as `gradients.store` says."""
    weights, rates = checkpoint_weights(checkpoints, params), checkpoint_rates(checkpoints, params)
    parts = collect("train", checkpoints, tokens, base_model, params, machine)
    first = next(iter(parts.values()))
    rows = first.summary["tables"]["rows"]["rows"]
    return FinishedParts(parts, {"weights": weights, "rates": rates, "rows": rows})


def collect_targets(
    checkpoints: Finished, target_tokens: Finished, base_model: Finished, params: GradientsParams, machine: Machine
) -> FinishedParts:
    """The plain gradients of every target row, in float32: they are few."""
    plain = params.model_copy(update={"feature": "sgd", "store": "float32"})
    return FinishedParts(collect("validation", checkpoints, target_tokens, base_model, plain, machine))


def checkpoint_weights(checkpoints: Finished, params: GradientsParams) -> dict[str, float]:
    """The weight of each chosen checkpoint: its mean learning rate, or what is given."""
    folders = checkpoint_folders(checkpoints, params)
    if (given := params.checkpoint_weights) is None:
        return {str(step): weight for step, weight in rate_weights(folders).items()}
    if len(given) != len(folders) or min(given) < 0 or sum(given) <= 0:
        raise BadSetting(
            f"`gradients.checkpoint_weights` is {given}: give one number, not negative, for each of the "
            f"{len(folders)} checkpoints {', '.join(map(str, folders))}."
        )
    return {str(step): weight / sum(given) for step, weight in zip(folders, given, strict=True)}


def checkpoint_rates(checkpoints: Finished, params: GradientsParams) -> dict[str, float]:
    """What turns a product of gradients into a fall of the loss: summed learning rates, or the weights as given."""
    folders = checkpoint_folders(checkpoints, params)
    if (given := params.checkpoint_weights) is None:
        return {str(step): rate for step, rate in rate_sums(folders).items()}
    return {str(step): weight for step, weight in zip(folders, given, strict=True)}


def checkpoint_folders(checkpoints: Finished, params: GradientsParams) -> dict[int, Any]:
    """Where each chosen checkpoint lies."""
    steps = chosen_steps(params.checkpoints, checkpoints.summary["steps"], "gradients.checkpoints")
    return {step: checkpoint_folder(checkpoints, step) for step in steps}


def checkpoint_task(checkpoints: Finished, params: GradientsParams) -> dict[str, dict[str, str]]:
    """What a worker is told of the checkpoints: their weights' and their moments' folders."""
    folders = checkpoint_folders(checkpoints, params)
    moments = {str(step): checkpoints.path / f"checkpoint-{step}" for step in folders}
    if params.feature == "adam":
        for step, folder in moments.items():
            if not (folder / "moments.safetensors").exists():
                raise BadSetting(
                    f"The warm-up has no moments of the optimizer at step {step}, which `gradients.feature: adam` "
                    "needs. Set `warmup.less.moments: true`, or take `gradients.feature: sgd`."
                )
    return {
        "checkpoints": {str(step): str(folder) for step, folder in folders.items()},
        "moments": {step: str(folder) for step, folder in moments.items()},
    }


@dataclass(frozen=True)
class Whitening:
    """Curvature that gradients are divided by the root of."""

    factors: Finished
    damping: float
    layers: list[str]


def collect(
    split: str,
    checkpoints: Finished,
    tokens: Finished,
    base_model: Finished,
    params: GradientsParams,
    machine: Machine,
    whitening: Whitening | None = None,
) -> dict[str, Finished]:
    """One finished store per checkpoint and dimension, under `<step>@<dim>`."""
    inputs = {
        "tokens": tokens.fingerprint,
        "base_model": base_model.fingerprint,
        "checkpoints": checkpoints.fingerprint,
    }
    chosen = _COLLECTED | {"store", "shard_rows"} | ({"certificate_rows"} if split == "train" else set())
    settings = {**params.model_dump(mode="json", include=chosen), "split": split}
    made_with = {"tokenizer": base_model.fingerprint, "template": tokens.parameters["template"]}
    made_with |= {"data": tokens.fingerprint, "feature": params.feature}
    task: dict[str, Any] = {}
    if whitening:
        inputs["factors"] = made_with["factors"] = whitening.factors.fingerprint
        settings["damping"] = made_with["damping"] = whitening.damping
        task = {"factors": str(whitening.factors.path), "damping": whitening.damping, "layers": whitening.layers}
    steps = [str(step) for step in checkpoint_folders(checkpoints, params)]
    dims = params.dims if params.projection != "none" else [0]
    root = machine.data_root / "03_primary"
    places = {
        f"{step}@{dim}": locate(root, "gradients", REVISION, {**settings, "step": int(step), "dim": dim}, inputs)
        for step in steps
        for dim in dims
    }
    missing = {name: place for name, place in places.items() if place.finished() is None}
    if missing:
        require_build(list(missing.values()))
        task |= {
            "params": params.model_dump(mode="json"),
            "split": split,
            "feature": params.feature,
            "store": params.store,
            "base_model": str(base_model.path),
            "tokens": str(tokens.path),
            "made_with": {step: {**made_with, "model": f"{checkpoints.fingerprint}@{step}"} for step in steps},
            **checkpoint_task(checkpoints, params),
        }
        launch_missing("gradients", task, missing, machine)
    return {name: Finished.open(place.folder) for name, place in places.items()}
