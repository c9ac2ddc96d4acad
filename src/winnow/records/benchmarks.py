"""Benchmarks on the user's disk become tasks of lm-evaluation-harness: a YAML file each, and rows in one form.

Beside the templates in `winnow/evaluation/tasks`, which say how each is asked and scored, a task has its own rows:

    gsm8k    train.* and test.* (jsonl, json, parquet, arrow), also in train/ and test/; or as published, main/*.parquet
    mmlu     dev/<subject>_dev.csv and test/<subject>_test.csv, as in the published data.tar
    bbh      <task>.json or bbh/<task>.json; for chains of thought cot-prompts/<task>.txt or bbh-three-shot.json
    tydiqa   tydiqa-goldp-v1.1-dev.json, also in dev/; for an example one-shot.json, or tydiqa-goldp-v1.1-train.json
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.params import EvaluateParams
from winnow.records.layouts import (
    LETTERS,
    bbh_exemplars,
    gsm8k_rows,
    mmlu_intro,
    mmlu_rows,
    subject_of,
    tydiqa_exemplars,
    tydiqa_questions,
)
from winnow.records.raw import first_line

# Rows at the beginning of a BBH file that are examples and never asked, however many of them a prompt shows.
BBH_SHOTS = 5
LANGUAGES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
}
Rows = list[dict[str, Any]]
_STEPS = " Let's think step by step.\n"
_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class LocalTask:
    """One task: the template it follows, the files of its questions, its rows by split, its examples, and the rest."""

    name: str
    template: str
    asked: list[Path]
    rows: dict[str, Rows]
    shots: int
    settings: dict[str, Any] = field(default_factory=dict)
    scored_by: str | None = None


@dataclass(frozen=True)
class LocalGroup:
    """Tasks with an average over all rows, or of the tasks' own values; or, with no metrics, a task by itself."""

    name: str
    tasks: list[LocalTask]
    metrics: tuple[str, ...]
    by_size: bool


def local_groups(params: EvaluateParams) -> list[LocalGroup]:
    """The benchmarks that are asked for and have files of their own; each is a group, if only of one task."""
    used = []
    for family, folder in params.data.items():
        groups = _read(family, folder, params.tasks)
        asked = [group for group in groups if _asked(group, params.tasks)]
        if not asked:
            made = sorted(name for group in groups for name in {group.name, *(task.name for task in group.tasks)})
            raise BadSetting(
                f"`evaluate.data.{family}` has files, and `evaluate.tasks` names none of the tasks they make: "
                f"{', '.join(made)}. Name one, or remove `evaluate.data.{family}`."
            )
        used += asked
    for task in (task for group in used for task in group.tasks):
        if max(count or 0 for count in params.shots) > task.shots:
            raise BadSetting(
                f"`evaluate.num_fewshot` is {params.num_fewshot}, and {task.name} has {task.shots} examples to show. "
                "Ask for fewer, or leave it null for each task's own."
            )
    return used


def refuse_ingested(groups: list[LocalGroup], folder: Path) -> None:
    """Questions that are asked may not be among the raw files that are trained on."""
    for file in (file for group in groups for task in group.tasks for file in task.asked):
        if file.resolve().is_relative_to(folder.resolve()):
            raise BadSetting(
                f"`ingest.folder` is {folder}, where {file} is, which `evaluate.tasks` asks: its rows would be trained "
                "on. Set `ingest.folder` to a folder that has the training files alone."
            )


def _asked(group: LocalGroup, names: list[str]) -> bool:
    return group.name in names or any(task.name in names for task in group.tasks)


def _read(family: str, folder: Path, names: list[str]) -> list[LocalGroup]:
    try:
        return _FAMILIES[family](folder, names)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadInput(
            f"The files of `evaluate.data.{family}` ({folder}) cannot be read as {family}: {type(error).__name__}: "
            f"{first_line(error)}. docs/evaluation.md tells how they look."
        ) from None


def _gsm8k(folder: Path, _: list[str]) -> list[LocalGroup]:
    files = {split: _split_files(folder, split) for split in ("train", "test")}
    rows = {split: [row for file in found for row in gsm8k_rows(file, folder)] for split, found in files.items()}
    return [LocalGroup("gsm8k", [LocalTask("gsm8k", "gsm8k", files["test"], rows, len(rows["train"]))], (), True)]


def _split_files(folder: Path, split: str) -> list[Path]:
    """One file, or the parts that are published; `kedro fetch` leaves them in a folder per split."""
    kinds = ("jsonl", "json", "parquet", "arrow")
    names = [f"{place}{split}.{kind}" for place in ("", f"{split}/") for kind in kinds]
    names += [f"main/{split}-*.parquet", f"{split}/main/{split}-*.parquet", f"{split}/data-*.arrow"]
    found = next((files for name in names if (files := sorted(folder.glob(name)))), None)
    if found is None:
        raise _missing("gsm8k", *(folder / name for name in names))
    return found


def _mmlu(folder: Path, _: list[str]) -> list[LocalGroup]:
    files = sorted((folder / "test").glob("*_test.csv"))
    if not files:
        raise _missing("mmlu", folder / "test" / "<subject>_test.csv")
    return [LocalGroup("mmlu", [_subject(folder, file) for file in files], ("acc",), True)]


def _subject(folder: Path, file: Path) -> LocalTask:
    subject = _name(subject_of(file))
    dev = _found("mmlu", [folder / "dev" / f"{subject}_dev.csv"])
    rows = {
        split: [
            {"question": row.question, "choices": row.choices, "answer": LETTERS.index(row.answer)}
            for row in mmlu_rows(path)
        ]
        for split, path in (("dev", dev), ("test", file))
    }
    settings = {"description": mmlu_intro(subject)}
    return LocalTask(f"mmlu_{subject}", "_mmlu", [file], rows, len(rows["dev"]), settings)


def _bbh(folder: Path, names: list[str]) -> list[LocalGroup]:
    inner = folder / "bbh" if any((folder / "bbh").glob("*.json")) else folder
    files = [file for file in sorted(inner.glob("*.json")) if file.stem != "bbh-three-shot"]
    if not files:
        raise _missing("bbh", folder / "<task>.json")
    examples = {file: _examples(file) for file in files}
    groups = [LocalGroup("bbh_fewshot", [_answers_only(*item) for item in examples.items()], ("exact_match",), True)]
    if any(name.startswith("bbh_cot_fewshot") for name in names):
        texts = _cot_texts(folder)
        tasks = [_chain_of_thought(folder, file, rows, texts) for file, rows in examples.items()]
        groups.append(LocalGroup("bbh_cot_fewshot", tasks, ("exact_match",), True))
    return groups


def _examples(file: Path) -> Rows:
    examples = json.loads(file.read_text(encoding="utf-8"))["examples"]
    return [{"input": str(row["input"]), "target": str(row["target"])} for row in examples]


def _answers_only(file: Path, examples: Rows) -> LocalTask:
    name, shots = _name(file.stem), examples[:BBH_SHOTS]
    # A question that is there twice would be shown with its answer.
    asked = [row for row in examples[BBH_SHOTS:] if row["input"] not in {shot["input"] for shot in shots}]
    if not asked:
        raise ValueError(f"{name} has no more than the {BBH_SHOTS} rows that are examples")
    return LocalTask(f"bbh_fewshot_{name}", "_bbh_fewshot", [file], {"shots": shots, "test": asked}, len(shots))


def _cot_texts(folder: Path) -> dict[str, str]:
    prompts = sorted((folder / "cot-prompts").glob("*.txt"))
    if prompts:
        return {file.stem: file.read_text(encoding="utf-8") for file in prompts}
    file = _found("bbh", [folder / "bbh-three-shot.json", folder / "cot-prompts" / "<task>.txt"])
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _chain_of_thought(folder: Path, file: Path, examples: Rows, texts: Mapping[str, str]) -> LocalTask:
    if (name := _name(file.stem)) not in texts:
        raise _missing("bbh", folder / "cot-prompts" / f"{name}.txt")
    intro, exemplars = bbh_exemplars(name, texts[name])
    shots = [{"input": question, "target": answer.removeprefix(_STEPS).lstrip()} for question, answer in exemplars]
    asked = [row for row in examples if row["input"] not in {shot["input"] for shot in shots}]
    # Text of a file is not put into the YAML, where lm-eval would take it for a template.
    rows = [{**row, "intro": f"{intro}\n\n"} for row in asked]
    return LocalTask(f"bbh_cot_fewshot_{name}", "_bbh_cot_fewshot", [file], {"shots": shots, "test": rows}, len(shots))


def _tydiqa(folder: Path, _: list[str]) -> list[LocalGroup]:
    file = _found("tydiqa", _places(folder, "dev", "tydiqa-goldp-v1.1-dev.json"))
    asked = _by_language(tydiqa_questions(file))
    shots: dict[str, Rows] = {}
    if (one := folder / "one-shot.json").is_file():
        shots = _by_language(tydiqa_exemplars(one))
    elif train := [path for path in _places(folder, "train", "tydiqa-goldp-v1.1-train.json") if path.is_file()]:
        shots = _by_language(tydiqa_questions(train[0]))
    tasks = [_language(code, file, rows, shots.get(code, [])) for code, rows in sorted(asked.items())]
    return [LocalGroup("tydiqa_goldp", tasks, ("exact_match", "f1"), False)]


def _language(code: str, file: Path, rows: Rows, shots: Rows) -> LocalTask:
    shown = {(shot["context"], shot["question"]) for shot in shots}
    asked = [row for row in rows if (row["context"], row["question"]) not in shown]
    if not asked:
        raise ValueError(f"all rows of tydiqa_goldp_{code} are among its examples")
    splits = {"validation": asked} | ({"train": shots} if shots else {})
    settings: dict[str, Any] = {"num_fewshot": min(1, len(shots))}
    if shots:
        settings |= {"fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    scored = f"lm_eval.tasks.tydiqa.utils.process_results_{code}"
    return LocalTask(f"tydiqa_goldp_{code}", "_tydiqa_goldp", [file], splits, len(shots), settings, scored)


def _by_language(questions: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for language, row in questions:
        if language not in LANGUAGES:
            raise ValueError(f"there is no language {language!r} in TyDiQA; there are {', '.join(LANGUAGES)}")
        found.setdefault(LANGUAGES[language], []).append(row)
    return found


def _places(folder: Path, inner: str, name: str) -> list[Path]:
    return [folder / name, folder / inner / name]


def _name(name: str) -> str:
    """A part of a task's name that comes from a file's."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be part of a task's name: letters, digits, - and _ are")
    return name


def _found(family: str, places: list[Path]) -> Path:
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise _missing(family, *places)
    return path


def _missing(family: str, *places: Path) -> MissingResource:
    names = " or ".join(
        [str(places[0]), *dict.fromkeys(place.name for place in places[1:] if place.name != places[0].name)]
    )
    return MissingResource(
        f"There is no {names}, which the tasks of `evaluate.data.{family}` need. Put it there, or set "
        f"`evaluate.data.{family}` to the folder that has it; docs/evaluation.md lists the files."
    )


_FAMILIES: dict[str, Callable[[Path, list[str]], list[LocalGroup]]] = {
    "gsm8k": _gsm8k,
    "mmlu": _mmlu,
    "bbh": _bbh,
    "tydiqa": _tydiqa,
}
