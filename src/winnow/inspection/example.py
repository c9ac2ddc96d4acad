"""One row: where it comes from, what of it is learnt, how its loss fell, its scores, and which arms keep it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from winnow.errors import MissingResource
from winnow.inspection.arms import Keeps, arms_keeping
from winnow.inspection.cluster import members_of
from winnow.inspection.curves import Curve, curve_of, curves_of, losses_of
from winnow.inspection.pieces import Decode, Piece, pieces_of
from winnow.inspection.results import PLANTED, Missing, Results
from winnow.inspection.rows import find_reject, find_row, side_of, unknown
from winnow.inspection.scores import Standing, standings
from winnow.records.shapes import Message
from winnow.records.tokens import TokenTable

SHOWN_COPIES = 5
# The decoder of given tokens, by the tokenizer of the tokens stage.
Decoding = Callable[[Sequence[int]], Decode]


@dataclass(frozen=True)
class Origin:
    """The record that a row is made of; ``side`` of the split is None before there is one."""

    file: str
    row: int
    subset: str
    shape: str
    side: str | None


@dataclass(frozen=True)
class Copies:
    """What a row repeats, and what repeats it."""

    kept: str | None
    kind: str | None
    others: list[str]
    number: int


@dataclass(frozen=True)
class Tokens:
    """Tokens of a row and how many of them are learnt, as text too; or why it has none, or no text."""

    number: int = 0
    supervised: int = 0
    pieces: list[Piece] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class InCluster:
    """The cluster of a row, and the mean loss curve of all rows in it."""

    name: str
    rows: int
    mean: list[float]


@dataclass(frozen=True)
class Example:
    """All that is known of one row. One that was rejected has an excerpt and a reason, and no more."""

    example_id: str
    origin: Origin | None = None
    rejected: str | None = None
    excerpt: str = ""
    messages: list[Message] = field(default_factory=list)
    copies: Copies | None = None
    tokens: Tokens | None = None
    curve: Curve | None = None
    cluster: InCluster | None = None
    scores: list[Standing] = field(default_factory=list)
    arms: list[Keeps] = field(default_factory=list)
    planted: str | None = None
    missing: list[Missing] = field(default_factory=list)


def inspect_example(results: Results, name: str, decoding: Decoding) -> Example:
    """Look a row up in every table that there is; raises `BadSetting` with the nearest ids where it is in none."""
    row = find_row(results.need("examples").scan(), name)
    planted = _planted(results, name)
    if row is None:
        if (reject := find_reject(results, name)) is None:
            raise unknown(results, name)
        return Example(name, rejected=reject["reason"], excerpt=reject["excerpt"], planted=planted)
    copies = _copies(results, name)
    side = side_of(results, name) or ("set aside" if copies and copies.kept else None)
    in_pool = side == "train"
    shared = ["losses", "clusters", "scores", "rds_scores", "bm25_scores", "row_scores", "selector_quality"]
    return Example(
        name,
        origin=Origin(row["file"], row["row"], row["subset"], row["shape"], side),
        messages=row["messages"],
        copies=copies,
        tokens=_tokens(results, name, decoding),
        curve=curve_of(results, name),
        cluster=_cluster(results, name),
        scores=standings(results, name),
        arms=arms_keeping(results.mixes, name) if in_pool else [],
        planted=planted,
        missing=results.lacking("train", "tokens", *(shared if in_pool else [])),
    )


def _copies(results: Results, name: str) -> Copies | None:
    if (duplicates := results.get("duplicates")) is None:
        return None
    rows = duplicates.scan().filter((pl.col("example_id") == name) | (pl.col("kept_id") == name)).collect()
    own = rows.filter(pl.col("example_id") == name).to_dicts()
    others = rows.filter(pl.col("kept_id") == name)["example_id"].sort()
    if not rows.height:
        return None
    kept, kind = (own[0]["kept_id"], own[0]["kind"]) if own else (None, None)
    return Copies(kept, kind, others.head(SHOWN_COPIES).to_list(), len(others))


def _tokens(results: Results, name: str, decoding: Decoding) -> Tokens | None:
    if (tokens := results.get("tokens")) is None:
        return None
    if reason := find_row(tokens.scan("unusable"), name, "reason"):
        return Tokens(reason=reason["reason"])
    table = TokenTable.open_around(tokens.path, name)
    if not len(table):
        return None
    (row,) = table.rows([name])
    counts = len(row.input_ids), int(row.supervised.sum())
    try:
        return Tokens(*counts, pieces_of(row, decoding(row.input_ids.tolist())))
    except MissingResource as error:
        return Tokens(*counts, reason=str(error))


def _cluster(results: Results, name: str) -> InCluster | None:
    clusters = results.get("clusters")
    row = find_row(clusters.scan("clusters"), name, "subset", "subset_cluster") if clusters else None
    if row is None:
        return None
    cluster = f"{row['subset']}/{row['subset_cluster']}"
    members = members_of(results, cluster)
    losses = losses_of(results, members)
    return InCluster(cluster, members.height, [] if losses is None else curves_of(losses).mean)


def _planted(results: Results, name: str) -> str | None:
    planted = results.get(PLANTED)
    row = find_row(planted.scan(), name, "kind") if planted else None
    return row["kind"] if row else None
