"""Benchmark tasks give the numbers of lm-eval's own command; kills and processes change none of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lm_eval.tasks
import polars as pl
import pytest
import yaml

from pipelines.benchmarks.nodes import answer_tasks_base, gather_tasks
from support.benchmarks import LETTERS, trained_on_sums, write_bbh, write_gsm8k, write_mmlu, write_tydiqa
from support.tiny import checksums, kill_workers, when
from winnow.errors import MissingResource, WorkerFailed
from winnow.params import EvaluateParams, IngestParams, Machine, TokenizeParams
from winnow.progress import News, listening
from winnow.records.layouts import mmlu_rows
from winnow.stages import Finished

BUILT_IN = Path(lm_eval.tasks.__file__).parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def base(home: Path) -> Finished:
    return trained_on_sums(home)


@pytest.fixture(scope="module")
def params(home: Path) -> EvaluateParams:
    data = {"gsm8k": write_gsm8k(home / "gsm8k"), "mmlu": write_mmlu(home / "mmlu")}
    return EvaluateParams(tasks=["gsm8k", "mmlu"], data=data, num_fewshot=[0, 1], task_batch=2)


def ask(base: Finished, params: EvaluateParams, root: Path, **machine: object) -> Finished:
    where = Machine.model_validate({"data_root": root, "device": "cpu", "threads": 1, **machine})
    tasks = gather_tasks(params, IngestParams(), where)
    return answer_tasks_base(tasks, base, params, TokenizeParams(), where).parts["0"]


@pytest.fixture(scope="module")
def undisturbed(base: Finished, params: EvaluateParams, home: Path) -> Finished:
    return ask(base, params, home / "undisturbed")


def built_in_tasks(folder: Path, params: EvaluateParams) -> Path:
    """lm-eval's own tasks, which know nothing of ours, with their data replaced."""
    folder.mkdir()
    files = {split: str(params.data["gsm8k"] / f"{split}.jsonl") for split in ("train", "test")}
    own = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    tasks = {"gsm8k": {"include": str(BUILT_IN / "gsm8k" / "gsm8k.yaml"), "task": "gsm8k", **own}}
    for subject in ("anatomy", "virology"):
        files = {}
        for split in ("dev", "test"):
            rows = [
                {"question": row.question, "choices": row.choices, "answer": LETTERS.index(row.answer)}
                for row in mmlu_rows(params.data["mmlu"] / split / f"{subject}_{split}.csv")
            ]
            files[split] = str(folder / f"{subject}-{split}.jsonl")
            Path(files[split]).write_text("\n".join(map(json.dumps, rows)))
        known = yaml.safe_load((BUILT_IN / "mmlu" / "default" / f"mmlu_{subject}.yaml").read_text())
        del known["tag"], known["dataset_name"]
        known["include"] = str(BUILT_IN / "mmlu" / "default" / "_default_template_yaml")
        tasks[f"mmlu_{subject}"] = {**known, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    average = [{"metric": "acc", "weight_by_size": True}]
    tasks["mmlu"] = {"group": "mmlu", "task": ["mmlu_anatomy", "mmlu_virology"], "aggregate_metric_list": average}
    for name, content in tasks.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize("template", [False, True], ids=["plain", "template"])
def test_every_number_and_prompt_is_that_of_the_lm_eval_command(
    base: Finished, params: EvaluateParams, undisturbed: Finished, tmp_path: Path, template: bool
):
    tasks = built_in_tasks(tmp_path / "tasks", params)
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "2"]
    command += ["--model_args", f"pretrained={base.path},dtype=float32", "--tasks", "gsm8k,mmlu"]
    command += ["--num_fewshot", "1", "--include_path", str(tasks), "--output_path", str(tmp_path / "out")]
    command += ["--log_samples", *(["--apply_chat_template"] if template else [])]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=500, capture_output=True)
    (file,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]
    in_turns = params.model_copy(update={"num_fewshot": 1, "apply_chat_template": True})
    ours = ask(base, in_turns, tmp_path / "data") if template else undisturbed
    found = {}
    for row in ours.scan("scores").filter(pl.col("n_shot") == 1).collect().to_dicts():
        found.setdefault(row["task"], {})[f"{row['metric']},{row['filter']}"] = row["value"]
        found[row["task"]][f"{row['metric']}_stderr,{row['filter']}"] = row["stderr"]
    numbers = {task: {key: value for key, value in found.items() if "," in key} for task, found in theirs.items()}
    assert found == numbers
    assert set(found) == {"gsm8k", "mmlu", "mmlu_anatomy", "mmlu_virology"}
    shown = ours.scan("samples").filter(pl.col("n_shot") == 1).select("task", "doc_id", "prompt").collect()
    assert {(task, row): prompt for task, row, prompt in shown.iter_rows()} == prompts_of_theirs(tmp_path / "out")
    if not template:
        values = undisturbed.scan("scores").filter(pl.col("task") == "gsm8k").collect()["value"]
        assert 0 < values.max() < 1, "all answers are alike: the comparison shows little"


def prompts_of_theirs(folder: Path) -> dict[tuple[str, int], str]:
    found = {}
    for task in ("gsm8k", "mmlu_anatomy", "mmlu_virology"):
        (file,) = folder.rglob(f"samples_{task}_*.jsonl")
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            found[(task, row["doc_id"])] = row["arguments"]["gen_args_0"]["arg_0"]
    return found


def test_two_processes_write_the_same_bytes_as_one(
    base: Finished, params: EvaluateParams, undisturbed: Finished, tmp_path: Path
):
    assert checksums(ask(base, params, tmp_path, processes=2).path) == checksums(undisturbed.path)


def test_a_killed_evaluation_resumes_at_its_shard_to_the_same_bytes(
    base: Finished, params: EvaluateParams, undisturbed: Finished, tmp_path: Path
):
    kill = when(lambda news: "1 shots" in news.message and news.done == 2, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed):
        ask(base, params, tmp_path)
    written: list[News] = []
    with listening(written.append):
        resumed = ask(base, params, tmp_path)
    assert not [news for news in written if "0 shots" in news.message], "a finished call was made again"
    assert checksums(resumed.path) == checksums(undisturbed.path)


def test_the_average_of_subjects_is_over_all_questions(undisturbed: Finished):
    scores = undisturbed.scan("scores").filter(pl.col("n_shot") == 0).collect()
    value = dict(scores.filter(pl.col("metric") == "acc").select("task", "value").iter_rows())
    assert value["mmlu"] == pytest.approx((5 * value["mmlu_anatomy"] + 11 * value["mmlu_virology"]) / 16)
    rows = undisturbed.scan("samples").filter(pl.col("task").str.starts_with("mmlu"), pl.col("n_shot") == 0).collect()
    assert rows.height == 16
    assert value["mmlu"] == pytest.approx(rows["acc"].mean())


def test_a_sample_has_what_was_asked_and_what_was_answered(undisturbed: Finished):
    rows = undisturbed.scan("samples").filter(pl.col("task") == "gsm8k", pl.col("doc_id") == 0).collect()
    assert rows["filter"].to_list() == ["flexible-extract", "strict-match"] * 2
    plain, shown = (rows.filter(pl.col("n_shot") == shots).row(1, named=True) for shots in (0, 1))
    question = "Question: Ann has 3 pens, 0 come. How many?\nAnswer:"
    assert plain["prompt"] == question
    assert shown["prompt"].endswith(f"\n\n{question}")
    assert shown["prompt"].count("Question: ") == 2
    assert plain["target"] == "3 and 0 make 3.\n#### 3"
    assert plain["exact_match"] == float(plain["filtered"] == "3")
    assert plain["filtered"] in plain["response"]
    assert plain["acc"] is None


def test_a_changed_question_is_another_evaluation_and_a_changed_limit_of_held_out_rows_is_not(
    base: Finished, params: EvaluateParams, undisturbed: Finished, home: Path
):
    assert ask(base, params.model_copy(update={"limit": 7, "batch": 3}), home / "undisturbed") == undisturbed
    machine = Machine(data_root=home / "undisturbed", device="cpu")
    before = gather_tasks(params, IngestParams(), machine).fingerprint
    file = params.data["gsm8k"] / "test.jsonl"
    text = file.read_text()
    file.write_text(text.replace("3 pens", "4 pens"))
    try:
        assert gather_tasks(params, IngestParams(), machine).fingerprint != before
    finally:
        file.write_text(text)
    assert EvaluateParams(limit=3).of_held_out() == EvaluateParams(limit=3, tasks=["gsm8k"]).of_held_out()


def test_other_layouts_own_tasks_and_the_chat_template(base: Finished, home: Path, tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"q": f"Say {n}.", "a": str(n)}) for n in range(3)))
    task = {"task": "echo", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}}}
    task |= {"test_split": "test", "output_type": "generate_until", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}"}
    task |= {"generation_kwargs": {"max_gen_toks": 8, "until": ["\n"]}, "num_fewshot": 0}
    (own / "echo.yaml").write_text(yaml.safe_dump(task))
    data = {"bbh": write_bbh(home / "bbh"), "tydiqa": write_tydiqa(home / "tydiqa")}
    names = ["echo", "bbh_fewshot", "bbh_cot_fewshot", "tydiqa_goldp"]
    asked = EvaluateParams(tasks=names, data=data, include_path=own, apply_chat_template=True, task_limit=2)
    found = ask(base, asked, tmp_path / "data")
    scores = found.scan("scores").collect()
    shots = dict(scores.select("task", "n_shot").iter_rows())
    expected = {"echo": 0, "bbh_fewshot_snarks": 3, "bbh_cot_fewshot_snarks": 3, "tydiqa_goldp_fi": 1}
    assert expected.items() <= shots.items()
    assert set(scores.filter(pl.col("task") == "tydiqa_goldp")["metric"]) == {"exact_match", "f1"}
    samples = found.scan("samples").collect()
    assert samples["prompt"].str.starts_with("<|im_start|>").all()
    assert samples["prompt"].str.ends_with("<|im_start|>assistant\n").all()
    turns = samples.with_columns(turns=pl.col("prompt").str.count_matches("<|im_start|>user", literal=True))
    assert (turns["turns"] == turns["n_shot"] + 1).all(), "each example is a turn of its own"
    assert samples.filter(pl.col("task") == "echo").height == 2
    assert (
        samples.filter(pl.col("task").str.starts_with("bbh_cot"))["prompt"]
        .str.contains("{{ 7 * 7 }}", literal=True)
        .all()
    )


def test_data_that_is_not_here_is_a_clear_error(base: Finished, tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "lost.yaml").write_text("task: lost\ndataset_path: json\ndataset_kwargs: {data_files: nowhere.jsonl}\n")
    with pytest.raises(MissingResource, match=r"The data of a task .*lost.* is not here: .*nowhere"):
        ask(base, EvaluateParams(tasks=["lost"], include_path=own), tmp_path)
