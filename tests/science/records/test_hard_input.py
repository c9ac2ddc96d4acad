"""Bad input costs what is bad, and no more: the row, never its neighbours, never the run, never without a word."""

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from winnow.errors import BadInput, BadSetting
from winnow.params import ColumnMap, IngestParams
from winnow.records.files import ReadOptions, read_records
from winnow.records.ingest import RawFile, check_globs, find_files, read_file
from winnow.records.raw import Raw

TURNS = [{"role": "user", "content": "你好 👋"}, {"role": "assistant", "content": "Hi, José"}]
GOOD = {"messages": TURNS}


def rows_of(folder: Path, name: str, **params: Any) -> list[dict[str, Any]]:
    return list(read_file(folder, RawFile(name), IngestParams.model_validate(params)))


def reasons_of(folder: Path, name: str, **params: Any) -> list[str]:
    return [row.get("reason", "") for row in rows_of(folder, name, **params)]


def values_of(path: Path, **options: Any) -> list[Raw]:
    return list(read_records(path, ReadOptions(**options)))


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


BALANCED = ['{"messages": tru}', '{"a" "b, ]"}', '{"a": "\\x, ]"}', "{,}", "@", "}"]
LEFT_OPEN = ['{"messages": [1, }', '{"a": [{"b": "}"]}']


@pytest.mark.parametrize("broken", BALANCED)
def test_a_broken_element_of_a_list_costs_that_element_alone(tmp_path: Path, broken: str):
    (tmp_path / "a.json").write_text(f"[{dump(GOOD)}, {broken}, {dump(GOOD)}]", encoding="utf-8")
    reasons = reasons_of(tmp_path, "a.json")
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert "broken JSON" in reasons[1]


@pytest.mark.parametrize("broken", LEFT_OPEN)
def test_a_broken_element_without_an_end_is_reported_with_all_that_it_swallows(tmp_path: Path, broken: str):
    (tmp_path / "a.json").write_text(f"[{dump(GOOD)}, {broken}, {dump(GOOD)}]", encoding="utf-8")
    reasons = reasons_of(tmp_path, "a.json")
    assert [bool(reason) for reason in reasons] == [False, True]
    assert "what follows in this file is unread" in reasons[1]


def test_an_element_beyond_the_limit_costs_that_element_alone(tmp_path: Path):
    big = {"messages": [{"role": "user", "content": 'x\\"]}' * 800_000}]}
    (tmp_path / "a.json").write_text(dump([GOOD, big, GOOD]), encoding="utf-8")
    reasons = reasons_of(tmp_path, "a.json", max_record_mb=1)
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert "raise `ingest.max_record_mb`" in reasons[1]


@pytest.mark.parametrize("tail", ['{"messages": []}', "]", "[1]", "x"])
def test_what_follows_the_end_of_a_list_is_told(tmp_path: Path, tail: str):
    (tmp_path / "a.json").write_text(dump([GOOD]) + "\n" + tail, encoding="utf-8")
    assert "what follows the end of the list is unread" in reasons_of(tmp_path, "a.json")[1]


def test_a_list_of_lists_is_a_list_of_rejects(tmp_path: Path):
    (tmp_path / "a.json").write_text("[[1, 2], [3], 4]")
    assert [raw.value for raw in values_of(tmp_path / "a.json")] == [[1, 2], [3], 4]
    assert all("not an object" in reason for reason in reasons_of(tmp_path, "a.json"))


def test_a_broken_object_over_many_lines_is_one_reject(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(GOOD, indent=2)[:-3])
    (reason,) = reasons_of(tmp_path, "a.json")
    assert "broken JSON" in reason


def test_bytes_that_cannot_be_decoded_cost_their_record_alone(tmp_path: Path):
    bad = dump(GOOD).encode().replace("你".encode(), b"\xff")
    good = dump(GOOD).encode()
    (tmp_path / "a.json").write_bytes(b"[" + b",".join([good, bad, good]) + b"]")
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([good, bad, good]))
    (tmp_path / "c.csv").write_bytes("question,answer\n你,b\n".encode() + b"\xff,b\n" + b"a,b\n")
    for name in ("a.json", "b.jsonl", "c.csv"):
        reasons = reasons_of(tmp_path, name)
        assert [bool(reason) for reason in reasons] == [False, True, False], name
        assert "not utf-8" in reasons[1]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le", "utf-8-sig", "shift_jis"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_every_encoding_of_python_is_read_in_every_kind_of_text_file(tmp_path: Path, encoding: str, suffix: str):
    records = [{"question": f"日本 {number}", "answer": "平和"} for number in range(3)]
    text = {
        ".json": dump(records),
        ".jsonl": "".join(dump(record) + "\n" for record in records),
        ".csv": "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in records),
    }[suffix]
    (tmp_path / f"a{suffix}").write_bytes(text.encode(encoding) + (b"\0" if encoding == "utf-16" else b""))
    rows = rows_of(tmp_path, f"a{suffix}", encoding=encoding)
    assert [row["messages"][0]["content"] for row in rows if "messages" in row] == [r["question"] for r in records]


def test_an_unknown_encoding_is_refused_before_anything_is_read():
    for encoding in ("utf-9", "base64"):
        with pytest.raises(ValidationError, match="no text encoding"):
            IngestParams(encoding=encoding)


def test_an_unclosed_quotation_mark_says_which_lines_it_took(tmp_path: Path):
    (tmp_path / "a.csv").write_text('question,answer\na,b\n"c,d\ne,f\ng,h\n')
    reasons = reasons_of(tmp_path, "a.csv")
    assert reasons[0] == ""
    assert "broken cells in lines 3 to 5" in reasons[1]


def test_a_line_of_cells_beyond_the_limit_costs_that_line_alone(tmp_path: Path):
    (tmp_path / "a.tsv").write_text("question\tanswer\na\tb\n" + "x" * (3 << 20) + "\ty\nc\td\n")
    reasons = reasons_of(tmp_path, "a.tsv", max_record_mb=1)
    assert [bool(reason) for reason in reasons] == [False, True, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"question,question\na,b\n", "names the column 'question' twice"),
        (b"\xff,answer\na,b\n", "the first line, which should name the columns, is not utf-8"),
        (b"\n\n", "holds no record"),
    ],
)
def test_a_header_that_cannot_be_used_rejects_the_file(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "a.csv").write_bytes(content)
    (row,) = rows_of(tmp_path, "a.csv")
    assert row["row"] == -1
    assert reason in row["reason"]


def test_a_value_that_is_no_text_costs_its_row_of_a_parquet_file(tmp_path: Path):
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 3, 4)))
    answers = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xff\xfeb")])
    pq.write_table(pa.table({"question": ["1", "2", "3"], "answer": answers}), tmp_path / "a.parquet")
    reasons = reasons_of(tmp_path, "a.parquet")
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert "a value cannot be read" in reasons[1]


def test_two_columns_of_one_name_reject_the_file(tmp_path: Path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["answer", "answer"])
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert "two columns have the same name" in reasons_of(tmp_path, "a.arrow")[0]


@pytest.mark.parametrize("history", [5, "abc", {"a": 1}, [["a"]], [["a", None]], [5], True])
def test_a_history_that_is_none_is_a_reject(tmp_path: Path, history: Any):
    record = {"instruction": "a", "input": "", "output": "b", "history": history}
    (tmp_path / "a.jsonl").write_text(dump(record))
    assert "history" in reasons_of(tmp_path, "a.jsonl")[0]


def test_one_odd_record_at_the_top_does_not_decide_for_a_file(tmp_path: Path):
    """A pair of `input` and `output` would lose the instruction of every record behind it."""
    odd = {"input": "a", "output": "b"}
    usual = {"instruction": "Add.", "input": "1 2", "output": "3"}
    (tmp_path / "a.jsonl").write_text("\n".join(map(dump, [odd, usual, usual])))
    rows = rows_of(tmp_path, "a.jsonl")
    assert "looks like pair in a file of alpaca" in rows[0]["reason"]
    assert [row["messages"][0]["content"] for row in rows[1:]] == ["Add.\n1 2"] * 2


def test_a_pair_among_other_shapes_is_never_read_as_a_pair(tmp_path: Path):
    pairs = [{"input": "a", "output": "b"}] * 3
    (tmp_path / "a.jsonl").write_text("\n".join(map(dump, [*pairs, {"instruction": "I", **pairs[0]}])))
    assert "looks like alpaca in a file of pair" in reasons_of(tmp_path, "a.jsonl")[3]


def test_calls_of_tools_are_kept_beside_what_is_said(tmp_path: Path):
    call = [{"type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    turns = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": "sun"},
        {"role": "assistant", "content": "One moment.", "tool_calls": call},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "Rain."},
    ]
    (tmp_path / "a.jsonl").write_text(dump({"messages": turns}))
    (row,) = rows_of(tmp_path, "a.jsonl")
    roles = [message["role"] for message in row["messages"]]
    assert roles == ["user", "function_call", "tool", "assistant", "function_call", "tool", "assistant"]
    assert json.loads(row["messages"][1]["content"]) == call


def test_a_conversation_that_starts_with_a_tools_answer_is_rejected(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(dump({"messages": [{"role": "tool", "content": "x"}, TURNS[1]]}))
    assert "starts with the tool" in reasons_of(tmp_path, "a.jsonl")[0]


def test_naming_some_tags_leaves_the_others_empty(tmp_path: Path):
    """As in the trainer whose entries these are: `user_tag` is no longer `human` once `tags` names anything."""
    turns = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    (tmp_path / "a.jsonl").write_text(dump({"conversations": turns}))
    tags = {"role_tag": "from", "content_tag": "value", "assistant_tag": "gpt"}
    entry = {"file_name": "a.jsonl", "formatting": "sharegpt", "tags": tags}
    (reason,) = reasons_of(tmp_path, "a.jsonl", shapes={"*": entry})
    assert "unknown role 'human' (the column map knows gpt)" in reason
    (row,) = rows_of(tmp_path, "a.jsonl", shapes={"*": {**entry, "tags": {**tags, "user_tag": "human"}}})
    assert [message["content"] for message in row["messages"]] == ["x", "y"]


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ({"columns": {"prompt": "q"}}, "response"),
        ({"formatting": "sharegpt", "columns": {"system": "s"}}, "messages"),
        ({"formatting": "openai", "tags": {"user_tag": "user"}}, "role_tag, content_tag"),
    ],
)
def test_a_column_map_that_lacks_what_it_needs_is_an_error(tmp_path: Path, entry: dict[str, Any], missing: str):
    (tmp_path / "a.jsonl").write_text(dump(GOOD))
    with pytest.raises(BadSetting, match=f"leaves {missing} empty"):
        rows_of(tmp_path, "a.jsonl", shapes={"*": ColumnMap.model_validate(entry)})


def test_half_of_a_surrogate_pair_in_another_field_does_not_stop_the_row(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"question": "a", "answer": "b", "note": "\\ud800", "\\ud801": 1}')
    (row,) = rows_of(tmp_path, "a.jsonl")
    assert json.loads(row["extra"]) == {"note": "\ud800", "\ud801": 1}
    row["extra"].encode()


def test_records_nested_too_deeply_are_rejects(tmp_path: Path):
    deep = "[" * 3000 + "]" * 3000
    lines = [f'{{"question": "a", "answer": "b", "x": {deep}}}', dump({"question": "a", "answer": "b"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "a.json").write_text(f"[{', '.join(lines)}]")
    for name in ("a.jsonl", "a.json"):
        assert [bool(reason) for reason in reasons_of(tmp_path, name)] == [True, False]


def test_a_name_that_is_no_text_and_files_whose_ids_would_clash_are_told(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(dump(GOOD))
    (tmp_path / "b\udcff.jsonl").write_text(dump(GOOD))
    reasons = {file.name: file.reason for file in find_files(tmp_path)}
    assert reasons == {"a.jsonl": None, "b?.jsonl": "its name is not valid UTF-8: rename it"}
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "a.jsonl").write_text(dump(GOOD))
    with pytest.raises(BadInput, match=r"both a\.jsonl and default/a\.jsonl"):
        find_files(tmp_path)


def test_a_shape_for_files_that_are_not_there_is_an_error():
    with pytest.raises(BadSetting, match="fits no raw file"):
        check_globs([RawFile("math/a.jsonl")], IngestParams(shapes={"maths/*": "pair"}))


def peak_of_reading(path: Path, **options: Any) -> float:
    gc.collect()
    tracemalloc.start()
    for _ in read_records(path, ReadOptions(**options)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (1 << 20)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_one_record_is_in_memory_at_a_time(tmp_path: Path, suffix: str):
    record = {"question": "你好" * 500, "answer": "x" * 1000}
    path = tmp_path / f"a{suffix}"
    with path.open("w", encoding="utf-8") as file:
        comma = "\t" if suffix == ".tsv" else ","
        file.write({".json": "[", ".jsonl": ""}.get(suffix, f"question{comma}answer\n"))
        line = dump(record) if suffix.startswith(".json") else comma.join(record.values())
        for number in range(8000):
            file.write((",\n" if number and suffix == ".json" else "") + line + ("" if suffix == ".json" else "\n"))
        file.write("]" if suffix == ".json" else "")
    assert path.stat().st_size > 30 << 20
    assert peak_of_reading(path) < 20


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_record_of_forty_megabytes_is_never_held(tmp_path: Path, name: str):
    with (tmp_path / name).open("w") as file:
        file.write("[" if name == "a.json" else "")
        file.write('"')
        for _ in range(40):
            file.write("x" * (1 << 20))
        file.write('"]' if name == "a.json" else '"')
    assert peak_of_reading(tmp_path / name, max_bytes=1 << 20) < 16
