"""The linear datamodeling score: by hand, by another library, and whether its intervals can be believed."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from winnow.errors import BadSetting
from winnow.params import DatamodelsParams
from winnow.verification.datamodels import (
    ALL,
    OTHER_SEEDS,
    RANDOM,
    Trained,
    datamodel_metrics,
    datamodeling_score,
    draw_subsets,
    read_trained,
    score_estimators,
)

FEW = DatamodelsParams(draws=200)


def by_hand() -> Trained:
    """Four subsets of two of four rows, one validation row in each of two domains."""
    subsets = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    members = pl.DataFrame([(n, row) for n, rows in enumerate(subsets) for row in rows], orient="row",
                           schema=["subset", "example_id"])  # fmt: skip
    losses = pl.DataFrame(
        [
            (n, 0, row, row[0], loss)
            for n, pair in enumerate([(0.1, 0.5), (0.2, 0.1), (0.4, 0.2), (0.3, 0.4)])
            for row, loss in zip(("x1", "y1"), pair, strict=True)
        ],
        orient="row",
        schema=["subset", "seed", "example_id", "domain", "loss"],
    )
    return read_trained(members, losses)


def test_the_score_of_a_case_by_hand():
    """Sums of scores: 5, 4, 3, 2. The falls of x rank 4, 3, 1, 2: d² sums to 2, so 1 - 6·2/60 = 0.8; of y 1, 4, 3, 2:
    d² = 9 + 1 + 1 + 1 = 12, so 1 - 6·12/60 = -0.2."""
    table = pl.DataFrame({"example_id": ["a", "b", "c", "d"], "x": [3.0, 2.0, 1.0, 1.0], "y": [3.0, 2.0, 1.0, 1.0]})
    found = score_estimators({"mine": table}, by_hand(), FEW).filter(estimator="mine")
    assert dict(found.select("domain", "lds").iter_rows()) == pytest.approx({"x": 0.8, "y": -0.2, ALL: 0.3})


def test_equal_values_share_their_rank_and_what_does_not_vary_predicts_nothing():
    random = np.random.default_rng(0)
    predicted, measured = random.integers(4, size=(2, 5, 30)).astype(float)
    expected = [spearmanr(one, other).statistic for one, other in zip(predicted, measured, strict=True)]
    assert datamodeling_score(predicted, measured) == pytest.approx(expected)
    assert datamodeling_score(np.ones(5), np.arange(5)) == 0


def additive(random: np.random.Generator, seeds: int = 1, noise: float = 0.0) -> tuple[Trained, np.ndarray]:
    """64 subsets whose losses are a sum over their rows, but for noise; and what each row adds [rows, domains]."""
    helps = random.normal(size=(40, 2))
    member = np.stack([random.permutation(np.arange(40) < 20) for _ in range(64)]).astype(float)
    losses = -(member @ helps)[:, None] + noise * random.normal(size=(64, seeds, 2))
    return Trained([f"r{n:02}" for n in range(40)], member, losses, ["x", "y"]), helps


def as_table(trained: Trained, values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"example_id": trained.examples, "x": values[:, 0], "y": values[:, 1]})


def test_the_truth_predicts_all_and_its_opposite_the_opposite():
    trained, helps = additive(np.random.default_rng(0))
    scores = {"truth": as_table(trained, helps), "lie": as_table(trained, -helps)}
    found = score_estimators(scores, trained, FEW)
    for name, value, verdict in (("truth", 1, "better than random"), ("lie", -1, "worse than random")):
        rows = found.filter(estimator=name)
        assert rows.select("lds", "low", "high").to_numpy() == pytest.approx(np.full((3, 3), value))
        assert set(rows["verdict"]) == {verdict}
    metrics = datamodel_metrics(found)
    names = {f"verify/lds/{name}{end}" for name in ("truth", "lie", RANDOM) for end in ("", "_low", "_high")}
    assert set(metrics) == names
    assert metrics["verify/lds/truth"] == pytest.approx(1)


def test_scores_that_say_nothing_are_found_out_as_often_as_is_said():
    """Two hundred studies: at 5 % ten are expected, and more than twenty would be a chance of one in six hundred.

    The interval alone would be wrong in every fifth: on forty rows a draw has some relation to the truth.
    """
    random = np.random.default_rng(0)
    wrong = 0
    for seed in range(200):
        trained, _ = additive(random, noise=1.0)
        drawn = {"drawn": as_table(trained, random.normal(size=(40, 2)))}
        found = score_estimators(drawn, trained, DatamodelsParams(draws=200, seed=seed))
        wrong += found.filter(estimator="drawn", domain="x")["verdict"][0] != "not distinguishable from random"
    assert wrong <= 20


def test_the_interval_holds_what_many_more_subsets_would_say():
    """Half of the truth and half noise: 200 intervals of 95 % should hold the score of 2,000 subsets 190 times."""
    random = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        trained, helps = additive(random, noise=3.0)
        scores = helps[:, 0] + random.normal(size=40)
        many = np.stack([random.permutation(np.arange(40) < 20) for _ in range(2000)])
        whole = datamodeling_score(many @ scores, many @ helps[:, 0] + 3.0 * random.normal(size=2000))
        table = as_table(trained, np.stack([scores, scores], axis=1))
        found = score_estimators({"half": table}, trained, DatamodelsParams(draws=200, seed=seed))
        low, high = found.filter(estimator="half", domain="x").select("low", "high").row(0)
        held += low <= whole <= high
    assert held >= 175


def test_rows_without_a_score_count_as_the_mean_of_the_others():
    trained, helps = additive(np.random.default_rng(1))
    known = as_table(trained, helps).filter(pl.col("example_id") != "r03")
    filled = helps.copy()
    filled[3] = np.delete(helps, 3, axis=0).mean(axis=0)
    found = score_estimators({"gap": known, "filled": as_table(trained, filled)}, trained, FEW)
    gap, same = (found.filter(estimator=name) for name in ("gap", "filled"))
    assert gap["unscored"].unique().to_list() == [1]
    assert gap.select("lds", "low", "high").equals(same.select("lds", "low", "high"))


def test_seeds_say_how_well_one_half_of_them_predicts_the_other():
    quiet, _ = additive(np.random.default_rng(2), seeds=2)
    loud, _ = additive(np.random.default_rng(2), seeds=2, noise=100.0)
    scores = [score_estimators({}, trained, FEW).filter(estimator=OTHER_SEEDS, domain=ALL)["lds"][0]
              for trained in (quiet, loud)]  # fmt: skip
    assert scores[0] == pytest.approx(1)
    assert abs(scores[1]) < 0.4
    single, _ = additive(np.random.default_rng(2))
    assert OTHER_SEEDS not in score_estimators({}, single, FEW)["estimator"].to_list()


def test_validation_rows_without_a_finite_loss_are_left_out_everywhere():
    members = pl.DataFrame({"subset": [0, 1], "example_id": ["a", "b"]})
    rows = [
        (s, 0, row, "x", loss)
        for s, row, loss in ((1, "v2", 4.0), (0, "v1", 1.0), (1, "v1", 3.0), (0, "v2", float("nan")))
    ]
    losses = pl.DataFrame(rows, orient="row", schema=["subset", "seed", "example_id", "domain", "loss"])
    trained = read_trained(members, losses)
    assert trained.losses.tolist() == [[[1.0]], [[3.0]]]
    assert trained.member.tolist() == [[1, 0], [0, 1]]


def test_a_model_that_diverged_is_named_with_its_remedy():
    """One model without a loss on any row; one without on a single domain, beside a model that lacks one row."""
    members = pl.DataFrame({"subset": [0, 1], "example_id": ["a", "b"]})
    rows = [(s, e, f"{d}{n}", d, 1.0 + n) for s in (0, 1) for e in (0, 1) for d in ("x", "y") for n in (0, 1)]
    losses = pl.DataFrame(rows, orient="row", schema=["subset", "seed", "example_id", "domain", "loss"])
    own = (pl.col("subset") == 1) & (pl.col("seed") == 0)
    one_row = (pl.col("subset") == 0) & (pl.col("example_id") == "y0")
    for wrong in (own, (own & (pl.col("domain") == "y")) | one_row):
        broken = losses.with_columns(loss=pl.when(wrong).then(float("nan")).otherwise("loss"))
        with pytest.raises(BadSetting, match=r"subset 1 with seed 0 has none on 2 of 2.*lower `finetune\.lr`"):
            read_trained(members, broken)


def test_subsets_have_their_share_and_more_of_them_begin_with_the_same():
    ids = [f"r{n}" for n in range(100)]
    some = draw_subsets(ids, DatamodelsParams(subsets=8, rows=50, share=0.3))
    more = draw_subsets(ids[::-1], DatamodelsParams(subsets=12, rows=50, share=0.3))
    assert more[:8] == some
    assert {len(set(subset)) for subset in more} == {15}
    assert len(set().union(*more)) <= 50
    with pytest.raises(BadSetting, match=r"`verify\.datamodels\.share` is 0\.1: of 4 rows"):
        draw_subsets(ids[:4], DatamodelsParams(share=0.1))
