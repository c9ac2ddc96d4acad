"""Selections held to planted truth, to each other, and to the rows that models are evaluated on."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from winnow.params import ContaminationParams, Machine, SelectionParams
from winnow.progress import News, publish
from winnow.records.tokens import TokenTable, shards_of
from winnow.selection import repeats_of_chosen
from winnow.stages import PARTS, Finished, Work, filled, locate
from winnow.verification.contaminated import contamination_examples, contamination_table
from winnow.verification.contamination import OVERLAPS, HeldOut, overlaps_of
from winnow.verification.near_duplicates import near_duplicate_table
from winnow.verification.overlap import as_squares, overlap_table
from winnow.verification.placed import Placed, place
from winnow.verification.planted import planted_table
from winnow.verification.summary import verification_metrics, verification_table

REVISION = 2
SPLITS = ("held_out", "validation")


def place_rows(weights: pd.DataFrame, training_mix: pd.DataFrame, tokens: Finished) -> pd.DataFrame:
    """Rank and multiplicity of each usable row for each seed, without names: all arms at once fit into memory."""
    return place(weights, training_mix, _usable(tokens)).to_frame()


def compare_with_planted(arms: tuple[str, ...]) -> Callable[..., pd.DataFrame]:
    """A node function that holds these arms to what was planted."""

    def hold_to_planted(tokens: Finished, planted: Finished, *placed: pd.DataFrame) -> pd.DataFrame:
        usable = pl.DataFrame({"example_id": _usable(tokens)})
        truth = usable.join(planted.scan().collect(), on="example_id", how="left", maintain_order="left")
        return planted_table(_read(arms, placed), truth)

    return hold_to_planted


def compare_with_each_other(arms: tuple[str, ...]) -> Callable[..., tuple[pd.DataFrame, Figure]]:
    """A node function that tells which rows these arms share, and how alike they rank the pool."""

    def find_overlap(*placed: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
        from winnow.report.heatmap import draw_heatmaps

        table = overlap_table(_read(arms, placed))
        jaccard, spearman = as_squares(table)
        titles = ("Jaccard index of the chosen rows", "Spearman's correlation of the rankings")
        pictures = dict(zip(titles, (jaccard, spearman), strict=True))
        return table, draw_heatmaps(pictures, ("arm", "arm"), most=1)

    return find_overlap


def count_near_duplicates(arms: tuple[str, ...]) -> Callable[..., pd.DataFrame]:
    """A node function that tells which share of these arms' rows nearly repeats another of them."""

    def count(tokens: Finished, selection: SelectionParams, *placed: pd.DataFrame) -> pd.DataFrame:
        rows = cache(partial(TokenTable.open, tokens.path, "train"))
        near = selection.model_copy(update={"deduplicate": "near"})

        def report(done: int, total: int) -> None:
            publish(News("near_duplicates", done=done, total=total, unit="selections"))

        def begin() -> Callable[[str], bool]:
            is_repeat = repeats_of_chosen(rows, near)
            assert is_repeat is not None
            return is_repeat

        return near_duplicate_table(_read(arms, placed), _usable(tokens), begin, report)

    return count


def find_contamination(
    train: Finished, validation: Finished, held_out: Finished, params: ContaminationParams, machine: Machine
) -> Finished:
    """The training rows that overlap with rows that models are asked, found in one pass over the text."""
    tables = {"train": train, "validation": validation, "held_out": held_out}
    inputs = {name: table.fingerprint for name, table in tables.items()}
    place = locate(machine.data_root / "08_reporting", "contamination", REVISION, params, inputs)

    def fill(work: Work) -> dict[str, Any]:
        numbers: dict[str, int] = {}
        asked = {name: HeldOut(_rows(tables[name]), params.ngram, numbers) for name in SPLITS}
        _compare(work, train, asked, numbers)
        parts = [pl.read_parquet(part) for part in sorted(work.path.glob(f"{PARTS}/*.parquet"))]
        overlaps = pl.concat([pl.DataFrame(schema=OVERLAPS), *parts]).sort("example_id", "against")
        sizes = {
            name: {"rows": len(split.ids), "shorter_than_ngram": split.short, "equal_text_alone": split.too_short}
            for name, split in asked.items()
        }
        return {"tables": work.commit_tables({"overlaps": overlaps}), "compared_with": sizes}

    return filled(place, fill)


def show_contamination(arms: tuple[str, ...]) -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    """A node function that tells how much of the pool and of these arms overlaps, and shows some of it."""

    def tell(
        contamination: Finished, train: Finished, tokens: Finished, *placed: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        overlaps = contamination.scan("overlaps").collect()
        pool = train.scan().select("example_id", "subset").collect()
        table = contamination_table(overlaps, pool, _usable(tokens), _read(arms, placed), SPLITS)
        return table, contamination_examples(overlaps)

    return tell


def sum_up(
    overlap: pd.DataFrame, near_duplicates: pd.DataFrame, contamination: pd.DataFrame, *planted: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, float]]:
    """One row for each arm, and the metrics; of one's own data nobody knows what is planted."""
    truth = planted[0] if planted else None
    table = verification_table(overlap, near_duplicates, contamination, truth)
    return table, verification_metrics(table, truth)


def _compare(work: Work, train: Finished, asked: dict[str, HeldOut], numbers: dict[str, int]) -> None:
    """Shard by shard: what was compared before a kill stays."""
    total, done = train.scan().select(pl.len()).collect().item(), 0
    for number, rows in enumerate(shards_of(train.scan())):
        part = f"{PARTS}/{number:05}.parquet"
        if not work.is_committed(part):
            work.commit(part, overlaps_of(rows, asked, numbers).write_parquet)
        done += len(rows)
        publish(News("contamination", done=done, total=total))


def _rows(table: Finished) -> Iterator[dict[str, Any]]:
    for shard in shards_of(table.scan()):
        yield from shard


def _usable(tokens: Finished) -> list[str]:
    """The rows that can be chosen, in the order of their ids."""
    rows = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id")
    return rows.collect()["example_id"].sort().to_list()


def _read(arms: tuple[str, ...], placed: tuple[pd.DataFrame, ...]) -> dict[str, Placed]:
    return {name: Placed.from_frame(table) for name, table in zip(arms, placed, strict=True)}
