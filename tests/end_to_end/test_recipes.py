"""Recipes run as they are, but for the model, which is a tiny one here, and the number of steps."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

from support.benchmarks import sums, write_bbh, write_mmlu, write_tydiqa
from support.study import KEDRO, PROJECT, Study
from support.tiny import untrained_model
from winnow.fabricate import SUBSETS, write_corpus
from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import FabricatedSelector, FabricateParams
from winnow.stages import Work, locate

REAL = os.environ.get("WINNOW_REAL_DATA")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def corpus(home: Path) -> Path:
    params = FabricateParams(rows=120, verified_rows=30, facts=20)
    with Work.resume(locate(home / "corpus", "fabricated", 1, params, {})) as work:
        return work.finish(write_corpus(work, params), {}).path / "raw"


def published_files(home: Path, corpus: Path) -> Path:
    """Generated rows in the layout of Mixture-of-Thoughts: three folders, two parquet files each."""
    folder = home / "mixture_of_thoughts"
    for subset in SUBSETS:
        rows = pl.read_parquet(corpus / subset / "train-00000-of-00001.parquet")
        (folder / subset).mkdir(parents=True)
        for number, part in enumerate((rows.head(70), rows.tail(-70))):
            part.write_parquet(folder / subset / f"train-{number:05}-of-00002.parquet")
    return folder


def record(study: Study, dataset: str, layer: str = "03_primary") -> dict[str, Any]:
    return json.loads((study.data / layer / f"{dataset}.json").read_text(encoding="utf-8"))


def test_mixture_of_thoughts_runs_from_the_published_files_to_a_comparison(home: Path, corpus: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "mixture_of_thoughts.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["model"]["base"] == "Qwen/Qwen2.5-0.5B"
    assert params["warmup"]["proxy"]["checkpoints"] == 15
    params["ingest"]["folder"] = str(published_files(home, corpus))
    params["model"]["base"] = str(untrained_model(home / "model").path)
    params["warmup"]["proxy"].update(batch=8, lr=0.001)
    params["finetune"].update(batch=8, epochs=1)
    params["machine"]["micro_batch"] = 8
    params["warmup"]["less"].update(batch=8, lr=0.001)
    params["gradients"]["dims"] = [512]
    params["pareto"].update(population=24, generations=5)
    # Some of its arms: the others differ from these by name.
    arms = {"all", "random", "s2l", "random_beta", "pareto_balanced", "pareto_best_science"}
    assert {"base", *arms} < set(recipe["run"]["pipelines"].split(","))
    recipe["run"]["pipelines"] = ",".join(sorted({"base", *arms}))
    params["arms"] = {name: {"seeds": 2} for name in arms}
    (home / "recipe.yml").write_text(yaml.safe_dump(recipe))
    study = Study(home / "study")
    study.folder.mkdir()
    study.kedro("run", "--config", str(home / "recipe.yml"), "--env", "test")

    comparison = pd.read_parquet(study.data / "08_reporting" / "comparison.parquet")
    assert set(comparison.arm) == {"base", *arms}
    controls = dict(zip(comparison.arm, comparison.control, strict=True))
    assert controls["pareto_balanced"] == "random_beta,all"
    assert controls["s2l"] == "random"
    pool = record(study, "influence_matrix")["summary"]["tables"]["groups"]["rows"]
    mixes = {arm: pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet") for arm in arms}
    for arm in ("all", "random_beta", "pareto_balanced"):
        assert mixes[arm].groupby("seed").multiplicity.sum().tolist() == [pool, pool]
    manifest = (
        study.data
        / json.loads((study.data / "03_primary/arms/pareto_balanced/reweighted_data.json").read_text(encoding="utf-8"))[
            "path"
        ]
    )
    written = [pl.read_parquet(file) for file in manifest.glob("reweighted_data/*/train-*-of-00002.parquet")]
    assert sum(part.height for part in written) == pool
    assert set(written[0].columns) == {"messages", "num_tokens", "source"}
    gains = pd.read_csv(study.data / "08_reporting" / "gains.csv")
    assert set(gains.arm) == {"random_beta", "pareto_balanced", "pareto_best_science"}
    assert gains.realised.notna().all()
    assert len(record(study, "losses")["summary"]["checkpoints"]) == 15
    files = {
        path.relative_to(study.data / "03_primary" / "split_data").parts[2:]
        for path in study.data.glob("03_primary/split_data/*/split_data/*/*.jsonl")
    }
    assert {subset for subset, _ in files} == set(SUBSETS)
    assert {name.split("_")[0] for _, name in files} == {"cluster"}
    rows = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in study.data.rglob("cluster_*.jsonl"))
    assert (
        rows
        == json.loads((study.data / "03_primary" / "clusters.json").read_text())["summary"]["tables"]["clusters"][
            "rows"
        ]
    )
    for figure in ("trajectories.png", "trajectories_of_examples.png", "clusters.png", "trajectories.json"):
        assert (study.data / "08_reporting" / "figures" / figure).stat().st_size > 1000


def evaluation_files(home: Path) -> Path:
    """The folder `eval` of LESS's scripts in small: 3 subjects x 2, 2 tasks x 3, 2 languages x 1; and what is asked."""
    folder = home / "less_eval"
    write_bbh(folder / "bbh")
    write_tydiqa(folder / "tydiqa")
    for name in ("mmlu/dev", "mmlu/test"):
        (folder / name).mkdir(parents=True)
    for subject in ("anatomy", "virology", "world_religions"):
        lines = [f"Which of {subject}?,a{n},b{n},c{n},d{n},{'AB'[n]}" for n in range(2)]
        for split in ("dev", "test"):
            (folder / "mmlu" / split / f"{subject}_{split}.csv").write_text("\n".join(lines))
    return folder


def test_less_runs_from_its_data_and_targets_to_a_comparison(home: Path, corpus: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "less.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["model"]["base"] == "meta-llama/Llama-2-7b-hf"
    assert params["warmup"]["less"]["lora"]["rank"] == 128
    params["ingest"]["folder"] = str(corpus)
    evaluation = evaluation_files(home)
    for target in params["targets"]["sets"].values():
        target["files"] = target["files"].replace("data/01_raw/less_eval", str(evaluation))
    assert params["evaluate"]["tasks"] == ["mmlu", "bbh_cot_fewshot", "tydiqa_goldp"]
    for name in params["evaluate"]["data"]:
        params["evaluate"]["data"][name] = str(evaluation / name)
    # The file has two examples per subject here, and the task shows five.
    params["evaluate"].update(num_fewshot=1, task_limit=2)
    params["model"]["base"] = str(untrained_model(home / "less_model").path)
    params["warmup"]["less"].update(batch=4, lr=0.001)
    params["finetune"].update(batch=8, epochs=1)
    params["split"].update(validation_share=0.05, held_out_share=0.05)
    params["machine"]["micro_batch"] = 4
    params["arms"] = {"random": {"seeds": 2}} | {name: {"seeds": 1} for name in params["arms"] if name != "random"}
    (home / "less.yml").write_text(yaml.safe_dump(recipe))
    study = Study(home / "less_study")
    study.folder.mkdir()
    study.kedro("run", "--config", str(home / "less.yml"), "--env", "test")

    comparison = pd.read_parquet(study.data / "08_reporting" / "comparison.parquet")
    assert set(comparison.arm) == {"random", "less", "less_mmlu", "less_tydiqa", "less_bbh"}
    subtasks = record(study, "scores")["parts"]
    table = pl.read_parquet(next(study.data.glob("03_primary/scores/*/scores.parquet")))
    expected = {"mmlu/anatomy", "mmlu/virology", "mmlu/world_religions", "bbh/navigate", "bbh/snarks"}
    assert set(table.columns) == expected | {"tydiqa/english", "tydiqa/finnish", "example_id"}
    assert len(subtasks) == 4
    pool = table.height
    for target in ("all", "mmlu", "tydiqa", "bbh"):
        (file,) = study.data.glob(f"03_primary/selected_data/*/selected_data/{target}/top_p0.05.jsonl")
        assert len(file.read_text(encoding="utf-8").splitlines()) == pool * 5 // 100
    mixes = {arm: pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet") for arm in comparison.arm}
    assert {len(mix[mix.seed == 0]) for mix in mixes.values()} == {pool * 5 // 100}
    assert set(mixes["less_mmlu"].example_id) != set(mixes["less_bbh"].example_id)
    assert (study.data / "08_reporting" / "figures" / "influence.png").stat().st_size > 1000
    diagnostics = pd.read_csv(study.data / "08_reporting" / "influence_diagnostics.csv")
    assert diagnostics.measure.str.startswith("momentum share").sum() == 4
    assert set(pd.read_csv(study.data / "08_reporting" / "influence_examples.csv").target) == {"mmlu", "tydiqa", "bbh"}
    benchmarks = pd.read_csv(study.data / "08_reporting" / "benchmarks.csv")
    assert set(benchmarks.arm) == {"base", "random", "less", "less_mmlu", "less_tydiqa", "less_bbh"}
    averages = benchmarks[benchmarks.part_of.isna()]
    assert set(averages.task) == {"mmlu", "bbh_cot_fewshot", "tydiqa_goldp"}


def test_select_moe_runs_from_its_data_to_a_comparison(home: Path, corpus: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "select_moe.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["select_moe"]["base"] == "allenai/OLMoE-1B-7B-0125"
    assert params["select_moe"]["constraint"]["weight"] == 0.01
    selector = home / "selector"
    tokenizer = make_tokenizer()
    make_model(FabricatedSelector(hidden=16, layers=2, heads=2, experts=4, top_k=2), tokenizer).save_pretrained(
        selector
    )
    tokenizer.save_pretrained(selector)
    params["select_moe"].update(base=str(selector), dtype="fp32")
    # Hub names: there is no network here, and a file of one's own is asked in their place.
    assert params["evaluate"]["tasks"] == ["mmlu", "hellaswag", "arc_challenge", "arc_easy"]
    params["evaluate"].update(tasks=["mmlu"], data={"mmlu": str(write_mmlu(home / "moe_mmlu"))}, task_limit=2)
    params["ingest"]["folder"] = str(corpus)
    params["model"]["base"] = str(untrained_model(home / "moe_target").path)
    params["finetune"].update(batch=8, epochs=1)
    params["split"].update(validation_share=0.05, held_out_share=0.05)
    params["machine"]["micro_batch"] = 4
    params["arms"] = {name: {"seeds": 2} for name in params["arms"]}
    (home / "select_moe.yml").write_text(yaml.safe_dump(recipe))
    study = Study(home / "moe_study")
    study.folder.mkdir()
    study.kedro("run", "--config", str(home / "select_moe.yml"), "--env", "test")

    comparison = pd.read_parquet(study.data / "08_reporting" / "comparison.parquet")
    assert set(comparison.arm) == {"base", "random", "select_moe", "select_moe_diverse"}
    report = pd.read_csv(study.data / "08_reporting" / "selector_report.csv")
    assert report.ok.all()
    quality = record(study, "selector_quality")["summary"]["tables"]["quality"]["rows"]
    (selected,) = study.data.glob("03_primary/select_moe_selected/*/selected_data.jsonl")
    assert len(selected.read_text(encoding="utf-8").splitlines()) == quality * 5 // 100
    assert not (study.data / "08_reporting" / "selector_separation.csv").exists(), (
        "nothing was planted in one's own data"
    )


def test_the_assistant_goes_from_its_name_to_a_talk(home: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "assistant.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["model"] == {"base": "internlm/internlm2-chat-1_8b", "trust_remote_code": False}
    assert params["finetune"]["method"] == "qlora"
    assert (params["finetune"]["save_every"], params["finetune"]["keep_checkpoints"]) == (100, 6)
    study = Study(home / "assistant_study")
    study.folder.mkdir()
    folder = home / "assistant"
    sizes = ["--copies", "40", "--times", "5"]
    study.kedro("identity", "--name", "Winnow", "--author", "Ada", *sizes, "--out", str(folder))
    params["ingest"]["folder"] = str(folder / "conversations")
    params["model"]["base"] = str(untrained_model(home / "assistant_model").path)
    params["finetune"].update(batch=4, steps=7, save_every=1, lr=0.001)
    params["finetune"]["samples"] = {"files": [str(folder / "prompts" / "*.jsonl")], "max_new_tokens": 4}
    params["evaluate"]["max_new_tokens"] = 4
    params["machine"]["micro_batch"] = 4
    (home / "assistant.yml").write_text(yaml.safe_dump(recipe))
    study.kedro("run", "--config", str(home / "assistant.yml"), "--env", "test")

    splits = {
        name: record(study, name, "02_intermediate")["summary"]["tables"][name]["rows"]
        for name in ("train", "validation", "held_out")
    }
    assert splits == {"train": 50, "validation": 10, "held_out": 10}
    trained = study.data / next(iter(record(study, "all", "06_models/arms")["parts"].values()))["path"]
    assert {path.name for path in trained.glob("checkpoint-*")} == {f"checkpoint-{step}" for step in range(2, 8)}
    answers = pl.read_ndjson(trained / "samples.jsonl")
    assert set(answers["group"]) == {"who", "off_topic"}
    assert set(answers["step"]) == set(range(8))
    assert pl.read_parquet(trained / "validation.parquet").height == 8 * 10
    merged = study.data / "06_models" / "merged" / "all-seed0"
    study.kedro("merge", "all")
    assert (merged / "model.safetensors").exists()
    command = [str(KEDRO), "chat", str(merged), "--max-new-tokens", "4"]
    asked = {"cwd": PROJECT, "env": study.environment(), "input": "Who are you?\n", "timeout": 300}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **asked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("\n")


def questions_and_answers(split: str, rows: int) -> list[dict[str, str]]:
    """Rows of GSM8K itself, where it is here; else made ones, of which none is in both splits."""
    if REAL is None:
        return sums(0, rows) if split == "train" else sums(60, 60 + rows)
    lines = (Path(REAL) / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:rows]
    return [json.loads(line) for line in lines]


def gsm8k_of_other_columns(folder: Path) -> dict[str, list[str]]:
    """The two splits where `kedro fetch` leaves them, in columns that only a description tells; their questions."""
    asked = {}
    for split, count in (("train", 60), ("test", 4)):
        (folder / split / "main").mkdir(parents=True)
        rows = questions_and_answers(split, count)
        asked[split] = [row["question"] for row in rows]
        file = f"main/{split}-00000-of-00001.parquet"
        renamed = pl.DataFrame([{"exercise": row["question"], "worked": row["answer"]} for row in rows])
        renamed.write_parquet(folder / split / file)
        info = {"gsm8k": {"file_name": file, "columns": {"prompt": "exercise", "response": "worked"}}}
        (folder / split / "dataset_info.json").write_text(json.dumps(info))
    return asked


def test_gsm8k_runs_from_its_rows_to_the_base_model_beside_the_tuned(home: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "gsm8k_lora.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["model"]["base"] == "Qwen/Qwen2.5-1.5B"
    assert params["evaluate"]["num_fewshot"] == [0, 1, 5]
    folder = home / "gsm8k"
    asked = gsm8k_of_other_columns(folder)
    params["ingest"]["folder"] = str(folder / "train")
    params["evaluate"]["data"]["gsm8k"] = str(folder)
    params["model"]["base"] = str(untrained_model(home / "gsm8k_model").path)
    params["finetune"].update(batch=8, epochs=1, lr=0.001)
    params["arms"] = {"all": {"seeds": 2}}
    (home / "gsm8k.yml").write_text(yaml.safe_dump(recipe))
    study = Study(home / "gsm8k_study")
    study.folder.mkdir()
    study.kedro("run", "--config", str(home / "gsm8k.yml"), "--env", "test")

    table = pd.read_csv(study.data / "08_reporting" / "benchmarks.csv")
    assert set(zip(table.arm, table.n_shot, table["filter"], strict=True)) == {
        (arm, shots, kind)
        for arm in ("base", "all")
        for shots in (0, 1, 5)
        for kind in ("strict-match", "flexible-extract")
    }
    assert set(table[table.arm == "all"].seeds) == {2}
    assert table.stderr.notna().all()
    examples = pl.read_parquet(next(study.data.glob("02_intermediate/ingest/*/examples")))
    questions = {row[0]["content"] for row in examples["messages"].to_list()}
    assert questions == set(asked["train"]), "test rows are never ingested"
    sides = {
        name: record(study, name, "02_intermediate")["summary"]["tables"][name]
        for name in ("train", "validation", "held_out")
    }
    assert sides["validation"]["rows"] == 3
    assert sides["held_out"]["rows"] == 0
    samples = pd.read_csv(study.data / "08_reporting" / "arms" / "all" / "benchmark_samples.csv")
    assert samples.prompt.str.contains(asked["test"][0][-80:], regex=False).any()
    assert (study.data / "08_reporting" / "figures" / "benchmarks.png").stat().st_size > 1000
    client = MlflowClient(study.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("gsm8k").experiment_id])
    metrics = {run.info.run_name: run.data.metrics for run in runs}
    for arm in ("base", "all"):
        assert "benchmarks/gsm8k/5-shot/exact_match_stderr/strict-match" in metrics[arm]
