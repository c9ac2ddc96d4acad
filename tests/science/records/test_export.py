"""What is written in another shape reads back as the same conversation."""

import json
from pathlib import Path

import polars as pl
import pytest

from winnow.errors import BadInput
from winnow.params import IngestParams
from winnow.records.export import FORMATS, export_pool, merge_files
from winnow.records.ingest import EXAMPLES, RawFile, read_file

TALKS = [
    [("user", "你好 👋"), ("assistant", "Hi")],
    [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
    [("user", "e\nf"), ("assistant", "g\n\nh")],
]


def table_of(talks: list[list[tuple[str, str]]]) -> pl.LazyFrame:
    messages = [[{"role": role, "content": content} for role, content in talk] for talk in talks]
    names = [f"math/a.jsonl:{number}" for number in range(len(talks))]
    return pl.DataFrame({"example_id": names, "subset": ["math"] * len(talks), "messages": messages}).lazy()


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_every_turn_survives_the_way_there_and_back(tmp_path: Path, to: str):
    assert export_pool(table_of(TALKS), to, tmp_path) == {"math": 3}
    assert "你好 👋" in (tmp_path / "math.jsonl").read_text(encoding="utf-8")
    back = list(read_file(tmp_path, RawFile("math.jsonl"), IngestParams()))
    assert [[(m["role"], m["content"]) for m in row["messages"]] for row in back] == TALKS
    assert json.loads(back[1]["extra"]) == {"id": "math/a.jsonl:1"}


def test_tool_turns_survive_sharegpt(tmp_path: Path):
    talk = [("user", "w?"), ("function_call", "{}"), ("tool", "sun"), ("assistant", "Sunny.")]
    export_pool(table_of([talk]), "sharegpt", tmp_path)
    (row,) = read_file(tmp_path, RawFile("math.jsonl"), IngestParams())
    assert [(m["role"], m["content"]) for m in row["messages"]] == talk


@pytest.mark.parametrize("name", ["all.jsonl", "all.json"])
def test_merging_joins_lists_and_lines_in_the_order_of_names(tmp_path: Path, name: str):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.json").write_text('[{"n": 0}, {"n": 1}]')
    (tmp_path / "b" / "c.jsonl").write_text('{"n": 2}\n\n{"n": "é"}\n')
    assert merge_files(tmp_path, tmp_path / name) == (2, 4)
    text = (tmp_path / name).read_text(encoding="utf-8")
    records = json.loads(text) if name.endswith("json") else [json.loads(line) for line in text.splitlines()]
    assert [record["n"] for record in records] == [0, 1, 2, "é"]
    assert merge_files(tmp_path, tmp_path / name) == (2, 4), "the result is not merged into itself"


def test_merging_names_the_broken_record_and_writes_nothing(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"n": 0}\n{broken\n')
    with pytest.raises(BadInput, match=r"a\.jsonl, record 1: broken JSON"):
        merge_files(tmp_path, tmp_path / "all.jsonl")
    assert not (tmp_path / "all.jsonl").exists()


def test_merging_an_empty_folder_says_so(tmp_path: Path):
    with pytest.raises(BadInput, match="holds no"):
        merge_files(tmp_path, tmp_path / "all.jsonl")


def test_the_table_of_examples_has_the_promised_columns():
    assert EXAMPLES.names[:5] == ["example_id", "subset", "file", "row", "messages"]
