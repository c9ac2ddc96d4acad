"""A row's tokens as text again, cut where the loss mask begins and ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow.records.tokenizer import load_tokenizer, model_name
from winnow.records.tokens import TokenRow
from winnow.stages import Finished

FILE = "tokenizer.json"
Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Piece:
    """Text whose tokens are all learnt, or all only read."""

    text: str
    supervised: bool


def pieces_of(row: TokenRow, decode: Decode) -> list[Piece]:
    """Runs of equal mask, in order; together they are the whole decoded row."""
    edges = [0, *(np.flatnonzero(np.diff(row.supervised)) + 1).tolist(), len(row.input_ids)]
    ids = row.input_ids.tolist()
    # A part alone may decode otherwise than where it stands: some tokenizers drop a space at the beginning.
    texts = [decode(ids[:edge]) for edge in edges]
    pairs = zip(texts, texts[1:], edges, strict=False)
    return [Piece(after[len(before) :], bool(row.supervised[edge])) for before, after, edge in pairs]


def decoder_of(base: Finished, ids: Sequence[int]) -> Decode:
    """What turns ``ids`` into text, by the base model's tokenizer; without torch where its file is here."""
    from tokenizers import Tokenizer

    if file := _file(base):
        tokenizer = Tokenizer.from_file(str(file))
        if all(tokenizer.id_to_token(number) is not None for number in set(ids)):
            return lambda some: str(tokenizer.decode(some, skip_special_tokens=False))
    whole = load_tokenizer(base)
    return lambda some: str(whole.decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _file(base: Finished) -> Path | None:
    """The tokenizer's file, in a folder or in the cache of the hub; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    name = model_name(base)
    if (folder := Path(name)).is_dir():
        return folder / FILE if (folder / FILE).exists() else None
    found = try_to_load_from_cache(name, FILE, revision=base.summary.get("revision"))
    return Path(found) if isinstance(found, str) else None
