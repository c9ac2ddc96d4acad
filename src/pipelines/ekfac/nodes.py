"""The curvature of a warm-up's model by EK-FAC, and the whitened gradients of the pool and of the targets."""

from collections.abc import Callable

from pipelines.gradients.nodes import Whitening, checkpoint_folders, collect
from winnow.params import GradientsParams, InfluenceParams, Machine
from winnow.stages import Finished, FinishedParts, locate
from winnow.workers.launch import built

REVISION = 1
# Settings of features, of the store and of the scores leave the factors as they are.
_FITTED = {"batch", "batch_tokens", "precision", "shard_rows", "seed"}


def fit_factors(
    checkpoints: Finished,
    tokens: Finished,
    base_model: Finished,
    gradients: GradientsParams,
    params: InfluenceParams,
    machine: Machine,
) -> Finished:
    """Bases and eigenvalues of each layer, at one checkpoint."""
    params_of_pass = _at_checkpoint(checkpoints, gradients, params)
    inputs = {
        "checkpoints": checkpoints.fingerprint,
        "tokens": tokens.fingerprint,
        "base_model": base_model.fingerprint,
    }
    fitted = params.ekfac.model_dump(mode="json", exclude={"warmup", "checkpoint", "damping", "store"})
    ((step, folder),) = checkpoint_folders(checkpoints, params_of_pass).items()
    settings = {**params_of_pass.model_dump(mode="json", include=_FITTED), **fitted, "step": step}
    place = locate(machine.data_root / "03_primary", "ekfac", REVISION, settings, inputs)
    task = {
        "ekfac": params.ekfac.model_dump(mode="json"),
        "params": params_of_pass.model_dump(mode="json"),
        "checkpoint": str(folder),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
    }
    return built("ekfac", task, place, machine)


def whiten(split: str) -> Callable[..., FinishedParts]:
    """A node function that stores the whitened gradients of a split, whose products are influence as they stand."""

    def whiten_gradients(
        factors: Finished,
        checkpoints: Finished,
        tokens: Finished,
        base_model: Finished,
        gradients: GradientsParams,
        params: InfluenceParams,
        machine: Machine,
    ) -> FinishedParts:
        own = _at_checkpoint(checkpoints, gradients, params)
        whitening = Whitening(factors, params.ekfac.damping, params.ekfac.layers)
        parts = collect(split, checkpoints, tokens, base_model, own, machine, whitening)
        step = str(factors.parameters["step"])
        return FinishedParts(parts, {"weights": {step: 1.0}, "rates": {step: 1.0}})

    return whiten_gradients


def _at_checkpoint(checkpoints: Finished, gradients: GradientsParams, params: InfluenceParams) -> GradientsParams:
    step = params.ekfac.checkpoint or max(checkpoints.summary["steps"])
    plain = {"feature": "sgd", "parameters": None, "checkpoints": [step], "store": params.ekfac.store}
    return gradients.model_copy(update=plain)
