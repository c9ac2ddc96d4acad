"""Writing conversations in the shapes that other trainers read, and joining files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from winnow.errors import BadInput
from winnow.records.files import read_records
from winnow.records.raw import ReadOptions, to_json
from winnow.records.shapes import ANSWERS, Message
from winnow.records.writers import JsonlWriter, JsonWriter

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

    Alpaca knows pairs of one question and one answer. What stands between two answers is one question; what follows the
    last answer has no place.
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
    files: dict[str, TextIO] = {}
    counts: dict[str, int] = {}
    with ExitStack() as opened:
        for batch in table.select("example_id", "subset", "messages").collect_batches(chunk_size=BATCH_ROWS):
            for name, subset, messages in batch.iter_rows():
                if subset not in files:
                    files[subset] = opened.enter_context(_scratch(out / f"{subset}.jsonl").open("w", encoding="utf-8"))
                files[subset].write(to_json({"id": name, **FORMATS[to](messages)}) + "\n")
                counts[subset] = counts.get(subset, 0) + 1
    for subset in files:
        _scratch(out / f"{subset}.jsonl").replace(out / f"{subset}.jsonl")
    return dict(sorted(counts.items()))


def merge_files(folder: Path, out: Path) -> tuple[int, int]:
    """Join all json and jsonl files below ``folder`` into one jsonl, or json list, by the name of ``out``.

    Returns the number of files and of records. An earlier ``out`` in the folder is not merged into itself.
    """
    if out.suffix not in (".json", ".jsonl"):
        raise BadInput(f"{out} should end in .json or .jsonl: that says how the records are written.")
    kinds = (".json", ".jsonl")
    files = sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.resolve() != out.resolve())
    if not files:
        raise BadInput(f"{folder} holds no .json or .jsonl file. Name the folder that holds them.")
    scratch = _scratch(out)
    writer = JsonlWriter(scratch) if out.suffix == ".jsonl" else JsonWriter(scratch)
    try:
        for record in _records(files):
            writer.add(record)
        if writer.count == 0:
            raise BadInput(f"The files below {folder} hold no record; there is nothing to merge.")
        writer.close()
        scratch.replace(out)
    finally:
        writer.close()
        scratch.unlink(missing_ok=True)
    return len(files), writer.count


def _scratch(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f"{path.name}.writing")


def _records(files: Sequence[Path]) -> Iterator[Any]:
    for path in files:
        for raw in read_records(path, ReadOptions()):
            if raw.reason is not None:
                raise BadInput(f"{path}, record {raw.row}: {raw.reason}. Mend or remove it; nothing was written.")
            yield raw.value
