"""Fine-tune one model per seed of an arm, in one worker."""

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
    mixes = {str(seed): _as_counts(mix) for seed, mix in training_mix.groupby("seed")}
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    places = {
        seed: locate(
            machine.data_root / "06_models",
            "finetune",
            REVISION,
            {**merged.model_dump(mode="json"), "seed": int(seed)},
            {**inputs, "training_mix": table_fingerprint(sorted(mix.items()))},
        )
        for seed, mix in mixes.items()
    }
    missing = {seed: place for seed, place in places.items() if place.finished() is None}
    require_build(list(missing.values()))
    task = {
        "params": merged.model_dump(mode="json"),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "mixes": {seed: mixes[seed] for seed in missing},
    }
    launch_missing("finetune", task, missing, machine)
    parts = {seed: Finished.open(place.folder) for seed, place in places.items()}
    rows = int(training_mix.groupby("seed")["multiplicity"].sum().mean())
    return FinishedParts(parts, {"rows": rows, "seeds": len(parts), "params": merged.model_dump(mode="json")})


def merge_finetune(params: FinetuneParams, arm: ArmParams) -> FinetuneParams:
    """The shared settings with the arm's own over them."""
    try:
        return FinetuneParams.model_validate(_merge(params.model_dump(), arm.finetune))
    except ValidationError as error:
        raise BadSetting(f"An arm's own `finetune` settings {arm.finetune} do not fit: {error}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merge(base[name], over[name]) for name in base if isinstance(base[name], dict) and name in over}
    return {**base, **over, **both}


def _as_counts(mix: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(count) for name, count in zip(mix["example_id"], mix["multiplicity"], strict=True)}
