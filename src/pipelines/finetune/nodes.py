"""Fine-tune one model per seed of an arm, in one worker."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from pydantic import ValidationError

from winnow.errors import BadSetting
from winnow.params import ArmParams, FinetuneParams, Machine, TokenizeParams
from winnow.records.chat_template import template_text
from winnow.records.prompts import read_prompts
from winnow.stages import Finished, FinishedParts, locate, require_build, table_fingerprint
from winnow.workers.engines import require_trainable
from winnow.workers.launch import launch_missing

REVISION = 2


def finetune(
    training_mix: pd.DataFrame,
    tokens: Finished,
    base_model: Finished,
    params: FinetuneParams,
    tokenize: TokenizeParams,
    arm: ArmParams,
    machine: Machine,
) -> FinishedParts:
    """Train what is missing: one finished model per (mix, seed)."""
    merged = merge_finetune(params, arm)
    mixes = {str(seed): as_counts(mix) for seed, mix in training_mix.groupby("seed")}
    seeds = {name: int(name) for name in mixes}
    asked = watched(merged, tokenize, machine)
    parts = train_mixes(mixes, seeds, tokens, base_model, merged, machine, asked)
    rows = int(training_mix.groupby("seed")["multiplicity"].sum().mean())
    return FinishedParts(parts, {"rows": rows, "seeds": len(parts), "params": merged.model_dump(mode="json")})


def train_mixes(
    mixes: Mapping[str, Mapping[str, int]],
    seeds: Mapping[str, int],
    tokens: Finished,
    base_model: Finished,
    params: FinetuneParams,
    machine: Machine,
    asked: Mapping[str, Any] | None = None,
) -> dict[str, Finished]:
    """A model for each mix (how often each example is in it) and its seed, by one worker."""
    asked = asked or {"prompts": [], "template": None}
    require_trainable(params, machine)
    # Models that differ in their seed alone share one mix, of as many rows as the pool: it is hashed once.
    distinct = {id(mix): mix for mix in mixes.values()}
    fingerprints = {key: table_fingerprint(sorted(mix.items())) for key, mix in distinct.items()}
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    places = {
        name: locate(
            machine.data_root / "06_models",
            "finetune",
            REVISION,
            {**params.model_dump(mode="json"), "seed": seeds[name]},
            {**inputs, "training_mix": fingerprints[id(mix)], **_prompts(asked)},
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
        **asked,
    }
    launch_missing("finetune", task, missing, machine)
    return {name: Finished.open(place.folder) for name, place in places.items()}


def watched(params: FinetuneParams, tokenize: TokenizeParams, machine: Machine) -> dict[str, Any]:
    """The prompts that a model answers while it is trained, and the template that they are rendered with."""
    template = template_text(tokenize.template) if params.watched else None
    prompts = read_prompts(params.samples, machine.data_root)
    return {"prompts": [asdict(prompt) for prompt in prompts], "template": template}


def _prompts(asked: Mapping[str, Any]) -> dict[str, str]:
    """Prompts are an input where there are any: their files may change."""
    rows = [(row["group"], json.dumps(row, sort_keys=True)) for row in asked["prompts"]]
    return {"prompts": table_fingerprint(rows)} if rows else {}


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
