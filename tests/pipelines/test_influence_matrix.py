"""The matrix's figures and tables lie in one folder, whatever was there before."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from pipelines.influence_matrix import create_pipeline
from winnow.stages import Finished

CATALOG = Path(__file__).resolve().parents[2] / "conf" / "base" / "catalog" / "influence_matrix.yml"
TABLES = {"influence_matrix.csv", "influence_analysis.csv", "influence_metrics.json"}


def matrix(folder: Path, domains: list[str], clusters: list[str]) -> Finished:
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=(len(domains), len(clusters)))
    cells = pl.concat(
        pl.DataFrame({"domain": name, "cluster": clusters, "rows": 5, "influence": row, "error": 0.1})
        for name, row in zip([*domains, "average"], [*values, values.mean(axis=0)], strict=True)
    )
    groups = pl.DataFrame({"example_id": [f"{name.split('/')[0]}/a.jsonl:0" for name in clusters], "cluster": clusters})
    tables = {}
    for name, table in (("cells", cells), ("groups", groups)):
        table.write_parquet(folder / f"{name}.parquet")
        tables[name] = {"file": f"{name}.parquet", "rows": table.height, "fingerprint": name}
    return Finished("influence_matrix", folder.name, folder, summary={"tables": tables})


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    entries = yaml.safe_load(CATALOG.read_text().replace("${data_root:}", str(tmp_path)))
    return DataCatalog.from_config({name: entry for name, entry in entries.items() if name != "influence_matrix"})


def files(catalog: DataCatalog, tmp_path: Path, found: Finished) -> set[str]:
    catalog["influence_matrix"] = MemoryDataset(found)
    SequentialRunner().run(create_pipeline("gradient", "subset").filter(node_names=["show_influence_matrix"]), catalog)
    return {path.name for path in (tmp_path / "08_reporting" / "influence_matrix").iterdir()}


def test_every_figure_and_number_is_in_one_folder(catalog: DataCatalog, tmp_path: Path):
    clusters = ["law/0", "law/1", "math/0", "math/1"]
    made = files(catalog, tmp_path, matrix(tmp_path / "many", ["law", "math"], clusters))
    assert len({name for name in made if name.endswith(".png")}) == 10
    assert made >= {*TABLES, "heatmap.png"}
    assert "influence/intra_inter_ratio" in catalog.load("influence_metrics")
    assert len(pd.read_csv(tmp_path / "08_reporting" / "influence_matrix" / "influence_matrix.csv")) == 12


def test_a_figure_that_is_no_longer_made_does_not_linger(catalog: DataCatalog, tmp_path: Path):
    before = files(catalog, tmp_path, matrix(tmp_path / "many", ["law", "math"], ["law/0", "law/1", "math/0"]))
    after = files(catalog, tmp_path, matrix(tmp_path / "few", ["law"], ["law/0", "law/1"]))
    assert before - after == {"intra_and_inter.png", "components.png", "asymmetry.png", "correlations.png"}
    assert after >= {*TABLES, "heatmap.png"}
