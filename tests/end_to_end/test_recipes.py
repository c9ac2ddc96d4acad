"""Recipes run as they are, but for the model, which is a tiny one here, and the number of steps."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import yaml

from support.study import PROJECT, Study
from support.tiny import untrained_model
from winnow.fabricate import SUBSETS, write_corpus
from winnow.params import FabricateParams
from winnow.stages import Work, locate


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


def published_files(home: Path) -> Path:
    """Generated rows in the layout of Mixture-of-Thoughts: three folders, two parquet files each."""
    params = FabricateParams(rows=120, verified_rows=30, facts=20)
    with Work.resume(locate(home / "corpus", "fabricated", 1, params, {})) as work:
        corpus = work.finish(write_corpus(work, params), {})
    folder = home / "mixture_of_thoughts"
    for subset in SUBSETS:
        rows = pl.read_parquet(corpus.path / "raw" / subset / "train-00000-of-00001.parquet")
        (folder / subset).mkdir(parents=True)
        for number, part in enumerate((rows.head(70), rows.tail(-70))):
            part.write_parquet(folder / subset / f"train-{number:05}-of-00002.parquet")
    return folder


def record(study: Study, dataset: str) -> dict[str, Any]:
    return json.loads((study.data / "03_primary" / f"{dataset}.json").read_text(encoding="utf-8"))


def test_mixture_of_thoughts_runs_from_the_published_files_to_a_comparison(home: Path):
    recipe = yaml.safe_load((PROJECT / "recipes" / "mixture_of_thoughts.yml").read_text(encoding="utf-8"))
    params = recipe["run"]["params"]
    assert params["model"]["base"] == "Qwen/Qwen2.5-0.5B"
    assert params["warmup"]["proxy"]["checkpoints"] == 15
    params["ingest"]["folder"] = str(published_files(home))
    params["model"]["base"] = str(untrained_model(home / "model").path)
    params["warmup"]["proxy"].update(batch=8, lr=0.001)
    params["finetune"].update(batch=8, epochs=1)
    params["machine"]["micro_batch"] = 8
    params["arms"] = {"random": {"seeds": 2}, "s2l": {"seeds": 2}}
    (home / "recipe.yml").write_text(yaml.safe_dump(recipe))
    study = Study(home / "study")
    study.folder.mkdir()
    study.kedro("run", "--config", str(home / "recipe.yml"), "--env", "test")

    comparison = pd.read_parquet(study.data / "08_reporting" / "comparison.parquet")
    assert set(comparison.arm) == {"base", "random", "s2l"}
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
