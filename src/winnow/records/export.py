"""Writing conversations in the shapes that other trainers read, and joining files."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from winnow.errors import BadInput
from winnow.records.files import ReadOptions, read_records
from winnow.records.shapes import ANSWERS, Message

BATCH_ROWS = 2000
_SHAREGPT_ROLES = {
    "system": "system",
    "user": "human",
    "assistant": "gpt",
    "function_call": "function_call",
    "tool": "observation",
}


def to_openai(messages: Sequence[Message]) -> dict[str, Any]:
    """`messages` of `role` and `content`."""
    return {"messages": [{"role": message["role"], "content": message["content"]} for message in messages]}


def to_sharegpt(messages: Sequence[Message]) -> dict[str, Any]:
    """`conversations` of `from` and `value`; a leading system message becomes the field `system`."""
    leading = messages[0]["role"] == "system"
    turns = [
        {"from": _SHAREGPT_ROLES[message["role"]], "value": message["content"]} for message in messages[int(leading) :]
    ]
    return {"conversations": turns, **({"system": messages[0]["content"]} if leading else {})}


def to_alpaca(messages: Sequence[Message]) -> dict[str, Any]:
    """`instruction`, `input`, `output`; earlier turns stay, in `history`.

    Alpaca knows pairs of one question and one answer. What stands between two answers is one question.
    """
    system = "\n".join(message["content"] for message in messages if message["role"] == "system")
    pairs: list[list[str]] = []
    question: list[str] = []
    for message in messages:
        if message["role"] in ANSWERS:
            pairs.append(["\n".join(question), message["content"]])
            question = []
        elif message["role"] != "system":
            question.append(message["content"])
    *history, (last_question, answer) = pairs
    record = {"instruction": last_question, "input": "", "output": answer}
    return {**record, **({"system": system} if system else {}), **({"history": history} if history else {})}


FORMATS: dict[str, Callable[[Sequence[Message]], dict[str, Any]]] = {
    "alpaca": to_alpaca,
    "openai": to_openai,
    "sharegpt": to_sharegpt,
}


def export_pool(table: pl.LazyFrame, to: str, out: Path) -> dict[str, int]:
    """Write one jsonl per subset into ``out``, streamed; return the rows of each. Ids are kept in the field `id`."""
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {}
    counts: dict[str, int] = {}
    try:
        for batch in table.select("example_id", "subset", "messages").collect_batches(chunk_size=BATCH_ROWS):
            for name, subset, messages in batch.iter_rows():
                if subset not in files:
                    files[subset] = (out / f"{subset}.jsonl.writing").open("w", encoding="utf-8")
                record = {"id": name, **FORMATS[to](messages)}
                files[subset].write(json.dumps(record, ensure_ascii=False) + "\n")
                counts[subset] = counts.get(subset, 0) + 1
    finally:
        for file in files.values():
            file.close()
    for subset in files:
        (out / f"{subset}.jsonl.writing").replace(out / f"{subset}.jsonl")
    return dict(sorted(counts.items()))


def merge_files(folder: Path, out: Path) -> tuple[int, int]:
    """Join all json and jsonl files below ``folder`` into one jsonl, or json list, by the name of ``out``."""
    if out.suffix not in (".json", ".jsonl"):
        raise BadInput(f"{out} should end in .json or .jsonl: that says how the records are written.")
    kinds = (".json", ".jsonl")
    files = sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.resolve() != out.resolve())
    if not files:
        raise BadInput(f"{folder} holds no .json or .jsonl file. Name the folder that holds them.")
    scratch = out.with_name(f"{out.name}.writing")
    rows = 0
    with scratch.open("w", encoding="utf-8") as target:
        for record in _records(files):
            start = "" if out.suffix == ".jsonl" else ("[\n" if rows == 0 else ",\n")
            target.write(start + json.dumps(record, ensure_ascii=False) + ("\n" if out.suffix == ".jsonl" else ""))
            rows += 1
        if out.suffix == ".json":
            target.write("\n]\n" if rows else "[]\n")
    scratch.replace(out)
    return len(files), rows


def _records(files: Sequence[Path]) -> Iterator[Any]:
    for path in files:
        for raw in read_records(path, ReadOptions()):
            if raw.reason is not None:
                raise BadInput(f"{path}, record {raw.row}: {raw.reason}. Mend or remove it; nothing was written.")
            yield raw.value
