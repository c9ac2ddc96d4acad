"""Score the models of an arm on a split."""

from winnow.params import EvaluateParams, Machine, TokenizeParams
from winnow.stages import Finished, FinishedParts, file_checksum, locate, require_build
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
    return _score(dict(model.parts), table, base_model, params, tokenize, machine)


def evaluate_base(
    table: Finished, base_model: Finished, params: EvaluateParams, tokenize: TokenizeParams, machine: Machine
) -> FinishedParts:
    """Let the untouched base model answer."""
    return _score({"0": None}, table, base_model, params, tokenize, machine)


def _score(
    models: dict[str, Finished | None],
    table: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> FinishedParts:
    template = tokenize.template
    settings = {
        **params.model_dump(mode="json"),
        "max_length": tokenize.max_length,
        "template": file_checksum(template) if template else None,
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
    parts = {seed: Finished.open(place.folder) for seed, place in places.items()}
    return FinishedParts(parts, {"split": params.split, "seeds": len(parts)})
