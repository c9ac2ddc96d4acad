"""`kedro run --pipeline datamodels` as a user types it, from nothing."""

from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from support.study import Study


def test_every_estimator_has_its_score_in_the_table_the_figure_and_the_tracker(tmp_path: Path):
    study = Study(tmp_path)
    study.kedro("run", "--pipeline", "datamodels", "--env", "test")
    table = pd.read_csv(study.data / "08_reporting" / "datamodels.csv")
    estimators = {"gradient", "ekfac", "less", "loss", "bm25", "rds", "random"}
    assert set(table["estimator"]) == estimators
    assert (table["subsets"] == 8).all()
    assert (table["low"] <= table["high"]).all()
    assert (study.data / "08_reporting" / "figures" / "datamodels.png").stat().st_size > 1000
    client = MlflowClient(study.tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.`winnow.kind` = 'study'")
    assert {f"verify/lds/{name}{end}" for name in estimators for end in ("", "_low", "_high")} <= set(run.data.metrics)
    assert not list(study.data.rglob("*.partial"))
