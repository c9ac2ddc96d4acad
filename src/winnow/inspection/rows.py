"""Finding one row among millions, and naming those that were perhaps meant."""

import difflib
from dataclasses import dataclass
from typing import Any

import polars as pl

from winnow.errors import BadSetting
from winnow.inspection.results import Results
from winnow.records.ids import example_id, with_subset
from winnow.records.raw import WHOLE_FILE
from winnow.report.excerpts import with_text

SIDES = ("train", "validation", "held_out")
NEAREST = 3
# More would not fit the 64 bits of a row's number: no file has that many.
MOST_DIGITS = 18


@dataclass(frozen=True)
class Excerpt:
    """A row in a list: what it is listed by, and the beginning of its text."""

    example_id: str
    subset: str
    cluster: str | None
    value: float
    text: str


def find_row(table: pl.LazyFrame, name: str, *columns: str) -> dict[str, Any] | None:
    """One row by its id, with these of its columns or with all."""
    wanted = pl.col("example_id") == name
    number = _number_of(name)
    if "row" in table.collect_schema() and number is not None:
        # Rows of a file are in order: their numbers' ranges let most of it be left unread.
        wanted &= pl.col("row") == number
    rows = table.filter(wanted).select(*(columns or ("*",))).head(1).collect()
    return rows.row(0, named=True) if rows.height else None


def find_reject(results: Results, name: str) -> dict[str, Any] | None:
    """Why the record of this id is no example; a whole file may have been refused."""
    rejects = results.get("rejects")
    number = _number_of(name)
    if rejects is None or number is None:
        return None
    rows = rejects.scan().filter(pl.col("row").is_in([number, WHOLE_FILE])).collect().iter_rows(named=True)
    return next((row for row in rows if name == example_id(row["file"], number)), None)


def _number_of(name: str) -> int | None:
    """The number of the record that an id names."""
    number = name.rpartition(":")[2]
    return int(number) if number.isdecimal() and len(number) <= MOST_DIGITS else None


def side_of(results: Results, name: str) -> str | None:
    """The side of the split that a row is on."""
    tables = ((side, results.get(side)) for side in SIDES)
    return next((side for side, table in tables if table and find_row(table.scan(), name, "example_id")), None)


def unknown(results: Results, name: str) -> BadSetting:
    """What to say of an id that nothing has."""
    examples = results.need("examples").scan()
    files = {with_subset(file): file for file in examples.select(pl.col("file").unique()).collect()["file"]}
    wanted = name.rpartition(":")[0]
    own = [wanted] if wanted in files else difflib.get_close_matches(wanted or name, files, NEAREST, cutoff=0.0)
    away = (pl.col("row") - (_number_of(name) or 0)).abs()
    near = examples.filter(pl.col("file") == files[own[0]]).select("example_id", "row", away=away)
    ids = near.bottom_k(NEAREST, by=["away", "row"]).sort("away", "row").collect()["example_id"].to_list()
    others = [f"{file}:..." for file in own[1:]]
    return BadSetting(
        f"No example has the id {name!r}. Ids are `<subset>/<file with extension>:<record>`, as `kedro inspect target` "
        f"and `kedro inspect cluster` list them. The nearest: {', '.join([*ids, *others])}."
    )


def excerpts(results: Results, table: pl.DataFrame) -> list[Excerpt]:
    """A few rows (example_id, value) with subset, cluster and the beginning of their text, in their order."""
    train = results.need("train").scan()
    ids = table["example_id"].to_list()
    subsets = dict(train.filter(pl.col("example_id").is_in(ids)).select("example_id", "subset").collect().iter_rows())
    clusters = dict(clusters_of(results, ids))
    rows = with_text(table, train)
    return [
        Excerpt(name, subsets.get(name, ""), clusters.get(name), float(value), text)
        for name, value, text in zip(rows["example_id"], rows["value"], rows["text"], strict=True)
    ]


def clusters_of(results: Results, ids: list[str]) -> list[tuple[str, str]]:
    """The cluster within its subset of each of these rows, such as `math/3`."""
    if (clusters := results.get("clusters")) is None:
        return []
    name = pl.concat_str("subset", "subset_cluster", separator="/")
    rows = clusters.scan("clusters").filter(pl.col("example_id").is_in(ids)).select("example_id", name).collect()
    return list(rows.iter_rows())
