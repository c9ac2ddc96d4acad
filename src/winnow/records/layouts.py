"""Layouts that benchmarks are published in: rows of MMLU, exemplars of BBH, questions of TyDiQA."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LETTERS = "ABCD"
_CANARY = re.compile(r"\A.*\n-----\n")


class Choice(NamedTuple):
    """A multiple-choice question, its four choices, and the letter of the right one."""

    question: str
    choices: list[str]
    answer: str


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
