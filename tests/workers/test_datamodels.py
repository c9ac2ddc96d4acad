"""Models of subsets and the scores that should predict them, from the workers to the table."""

import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.baselines.nodes import score_by_words
from pipelines.datamodels.nodes import score_estimators, train_subsets
from pipelines.evaluate.nodes import score_models
from pipelines.finetune.nodes import train_mixes
from pipelines.influence.nodes import read_scores, score_in_units_of_loss
from support.gradients import EXACT, collected
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.errors import WorkerFailed
from winnow.gradients.store import FeatureStore
from winnow.influence.ranking import target_scores
from winnow.params import (
    BaselinesParams,
    DatamodelsParams,
    EvaluateParams,
    FinetuneParams,
    InfluenceParams,
    TokenizeParams,
)
from winnow.progress import listening
from winnow.stages import Finished, FinishedParts, Work, locate
from winnow.verification.datamodels import datamodeling_score, read_trained

FINETUNE = FinetuneParams(batch=8, lr=0.01, precision="fp32", validation_rows=3)
DOMAINS = ("math", "code", "science")
FEW = DatamodelsParams(subsets=8, rows=20, steps=2, draws=100)


def trained(tiny: Tiny, root: Path, targets: Finished) -> Finished:
    settings = (FINETUNE, EvaluateParams(limit=1), TokenizeParams(), FEW, tiny.machine(root))
    return train_subsets(tiny.tokens, tiny.base, targets, *settings)


@pytest.fixture(scope="module")
def subset_losses(tiny: Tiny, root: Path, targets: Finished) -> Finished:
    return trained(tiny, root, targets)


def test_losses_are_those_of_a_model_trained_on_the_subset_alone(
    tiny: Tiny, root: Path, targets: Finished, subset_losses: Finished
):
    members, losses = (subset_losses.scan(name).collect() for name in ("members", "losses"))
    assert members["subset"].value_counts(sort=True)["count"].to_list() == [10] * 8
    assert members["example_id"].n_unique() <= 20
    mix = dict.fromkeys(members.filter(subset=5)["example_id"].to_list(), 1)
    alone = FINETUNE.model_copy(update={"steps": 2, "validation_rows": 0})
    machine = tiny.machine(root)
    models = train_mixes({"0": mix}, {"0": 0}, tiny.tokens, tiny.base, alone, machine)
    forced = EvaluateParams(split="validation")
    (part,) = score_models(models, targets, tiny.base, forced, TokenizeParams(), machine).values()
    expected = part.scan("rows").select("example_id", "loss").collect().sort("example_id")
    assert losses.filter(subset=5).select("example_id", "loss").sort("example_id").equals(expected)
    domains = targets.scan().select("example_id", domain="subset").collect()
    assert set(losses.select("example_id", "domain").iter_rows()) == set(domains.iter_rows())


def test_subsets_that_were_killed_go_on_to_the_same_bytes(
    tiny: Tiny, tmp_path: Path, targets: Finished, subset_losses: Finished
):
    kill = when(lambda news: news.message == "seed 0", kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed):
        trained(tiny, tmp_path, targets)
    assert checksums(trained(tiny, tmp_path, targets).path) == checksums(subset_losses.path)


def test_products_are_gradients_by_features_and_learning_rates(
    tiny: Tiny, root: Path, warmup: Finished, targets: Finished, validation_store: FinishedParts
):
    stores = collected(tiny, root, warmup), validation_store
    params = InfluenceParams(normalize=True)
    found = read_scores(score_in_units_of_loss(*stores, targets, params, tiny.machine(root)))
    expected: np.ndarray | float = 0.0
    for step, rate in stores[0].summary["rates"].items():
        names, features = FeatureStore(stores[0].parts[f"{step}@0"].path).features()
        rows, gradients = FeatureStore(stores[1].parts[f"{step}@0"].path).features()
        mean = gradients[[row.startswith("math/") for row in rows]].mean(axis=0, dtype=np.float64)
        expected = expected + rate * (features.astype(np.float64) @ mean)
    assert found["example_id"].to_list() == names
    assert found["math"].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("aggregate", ["max", "mean", "round_robin"])
def test_less_is_judged_by_the_scores_that_its_arm_ranks_by(
    tiny: Tiny, tmp_path: Path, subset_losses: Finished, aggregate: str
):
    ids = sorted(subset_losses.scan("members").collect()["example_id"].unique())
    random = np.random.default_rng(0)
    columns = {f"{domain}/{part}": random.normal(size=len(ids)) for domain in DOMAINS for part in "ab"}
    table = pl.DataFrame({"example_id": ids, **columns})
    with Work.resume(locate(tmp_path, "scores", 1, {}, {})) as work:
        part = work.finish({"tables": work.commit_tables({"scores": table})}, {})
    scores = FinishedParts({"4": part}, {"weights": {"4": 1.0}})
    params = InfluenceParams(aggregate=aggregate)
    found, _, _ = score_estimators(("less",))(subset_losses, FEW, params, scores)
    trained = read_trained(subset_losses.scan("members").collect(), subset_losses.scan("losses").collect())
    own = target_scores(table, params.aggregate)
    falls = -trained.losses.mean(axis=1).T
    expected = {
        name: float(datamodeling_score(trained.member @ own[name], fall))
        for name, fall in zip(trained.domains, falls, strict=True)
    }
    said = found[(found["estimator"] == "less") & (found["domain"] != "all")]
    assert dict(zip(said["domain"], said["lds"], strict=True)) == pytest.approx(expected)


def test_every_estimator_is_a_row_of_each_domain(
    tiny: Tiny,
    root: Path,
    warmup: Finished,
    targets: Finished,
    validation_store: FinishedParts,
    subset_losses: Finished,
):
    machine = tiny.machine(root)
    words = score_by_words(tiny.train, tiny.tokens, targets, BaselinesParams(), machine)
    stores = collected(tiny, root, warmup, EXACT), validation_store
    products = score_in_units_of_loss(*stores, targets, InfluenceParams(), machine)
    table, figure, metrics = score_estimators(("gradient", "bm25"))(
        subset_losses, FEW, InfluenceParams(), products, words
    )
    domains = {"math", "code", "science", "all"}
    assert set(zip(table["estimator"], table["domain"], strict=True)) == {
        (name, domain) for name in ("gradient", "bm25", "random") for domain in domains
    }
    assert (table["unscored"] == 0).all()
    assert table["lds"].between(-1, 1).all()
    assert len({name.rsplit("_", 1)[0] for name in metrics if name.endswith("_low")}) == 3
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["gradient", "bm25", "random"]
    # Summed by hand, for one domain.
    own = dict(read_scores(products).select("example_id", "code").iter_rows())
    members, losses = (subset_losses.scan(name).collect() for name in ("members", "losses"))
    sums = [sum(own[name] for name in members.filter(subset=n)["example_id"]) for n in range(8)]
    falls = [-losses.filter(subset=n, domain="code")["loss"].mean() for n in range(8)]
    ranks = [pl.Series(values).rank().to_numpy() for values in (sums, falls)]
    said = table[(table["estimator"] == "gradient") & (table["domain"] == "code")]["lds"].item()
    assert said == pytest.approx(np.corrcoef(ranks)[0, 1])
