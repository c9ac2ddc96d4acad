"""The seeded split per source file: which rows train, which validate, which are held out, which are set aside.

Rows are told apart by their prompt's hash, so neither the order of files nor of rows matters, and no prompt is on two
sides. Decided on a table of numbers alone (32 bytes a row); text is streamed afterwards.
"""

import fnmatch
from collections.abc import Sequence

import numpy as np
import polars as pl

from winnow.errors import BadSetting
from winnow.params import SplitParams
from winnow.records.ids import with_subset

TRAIN, VALIDATION, HELD_OUT, SET_ASIDE = "train", "validation", "held_out", "set_aside"
SIDES = (TRAIN, VALIDATION, HELD_OUT, SET_ASIDE)
KINDS = ("exact copy in the pool", "copy of a validation prompt", "copy of a held-out prompt")
_TRAIN, _VALIDATION, _HELD_OUT, _SET_ASIDE = range(len(SIDES))
_NONE = -1


def read_index(examples: pl.LazyFrame) -> pl.DataFrame:
    """What the split is decided on: file, row, and the first 64 bits of both hashes, in the order of the examples."""

    def number(column: str) -> pl.Expr:
        return pl.col(column).str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64)

    files = examples.select(pl.col("file").unique().sort()).collect(engine="streaming")["file"]
    columns = [pl.col("file").cast(pl.Enum(files)), "row", number("prompt_hash"), number("content_hash")]
    return examples.select(columns).collect(engine="streaming")


def assign_sides(index: pl.DataFrame, params: SplitParams) -> pl.DataFrame:
    """Say for each row of an index its `side`; where it repeats another, that one's place in `kept`, and the `kind`.

    A pool row whose prompt is validated or held out is set aside. A row that repeats another one's content stays on its
    side, and `kept` is the first of them.
    """
    prompts, contents = index["prompt_hash"].to_numpy(), index["content_hash"].to_numpy()
    files, rows = index["file"].to_physical().to_numpy(), index["row"].to_numpy()
    # First by file and row, so that the table's order decides nothing; then at random, equal prompts together.
    order = np.lexsort((rows, files))
    shuffled = order[np.argsort(_mix(prompts[order], params.seed), kind="stable")]
    sides = np.full(len(index), _TRAIN, np.int8)
    names = index["file"].dtype
    assert isinstance(names, pl.Enum)
    trusted = _trusted(names.categories.to_list(), params)
    by_file = shuffled[np.argsort(files[shuffled], kind="stable")]
    starts = np.searchsorted(files[by_file], np.arange(len(names.categories) + 1))
    for number in trusted:
        _draw(sides, by_file[starts[number] : starts[number + 1]], params)
    kept = np.full(len(index), _NONE, np.int64)
    kinds = np.full(len(index), _NONE, np.int8)
    for side, kind in ((_HELD_OUT, 2), (_VALIDATION, 1)):
        first = _first_with_equal(prompts, order[sides[order] == side], order)
        copies = (first != _NONE) & (first != np.arange(len(index))) & (sides != _SET_ASIDE)
        sides[copies], kept[copies], kinds[copies] = _SET_ASIDE, first[copies], kind
    pool = order[sides[order] == _TRAIN]
    first = _first_with_equal(contents, pool, pool)
    copies = (first != _NONE) & (first != np.arange(len(index)))
    kept[copies], kinds[copies] = first[copies], 0
    return pl.DataFrame(
        {"side": _named(sides, SIDES), "kept": pl.Series(kept).replace(_NONE, None), "kind": _named(kinds, KINDS)}
    )


def _trusted(files: Sequence[str], params: SplitParams) -> list[int]:
    """The numbers of the files that may validate and be held out."""
    glob = params.held_out_from
    if glob is None:
        return list(range(len(files)))
    # A file at the root may be named with its subset, `default`, or without.
    found = [
        number
        for number, file in enumerate(files)
        if fnmatch.fnmatch(file, glob) or fnmatch.fnmatch(with_subset(file), glob)
    ]
    if files and not found:
        raise BadSetting(
            f"`split.held_out_from` is {glob!r}, which fits none of the files {', '.join(files[:5])}"
            f"{', ...' if len(files) > 5 else ''}. Files are matched by `<subset>/<file>`; null takes every file."
        )
    return found


def _draw(sides: np.ndarray, shuffled: np.ndarray, params: SplitParams) -> None:
    """Give the first rows of a shuffled file to validation, the next to the held-out rows."""
    n_validation = _count(len(shuffled), params.validation_share, least=2)
    n_held_out = _count(len(shuffled), params.held_out_share, least=3)
    sides[shuffled[:n_validation]] = _VALIDATION
    sides[shuffled[n_validation : n_validation + n_held_out]] = _HELD_OUT


def _count(rows: int, share: float, least: int) -> int:
    """max(1, floor(share * rows)) of a file with at least ``least`` rows; none where the share is 0."""
    return max(1, int(share * rows + 1e-9)) if share and rows >= least else 0


def _mix(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A random order that a seed decides: splitmix64 of each number, shifted by the seed."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _first_with_equal(values: np.ndarray, among: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each place asked for, the first place of ``among`` that holds the same value; -1 for none."""
    first = np.full(len(values), _NONE, np.int64)
    if len(among):
        known, position = np.unique(values[among], return_index=True)
        found = np.minimum(np.searchsorted(known, values[asked]), len(known) - 1)
        equal = known[found] == values[asked]
        first[asked[equal]] = among[position[found[equal]]]
    return first


def _named(numbers: np.ndarray, names: Sequence[str]) -> pl.Series:
    meaning: dict[int, str | None] = {_NONE: None, **dict(enumerate(names))}
    return pl.Series(numbers).replace_strict(meaning, return_dtype=pl.Enum(names))
