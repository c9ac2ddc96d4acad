"""The influence matrix is the mean of all cosines, and its error the formula, by plain loops over pairs of rows."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.influence_matrix.nodes import find_matrix, show_matrix
from pipelines.mixture.nodes import mix_at_budget, weigh_mixture
from pipelines.pareto.nodes import find_mixtures, show_mixtures
from support.gradients import collected
from support.tiny import Tiny, checksums
from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.gradients.store import FeatureStore
from winnow.influence.groups import read_groups
from winnow.params import ArmParams, BudgetParams, InfluenceParams, ParetoParams, SelectionParams
from winnow.stages import Finished, FinishedParts

BY_SUBSET = InfluenceParams(columns="subset")
SEARCH = ParetoParams(cap=0.6, population=24, generations=8)
BUDGET = BudgetParams(share=0.2)


@pytest.fixture(scope="session")
def stores(tiny: Tiny, root: Path, warmup: Finished, validation_store: FinishedParts) -> tuple[FinishedParts, ...]:
    return collected(tiny, root, warmup), validation_store


@pytest.fixture(scope="session")
def matrix(tiny: Tiny, root: Path, stores: tuple[FinishedParts, ...], targets: Finished) -> Finished:
    return find_matrix(*stores, targets, tiny.tokens, BY_SUBSET, tiny.machine(root))


@pytest.fixture(scope="session")
def mixtures(tiny: Tiny, root: Path, matrix: Finished) -> Finished:
    return find_mixtures(matrix, tiny.tokens, SEARCH, BUDGET, tiny.machine(root))


def all_cosines(stores: tuple[FinishedParts, ...]) -> tuple[list[str], list[str], np.ndarray]:
    """Training and validation ids, and the weighted sum over checkpoints of the cosine of every pair."""
    train, validation = stores
    total: np.ndarray | float = 0.0
    for step, weight in train.summary["weights"].items():
        names, ours = FeatureStore(train.parts[f"{step}@0"].path).features()
        others, theirs = FeatureStore(validation.parts[f"{step}@0"].path).features()
        ours, theirs = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (ours, theirs))
        total = total + weight * (ours.astype(np.float64) @ theirs.T)
    return names, others, np.asarray(total)


def test_cells_are_the_means_of_all_cosines_and_their_errors(
    tiny: Tiny, stores: tuple[FinishedParts, ...], targets: Finished, matrix: Finished
):
    examples, validation, cosines = all_cosines(stores)
    subset = dict(tiny.tokens.scan("lengths").select("example_id", "subset").collect().iter_rows())
    domain = dict(targets.scan().select("example_id", "subset").collect().iter_rows())
    cells = matrix.scan("cells").collect()
    assert set(cells["domain"]) == {*domain.values(), "average"}
    for cell in cells.iter_rows(named=True):
        z = [n for n, name in enumerate(examples) if subset[name] == cell["cluster"]]
        v = [n for n, name in enumerate(validation) if cell["domain"] in ("average", domain[name])]
        part = cosines[np.ix_(z, v)]
        assert cell["rows"] == len(z)
        assert cell["influence"] == pytest.approx(part.mean(), abs=1e-6)
        error = part.mean(axis=0).var(ddof=1) / len(v) + part.mean(axis=1).var(ddof=1) / len(z)
        assert cell["error"] == pytest.approx(np.sqrt(error), rel=1e-4)


def test_the_errors_are_those_of_drawing_anew(stores: tuple[FinishedParts, ...]):
    """Bootstrap over rows and columns: the spread of the mean is what the formula says, about."""
    _, _, cosines = all_cosines(stores)
    random = np.random.default_rng(0)
    rows, columns = cosines.shape
    drawn = [
        cosines[random.integers(0, rows, rows)][:, random.integers(0, columns, columns)].mean() for _ in range(400)
    ]
    formula = np.sqrt(cosines.mean(axis=0).var(ddof=1) / columns + cosines.mean(axis=1).var(ddof=1) / rows)
    assert np.std(drawn) == pytest.approx(formula, rel=0.3)


def test_a_table_of_ones_own_groups_the_columns(
    tiny: Tiny, root: Path, tmp_path: Path, stores: tuple[FinishedParts, ...], targets: Finished
):
    ids = sorted(tiny.tokens.scan("lengths").filter(pl.col("split") == "train").collect()["example_id"])
    groups = pl.DataFrame({"example_id": ids, "group": ["one", *["many"] * (len(ids) - 1)]})
    groups.write_csv(tmp_path / "groups.csv")
    params = InfluenceParams(columns=str(tmp_path / "groups.csv"))
    cells = find_matrix(*stores, targets, tiny.tokens, params, tiny.machine(root)).scan("cells").collect()
    alone = cells.filter(pl.col("cluster") == "one")
    assert (alone["rows"] == 1).all()
    assert alone["error"].is_nan().all(), "of one row no error is known"
    assert alone["influence"].is_finite().all()
    show_matrix(find_matrix(*stores, targets, tiny.tokens, params, tiny.machine(root)))
    nowhere = InfluenceParams(columns="nothing.csv")
    with pytest.raises(MissingResource, match=r"nothing\.csv"):
        find_matrix(*stores, targets, tiny.tokens, nowhere, tiny.machine(root))
    (tmp_path / "other.csv").write_text("name,group\na,b\n")
    with pytest.raises(BadInput, match="no column 'example_id'"):
        read_groups(tmp_path / "other.csv", str(tmp_path / "other.csv"))


def test_mixtures_are_found_once_and_have_all_strategies(tiny: Tiny, root: Path, matrix: Finished, mixtures: Finished):
    again = find_mixtures(matrix, tiny.tokens, SEARCH, BUDGET, tiny.machine(root))
    assert again == mixtures
    choices, front, figure, quality = show_mixtures(mixtures)
    named = {"balanced", "knee", "conservative", "weighted", "closed_form", "additive", "random_beta"}
    domains = {name.removeprefix("gain/") for name in front.columns if name.startswith("gain/")}
    assert set(choices["strategy"]) == named | {f"best_{name}" for name in domains}
    weights = choices[[name for name in choices.columns if name.startswith("weight/")]].to_numpy()
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights.max() <= 0.6 + 1e-9
    assert 0.9 < quality["pareto/share_of_optimum"] <= 1 + 1e-9
    assert len(figure.axes) >= 4


def test_the_same_search_ends_with_the_same_bytes(tiny: Tiny, tmp_path: Path, matrix: Finished, mixtures: Finished):
    other = find_mixtures(matrix, tiny.tokens, SEARCH, BUDGET, tiny.machine(tmp_path))
    assert checksums(other.path) == checksums(mixtures.path)


def test_an_arm_trains_on_the_mixture_that_was_chosen(tiny: Tiny, matrix: Finished, mixtures: Finished):
    weights = weigh_mixture("balanced")(tiny.tokens, matrix, mixtures, BUDGET, ArmParams(seeds=2))
    mix = mix_at_budget(weights, tiny.tokens, BUDGET, SelectionParams())
    subset = tiny.tokens.scan("lengths").select("example_id", "subset").collect().to_pandas()
    chosen = mixtures.scan("choices").filter(pl.col("strategy") == "balanced").collect().to_dicts()[0]
    for _, rows in mix.merge(subset, on="example_id").groupby("seed"):
        total = rows["multiplicity"].sum()
        for name, count in rows.groupby("subset")["multiplicity"].sum().items():
            assert abs(count - total * chosen[f"weight/{name}"]) < 1
    with pytest.raises(BadSetting, match="best_law"):
        weigh_mixture("best_law")(tiny.tokens, matrix, mixtures, BUDGET, ArmParams())
