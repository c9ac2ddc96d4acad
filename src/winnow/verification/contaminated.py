"""How much of the pool, of its subsets and of selections overlaps with what an evaluation asks."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import polars as pl

from winnow.verification.contamination import KINDS
from winnow.verification.placed import Placed

MOST_EXAMPLES = 50
ANY = "any"


def contamination_table(
    overlaps: pl.DataFrame, pool: pl.DataFrame, usable: Sequence[str], arms: Mapping[str, Placed], splits: Sequence[str]
) -> pd.DataFrame:
    """Rows that overlap with each split, and their share: of the pool, of each subset, and of what each arm trains on.

    ``overlaps`` is that of `overlaps_of`; ``pool`` has example_id and subset of all rows; arms place the ``usable``
    ones, and their counts are means over seeds.
    """
    rows = []
    for against in splits:
        found = overlaps.filter(pl.col("against") == against)
        for of, name, part in [("pool", "all", pool), *_subsets(pool)]:
            here = found.join(part, on="example_id", how="semi")
            rows.append(_row(of, name, against, part.height, _counted(here)))
        flags = _flags(found, usable)
        for name, placed in arms.items():
            counts = {kind: float((placed.times @ flag).mean()) for kind, flag in flags.items()}
            rows.append(_row("arm", name, against, float(placed.times.sum(axis=1).mean()), counts))
    return pd.DataFrame(rows)


def contamination_examples(overlaps: pl.DataFrame) -> pd.DataFrame:
    """A few pairs of each kind: split, kind, training row, held-out row, and what they share."""
    shown = pl.DataFrame(schema=dict.fromkeys(("against", "kind", "train_id", "held_out_id", "shared"), pl.String))
    left = overlaps
    for kind in KINDS:
        part = left.filter(pl.col(kind).is_not_null()).group_by("against", maintain_order=True).head(MOST_EXAMPLES)
        named = part.select(
            "against", pl.lit(kind).alias("kind"), pl.col("example_id").alias("train_id"),
            pl.col(kind).alias("held_out_id"), "shared",
        )  # fmt: skip
        shown = pl.concat([shown, named])
        # A row is shown once, as the strongest of its kinds.
        left = left.filter(pl.col(kind).is_null())
    return shown.sort("against", maintain_order=True).to_pandas()


def _subsets(pool: pl.DataFrame) -> list[tuple[str, str, pl.DataFrame]]:
    parts = pool.partition_by("subset", as_dict=True)
    return [("subset", str(name), part) for (name,), part in sorted(parts.items())]


def _counted(found: pl.DataFrame) -> dict[str, float]:
    counts = {kind: float(found[kind].is_not_null().sum()) for kind in KINDS}
    return counts | {ANY: float(found.height)}


def _flags(found: pl.DataFrame, usable: Sequence[str]) -> dict[str, np.ndarray]:
    """Whether each usable row overlaps, by kind."""
    aligned = pl.DataFrame({"example_id": usable}).join(found, on="example_id", how="left", maintain_order="left")
    flags = {kind: aligned[kind].is_not_null().to_numpy() for kind in KINDS}
    return flags | {ANY: aligned["against"].is_not_null().to_numpy()}


def _row(of: str, name: str, against: str, rows: float, counts: Mapping[str, float]) -> dict[str, object]:
    shares = {f"{kind}_share": count / rows if rows else 0.0 for kind, count in counts.items()}
    return {"of": of, "name": name, "against": against, "rows": rows, **counts, **shares}
