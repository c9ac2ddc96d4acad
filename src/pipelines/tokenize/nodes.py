"""Conversations become tokens and loss masks."""

from collections.abc import Mapping
from typing import Any

from winnow.errors import NothingToTrainOn
from winnow.params import Machine, TokenizeParams
from winnow.progress import News, publish
from winnow.records.chat_template import FILE, chat_template, describe_template, template_checksum, template_text
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import truncated, write_tokens
from winnow.stages import Finished, Work, filled, locate

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
        "template": template_checksum(params.template),
    }
    inputs = {name: table.fingerprint for name, table in splits.items()} | {"base_model": base_model.fingerprint}
    place = locate(machine.data_root / "02_intermediate", "tokens", REVISION, settings, inputs)
    return filled(place, lambda work: _fill(work, splits, base_model, params))


def _fill(work: Work, splits: Mapping[str, Finished], base_model: Finished, params: TokenizeParams) -> dict[str, Any]:
    template = template_text(params.template)
    tokenizer = load_tokenizer(base_model)
    used = describe_template(template, tokenizer)
    if not (template or tokenizer.chat_template):
        publish(News("tokenize", message=f"chat template {used}; `tokenize.template` names another"))
    scans = {name: table.scan() for name, table in splits.items()}
    total = sum(table.summary["tables"][table.table]["rows"] for table in splits.values())
    done = 0

    def report(rows: int, split: str) -> None:
        nonlocal done
        done += rows
        publish(News("tokenize", done=done, total=total, message=split))

    # Whoever talks to a model that was trained on these tokens needs the very same.
    work.commit(FILE, lambda path: path.write_text(chat_template(template, tokenizer), encoding="utf-8"))
    tables = write_tokens(
        work, scans, lambda messages: truncated(messages, tokenizer, template, params.max_length), report
    )
    if tables["lengths"]["rows"] == 0:
        raise NothingToTrainOn(
            f"None of {total} rows can be trained on: {tables['unusable']['rows']} leave nothing to supervise. "
            "Look at the table `unusable`, and raise `tokenize.max_length` or give a `tokenize.template`."
        )
    return {"tables": tables, "template": used}
