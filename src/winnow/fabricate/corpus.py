"""Raw files in the Mixture-of-Thoughts layout, with the truth about every pool row beside them.

What is wrong with which row is written to `planted.parquet`, which verification alone may read.
"""

import random
from typing import Any

import polars as pl

from winnow.fabricate.pool import Row, pool_rows, verified_rows
from winnow.fabricate.skills import make_skills
from winnow.params import FabricateParams
from winnow.stages import Work, table_fingerprint

POOL_FILE = "train-00000-of-00001.parquet"
VERIFIED_FILE = "verified-00000-of-00001.parquet"
PLANTED_FILE = "planted.parquet"
_RAW: dict[str, Any] = {
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "num_tokens": pl.Int64,
    "source": pl.String,
}
_PLANTED = {"example_id": pl.String, "kind": pl.String, "copy_of": pl.String}


def write_corpus(work: Work, params: FabricateParams) -> dict[str, Any]:
    """Write the raw files and the planted truth as shards of ``work``; return the summary."""
    truths = []
    for subset, skill in make_skills(params.facts, params.seed).items():
        rng = random.Random(f"{subset}-{params.seed}")
        verified, taken = verified_rows(skill, params, rng)
        pool = pool_rows(skill, params, taken, rng)
        _write(work, f"raw/{subset}/{POOL_FILE}", subset, pool)
        _write(work, f"raw/{subset}/{VERIFIED_FILE}", subset, verified)
        truths.append(_truth(f"{subset}/{POOL_FILE}", pool))
    truth = pl.concat(truths)
    work.commit(PLANTED_FILE, truth.write_parquet)
    table = {"file": PLANTED_FILE, "rows": truth.height, "fingerprint": table_fingerprint(truth.iter_rows())}
    kinds = dict(truth.group_by("kind").len().sort("kind").iter_rows())
    verified_count = params.verified_rows * len(truths)
    return {"rows": truth.height, "verified_rows": verified_count, "planted": kinds, "tables": {"planted": table}}


def _write(work: Work, name: str, subset: str, rows: list[Row]) -> None:
    columns = {
        "messages": [list(row.messages) for row in rows],
        "num_tokens": [sum(len(message["content"] or "") for message in row.messages) for row in rows],
        "source": [f"fabricated/{subset}"] * len(rows),
    }
    work.commit(name, pl.DataFrame(columns, schema=_RAW).write_parquet)


def _truth(file: str, rows: list[Row]) -> pl.DataFrame:
    columns = {
        "example_id": [f"{file}:{number}" for number in range(len(rows))],
        "kind": [row.kind for row in rows],
        "copy_of": [None if row.copy_of is None else f"{file}:{row.copy_of}" for row in rows],
    }
    return pl.DataFrame(columns, schema=_PLANTED)
