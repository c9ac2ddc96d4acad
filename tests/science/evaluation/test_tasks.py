"""The tasks for local files: settings of lm-eval's own, shots that are not asked, scores on hand-made answers."""

import json
import os
from pathlib import Path
from typing import Any

import lm_eval.tasks
import polars as pl
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from support.benchmarks import sums, write_bbh, write_gsm8k, write_mmlu, write_tydiqa
from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.params import EvaluateParams
from winnow.records.benchmarks import local_groups
from winnow.records.task_files import write_tasks

BUILT_IN = Path(lm_eval.tasks.__file__).parent
NAMES = ["gsm8k", "mmlu", "bbh_fewshot", "bbh_cot_fewshot", "tydiqa_goldp"]
OF_DATA = {"dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset", "tag", "task", "include"}
REAL = os.environ.get("WINNOW_REAL_DATA")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("data")
    writers = {"gsm8k": write_gsm8k, "mmlu": write_mmlu, "bbh": write_bbh, "tydiqa": write_tydiqa}
    return {name: write(home / name) for name, write in writers.items()}


def load(folder: Path, params: EvaluateParams) -> dict[str, ConfigurableTask]:
    folder.mkdir(exist_ok=True)
    write_tasks(local_groups(params), folder)
    manager = TaskManager(
        include_path=str(folder / "tasks"), include_defaults=False, metadata={"benchmarks": str(folder)}
    )
    return manager.load(list(params.tasks))["tasks"]


@pytest.fixture(scope="module")
def tasks(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ConfigurableTask]:
    return load(tmp_path_factory.mktemp("tasks"), EvaluateParams(tasks=NAMES, data=data))


def scored(task: ConfigurableTask, answer: str) -> dict[str, dict[str, float]]:
    """What lm-eval makes of one answer to the first question, by filter."""
    task.build_all_requests(limit=1)
    for instance in task.instances:
        instance.resps = [answer]
    task.apply_filters()
    doc, (instance,) = task.eval_docs[0], task.instances
    return {name: task.process_results(doc, [found]) for name, found in instance.filtered_resps.items()}


@pytest.mark.parametrize(
    ("template", "built_in", "own"),
    [
        ("gsm8k", "gsm8k/gsm8k.yaml", set()),
        ("_mmlu", "mmlu/default/_default_template_yaml", {"num_fewshot"}),
        ("_bbh_fewshot", "bbh/fewshot/navigate.yaml", {"fewshot_split", "fewshot_config", "description"}),
        ("_bbh_cot_fewshot", "bbh/cot_fewshot/navigate.yaml", {"fewshot_split", "fewshot_config", "description"}),
    ],
)
def test_a_template_says_what_lm_eval_says_but_for_its_data(template: str, built_in: str, own: set[str]):
    package = Path(lm_eval.tasks.__file__).parent
    ours = load_yaml(Path(__file__).parents[3] / "src/winnow/evaluation/tasks" / f"{template}.yaml")
    theirs = load_yaml(package / built_in)
    for settings in (ours, theirs):
        for name in OF_DATA | own:
            settings.pop(name, None)
    assert ours == theirs


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [
        (" 3 and 0 make 3.\n#### 3", 1, 1),
        (" #### 4", 0, 0),
        (" The answer is 3", 0, 1),
        (" 3 pens, then 7", 0, 0),
        (" 7 pens, then 3", 0, 1),
        (" #### 3\nThat is 5 in all", 1, 0),
        (" #### 3.", 1, 1),
        (" #### -3", 0, 0),
        (" nothing", 0, 0),
    ],
)
def test_gsm8k_takes_a_number_strictly_or_flexibly(
    tasks: dict[str, ConfigurableTask], answer: str, strict: int, flexible: int
):
    found = scored(tasks["gsm8k"], answer)
    assert found["strict-match"]["exact_match"] == strict
    assert found["flexible-extract"]["exact_match"] == flexible


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [(" #### 1,234", "#### 1234", True), (" #### $5", "#### 5", False), (" #### -12", "#### -12", True)],
)
def test_gsm8k_reads_commas_and_signs(tmp_path: Path, answer: str, target: str, right: bool):
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(f'{{"question": "How many?", "answer": "{target}"}}\n' * 5)
    task = load(tmp_path / "out", EvaluateParams(tasks=["gsm8k"], data={"gsm8k": folder}))["gsm8k"]
    assert bool(scored(task, answer)["strict-match"]["exact_match"]) == right


def test_gsm8k_is_read_as_it_is_fetched(tmp_path: Path):
    for split, numbers in (("train", (0, 12)), ("test", (20, 30))):
        folder = tmp_path / split / "main"
        folder.mkdir(parents=True)
        rows = pl.DataFrame(sums(*numbers))
        for number, part in enumerate((rows.head(6), rows.tail(-6))):
            part.write_parquet(folder / f"{split}-{number:05}-of-00002.parquet")
    (group,) = local_groups(params_of("gsm8k", "gsm8k", tmp_path))
    assert group.tasks[0].rows == {"train": sums(0, 12), "test": sums(20, 30)}


@pytest.mark.parametrize("place", ["train", "."])
def test_gsm8k_is_read_by_the_columns_that_are_described_beside_it(tmp_path: Path, place: str):
    described = {}
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        rows = [{"problem": row["question"], "solution": row["answer"], "answer": "no"} for row in sums(0, 6)]
        (tmp_path / split / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        file = f"{split}.jsonl" if place != "." else f"{split}/{split}.jsonl"
        described[split] = {"file_name": file, "columns": {"prompt": "problem", "response": "solution"}}
    if place == ".":
        (tmp_path / "dataset_info.json").write_text(json.dumps(described))
    else:
        for split in ("train", "test"):
            (tmp_path / split / "dataset_info.json").write_text(json.dumps({"own": described[split]}))
    (group,) = local_groups(params_of("gsm8k", "gsm8k", tmp_path))
    assert group.tasks[0].rows == {"train": sums(0, 6), "test": sums(0, 6)}


def test_a_row_of_gsm8k_that_is_no_question_with_one_answer_is_named(tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"question": "How many?", "answer": "#### 1"}\n{"riddle": "?"}\n')
    with pytest.raises(BadInput, match=r"record 1 of train\.jsonl: .*riddle"):
        local_groups(params_of("gsm8k", "gsm8k", tmp_path))
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": turns}))
    with pytest.raises(BadInput, match=r"record 0 of train\.jsonl: .*one question with one answer"):
        local_groups(params_of("gsm8k", "gsm8k", tmp_path))


def test_examples_of_tydiqa_are_not_among_what_is_asked(tmp_path: Path):
    folder = write_tydiqa(tmp_path / "tydiqa")
    shown = {"context": "The barley grows.", "question": "What grows, 1?", "answers": [{"text": "the barley"}]}
    other = {**shown, "context": "Oats grow.", "question": "What grows, 0?"}
    (folder / "one-shot.json").write_text(json.dumps({"english": [shown, other], "finnish": [other]}))
    (group,) = local_groups(params_of("tydiqa_goldp", "tydiqa", folder))
    asked = {task.name: [row["question"] for row in task.rows["validation"]] for task in group.tasks}
    every = [f"What grows, {number}?" for number in range(4)]
    assert asked == {"tydiqa_goldp_en": [every[0], *every[2:]], "tydiqa_goldp_fi": every[:2]}
    everything = [{**shown, "question": question} for question in every[:2]]
    (folder / "one-shot.json").write_text(json.dumps({"english": [other], "finnish": everything}))
    with pytest.raises(BadInput, match="all rows of tydiqa_goldp_fi are among its examples"):
        local_groups(params_of("tydiqa_goldp", "tydiqa", folder))


@pytest.mark.parametrize("kind", ["bbh_fewshot", "bbh_cot_fewshot"])
def test_shots_of_bbh_are_not_among_what_is_asked(tasks: dict[str, ConfigurableTask], kind: str):
    task = tasks[f"{kind}_navigate"]
    task.build_all_requests()
    shots = {row["input"] for row in task.fewshot_docs()}
    asked = [instance.doc["input"] for instance in task.instances]
    assert asked
    assert not shots & set(asked)
    for instance in task.instances:
        *shown, question = instance.args[0].split("Q: ")[1:]
        assert len(shown) == 3
        assert question.startswith(instance.doc["input"])


def test_a_chain_of_thought_is_scored_by_its_last_sentence(tasks: dict[str, ConfigurableTask]):
    task = tasks["bbh_cot_fewshot_navigate"]
    task.build_all_requests(limit=1)
    (instance,) = task.instances
    assert instance.args[0].startswith(
        "Say {{ 7 * 7 }} of navigate.\n\nQ: Is it 6 in navigate?\nA: Let's think step by"
    )
    assert instance.args[0].endswith("A: Let's think step by step.\n")
    assert instance.doc["target"] == "No"
    assert scored(task, "It is 0. So the answer is No.")["get-answer"]["exact_match"] == 1
    assert scored(task, "No.")["get-answer"]["exact_match"] == 0


@pytest.mark.parametrize(
    ("answer", "f1", "exact"),
    [
        (" the barley", 1, 1),
        (" Barley.", 1, 1),
        (" barley grows", 2 / 3, 0),
        (" oats", 0, 0),
        ("", 0, 0),
        (" a barley, a barley, barley", 0.5, 0),
    ],
)
def test_tydiqa_counts_shared_words(tasks: dict[str, ConfigurableTask], answer: str, f1: float, exact: int):
    found = scored(tasks["tydiqa_goldp_en"], answer)["none"]
    assert found["f1"] == pytest.approx(f1)
    assert found["exact_match"] == exact


def test_mmlu_shows_its_dev_rows_and_reads_choices_as_text(tasks: dict[str, ConfigurableTask]):
    task = tasks["mmlu_virology"]
    task.build_all_requests(limit=1)
    prompt = task.instances[0].args[0]
    assert prompt.startswith("The following are multiple choice questions (with answers) about virology.\n\nWhat, 0 of")
    assert prompt.endswith("What, 0 of virology?\nA. None\nB. NA\nC. 0\nD. d, 0\nAnswer:")
    assert prompt.count("Answer: ") == 5
    assert len(task.instances) == 4


def params_of(name: str, family: str, folder: Path, **values: Any) -> EvaluateParams:
    return EvaluateParams(tasks=[name], data={family: folder}, **values)


def test_what_is_missing_is_named_with_its_place(data: dict[str, Path], tmp_path: Path):
    for name, family, expected in [
        ("gsm8k", "gsm8k", r"no .*train\.jsonl or .*train\.arrow"),
        ("mmlu", "mmlu", r"test/<subject>_test\.csv"),
        ("bbh_fewshot", "bbh", r"<task>\.json"),
        ("tydiqa_goldp", "tydiqa", r"tydiqa-goldp-v1\.1-dev\.json"),
    ]:
        with pytest.raises(MissingResource, match=expected):
            local_groups(params_of(name, family, tmp_path))
    (tmp_path / "navigate.json").write_text('{"examples": [{"input": "a", "target": "b"}]}')
    with pytest.raises(BadInput, match="navigate has no more than the 5 rows that are examples"):
        local_groups(params_of("bbh_fewshot", "bbh", tmp_path))
    with pytest.raises(BadSetting, match=r"num_fewshot` is 9, and mmlu_anatomy has 5 examples"):
        local_groups(params_of("mmlu", "mmlu", data["mmlu"], num_fewshot=9))
    with pytest.raises(BadSetting, match=r"names none of the tasks they make: gsm8k\."):
        local_groups(params_of("gsm8k_cot", "gsm8k", data["gsm8k"]))


def test_names_cannot_leave_their_folder(tmp_path: Path):
    for name in ("../secret", "/etc/passwd", "a/b", ".hidden", ""):
        with pytest.raises(ValueError, match="tasks"):
            EvaluateParams(tasks=[name])
    squad = (
        '{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "../../x-1", "question": "q", "answers": []}]}]}]}'
    )
    (tmp_path / "tydiqa-goldp-v1.1-dev.json").write_text(squad.replace("[]", '[{"text": "t"}]'))
    with pytest.raises(BadInput, match=r"no language '\.\./\.\./x'"):
        local_groups(params_of("tydiqa_goldp", "tydiqa", tmp_path))


@pytest.mark.skipif(REAL is None, reason="WINNOW_REAL_DATA names no folder of real data")
def test_published_rows_become_tasks(tmp_path: Path):
    data = {"gsm8k": Path(str(REAL)) / "gsm8k", "bbh": Path(str(REAL)) / "bbh"}
    found = load(tmp_path, EvaluateParams(tasks=["gsm8k", "bbh_fewshot"], data=data, num_fewshot=3))
    assert len(found) == 1 + 27
    assert len(found["gsm8k"].eval_docs) == 1319
    right = found["gsm8k"].eval_docs[0]["answer"]
    assert scored(found["gsm8k"], f" {right}")["strict-match"]["exact_match"] == 1
    for name, task in found.items():
        task.build_all_requests(limit=3)
        assert len(task.instances) == 3, name
