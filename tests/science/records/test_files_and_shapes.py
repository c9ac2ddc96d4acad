"""Every record of every file is read or rejected with a reason, whatever the file holds."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.errors import BadInput
from winnow.params import ColumnMap, IngestParams
from winnow.records.files import Raw, ReadOptions, read_records
from winnow.records.ingest import RawFile, find_files, read_file
from winnow.records.shapes import ROLES

TURNS = [{"role": "user", "content": "你好 👋"}, {"role": "assistant", "content": "Hi, José"}]
SHAREGPT = [{"from": "human", "value": "你好 👋"}, {"from": "gpt", "value": "Hi, José"}]


def rows_of(folder: Path, name: str, **params: Any) -> list[dict[str, Any]]:
    return list(read_file(folder, RawFile(name), IngestParams.model_validate(params)))


def messages_of(folder: Path, name: str, **params: Any) -> list[list[tuple[str, str]]]:
    return [[(m["role"], m["content"]) for m in row["messages"]] for row in rows_of(folder, name, **params)]


def write_jsonl(path: Path, records: list[Any]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


PLAIN = [("user", "你好 👋"), ("assistant", "Hi, José")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": TURNS}, PLAIN),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "你好 👋"}]}, TURNS[1]]}, PLAIN),
        ({"conversations": SHAREGPT}, PLAIN),
        ({"conversations": SHAREGPT, "system": "Be kind."}, [("system", "Be kind."), *PLAIN]),
        ({"instruction": "你好", "input": "👋", "output": "Hi, José"}, [("user", "你好\n👋"), PLAIN[1]]),
        (
            {"instruction": "c", "input": "", "output": "d", "history": [["a", "b"]], "system": "s"},
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        ),
        ({"question": "你好 👋", "answer": "Hi, José"}, PLAIN),
        ({"prompt": "你好 👋", "completion": "Hi, José"}, PLAIN),
    ],
)
def test_each_shape_is_found_out_and_read(tmp_path: Path, record: dict[str, Any], expected: list[tuple[str, str]]):
    write_jsonl(tmp_path / "a.jsonl", [record])
    assert messages_of(tmp_path, "a.jsonl") == [expected]


def test_tool_turns_of_sharegpt_keep_their_roles(tmp_path: Path):
    turns = [
        {"from": "human", "value": "weather?"},
        {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "sun"},
        {"from": "gpt", "value": "It is sunny."},
    ]
    write_jsonl(tmp_path / "a.jsonl", [{"conversations": turns}])
    assert [role for role, _ in messages_of(tmp_path, "a.jsonl")[0]] == ["user", "function_call", "tool", "assistant"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv"])
def test_each_kind_of_file_gives_the_same_conversations(tmp_path: Path, suffix: str):
    records = [{"question": f"Frage {i} 你好", "answer": f"Antwort {i} 👋", "level": str(i)} for i in range(5)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        write_jsonl(path, records)
    elif suffix == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif suffix == ".arrow":
        with pa.ipc.new_stream(str(path), pa.Table.from_pylist(records).schema) as writer:
            writer.write_table(pa.Table.from_pylist(records))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]), delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(records)
    rows = rows_of(tmp_path, path.name)
    assert [row["messages"][1]["content"] for row in rows] == [record["answer"] for record in records]
    assert [row["example_id"] for row in rows] == [f"default/a{suffix}:{i}" for i in range(5)]
    assert [json.loads(row["extra"])["level"] for row in rows] == list("01234")


def test_an_object_with_examples_is_a_list_of_them(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"canary": "x", "examples": [{"input": "a", "target": "b"}] * 3}))
    assert len(messages_of(tmp_path, "a.json")) == 3


def test_lines_in_a_json_file_are_read_as_lines(tmp_path: Path):
    write_jsonl(tmp_path / "a.json", [{"messages": TURNS}] * 3)
    assert messages_of(tmp_path, "a.json") == [PLAIN] * 3


def test_a_column_map_leaves_unnamed_columns_empty(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", [{"q": "x", "input": "ignored", "r": "y"}])
    shapes = {"*.jsonl": ColumnMap(columns={"prompt": "q", "response": "r"})}
    assert messages_of(tmp_path, "a.jsonl", shapes=shapes) == [[("user", "x"), ("assistant", "y")]]


def test_tags_of_a_column_map_name_roles_and_fields(tmp_path: Path):
    turns = [{"who": "Q", "text": "x"}, {"who": "A", "text": "y"}]
    write_jsonl(tmp_path / "a.jsonl", [{"talk": turns}])
    tags = {"role_tag": "who", "content_tag": "text", "user_tag": "Q", "assistant_tag": "A"}
    shapes = {"*": ColumnMap(formatting="sharegpt", columns={"messages": "talk"}, tags=tags)}
    assert messages_of(tmp_path, "a.jsonl", shapes=shapes) == [[("user", "x"), ("assistant", "y")]]


def test_cells_without_a_header_are_mapped_by_number(tmp_path: Path):
    (tmp_path / "a.tsv").write_text('"2+2?"\t4\tbecause\n"3+3?"\t6\tsurely\n')
    shapes = {"*.tsv": {"columns": {"prompt": "0", "response": "1"}}}
    rows = rows_of(tmp_path, "a.tsv", shapes=shapes)
    assert [row["messages"][0]["content"] for row in rows] == ['"2+2?"', '"3+3?"']
    assert [row["row"] for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [TURNS[0]]}, "no assistant turn"),
        ({"messages": [TURNS[1], TURNS[0]]}, "starts with the assistant"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "empty"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "is null, not text"),
        ({"messages": None}, "is null, not a list"),
        ({"messages": ["hello"]}, "not an object"),
        ({"messages": [{"role": "king", "content": "x"}]}, "unknown role 'king'"),
        ({"question": 4, "answer": "x"}, "of type int, not text"),
        ({"messages": []}, "no assistant turn"),
        ({"text": "just text"}, "no known record shape; its fields are: text"),
        (["a", "list"], "of type list"),
        ({"question": "\ud800", "answer": "x"}, "surrogate"),
    ],
)
def test_what_is_no_conversation_is_rejected_with_the_reason(tmp_path: Path, record: Any, reason: str):
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    (row,) = rows_of(tmp_path, "a.jsonl")
    assert reason in row["reason"]
    assert row["file"] == "a.jsonl"
    assert row["row"] == 0


def test_broken_json_in_line_4711_costs_that_line_alone(tmp_path: Path):
    lines = [json.dumps({"messages": TURNS})] * 5000
    lines[4711] = '{"messages": ['
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rejects = [row for row in rows_of(tmp_path, "a.jsonl") if "reason" in row]
    assert [(row["row"], row["reason"].split(":")[0]) for row in rejects] == [(4711, "broken JSON")]


def test_another_shape_in_a_file_is_rejected_and_named(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", [{"messages": TURNS}, {"conversations": SHAREGPT}, {"messages": TURNS}])
    reasons = [row.get("reason", "") for row in rows_of(tmp_path, "a.jsonl")]
    assert "looks like sharegpt in a file of messages" in reasons[1]
    assert reasons[0] == reasons[2] == ""


def test_a_wrong_encoding_names_the_remedy_and_the_remedy_works(tmp_path: Path):
    line = json.dumps({"question": "Käse?", "answer": "nein"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    (tmp_path / "b.csv").write_bytes("question,answer\nKäse?,nein\n".encode("latin-1"))
    for name in ("a.jsonl", "b.csv"):
        assert "set `ingest.encoding`" in rows_of(tmp_path, name)[0]["reason"]
        assert messages_of(tmp_path, name, encoding="latin-1")[0][0] == ("user", "Käse?")
    (tmp_path / "c.jsonl").write_bytes((line + "\n").encode("utf-16"))
    assert messages_of(tmp_path, "c.jsonl", encoding="utf-16")[0][0] == ("user", "Käse?")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"PAR1....", "rename it to a.parquet"),
        ("a.jsonl", b"\x1f\x8b\x08\x00abc", "unpack it"),
        ("a.parquet", b'{"messages": []}', "cannot be read"),
        ("a.arrow", b"not arrow at all", "cannot be read"),
        ("a.csv", b"\x00\x01\x02", "binary"),
        ("a.md", b"# Readme", "not a data file"),
        ("a.jsonl", b"", "holds no record"),
        ("a.json", b" ", "holds no record"),
        ("a.csv", b"question,answer\nonly one cell\n", "1 cells where the header has 2"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_reject(tmp_path: Path, name: str, content: bytes, reason: str):
    (tmp_path / name).write_bytes(content)
    (row,) = rows_of(tmp_path, name)
    assert reason in row["reason"]


def test_a_line_beyond_the_limit_is_rejected_without_being_held(tmp_path: Path):
    good = json.dumps({"messages": TURNS})
    (tmp_path / "a.jsonl").write_text(good + "\n" + "x" * (3 << 20) + "\n" + good + "\n")
    rows = rows_of(tmp_path, "a.jsonl", max_record_mb=1)
    assert ["reason" in row for row in rows] == [False, True, False]
    assert "raise `ingest.max_record_mb`" in rows[1]["reason"]


def test_a_list_that_is_cut_off_keeps_what_is_whole(tmp_path: Path):
    whole = json.dumps([{"messages": TURNS}] * 3)
    (tmp_path / "a.json").write_text(whole[:-20])
    rows = rows_of(tmp_path, "a.json")
    assert ["reason" in row for row in rows] == [False, False, True]
    assert "what follows in this file is unread" in rows[2]["reason"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path):
    (tmp_path / "secret.jsonl").write_text("{}")
    folder = tmp_path / "raw"
    (folder / "sub").mkdir(parents=True)
    write_jsonl(folder / "sub" / "a.jsonl", [{"messages": TURNS}])
    (folder / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "folder").symlink_to(tmp_path)
    found = {file.name: file.reason for file in find_files(folder)}
    assert found["sub/a.jsonl"] is None
    assert "leads out" in str(found["out.jsonl"])
    assert "leads out" in str(found["folder"])
    assert len(found) == 3


def test_an_empty_or_absent_folder_says_what_to_put_there(tmp_path: Path):
    with pytest.raises(BadInput, match="holds no file to read"):
        find_files(tmp_path)
    with pytest.raises(BadInput, match=r"set `ingest\.folder`"):
        find_files(tmp_path / "nowhere")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "conversations", "role", "content", "from", "value", "question", "answer", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(JSON, min_size=1, max_size=6))
def test_any_json_gives_one_row_per_record(tmp_path: Path, records: list[Any]):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "a.json").write_text(json.dumps(records))
    for name in ("a.jsonl", "a.json"):
        rows = rows_of(tmp_path, name)
        assert len(rows) == len(records)
        for row in rows:
            assert row.get("reason") or all(message["role"] in ROLES for message in row["messages"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"])
)
def test_any_bytes_give_rows_and_never_a_traceback(tmp_path: Path, content: bytes, suffix: str):
    (tmp_path / f"a{suffix}").write_bytes(content)
    rows = rows_of(tmp_path, f"a{suffix}")
    assert rows
    assert all(row.get("reason") or row.get("messages") for row in rows)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.text(max_size=40) | st.integers() | st.floats(allow_nan=False), max_size=8),
    chunk=st.integers(1, 7),
)
def test_a_list_is_read_the_same_however_it_falls_into_chunks(
    tmp_path: Path, values: list[Any], chunk: int, monkeypatch_module: pytest.MonkeyPatch
):
    monkeypatch_module.setattr("winnow.records.json_files.CHUNK", chunk)
    (tmp_path / "a.json").write_text(json.dumps(values, indent=1))
    found = list(read_records(tmp_path / "a.json", ReadOptions()))
    assert found == [Raw(row, value) for row, value in enumerate(values)]


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
