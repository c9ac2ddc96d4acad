"""The split: exact counts per file, no prompt on two sides, blind to the order of rows."""

import hashlib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from winnow.params import SplitParams
from winnow.splits import HELD_OUT, SET_ASIDE, TRAIN, VALIDATION, assign_sides, read_index


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def index_of(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """Rows of (file, prompt, answer)."""
    table = pl.DataFrame(
        {
            "file": [file for file, _, _ in rows],
            "row": list(range(len(rows))),
            "prompt_hash": [digest(prompt) for _, prompt, _ in rows],
            "content_hash": [digest(prompt + answer) for _, prompt, answer in rows],
        }
    )
    return read_index(table.lazy())


def assigned(index: pl.DataFrame, params: SplitParams) -> pl.DataFrame:
    """The index with the sides, and names in place of places."""
    name = pl.format("{}:{}", "file", "row").alias("example_id")
    names = index.select(name)["example_id"]
    sides = assign_sides(index, params)
    kept = pl.Series("kept_id", [None if place is None else names[place] for place in sides["kept"]], dtype=pl.String)
    return index.with_columns(name, *sides.select(pl.col("side", "kind").cast(pl.String)), kept)


def sides_of(rows: list[tuple[str, str, str]], params: SplitParams | None = None) -> dict[str, str]:
    return dict(assigned(index_of(rows), params or SplitParams()).select("example_id", "side").iter_rows())


def unique_rows(file: str, count: int) -> list[tuple[str, str, str]]:
    return [(file, f"{file} question {number}", "answer") for number in range(count)]


@pytest.mark.parametrize(
    ("rows", "train", "validation", "held_out"),
    [(1, 1, 0, 0), (2, 1, 1, 0), (3, 1, 1, 1), (10, 8, 1, 1), (39, 37, 1, 1), (40, 36, 2, 2), (1000, 900, 50, 50)],
)
def test_a_file_gives_a_twentieth_and_at_least_one_to_each_side(rows: int, train: int, validation: int, held_out: int):
    sides = list(sides_of(unique_rows("math/a.jsonl", rows)).values())
    assert [sides.count(side) for side in (TRAIN, VALIDATION, HELD_OUT)] == [train, validation, held_out]


def test_each_file_is_split_by_itself():
    sides = sides_of(unique_rows("math/a.jsonl", 100) + unique_rows("math/b.jsonl", 40))
    for file, expected in (("math/a.jsonl", 5), ("math/b.jsonl", 2)):
        assert sum(side == VALIDATION for name, side in sides.items() if name.startswith(file)) == expected


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(st.integers(0, 30), min_size=3, max_size=80),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_no_prompt_is_on_two_sides_and_order_changes_nothing(prompts: list[int], seed: int, order):
    rows = [(f"s/{prompt % 2}.jsonl", f"q{prompt}", f"a{number}") for number, prompt in enumerate(prompts)]
    index = index_of(rows)
    params = SplitParams(seed=seed, validation_share=0.2, held_out_share=0.2)
    table = assigned(index, params)
    used = table.filter(pl.col("side") != SET_ASIDE)
    assert used.group_by("prompt_hash").agg(pl.col("side").n_unique())["side"].max() == 1
    for side in (VALIDATION, HELD_OUT):
        assert used.filter(pl.col("side") == side)["prompt_hash"].is_unique().all()
    set_aside = table.filter(pl.col("side") == SET_ASIDE)
    assert set(set_aside["kept_id"]) <= set(used["example_id"])
    shuffled = index.sample(fraction=1, shuffle=True, seed=order.randint(0, 1000))
    assert dict(assigned(shuffled, params).select("example_id", "side").iter_rows()) == dict(
        table.select("example_id", "side").iter_rows()
    )


def test_another_seed_draws_other_rows():
    rows = unique_rows("math/a.jsonl", 200)
    drawn = [{n for n, side in sides_of(rows, SplitParams(seed=seed)).items() if side == HELD_OUT} for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_only_the_named_files_are_held_out_and_pool_copies_of_their_prompts_are_set_aside():
    trusted = [("math/verified-0.parquet", f"q{number}", "right") for number in range(10)]
    pool = [("math/train-0.parquet", f"q{number}", "wrong") for number in range(5, 25)]
    params = SplitParams(held_out_from="*/verified-*", validation_share=0.2, held_out_share=0.8)
    table = assigned(index_of(trusted + pool), params)
    sides = {name: (side, kind) for name, side, kind in table.select("example_id", "side", "kind").iter_rows()}
    from_pool = [value for name, value in sides.items() if "train-0" in name]
    assert [side for side, _ in from_pool].count(SET_ASIDE) == 5
    assert {kind for side, kind in from_pool if side == SET_ASIDE} <= {
        "copy of a held-out prompt",
        "copy of a validation prompt",
    }
    assert {side for name, (side, _) in sides.items() if "verified" in name} == {VALIDATION, HELD_OUT}


def test_exact_copies_in_the_pool_are_named_and_stay():
    rows = [*unique_rows("a/a.jsonl", 5), ("a/a.jsonl", "a/a.jsonl question 2", "answer")]
    table = assigned(index_of(rows), SplitParams(validation_share=0, held_out_share=0))
    copy = table.filter(pl.col("kind").is_not_null()).row(0, named=True)
    assert copy["kind"] == "exact copy in the pool"
    assert copy["side"] == TRAIN
    assert (copy["example_id"], copy["kept_id"]) == ("a/a.jsonl:5", "a/a.jsonl:2")


def test_shares_over_one_are_refused():
    with pytest.raises(ValidationError, match="over 1"):
        SplitParams(validation_share=0.6, held_out_share=0.6)
