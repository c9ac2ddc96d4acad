"""Fine-tune one model per seed of an arm, in one worker."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import ValidationError

from winnow.errors import BadSetting
from winnow.params import ArmParams, FinetuneParams, Machine
from winnow.stages import Finished, FinishedParts, locate, require_build, table_fingerprint
from winnow.workers.launch import launch_missing

REVISION = 1


def finetune(
    training_mix: pd.DataFrame,
    tokens: Finished,
    base_model: Finished,
    params: FinetuneParams,
    arm: ArmParams,
    machine: Machine,
) -> FinishedParts:
    """Train what is missing: one finished model per (mix, seed)."""
    merged = merge_finetune(params, arm)
    mixes = {str(seed): as_counts(mix) for seed, mix in training_mix.groupby("seed")}
    seeds = {name: int(name) for name in mixes}
    parts = train_mixes(mixes, seeds, tokens, base_model, merged, machine)
    rows = int(training_mix.groupby("seed")["multiplicity"].sum().mean())
    return FinishedParts(parts, {"rows": rows, "seeds": len(parts), "params": merged.model_dump(mode="json")})


def train_mixes(
    mixes: Mapping[str, Mapping[str, int]],
    seeds: Mapping[str, int],
    tokens: Finished,
    base_model: Finished,
    params: FinetuneParams,
    machine: Machine,
) -> dict[str, Finished]:
    """A model for each mix (how often each example is in it) and its seed, by one worker."""
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    places = {
        name: locate(
            machine.data_root / "06_models",
            "finetune",
            REVISION,
            {**params.model_dump(mode="json"), "seed": seeds[name]},
            {**inputs, "training_mix": table_fingerprint(sorted(mix.items()))},
        )
        for name, mix in mixes.items()
    }
    missing = {name: place for name, place in places.items() if place.finished() is None}
    require_build(list(missing.values()))
    task = {
        "params": params.model_dump(mode="json"),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "mixes": {name: mixes[name] for name in missing},
        "seeds": {name: seeds[name] for name in missing},
    }
    launch_missing("finetune", task, missing, machine)
    return {name: Finished.open(place.folder) for name, place in places.items()}


def merge_finetune(params: FinetuneParams, arm: ArmParams) -> FinetuneParams:
    """The shared settings with the arm's own over them."""
    try:
        return FinetuneParams.model_validate(_merge(params.model_dump(), arm.finetune))
    except ValidationError as error:
        raise BadSetting(f"An arm's own `finetune` settings {arm.finetune} do not fit: {error}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merge(base[name], over[name]) for name in base if isinstance(base[name], dict) and name in over}
    return {**base, **over, **both}


def as_counts(mix: pd.DataFrame) -> dict[str, int]:
    """How often each example is in a mix."""
    return {str(name): int(count) for name, count in zip(mix["example_id"], mix["multiplicity"], strict=True)}
