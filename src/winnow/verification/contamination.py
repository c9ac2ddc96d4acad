"""Training rows that hold what an evaluation asks: equal text, and runs of words in common with held-out rows.

Two ways of looking, because each misses what the other finds:

- *equal text*: the question (all before the last answer), or question and answer, but for case, width of characters
  and white space;
- *a shared n-gram*: ``n`` words in a row, as `winnow.baselines.words` cuts text. A held-out row shorter than ``n``
  words is one n-gram as a whole, and is shared where a training row holds all of it in a row; one of fewer than
  `FEWEST` words is compared as equal text alone.

System messages are left out: one that stands before every row would make all of them alike. Held-out rows are in
memory, as hashes of their n-grams and numbers of their words; training rows stream past them.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from winnow.baselines.words import words_of
from winnow.records.shapes import ANSWERS, Message
from winnow.selection.repeats import run_hashes

FEWEST = 3
EXCERPT = 300
_SPACE = re.compile(r"\s+")
# The block of full and half width; what else NFKC takes for equal, such as x² and x2, is not.
_WIDTHS = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF00, 0xFFF0)}
KINDS = ("conversation", "question", "ngram")
OVERLAPS = {
    "example_id": pl.String,
    "against": pl.String,
    **dict.fromkeys(KINDS, pl.String),
    "shared": pl.String,
}


@dataclass(frozen=True)
class Grams:
    """All n-grams of one width: their hashes in order, and the row and the word that each begins at."""

    hashes: np.ndarray
    row: np.ndarray
    start: np.ndarray


class HeldOut:
    """The rows of one split that training rows are compared with."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], ngram: int, numbers: dict[str, int]) -> None:
        """Take rows with example_id and messages; ``numbers`` of words are shared with the other splits, and grow."""
        self.ids: list[str] = []
        self.questions: dict[bytes, str] = {}
        self.conversations: dict[bytes, str] = {}
        self.sequences: list[np.ndarray] = []
        for row in rows:
            spoken = without_system(row["messages"])
            self.ids.append(row["example_id"])
            for known, turns in ((self.questions, question_of(spoken)), (self.conversations, spoken)):
                if digest := _digest(turns):
                    known.setdefault(digest, row["example_id"])
            found = [numbers.setdefault(word, len(numbers) + 1) for word in words_of(spoken)]
            self.sequences.append(np.array(found, np.int32))
        self.grams = _grams(self.sequences, ngram)
        self.short = sum(FEWEST <= len(words) < ngram for words in self.sequences)
        self.too_short = sum(len(words) < FEWEST for words in self.sequences)

    def shared_run(self, words: np.ndarray) -> tuple[str, int, int] | None:
        """The held-out row that ``words`` have an n-gram in common with, and where that begins and ends; longest first.

        Words that no held-out row has are 0.
        """
        unknown = np.append(0, np.cumsum(words == 0))
        for width, grams in self.grams.items():
            if len(words) < width:
                continue
            starts = np.flatnonzero(unknown[width:] == unknown[:-width])
            wanted = run_hashes(words, width)[starts]
            places = np.minimum(np.searchsorted(grams.hashes, wanted), len(grams.hashes) - 1)
            for hit in np.flatnonzero(grams.hashes[places] == wanted):
                row, start, here = int(grams.row[places[hit]]), int(grams.start[places[hit]]), int(starts[hit])
                # Two runs may have one hash.
                if np.array_equal(self.sequences[row][start : start + width], words[here : here + width]):
                    return self.ids[row], here, here + width
        return None


def overlaps_of(
    rows: Iterable[Mapping[str, Any]], splits: Mapping[str, HeldOut], numbers: Mapping[str, int]
) -> pl.DataFrame:
    """The training rows that overlap with a split, one row for each of both, as `OVERLAPS`.

    ``conversation``, ``question`` and ``ngram`` name the held-out row that shares it; ``shared`` is what they share.
    """
    found = []
    for row in rows:
        spoken = without_system(row["messages"])
        spelled = words_of(spoken)
        words = np.array([numbers.get(word, 0) for word in spelled], np.int32)
        asked, whole = _digest(question_of(spoken)), _digest(spoken)
        for against, held_out in splits.items():
            run = held_out.shared_run(words)
            equal = [held_out.conversations.get(whole), held_out.questions.get(asked)]
            if run is None and equal == [None, None]:
                continue
            turns = spoken if equal[0] else question_of(spoken)
            text = " ".join(spelled[run[1] : run[2]]) if equal == [None, None] and run else _text(turns)
            found.append((row["example_id"], against, *equal, run and run[0], text[:EXCERPT]))
    return pl.DataFrame(found, schema=OVERLAPS, orient="row")


def without_system(messages: Sequence[Message]) -> list[Message]:
    """What user and assistant say."""
    return [message for message in messages if message["role"] != "system"]


def question_of(messages: Sequence[Message]) -> Sequence[Message]:
    """All before the last answer."""
    last = max((number for number, message in enumerate(messages) if message["role"] in ANSWERS), default=len(messages))
    return messages[:last]


def normalised(text: str) -> str:
    """The same for texts that differ in case, in the width of characters, or in white space."""
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text.translate(_WIDTHS))).strip().casefold()


def _text(messages: Sequence[Message]) -> str:
    return " | ".join(message["content"] or "" for message in messages)


def _digest(messages: Sequence[Message]) -> bytes:
    """Empty where nothing is said."""
    text = "\x00".join(normalised(message["content"] or "") for message in messages)
    return (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() if text.strip("\x00") else b""
    )


def _grams(sequences: Sequence[np.ndarray], ngram: int) -> dict[int, Grams]:
    """By width, the largest first."""
    by_width: dict[int, list[int]] = {}
    for row, words in enumerate(sequences):
        if len(words) >= FEWEST:
            by_width.setdefault(min(ngram, len(words)), []).append(row)
    return {width: _joined(sequences, by_width[width], width) for width in sorted(by_width, reverse=True)}


def _joined(sequences: Sequence[np.ndarray], rows: Sequence[int], width: int) -> Grams:
    counts = [len(sequences[row]) - width + 1 for row in rows]
    hashes = np.concatenate([run_hashes(sequences[row], width) for row in rows])
    # The first of equal ones stays.
    hashes, first = np.unique(hashes, return_index=True)
    row = np.repeat(np.array(rows, np.int32), counts)[first]
    start = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])[first]
    return Grams(hashes, row, start)
