"""LLaMA-Factory's `dataset_info.json` in the raw folder: it describes its files, and is none of them."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.ingest.nodes import find_raw_examples, ingest
from winnow.errors import BadInput
from winnow.params import IngestParams, Machine

ROWS = [{"query_text": f"What is {n}?", "reply": f"It is {n}."} for n in range(3)]
COLUMNS = {"query": "query_text", "response": "reply"}


def read(folder: Path, info: Any, **values: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    folder.mkdir(exist_ok=True)
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    if info is not None:
        (folder / "dataset_info.json").write_text(info if isinstance(info, str) else json.dumps(info))
    machine = Machine(data_root=folder.parent / "data")
    params = IngestParams.model_validate({"folder": folder, **values})
    examples, rejects = ingest(find_raw_examples(params, machine), params, machine)
    return examples.scan().collect(), rejects.scan().collect()


def test_its_columns_are_used_for_the_file_that_it_names(tmp_path: Path):
    hub = {"hf_hub_url": "someone/sums", "columns": {"prompt": "a", "response": "b"}, "split": "train"}
    entry = {"file_name": "sums.jsonl", "formatting": "alpaca", "columns": COLUMNS, "split": "train"}
    examples, rejects = read(tmp_path / "raw", {"sums": entry, "elsewhere": hub})
    assert examples["messages"][1].to_list() == [
        {"role": "user", "content": "What is 1?"},
        {"role": "assistant", "content": "It is 1."},
    ]
    assert (examples.height, rejects.height) == (3, 0)
    without, refused = read(tmp_path / "bare", None)
    assert (without.height, refused.height) == (0, 3), "without it these columns mean nothing"


def test_a_changed_description_is_another_ingest(tmp_path: Path):
    first, _ = read(tmp_path / "raw", {"sums": {"file_name": "sums.jsonl", "columns": COLUMNS}})
    turned = {"query": "reply", "response": "query_text"}
    second, _ = read(tmp_path / "raw", {"sums": {"file_name": "sums.jsonl", "columns": turned}})
    assert first["messages"][0][0]["content"] == second["messages"][0][1]["content"]


def test_ingest_shapes_wins_over_it(tmp_path: Path):
    wrong = {"sums": {"file_name": "sums.jsonl", "columns": {"prompt": "reply", "response": "query_text"}}}
    examples, _ = read(tmp_path / "raw", wrong, shapes={"*.jsonl": {"columns": COLUMNS}})
    assert examples["messages"][0][0]["content"] == "What is 0?"


def test_the_file_that_datasets_writes_is_passed_over(tmp_path: Path):
    info = {"builder_name": "json", "features": {"query_text": {"dtype": "string"}}, "splits": {"train": {}}}
    _, rejects = read(tmp_path / "raw", info)
    assert set(rejects["file"]) == {"sums.jsonl"}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("{", r"dataset_info\.json cannot be read"),
        ([1], "is list, not an object"),
        ({"sums": {"file_name": "sums.jsonl", "formatting": "csv"}}, r"'sums' cannot be used: `formatting`"),
        ({"sums": {"file_name": "sums.jsonl", "ranking": True}}, r"'sums' cannot be used: `ranking`"),
        ({"sums": {"file_name": "../sums.jsonl"}}, r"file_name '\.\./sums\.jsonl', which is no path in this folder"),
        (
            {
                "a": {"file_name": "sums.jsonl", "columns": COLUMNS},
                "b": {"file_name": "sums.jsonl", "formatting": "sharegpt"},
            },
            r"describes 'sums\.jsonl' twice",
        ),
    ],
)
def test_a_malformed_one_is_a_clear_error(tmp_path: Path, info: Any, said: str):
    with pytest.raises(BadInput, match=said):
        read(tmp_path / "raw", info)


def test_names_are_no_patterns(tmp_path: Path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "s[u]m.jsonl").write_text(json.dumps(ROWS[0]))
    examples, _ = read(folder, {"a": {"file_name": "s[u]m.jsonl", "columns": COLUMNS}})
    assert examples["file"].to_list() == ["s[u]m.jsonl"]
