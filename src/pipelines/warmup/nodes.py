"""Train a model whose checkpoints are looked at, or take those of another trainer."""

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl

from winnow.checkpoints import optimizer_layout, steps_in
from winnow.errors import BadSetting, MissingResource
from winnow.params import Machine, ModelParams, WarmupParams
from winnow.pretrained import folder_fingerprint, record_pretrained
from winnow.stages import Finished, locate, table_fingerprint
from winnow.workers.engines import require_trainable
from winnow.workers.launch import built

REVISION = 3


def use_own_base(params: WarmupParams, machine: Machine) -> Finished:
    """Record the model that `warmup.<name>.base` names."""
    return record_pretrained(ModelParams(base=params.base), machine.data_root / "06_models", "warmup.<name>.base")


def named_warm_up(name: str) -> Callable[..., Finished]:
    """A node function that does the warm-up of this name."""

    def warm_up_model(tokens: Finished, base_model: Finished, params: WarmupParams, machine: Machine) -> Finished:
        return warm_up(name, tokens, base_model, params, machine)

    return warm_up_model


def named_retraining(name: str) -> Callable[..., Finished]:
    """A node function that trains on a mix (of its first seed), with the settings of the warm-up of this name."""

    def retrain_model(
        training_mix: pd.DataFrame, tokens: Finished, base_model: Finished, params: WarmupParams, machine: Machine
    ) -> Finished:
        mix = training_mix[training_mix["seed"] == training_mix["seed"].min()]
        usable = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id").collect()
        rows = pl.from_pandas(mix[["example_id", "multiplicity"]]).join(usable, on="example_id").sort("example_id")
        own = params.model_copy(update={"folder": None, "share": 1.0})
        return warm_up(name, tokens, base_model, own, machine, dict(rows.iter_rows()))

    return retrain_model


def warm_up(
    name: str,
    tokens: Finished,
    base_model: Finished,
    params: WarmupParams,
    machine: Machine,
    mix: dict[str, int] | None = None,
) -> Finished:
    """Train on a mix, or on a share of the train split, with checkpoints on the way.

    The name is for the tracker's curve alone.
    """
    require_trainable(params, machine)
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    if mix is not None:
        inputs["training_mix"] = table_fingerprint(mix.items())
    if params.folder is not None:
        inputs = {"base_model": base_model.fingerprint, "checkpoints": _fingerprint_of_checkpoints(params)}
    hidden = {"base", "folder"} if params.folder is None else set(WarmupParams.model_fields) - {"method", "moments"}
    settings = params.model_dump(mode="json", exclude=hidden)
    place = locate(machine.data_root / "06_models", "warmup", REVISION, settings, inputs)
    task = {
        "name": name,
        "params": params.model_dump(mode="json", by_alias=True),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "rows": {} if params.folder else mix or drawn(tokens, params.share, params.seed),
    }
    return built("warmup", task, place, machine)


def drawn(tokens: Finished, share: float, seed: int) -> dict[str, int]:
    """The share of the train split, decided by ids and seed."""
    train = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id").collect()
    ids = train["example_id"].sort()
    count = max(1, round(share * len(ids)))
    chosen = ids.gather(np.random.default_rng(seed).permutation(len(ids))[:count])
    return dict.fromkeys(chosen.sort().to_list(), 1)


def _fingerprint_of_checkpoints(params: WarmupParams) -> str:
    folder = params.folder
    assert folder is not None
    steps = steps_in(folder) if folder.is_dir() else []
    if not steps:
        raise MissingResource(f"`warmup.<name>.from` is {folder}, where no `checkpoint-<step>` folder is.")
    if params.moments and not any(optimizer_layout(folder / f"checkpoint-{step}") for step in steps):
        raise BadSetting(
            f"No checkpoint in {folder} has the state of an optimizer (optimizer.pt, or folders of DeepSpeed or FSDP): "
            "weights were saved alone. Loss trajectories need no more: set `warmup.<name>.moments` to false."
        )
    digest = hashlib.sha256()
    for step in steps:
        digest.update(f"{step}:{folder_fingerprint(folder / f'checkpoint-{step}')}".encode())
    return digest.hexdigest()
