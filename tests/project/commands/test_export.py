"""`kedro export` and `kedro merge-files`, as people type them."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner

from support.mixes import lines, pool_of
from support.study import KEDRO, PROJECT, Study
from winnow.commands.export import export, merge_files
from winnow.datasets import FinishedDataset
from winnow.stages import Finished, Work, locate

CHAT = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好 👋"}]


def test_the_pool_is_converted_from_the_raw_files_without_a_tracked_run(tmp_path: Path):
    raw = tmp_path / "mine" / "greetings"
    raw.mkdir(parents=True)
    lines = [json.dumps({"messages": CHAT}, ensure_ascii=False), "{broken"]
    (raw / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    study, out = Study(tmp_path), tmp_path / "out"

    printed = study.kedro(
        "export", "pool", "--to", "sharegpt", "--out", str(out), "--params", f"ingest.folder={raw.parent}"
    )
    text = (out / "greetings.jsonl").read_text(encoding="utf-8")
    assert "你好 👋" in text
    assert [turn["from"] for turn in json.loads(text)["conversations"]] == ["human", "gpt"]
    assert "1 rows" in printed
    assert "1 records were set aside" in printed
    assert not (tmp_path / "mlflow.db").exists()


def finish(study: Study, stage: str, tables: dict[str, pl.DataFrame]) -> Finished:
    """What a stage leaves behind."""
    with Work.resume(locate(study.data / "made", stage, 1, {}, {})) as work:
        for name, table in tables.items():
            work.commit(f"{name}.parquet", table.write_parquet)
        listed = {name: {"file": f"{name}.parquet", "fingerprint": name} for name in tables}
        return work.finish({"tables": listed}, {})


def save(study: Study, dataset: str, finished: Finished) -> None:
    FinishedDataset(filepath=str(study.data / dataset), data_root=str(study.data)).save(finished)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A project in which the arm `less` has a mix, and no grouping was made."""
    study = Study(tmp_path)
    save(study, "02_intermediate/train.json", finish(study, "split", {"train": pool_of().collect()}).only("train"))
    file = study.data / "03_primary" / "arms" / "less" / "training_mix.parquet"
    file.parent.mkdir(parents=True)
    pd.DataFrame({"example_id": ["m/a:0", "w/a:0"], "multiplicity": [2, 1], "seed": [0, 0]}).to_parquet(file)
    return study


def clusters_of(study: Study, *arguments: str) -> list[str]:
    study.kedro("export", "less", *arguments)
    folder = study.data / "08_reporting" / "export" / f"less-{arguments[1]}"
    return [row["cluster"] for row in lines(folder / "train.jsonl")]


def test_an_arm_is_exported_by_the_best_grouping_that_was_made(study: Study):
    names = pool_of().select("example_id", "subset").collect()
    assert clusters_of(study, "--to", "openai") == ["m", "m", "w"]
    clusters = names.with_columns(subset_cluster=pl.lit(1))
    save(study, "03_primary/clusters.json", finish(study, "clusters", {"clusters": clusters}))
    assert clusters_of(study, "--to", "sharegpt") == ["m/1", "m/1", "w/1"]
    groups = names.select("example_id", cluster=pl.lit("all of it"))
    save(study, "03_primary/influence_matrix.json", finish(study, "matrix", {"cells": groups, "groups": groups}))
    assert clusters_of(study, "--to", "alpaca") == ["all of it"] * 3
    assert not (study.folder / "mlflow.db").exists()


def test_what_a_trainer_cannot_read_is_said(study: Study):
    printed = study.kedro("export", "less", "--to", "xtuner", "--out", str(study.folder / "out"))
    assert "1 of 4 rows, 2 in the mix" in printed
    assert "1 rows (1 conversations) were set aside: XTuner has no role for function calls" in printed
    assert (study.folder / "out" / "xtuner_datasets.json").exists()


def test_an_arm_that_was_not_run_says_how_to_run_it(study: Study):
    command = [str(KEDRO), "export", "random", "--to", "openai"]
    done = subprocess.run(command, cwd=PROJECT, env=study.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "kedro run --pipeline random" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense", "--to", "openai"], "No arm is called 'nonsense'. Known: all, base"),
        (["base", "--to", "openai"], "The arm 'base' trains on nothing"),
        (["pool", "--to", "xtuner"], "Name an arm, as in `kedro export random --to xtuner`"),
        (["pool", "--to", "openai", "--seed", "1"], "--seed is 1, but `pool` is the same for every seed"),
    ],
)
def test_what_cannot_be_exported_is_one_message(arguments: list[str], said: str):
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output


@pytest.mark.parametrize("name", ["all.jsonl", "all.json"])
def test_files_are_merged_in_the_order_of_their_names(tmp_path: Path, name: str):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "b.json").write_text('[{"n": 1}, {"n": 2}]')
    (tmp_path / "in" / "deep" / "c.jsonl").write_text('{"n": 3, "text": "é"}\n')
    out = tmp_path / name
    result = CliRunner().invoke(merge_files, [str(tmp_path / "in"), str(out)])
    assert result.exit_code == 0, result.output
    assert "3 records of 2 files" in result.output
    text = out.read_text(encoding="utf-8")
    merged = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert [record["n"] for record in merged] == [1, 2, 3]
    assert "é" in text


@pytest.mark.parametrize("out", ["all.txt", "all.jsonl"])
def test_what_cannot_be_merged_is_one_message(tmp_path: Path, out: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"n": 1}\n{broken\n')
    result = CliRunner().invoke(merge_files, [str(tmp_path / "in"), str(tmp_path / out)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert not (tmp_path / out).exists()
