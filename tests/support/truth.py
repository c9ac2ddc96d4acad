"""The truth about fabricated rows, recomputed from their text apart from the code that made them."""

import re

import polars as pl

from winnow.fabricate import SUBSETS
from winnow.stages import Finished

POOL = "train-00000-of-00001.parquet"
VERIFIED = "verified-00000-of-00001.parquet"


def conversations(corpus: Finished, subset: str, file: str) -> list[list[dict[str, str]]]:
    return pl.read_parquet(corpus.path / "raw" / subset / file)["messages"].to_list()


def pool(corpus: Finished) -> dict[str, tuple[list[dict[str, str]], str, str | None]]:
    """Pool rows by id, each with its planted kind and the row it copies."""
    truth = {example: (kind, copy_of) for example, kind, copy_of in corpus.scan("planted").collect().iter_rows()}
    rows = {}
    for subset in SUBSETS:
        for number, messages in enumerate(conversations(corpus, subset, POOL)):
            example = f"{subset}/{POOL}:{number}"
            rows[example] = (messages, *truth.pop(example))
    assert not truth, "planted rows that are in no file"
    return rows


def is_right(subset: str, prompt: str, answer: str, table: dict[str, str]) -> bool:
    """Recomputed from the prompt's text, apart from the code that made it."""
    if subset == "math":
        return answer == "".join(sorted(re.findall(r"\d", prompt)))
    if subset == "code":
        return answer == next(word for word in re.findall(r"\b[a-h]{4}\b", prompt))[::-1]
    return table[place_in(prompt, table)] == answer


def place_in(prompt: str, table: dict[str, str]) -> str:
    return next(word for word in re.findall(r"[A-Z][a-z]{3}\b", prompt) if word in table)


def facts_of(corpus: Finished) -> dict[str, str]:
    """The crop of every place, as the clean pool rows tell it."""
    table = {}
    for example, (messages, kind, _) in pool(corpus).items():
        if kind == "clean" and example.startswith("science/"):
            place = re.findall(r"\b[A-Z][a-z]{3}\b", messages[0]["content"])
            table.setdefault(place[-1], set()).add(messages[1]["content"])
    assert all(len(crops) == 1 for crops in table.values())
    return {place: crops.pop() for place, crops in table.items()}
