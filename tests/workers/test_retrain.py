"""The oracle: models retrained with extra weight on one cluster, compared with models without."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.evaluate.nodes import evaluate_on_targets, score_models
from pipelines.finetune.nodes import finetune, train_mixes
from pipelines.influence_matrix.nodes import retrain_matrix
from support.tiny import Tiny
from winnow.influence.retrain import mixes_with_extra, retrained_cells
from winnow.params import ArmParams, EvaluateParams, FinetuneParams, InfluenceParams, RetrainParams, TokenizeParams
from winnow.stages import Finished

FEW = FinetuneParams(steps=4, batch=8, lr=0.01, precision="fp32")
TWICE = RetrainParams(seeds=2, extra=2.0)


def test_a_clusters_mix_has_extra_copies_of_its_rows_and_of_no_others():
    clusters = {f"a:{n}": "small" for n in range(3)} | {f"b:{n}": "large" for n in range(10)}
    mixes, seeds = mixes_with_extra(clusters, RetrainParams(extra=0.5, seeds=2))
    assert set(mixes) == {f"{name}@{seed}" for name in ("", "small", "large") for seed in (0, 1)}
    assert mixes["@0"] == dict.fromkeys(sorted(clusters), 1)
    assert seeds["large@1"] == 1
    more = {name: count - 1 for name, count in mixes["large@0"].items()}
    assert sum(more.values()) == 5
    assert all(name.startswith("b:") for name, count in more.items() if count)
    assert mixes["large@0"] != mixes["large@1"], "which rows is drawn for each seed"
    thrice, _ = mixes_with_extra(clusters, RetrainParams(extra=2.0, seeds=2))
    assert thrice["small@0"]["a:0"] == 3
    sample, _ = mixes_with_extra(clusters, RetrainParams(rows=6, seeds=2))
    assert len(sample["@0"]) == 6


def test_cells_are_falls_of_the_loss_by_the_share_of_weight_that_was_added():
    clusters = {f"a:{n}": "a" for n in range(4)} | {f"b:{n}": "b" for n in range(12)}
    domains = {"v:0": "x", "v:1": "x", "v:2": "y", "v:3": "y"}
    random = np.random.default_rng(0)
    mixes, seeds = mixes_with_extra(clusters, TWICE)
    rows = sorted(domains, reverse=True)
    losses = {name: pl.DataFrame({"example_id": rows, "loss": random.normal(size=4)}) for name in mixes}
    cells = retrained_cells(losses, seeds, clusters, domains, TWICE)
    assert cells["cluster"].to_list() == ["a", "b"] * 3
    assert cells["domain"].to_list() == ["x", "x", "y", "y", "average", "average"]

    def fall(row: str, cluster: str, seed: int) -> float:
        of = [dict(losses[f"{name}@{seed}"].iter_rows())[row] for name in ("", cluster)]
        return of[0] - of[1]

    falls = np.array([[fall(row, "a", seed) for row in ("v:0", "v:1")] for seed in (0, 1)]) * 16 / 8
    cell = cells.row(0, named=True)
    assert cell["influence"] == pytest.approx(falls.mean())
    expected = falls.mean(1).var(ddof=1) / 2 + falls.mean(0).var(ddof=1) / 2
    assert cell["error"] == pytest.approx(np.sqrt(expected))


def test_the_matrix_of_retrained_models_is_their_losses_on_the_targets(tiny: Tiny, root: Path, targets: Finished):
    params = InfluenceParams(estimator="retrain", columns="subset", retrain=TWICE)
    settings = (FEW, EvaluateParams(), TokenizeParams(), params, tiny.machine(root))
    matrix = retrain_matrix(tiny.tokens, tiny.base, targets, tiny.tokens, *settings)
    clusters = dict(matrix.scan("groups").collect().iter_rows())
    mixes, seeds = mixes_with_extra(clusters, TWICE)
    names = [f"{name}@{seed}" for name in ("", "math") for seed in (0, 1)]
    models = train_mixes({name: mixes[name] for name in names}, seeds, tiny.tokens, tiny.base, FEW, tiny.machine(root))
    forced = EvaluateParams(split="validation")
    scored = score_models(models, targets, tiny.base, forced, TokenizeParams(), tiny.machine(root))
    losses = {name: part.scan("rows").collect()["loss"].mean() for name, part in scored.items()}
    falls = [losses[f"@{seed}"] - losses[f"math@{seed}"] for seed in (0, 1)]
    size = sum(group == "math" for group in clusters.values())
    cell = matrix.scan("cells").filter(domain="average", cluster="math").collect().to_dicts()[0]
    assert cell["influence"] == pytest.approx(np.mean(falls) * len(clusters) / (2 * size), rel=1e-4)
    assert cell["error"] > 0
    assert retrain_matrix(tiny.tokens, tiny.base, targets, tiny.tokens, *settings) == matrix


def test_losses_on_the_targets_are_those_of_the_arms_models(tiny: Tiny, root: Path, targets: Finished):
    arm = ArmParams(seeds=2)
    model = finetune(tiny.mix(2), tiny.tokens, tiny.base, FEW, TokenizeParams(), arm, tiny.machine(root))
    generated = EvaluateParams(decoding="generate", limit=1)
    losses = evaluate_on_targets(model, targets, tiny.base, generated, TokenizeParams(), tiny.machine(root))
    assert set(losses.parts) == {"0", "1"}
    rows = losses.parts["0"].scan("rows").collect()
    assert set(rows["example_id"]) == set(targets.scan().collect()["example_id"]), "no limit, and nothing generated"
    assert rows["loss"].is_finite().all()
