"""Answers in shards do not depend on who makes which of them; averages of tasks have their count of examples."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lm_eval.api.instance import Instance

from support.benchmarks import write_mmlu
from winnow.evaluation.benchmarks import SharedHarness, Sharing, ask_tasks
from winnow.evaluation.names import find_tasks
from winnow.evaluation.scores import score_table
from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import EvaluateParams, FabricatedModel
from winnow.records.benchmarks import local_groups
from winnow.records.task_files import write_tasks
from winnow.stages import Work, locate

Asking = Callable[..., SharedHarness]


@pytest.fixture(scope="module")
def harness() -> Asking:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model(FabricatedModel(hidden=16, layers=1, heads=2), tokenizer).eval()

    def make(work: Work, rank: int = 0, processes: int = 1, meet: Callable[[], None] = lambda: None) -> SharedHarness:
        sharing = Sharing(work, rank, processes, meet, lambda done, total: None)
        return SharedHarness(sharing, 2, pretrained=model, tokenizer=tokenizer, device="cpu")

    return make


def sampled(*contexts: str) -> list[Instance]:
    options = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 6, "until": ["\n\n"]}
    return [Instance("generate_until", {}, (context, dict(options)), place) for place, context in enumerate(contexts)]


def test_what_is_drawn_does_not_depend_on_kills_and_processes(harness: Asking, tmp_path: Path):
    ask = partial(sampled, *(f"Say {'very ' * number}much." for number in range(20)), "Say it.", "Say it.")

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    def working(name: str) -> Work:
        return Work.resume(locate(tmp_path, name, 1, {}, {}))

    torch.manual_seed(1)
    with working("alone") as work:
        alone = harness(work).generate_until(ask())
    torch.manual_seed(2)
    with working("disturbed") as work, pytest.raises(Killed):
        harness(work, rank=1, processes=2, meet=kill).generate_until(ask())
    with working("disturbed") as work:
        assert len(list(work.path.rglob("responses/*.json"))) == 1, "one of three shards"
        disturbed = harness(work).generate_until(ask())
    assert disturbed == alone
    assert alone[-1] != alone[-2], "the same question twice: two draws"


def nested(folder: Path, params: EvaluateParams) -> Path:
    """Groups of groups, and one in which a task has its count of examples fixed."""
    folder.mkdir()
    write_tasks(local_groups(params), folder)
    average = {"aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}
    files = {"test": str(folder / "rows" / "mmlu_anatomy" / "test.parquet")}
    task = {"dataset_path": "parquet", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
    task |= {"fewshot_split": "test", "output_type": "multiple_choice", "metric_list": [{"metric": "acc"}]}
    task |= {"doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}"}
    written: dict[str, Any] = {"free": task, "fixed": {**task, "num_fewshot": 0}, "other": {**task, "num_fewshot": 0}}
    written = {name: {"task": name, **content} for name, content in written.items()}
    groups = {"outer": ["middle"], "middle": ["mmlu"], "mixed": ["free", "fixed"], "set": ["other"]}
    written |= {name: {"group": name, "task": tasks, **average} for name, tasks in groups.items()}
    for name, content in written.items():
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_an_average_has_the_count_of_examples_of_its_tasks_however_deep(harness: Asking, tmp_path: Path):
    asked = EvaluateParams(tasks=["mmlu"], data={"mmlu": write_mmlu(tmp_path / "mmlu")}, num_fewshot=[0, 2])
    folder = nested(tmp_path / "tasks", asked)
    asked = asked.model_copy(update={"tasks": ["outer", "mixed", "set"]})
    manager = find_tasks(asked.tasks, [folder / "tasks"], {"benchmarks": str(folder)})
    with Work.resume(locate(tmp_path, "answers", 1, {}, {})) as work:
        counts = {}
        for shots in asked.shots:
            table = score_table(ask_tasks(harness(work), manager, shots, asked), shots)
            counts[shots] = dict(table.select("task", "n_shot").iter_rows())
    names = {"outer", "middle", "mmlu", "mmlu_anatomy", "mmlu_virology", "mixed", "free"}
    assert {name: counts[2][name] for name in names} == dict.fromkeys(names, 2)
    assert set(counts[0].values()) == {0}
    assert {name: counts[2][name] for name in counts[2].keys() - names} == {"fixed": 0, "other": 0, "set": 0}, (
        "a task that fixes its count is asked as it says"
    )
