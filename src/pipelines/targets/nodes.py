"""What examples are scored for: domains of the validation split, or files named in parameters."""

from typing import Any

import polars as pl

from pipelines.tokenize.nodes import tokenize_splits
from winnow.params import Machine, TargetsParams, TokenizeParams
from winnow.records.targets import limited, read_target, target_files
from winnow.stages import Finished, Work, file_checksum, filled, locate, table_fingerprint

REVISION = 1


def gather_targets(validation: Finished, params: TargetsParams, machine: Machine) -> Finished:
    """One table of all targets' rows: example_id, subset (the target), subtask, messages."""
    files = {name: target_files(name, target, machine.data_root) for name, target in params.sets.items()}
    inputs = {f"{name}/{file.name}": file_checksum(file) for name, found in files.items() for file in found}
    settings = params.model_dump(mode="json", exclude={"sets"})
    settings["sets"] = {name: target.model_dump(exclude={"files"}) for name, target in params.sets.items()}
    inputs = inputs or {"validation": validation.fingerprint}
    place = locate(machine.data_root / "02_intermediate", "targets", REVISION, settings, inputs)

    def fill(work: Work) -> dict[str, Any]:
        tables = [read_target(name, params.sets[name], found) for name, found in files.items()]
        rows = pl.concat(tables) if tables else _domains(validation)
        rows = limited(rows, params.limit, params.seed).sort("example_id")
        work.commit("targets.parquet", rows.write_parquet)
        counts = rows.group_by("subset", "subtask").len().sort("subset", "subtask").rows()
        entry = {"file": "targets.parquet", "rows": rows.height, "fingerprint": table_fingerprint(rows.iter_rows())}
        return {"tables": {"targets": entry}, "subtasks": [list(count) for count in counts]}

    return filled(place, fill).only("targets")


def _domains(validation: Finished) -> pl.DataFrame:
    columns = ("example_id", "subset", pl.col("subset").alias("subtask"), "messages")
    return validation.scan().select(*columns).collect()


def labels_of(targets: Finished) -> dict[str, str]:
    """`<target>/<subtask>` of each target row."""
    rows = targets.scan().select("example_id", pl.concat_str("subset", "subtask", separator="/").alias("label"))
    return dict(rows.collect().iter_rows())


def domains_of(targets: Finished) -> dict[str, str]:
    """The target of each of its rows."""
    return dict(targets.scan().select("example_id", "subset").collect().iter_rows())


def tokenize_targets(targets: Finished, base_model: Finished, params: TokenizeParams, machine: Machine) -> Finished:
    """Render the targets with the tokenizer of the model that takes the gradients."""
    return tokenize_splits({"validation": targets}, base_model, params, machine)
