"""Validation sets to select for: rows with a target and a subtask, from the split or from files.

Beside every shape of record that ingest reads there are three layouts, those of the folders that LESS evaluates with:

    mmlu     <subject>_dev.csv, no header: question, four choices, letter              57 subjects x 5
    bbh      bbh-three-shot.json: {task: text with questions `Q: ...` and `A: ...`}     27 tasks x 3
    tydiqa   one-shot.json: {language: [{context, question, answers: [{text}]}]}        9 languages x 1
"""

import glob
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from winnow.errors import BadInput, BadSetting
from winnow.params import IngestParams, TargetSet
from winnow.paths import located
from winnow.records.ingest import RawFile, read_file
from winnow.records.layouts import LETTERS, bbh_exemplars, mmlu_intro, mmlu_rows, subject_of, tydiqa_exemplars
from winnow.records.raw import first_line
from winnow.records.shapes import Message

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
# `subset` is the target: tokens and figures know it by that name.
ROWS: dict[str, Any] = {"example_id": pl.String, "subset": pl.String, "subtask": pl.String, "messages": MESSAGES}
Row = tuple[str, list[Message]]


def target_files(name: str, target: TargetSet, data_root: Path) -> list[Path]:
    """The files of a target, in the order of their names."""
    path = located(target.files, data_root)
    if path.is_dir():
        found = [file for file in path.rglob("*") if not any(part.startswith(".") for part in file.parts)]
    else:
        found = [Path(file) for file in glob.glob(str(path), recursive=True)]
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise BadSetting(f"`targets.sets.{name}.files` is {target.files!r}, where no file is. Name a file or folder.")
    return files


def read_target(name: str, target: TargetSet, files: Iterable[Path]) -> pl.DataFrame:
    """All rows of a target: example_id, subset (the target), subtask, messages."""
    rows = []
    for file in files:
        try:
            found = list(_LAYOUTS[target.layout](file, target))
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise BadInput(
                f"{file} cannot be read as {target.layout} (`targets.sets.{name}`): {type(error).__name__}: "
                f"{first_line(error)}. `winnow.records.targets` tells how the layouts look."
            ) from None
        rows += [(f"{name}/{file.name}:{number}", name, *row) for number, row in enumerate(found)]
    if not rows:
        raise BadInput(f"The files of `targets.sets.{name}` ({target.files}) hold no row.")
    if len({row[0] for row in rows}) < len(rows):
        raise BadInput(f"Two files of `targets.sets.{name}` have the same name in different folders. Rename one.")
    return pl.DataFrame(rows, schema=ROWS, orient="row")


def limited(rows: pl.DataFrame, limit: int | None, seed: int) -> pl.DataFrame:
    """At most ``limit`` rows per subtask, drawn at random."""
    if limit is None:
        return rows
    rows = rows.sort("example_id")
    order = pl.Series("order", np.random.default_rng(seed).permutation(rows.height))
    ranked = rows.with_columns(order).with_columns(place=pl.col("order").rank("ordinal").over("subset", "subtask"))
    return ranked.filter(pl.col("place") <= limit).select(rows.columns)


def _records(file: Path, target: TargetSet) -> Iterator[Row]:
    for row in read_file(file.parent, RawFile(file.name), IngestParams()):
        if "reason" in row:
            raise BadInput(f"{file}, record {row['row']}: {row['reason']}. Mend or remove it: targets are used whole.")
        extra = json.loads(row["extra"] or "{}")
        if target.subtask is not None and target.subtask not in extra:
            raise BadInput(f"{file}, record {row['row']} has no field {target.subtask!r}, which names its subtask.")
        yield str(extra[target.subtask]) if target.subtask else file.stem, row["messages"]


def _mmlu(file: Path, _: TargetSet) -> Iterator[Row]:
    subject = subject_of(file)
    for question, choices, answer in mmlu_rows(file):
        listed = "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
        yield subject, _turns(f"{mmlu_intro(subject)}{question}{listed}\nAnswer:", f" {answer}")


def _bbh(file: Path, _: TargetSet) -> Iterator[Row]:
    for task, text in json.loads(file.read_text(encoding="utf-8")).items():
        intro, exemplars = bbh_exemplars(task, text)
        for question, answer in exemplars:
            yield task, _turns(f"{intro}\n\nQ: {question}\nA:", answer)


def _tydiqa(file: Path, _: TargetSet) -> Iterator[Row]:
    for language, row in tydiqa_exemplars(file):
        prompt = "Answer the following question based on the information in the given passage.\n\n"
        prompt += f"Passage: {row['context']}"
        yield language, _turns(f"{prompt}\nQuestion: {row['question']}\nAnswer:", f" {row['answers'][0]}")


def _turns(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


_LAYOUTS: dict[str, Callable[[Path, TargetSet], Iterator[Row]]] = {
    "records": _records,
    "mmlu": _mmlu,
    "bbh": _bbh,
    "tydiqa": _tydiqa,
}
