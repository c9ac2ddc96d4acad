"""Layouts that benchmarks are published in: rows of GSM8K and MMLU, exemplars of BBH, questions of TyDiQA."""

import csv
import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from winnow.params import IngestParams
from winnow.records.dataset_info import with_dataset_info
from winnow.records.ingest import RawFile, read_file

LETTERS = "ABCD"
_CANARY = re.compile(r"\A.*\n-----\n")


class Choice(NamedTuple):
    """A multiple-choice question, its four choices, and the letter of the right one."""

    question: str
    choices: list[str]
    answer: str


def gsm8k_rows(file: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Questions with their answers, read as `ingest` reads them: by the `dataset_info.json` nearest to the file."""
    home, params = _described(file, folder)
    for row in read_file(home, RawFile(file.relative_to(home).as_posix()), params):
        reason = row.get("reason")
        if reason is None and [message["role"] for message in row["messages"]] != ["user", "assistant"]:
            reason = "it is not one question with one answer"
        if reason is not None:
            raise ValueError(f"record {row['row']} of {file.name}: {reason}")
        yield {name: message["content"] for name, message in zip(("question", "answer"), row["messages"], strict=True)}


def _described(file: Path, folder: Path) -> tuple[Path, IngestParams]:
    """The folder from which a file is described, and by what; with no description, the file's own."""
    for home in (parent for parent in file.parents if parent.is_relative_to(folder)):
        params = with_dataset_info(home, IngestParams())
        if any(fnmatch.fnmatch(file.relative_to(home).as_posix(), pattern) for pattern in params.shapes):
            return home, params
    return file.parent, IngestParams()


def subject_of(file: Path) -> str:
    """The subject in the name of one of MMLU's files."""
    return re.sub("_(dev|test|val)$", "", file.stem)


def mmlu_intro(subject: str) -> str:
    """What stands before the questions of a subject."""
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


def mmlu_rows(file: Path) -> Iterator[Choice]:
    """The lines of a csv file without header: question, four choices, letter."""
    with file.open(encoding="utf-8", newline="") as lines:
        for line in csv.reader(lines):
            question, *choices, answer = line
            if len(choices) != len(LETTERS) or answer not in tuple(LETTERS):
                raise ValueError(f"a line has {len(choices)} choices and the answer {answer!r}")
            yield Choice(question, choices, answer)


def bbh_exemplars(task: str, text: str) -> tuple[str, list[tuple[str, str]]]:
    """The instruction of a task, and its worked questions with their answers as they are printed."""
    intro, *parts = _CANARY.sub("", text).split("\n\nQ: ")
    found = []
    for part in parts:
        question, split, answer = part.partition("\nA:")
        if not split:
            raise ValueError(f"the task {task!r} has a question without an answer `A:`")
        found.append((question, answer.rstrip()))
    return intro, found


def tydiqa_exemplars(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Language and question of each exemplar: {language: [{context, question, answers: [{text}]}]}."""
    for language, rows in json.loads(file.read_text(encoding="utf-8")).items():
        for row in rows if isinstance(rows, list) else [rows]:
            yield language, _answered(row["context"], row)


def tydiqa_questions(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Language and question of each entry of a file in SQuAD's form; the language begins its id."""
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                yield entry["id"].partition("-")[0], _answered(paragraph["context"], entry)


def _answered(context: str, entry: dict[str, Any]) -> dict[str, Any]:
    answers = [answer["text"] for answer in entry["answers"]]
    if not answers:
        raise ValueError(f"the question {entry['question']!r} has no answer")
    return {"context": context, "question": entry["question"], "answers": answers}
