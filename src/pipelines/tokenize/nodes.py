"""Conversations become tokens and loss masks."""

import time
from collections.abc import Mapping

from winnow.errors import NothingToTrainOn
from winnow.params import Machine, TokenizeParams
from winnow.progress import News, publish
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import truncated, write_tokens
from winnow.stages import Finished, Work, file_checksum, locate, require_build

REVISION = 1


def tokenize(
    train: Finished, validation: Finished, base_model: Finished, params: TokenizeParams, machine: Machine
) -> Finished:
    """Render both splits with the base model's tokenizer."""
    return tokenize_splits({"train": train, "validation": validation}, base_model, params, machine)


def tokenize_splits(
    splits: Mapping[str, Finished], base_model: Finished, params: TokenizeParams, machine: Machine
) -> Finished:
    """Render tables of conversations, shard by shard."""
    settings = {
        "max_length": params.max_length,
        "template": file_checksum(params.template) if params.template else None,
    }
    inputs = {name: table.fingerprint for name, table in splits.items()} | {"base_model": base_model.fingerprint}
    place = locate(machine.data_root / "02_intermediate", "tokens", REVISION, settings, inputs)
    if (finished := place.finished()) is not None:
        return finished
    require_build([place])
    start = time.monotonic()
    template = params.template.read_text(encoding="utf-8") if params.template else None
    tokenizer = load_tokenizer(base_model)
    scans = {name: table.scan() for name, table in splits.items()}
    total = sum(table.summary["tables"][table.table]["rows"] for table in splits.values())
    done = 0

    def report(rows: int, split: str) -> None:
        nonlocal done
        done += rows
        publish(News("tokenize", done=done, total=total, message=split))

    with Work.resume(place) as work:
        tables = write_tokens(
            work, scans, lambda messages: truncated(messages, tokenizer, template, params.max_length), report
        )
        if tables["lengths"]["rows"] == 0:
            raise NothingToTrainOn(
                f"None of {total} rows can be trained on: {tables['unusable']['rows']} leave nothing to supervise. "
                "Look at the table `unusable`, and raise `tokenize.max_length` or give a `tokenize.template`."
            )
        return work.finish({"tables": tables}, {"seconds": time.monotonic() - start})
