"""`kedro run` as a user types it: results, reuse, tracking, and what is printed."""

import json
from pathlib import Path
from urllib.parse import urlparse

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from support.browser import opened
from support.study import Study


def folders(study: Study, stage: str) -> set[str]:
    return {path.name for path in study.data.glob(f"*/{stage}/*") if path.is_dir()}


def comparison(study: Study) -> pd.DataFrame:
    return pd.read_parquet(study.data / "08_reporting" / "comparison.parquet")


def children(study: Study) -> list[Run]:
    client = MlflowClient(study.tracking_uri)
    experiment = client.get_experiment_by_name("test").experiment_id
    return client.search_runs([experiment], "tags.`winnow.kind` = 'arm'", order_by=["attributes.start_time ASC"])


def test_one_arm_runs_from_raw_files_to_a_comparison(study: Study):
    table = comparison(study)
    assert "random" in set(table.arm)
    assert table.accuracy.between(0, 1).all()
    assert "random" in study.output
    assert "mlflow ui" in study.output
    assert "kedro viz" in study.output
    assert not list(study.data.rglob("*.partial"))


def test_a_study_has_a_page_that_opens_without_a_word_to_the_network(study: Study):
    page = study.data / "08_reporting" / "comparison.html"
    assert str(page) in study.output
    with opened(study.folder / "browser") as tab:
        tab.open(page)
        assert tab.run("document.querySelectorAll('.plot svg').length") > 0
        assert tab.run("document.querySelectorAll('.example').length") > 0
        assert tab.complaints() == []
        assert {urlparse(address).scheme for address in tab.requests()} <= {"file", "data", "blob"}


def test_past_runs_are_compared_from_the_tracking_store_alone(study: Study, tmp_path: Path):
    output = study.kedro("compare", "random", "--output", str(tmp_path))
    assert "random" in output
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert list(table.arm) == ["random"]
    assert 0 <= table["evaluate/accuracy"][0] <= 1
    assert table["cost/choosing_seconds"][0] == 0
    assert "math/" in (tmp_path / "comparison.html").read_text(encoding="utf-8").split('class="examples"')[1]
    assert (tmp_path / "gain_against_cost.png").stat().st_size > 0


def test_another_learning_rate_reruns_the_fine_tuning_of_that_arm_alone(study: Study):
    before = {stage: folders(study, stage) for stage in ("base", "tokens", "finetune")}
    runs_before, settings_before = len(children(study)), comparison(study).settings.nunique()
    study.kedro("run", "--pipelines", "random", "--env", "test", "--params", "finetune.lr=0.0005")
    assert folders(study, "base") == before["base"]
    assert folders(study, "tokens") == before["tokens"]
    assert len(folders(study, "finetune") - before["finetune"]) == 2

    runs = children(study)
    assert len(runs) == runs_before + 1
    old, new = runs[-2:]
    assert old.data.params["finetune.lr"] != new.data.params["finetune.lr"] == "0.0005"
    assert set(old.data.metrics) == set(new.data.metrics)
    assert comparison(study).settings.nunique() == settings_before + 1


@pytest.mark.parametrize(
    "name", ["arm.strategy", "arm.choice", "arm.budget", "arm.control", "arm.seeds", "finetune.lr"]
)
def test_a_child_run_says_what_makes_it_differ(study: Study, name: str):
    assert name in children(study)[0].data.params


def test_a_child_run_holds_every_promised_metric(study: Study):
    run = children(study)[0]
    expected = {"evaluate/accuracy", "evaluate/accuracy_ci", "finetune/loss", "cost/seconds", "cost/peak_memory_gb"}
    expected |= {f"evaluate/{kind}/{domain}" for kind in ("accuracy", "loss") for domain in ("math", "code", "science")}
    assert expected | {"cost/tokens_per_second"} <= set(run.data.metrics)
    history = MlflowClient(study.tracking_uri).get_metric_history(run.info.run_id, "finetune/loss")
    assert len({point.step for point in history}) > 1
    assert run.info.status == "FINISHED"


def test_a_second_run_builds_nothing(study: Study):
    marks = {path: path.stat().st_mtime_ns for path in study.data.rglob("record.json")}
    study.kedro("run", "--pipeline", "random", "--env", "test")
    assert {path: path.stat().st_mtime_ns for path in study.data.rglob("record.json")} == marks


def test_mixtures_tell_what_they_were_predicted_to_gain_and_what_they_gained_in_each_round(study: Study):
    few = "study.name=rounds,study.rounds=2,study.rounds_by=random_beta,pareto.population=24,pareto.generations=5"
    arms = ("pareto_balanced", "random_beta")
    study.kedro("run", "--pipelines", ",".join(("random", *arms)), "--env", "test", "--params", few)
    client = MlflowClient(study.tracking_uri)
    experiment = client.get_experiment_by_name("rounds").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {"random", "round_2", *arms, *(f"{arm}_round_2" for arm in arms)} < set(runs)
    assert runs["round_2"].data.tags["winnow.kind"] == "round"
    assert runs["round_2"].data.metrics["pareto/share_of_optimum"] > 0.5
    for name in ("pareto_balanced", "random_beta_round_2"):
        metrics = runs[name].data.metrics
        for kind in ("predicted_gain", "realised_gain", "realised_gain_ci"):
            assert {f"pareto/{kind}/{domain}" for domain in ("math", "code", "science")} <= set(metrics)
        assert any(key.startswith("mixture/beta/math/") for key in metrics)
    gains = pd.read_csv(study.data / "08_reporting" / "gains.csv")
    assert set(gains.arm) == {*arms, *(f"{arm}_round_2" for arm in arms)}
    assert (study.data / "08_reporting/round_2/influence_matrix/heatmap.png").stat().st_size > 1000


def test_a_mixture_of_experts_selects_and_is_held_to_what_was_planted(study: Study):
    arms = ("random", "select_moe", "select_moe_diverse")
    study.kedro("run", "--pipelines", ",".join(arms), "--env", "test", "--params", "study.name=select_moe")
    comparison = pd.read_csv(study.data / "08_reporting" / "comparison.csv")
    assert set(arms) <= set(comparison.arm)
    mixes = {arm: pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet") for arm in arms}
    chosen = {arm: set(mix[mix.seed == 0].example_id) for arm, mix in mixes.items()}
    assert len(set(map(frozenset, chosen.values()))) == len(arms)
    (selected,) = study.data.glob("03_primary/select_moe_selected/*/selected_data.jsonl")
    rows = [json.loads(line) for line in selected.read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in rows} == chosen["select_moe"]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    separation = pd.read_csv(study.data / "08_reporting" / "selector_separation.csv")
    assert {"wrong", "off_topic"} <= set(separation.kind)
    for figure in ("quality", "layers", "trash"):
        assert (study.data / "08_reporting" / "figures" / f"selector_{figure}.png").stat().st_size > 1000
    client = MlflowClient(study.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("select_moe").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["winnow.kind"] == "study")
    assert "select_moe/auc/wrong" in parent.data.metrics
    assert "select_moe/loss/trash_mass/layer_0" in parent.data.metrics


def test_baselines_choose_each_in_its_way_and_are_held_to_what_was_planted(study: Study):
    arms = ["bm25", "embedding_diversity", "ifd", "perplexity_high", "perplexity_low", "perplexity_mid", "rds"]
    study.kedro("run", "--pipelines", ",".join(["random", *arms]), "--env", "test", "--params", "study.name=baselines")
    comparison = pd.read_csv(study.data / "08_reporting" / "comparison.csv")
    assert {"random", *arms} <= set(comparison.arm)
    (usable,) = {len(pd.read_parquet(file)) for file in study.data.glob("03_primary/row_scores/*/row_scores.parquet")}
    chosen = {}
    for arm in arms:
        mix = pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet")
        seeds = [frozenset(mix[mix.seed == seed].example_id) for seed in (0, 1)]
        assert len(seeds[0]) == len(seeds[1]) == usable // 10
        assert (seeds[0] == seeds[1]) == (arm != "embedding_diversity")
        chosen[arm] = seeds[0]
    assert len(set(chosen.values())) == len(arms)
    assert not chosen["perplexity_low"] & chosen["perplexity_high"]
    separation = pd.read_csv(study.data / "08_reporting" / "row_scores_separation.csv")
    assert set(separation.arm) == {"perplexity_low", "perplexity_mid", "ifd"}
    for figure in ("row_scores", "row_scores_kinds"):
        assert (study.data / "08_reporting" / "figures" / f"{figure}.png").stat().st_size > 1000
    client = MlflowClient(study.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("baselines").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["winnow.kind"] == "study")
    metrics = {f"baselines/auc/{arm}/wrong" for arm in ("perplexity_low", "ifd", "rds", "bm25")}
    assert metrics <= set(parent.data.metrics)
    verdicts = {run.info.run_name: run.data for run in runs if "winnow.verdict" in run.data.tags}
    assert set(verdicts) == set(arms)
    for arm, told in verdicts.items():
        assert "random" in told.tags["winnow.verdict"]
        assert told.metrics["verdict/p_value"] <= told.metrics["verdict/p_holm"]
        gap = told.metrics["evaluate/accuracy"] - comparison.set_index("arm").accuracy["random"]
        assert told.metrics["verdict/effect"] == pytest.approx(gap), arm
    changed = "baselines.bm25.k1=0.9,budget.share=0.2"
    planned = study.kedro("plan", "--pipelines", "bm25,embedding_diversity", "--env", "test", "--params", changed)
    assert "parameter `baselines.bm25.k1` changed 1.5 -> 0.9" in planned
    assert "parameter `budget.share` changed 0.1 -> 0.2" in planned


def test_selections_are_verified_without_a_training(study: Study):
    before = folders(study, "finetune")
    named = "verify.arms=[length,bm25],study.name=verify"
    output = study.kedro("run", "--pipelines", "verify_selections", "--env", "test", "--params", named)
    assert folders(study, "finetune") == before
    assert "(the pool)" in output
    arms = ["random", "length", "bm25"]
    table = pd.read_csv(study.data / "08_reporting" / "verification.csv").set_index("arm")
    assert list(table.index) == arms
    mixes = {arm: pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet") for arm in arms}
    (planted,) = (pd.read_parquet(file) for file in study.data.glob("01_raw/fabricated/*/planted.parquet"))
    for arm, mix in mixes.items():
        chosen = mix.merge(planted, on="example_id")
        assert table.precision[arm] == pytest.approx((chosen.kind == "clean").mean())
    one, other = (set(mixes["bm25"].query("seed == @seed").example_id) for seed in (0, 1))
    assert one == other
    shared = [
        len(one & other) / len(one | other)
        for other in (set(part.example_id) for _, part in mixes["random"].groupby("seed"))
    ]
    assert table.overlap_with_random["bm25"] == pytest.approx(sum(shared) / 2)
    assert (table.contaminated == 0).all(), "no verified row asks what a pool row does"
    assert (study.data / "08_reporting" / "figures" / "overlap.png").stat().st_size > 1000
    client = MlflowClient(study.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("verify").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["winnow.kind"] == "study")
    metrics = {f"verify/{kind}/{arm}" for kind in ("precision", "near_duplicates", "contaminated") for arm in arms}
    assert metrics | {"verify/auc/bm25/wrong"} <= set(parent.data.metrics)
    changed = study.kedro(
        "plan", "--pipelines", "verify_selections", "--env", "test", "--params", "verify.contamination.ngram=8"
    )
    assert "parameter `verify.contamination.ngram` changed 13 -> 8" in changed


def test_the_mix_is_exported_row_by_row(study: Study):
    study.kedro("export", "random", "--to", "llamafactory", "--env", "test")
    (file,) = study.data.glob("08_reporting/export/random-llamafactory/train.jsonl")
    mix = pd.read_parquet(next(study.data.glob("03_primary/arms/random/training_mix.parquet")))
    ids = [json.loads(line)["id"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted(ids) == sorted(mix[mix.seed == 0].example_id)


def test_the_plan_agrees_with_the_run(study: Study):
    unchanged = study.kedro("plan", "--pipeline", "random", "--env", "test")
    assert "would run" not in unchanged
    changed = study.kedro("plan", "--pipeline", "random", "--env", "test", "--params", "finetune.lr=0.002")
    assert "finetune.lr" in changed
    assert "0.002" in changed


def test_no_result_names_this_machine(study: Study):
    for file in (path for pattern in ("*.json", "*.yml") for path in study.data.rglob(pattern)):
        assert str(study.folder) not in file.read_text(encoding="utf-8"), file
    assert Path(study.data / "03_primary").exists()
