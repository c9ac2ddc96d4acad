"""The seeded split per source file: which rows train, which validate, which are held out, which are set aside.

Rows are told apart by their prompt's hash, so neither the order of files nor of rows matters, and no prompt is on two
sides. Decided on a table of hashes alone; text is streamed afterwards.
"""

import fnmatch

import numpy as np
import polars as pl

from winnow.params import SplitParams

TRAIN, VALIDATION, HELD_OUT, SET_ASIDE = "train", "validation", "held_out", "set_aside"
INDEX = ("example_id", "file", "prompt_hash", "content_hash")


def read_index(examples: pl.LazyFrame) -> pl.DataFrame:
    """What the split is decided on: ids, files, and the first 64 bits of both hashes."""

    def number(column: str) -> pl.Expr:
        return pl.col(column).str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64)

    columns = ["example_id", pl.col("file").cast(pl.Categorical), number("prompt_hash"), number("content_hash")]
    return examples.select(columns).collect(engine="streaming")


def assign_sides(index: pl.DataFrame, params: SplitParams) -> pl.DataFrame:
    """Add the column `side` to an index of examples, and `kept_id` where a row repeats another.

    A pool row whose prompt is validated or held out is set aside. A row that repeats another one's content stays on its
    side, and `kept_id` names the first.
    """
    files = index["file"].unique().cast(pl.String)
    trusted = [file for file in files if params.held_out_from is None or fnmatch.fnmatch(file, params.held_out_from)]
    key = pl.Series("key", _mix(index["prompt_hash"].to_numpy(), params.seed))
    # Equal prompts of a file stand together, in the order of their ids; prompts stand at random.
    ordered = index.with_row_index("place").with_columns(key).sort("key", "prompt_hash", "example_id")
    placed = ordered.with_columns(
        pl.int_range(pl.len()).over("file").alias("turn"),
        pl.len().over("file").alias("rows"),
        pl.col("file").cast(pl.String).is_in(trusted).alias("trusted"),
    )
    counted = placed.with_columns(
        _count("rows", params.validation_share, least=2).alias("n_validation"),
        _count("rows", params.held_out_share, least=3).alias("n_held_out"),
    )
    sided = counted.with_columns(
        pl.when(~pl.col("trusted"))
        .then(pl.lit(TRAIN))
        .when(pl.col("turn") < pl.col("n_validation"))
        .then(pl.lit(VALIDATION))
        .when(pl.col("turn") < pl.col("n_validation") + pl.col("n_held_out"))
        .then(pl.lit(HELD_OUT))
        .otherwise(pl.lit(TRAIN))
        .alias("side")
    )
    return _note_copies(_set_aside(sided)).sort("place").select(*INDEX, "side", "kept_id", "kind")


def _mix(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A random order that a seed decides: splitmix64 of each number, shifted by the seed."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _count(rows: str, share: float, least: int) -> pl.Expr:
    """max(1, floor(share * n)) of a file with at least ``least`` rows; none where the share is 0."""
    if share == 0:
        return pl.lit(0)
    wanted = (pl.col(rows) * share + 1e-9).floor().cast(pl.Int64).clip(lower_bound=1)
    return pl.when(pl.col(rows) < least).then(0).otherwise(wanted)


def _set_aside(sided: pl.DataFrame) -> pl.DataFrame:
    """Keep each prompt on one side, held out before validation before training; of the former, its first row."""
    first = {
        side: sided.filter(pl.col("side") == side).group_by("prompt_hash").agg(pl.col("example_id").min().alias(side))
        for side in (HELD_OUT, VALIDATION)
    }
    joined = sided.join(first[HELD_OUT], on="prompt_hash", how="left").join(
        first[VALIDATION], on="prompt_hash", how="left"
    )
    of_held_out = pl.col(HELD_OUT).is_not_null() & (pl.col("example_id") != pl.col(HELD_OUT))
    of_validation = ~of_held_out & pl.col(VALIDATION).is_not_null() & (pl.col("example_id") != pl.col(VALIDATION))
    of_validation &= pl.col(HELD_OUT).is_null()
    return joined.with_columns(
        pl.when(of_held_out)
        .then(pl.lit("copy of a held-out prompt"))
        .when(of_validation)
        .then(pl.lit("copy of a validation prompt"))
        .alias("kind"),
        pl.when(of_held_out).then(pl.col(HELD_OUT)).when(of_validation).then(pl.col(VALIDATION)).alias("kept_id"),
        pl.when(of_held_out | of_validation).then(pl.lit(SET_ASIDE)).otherwise(pl.col("side")).alias("side"),
    )


def _note_copies(sided: pl.DataFrame) -> pl.DataFrame:
    """Name exact copies within the training pool; they stay in it."""
    in_train = pl.col("side") == TRAIN
    firsts = sided.filter(in_train).group_by("content_hash").agg(pl.col("place").min().alias("first_place"))
    names = sided.select(pl.col("place").alias("first_place"), pl.col("example_id").alias("first_id"))
    joined = sided.join(firsts, on="content_hash", how="left").join(names, on="first_place", how="left")
    copies = in_train & (pl.col("place") != pl.col("first_place"))
    return joined.with_columns(
        pl.when(copies).then(pl.lit("exact copy in the pool")).otherwise(pl.col("kind")).alias("kind"),
        pl.when(copies).then(pl.col("first_id")).otherwise(pl.col("kept_id")).alias("kept_id"),
    )
