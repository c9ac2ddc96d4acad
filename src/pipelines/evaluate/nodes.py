"""Score the models of an arm on a split."""

from collections.abc import Mapping

from winnow.params import EvaluateParams, Machine, TokenizeParams
from winnow.records.chat_template import template_checksum
from winnow.stages import Finished, FinishedParts, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1


def evaluate(
    model: FinishedParts,
    table: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> FinishedParts:
    """Let every seed's model answer."""
    return _summed(score_models(dict(model.parts), table, base_model, params, tokenize, machine), params)


def evaluate_on_targets(
    model: FinishedParts,
    targets: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> FinishedParts:
    """The losses of every seed's model on the rows that influence was measured for."""
    return _summed(
        score_models(dict(model.parts), targets, base_model, forced(params), tokenize, machine), forced(params)
    )


def forced(params: EvaluateParams) -> EvaluateParams:
    """Settings for the losses of all validation rows: no answer has to be generated."""
    return params.model_copy(update={"split": "validation", "decoding": "teacher_forced", "limit": None})


def evaluate_base(
    table: Finished, base_model: Finished, params: EvaluateParams, tokenize: TokenizeParams, machine: Machine
) -> FinishedParts:
    """Let the untouched base model answer."""
    return _summed(score_models({"0": None}, table, base_model, params, tokenize, machine), params)


def score_models(
    models: Mapping[str, Finished | None],
    table: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> dict[str, Finished]:
    """Let models (None: the base model) answer the rows of a table, by one worker."""
    template = tokenize.template
    settings = {
        **params.of_held_out(),
        "max_length": tokenize.max_length,
        "template": template_checksum(template),
    }
    places = {
        seed: locate(
            machine.data_root / "08_reporting",
            "evaluate",
            REVISION,
            settings,
            {
                "model": (model or base_model).fingerprint,
                "table": table.fingerprint,
                "base_model": base_model.fingerprint,
            },
        )
        for seed, model in models.items()
    }
    missing = {seed: place for seed, place in places.items() if place.finished() is None}
    require_build(list(missing.values()))
    task = {
        "params": params.model_dump(mode="json"),
        "base_model": str(base_model.path),
        "table": str(table.path / table.summary["tables"][table.table]["file"]),
        "max_length": tokenize.max_length,
        "template": str(template) if template else None,
        "models": {seed: str(model.path) for seed, model in models.items() if model is not None},
    }
    launch_missing("evaluate", task, missing, machine)
    return {seed: Finished.open(place.folder) for seed, place in places.items()}


def _summed(parts: dict[str, Finished], params: EvaluateParams) -> FinishedParts:
    return FinishedParts(parts, {"split": params.split, "seeds": len(parts)})
