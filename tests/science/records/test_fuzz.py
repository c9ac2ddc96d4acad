"""Fuzzing: whatever a record or a text looks like, it becomes an example or a reject, never a traceback."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.params import IngestParams
from winnow.records.ingest import RawFile, read_file


def rows_of(folder: Path, name: str, **params: Any) -> list[dict[str, Any]]:
    return list(read_file(folder, RawFile(name), IngestParams.model_validate(params)))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("messages", "conversations", "instruction", "input", "output", "history", "system", "question", "answer")
TURN = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool"]) | ANYTHING,
        "content": ANYTHING,
        "from": st.sampled_from(["human", "gpt"]) | ANYTHING,
        "value": ANYTHING,
        "tool_calls": ANYTHING,
    },
)
RECORD = st.fixed_dictionaries({}, optional={name: ANYTHING | st.lists(TURN, max_size=3) for name in FIELDS})
SHAPES = st.sampled_from(
    [
        None,
        "messages",
        "sharegpt",
        "alpaca",
        "pair",
        {"columns": {"prompt": "question", "response": "answer", "history": "history", "system": "system"}},
        {"formatting": "sharegpt"},
        {"formatting": "openai", "columns": {"messages": "conversations", "system": "input"}},
    ]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORD, min_size=1, max_size=4), shape=SHAPES)
def test_any_record_in_any_shape_is_an_example_or_a_reject(tmp_path: Path, records: list[Any], shape: Any):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = rows_of(tmp_path, "a.jsonl", shapes={} if shape is None else {"*": shape})
    assert len(rows) == len(records)
    for row in rows:
        assert row.get("reason") or {m["role"] for m in row["messages"]} & {"assistant", "function_call"}
        json.dumps(row, ensure_ascii=False).encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(['{"', '":', "[", "]", "{", "}", ",", '"', "\\", "1", "tru", " ", "\n", "你"])),
    suffix=st.sampled_from([".json", ".jsonl", ".csv", ".tsv"]),
)
def test_any_text_that_looks_like_data_gives_rows_and_never_a_traceback(tmp_path: Path, parts: list[str], suffix: str):
    path = tmp_path / f"a{suffix}"
    path.write_text(("[" if suffix == ".json" else "") + "".join(parts), encoding="utf-8")
    rows = rows_of(tmp_path, path.name)
    assert rows
    assert len({row["row"] for row in rows}) == len(rows)
