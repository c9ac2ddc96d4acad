"""Published data sets are read whole: the folder of `WINNOW_REAL_DATA` has some."""

import os
from pathlib import Path

import polars as pl
import pytest

from pipelines.ingest.nodes import find_raw_examples, ingest
from winnow.params import IngestParams, Machine

REAL = os.environ.get("WINNOW_REAL_DATA")
pytestmark = pytest.mark.skipif(REAL is None, reason="WINNOW_REAL_DATA names no folder of real data")
SHAPES = {"cot/*.tsv": {"columns": {"prompt": "0", "response": "2"}}}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    machine = Machine(data_root=tmp_path_factory.mktemp("real"))
    params = IngestParams.model_validate({"folder": Path(str(REAL)), "shapes": SHAPES})
    examples, rejects = ingest(find_raw_examples(params, machine), params, machine)
    return examples.scan().collect(), rejects.scan().collect()


@pytest.mark.parametrize(("subset", "rows"), [("gsm8k", 7473 + 1319), ("bbh", 6511), ("alpaca", 1090), ("cot", 25970)])
def test_every_published_row_is_an_example(tables: tuple[pl.DataFrame, pl.DataFrame], subset: str, rows: int):
    examples, rejects = tables
    records = rejects.filter(pl.col("file").str.starts_with(subset) & (pl.col("row") >= 0))
    found = examples.filter(pl.col("subset") == subset).height
    assert found + records.height == rows
    assert records.height <= rows * 0.001, records.head(3)


def test_gsm8k_answers_end_in_their_number(tables: tuple[pl.DataFrame, pl.DataFrame]):
    answers = tables[0].filter(pl.col("subset") == "gsm8k")["messages"].list.last().struct.field("content")
    assert answers.str.contains(r"#### -?[\d,.]+$").all()


def test_no_id_is_given_twice(tables: tuple[pl.DataFrame, pl.DataFrame]):
    assert tables[0]["example_id"].is_unique().all()
