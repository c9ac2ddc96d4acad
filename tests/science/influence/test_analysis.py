"""The analysis of an influence matrix, against closed forms and plain loops."""

import math

import numpy as np
import polars as pl
import pytest

from winnow.influence.analysis import (
    Asymmetry,
    Matrix,
    arrange,
    asymmetry,
    average_and_mean,
    components,
    correlations,
    means_by_origin,
    own_and_other,
    totals,
    weighted,
)
from winnow.influence.figures_of_merit import analyse, analysis_metrics, analysis_table
from winnow.influence.values import Values

NAMES = ["code", "law", "math"]


def tables(
    values: np.ndarray,
    errors: np.ndarray | float = 0.01,
    sizes: list[int] | None = None,
    origins: list[str] | None = None,
    shares: list[float] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cells and groups; cluster n is `<origin>/n`, and the average row weighs the domains by ``shares``."""
    count, clusters = values.shape
    domains = [*NAMES, *(f"target {n}" for n in range(count))][:count]
    origins = origins or [NAMES[n % 3] for n in range(clusters)]
    names = [f"{origin}/{n}" for n, origin in enumerate(origins)]
    weights = shares or [1 / count] * count
    rows = zip(
        [*domains, "average"],
        [*values, weights @ values],
        [*np.broadcast_to(errors, values.shape), np.full(clusters, 0.01)],
        strict=True,
    )
    cells = pl.concat(
        [
            pl.DataFrame(
                {"domain": name, "cluster": names, "rows": sizes or [10] * clusters, "influence": row, "error": error}
            )
            for name, row, error in rows
        ]
    )
    ids = [
        (f"{origin}/a/b.jsonl:{n}-{row}", name)
        for n, (origin, name) in enumerate(zip(origins, names, strict=True))
        for row in range(3)
    ]
    return cells, pl.DataFrame(ids, schema=["example_id", "cluster"], orient="row")


def matrix(values: np.ndarray, *args: object, **options: object) -> Matrix:
    return arrange(*tables(values, *args, **options))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_cluster_comes_from_the_subset_of_most_of_its_examples():
    cells, _ = tables(np.ones((1, 2)), origins=["code", "law"])
    ids = ["math/a.jsonl:0", "math/b/c.jsonl:0", "law/a.jsonl:0", "law/a.jsonl:1", "code/a.jsonl:1"]
    groups = pl.DataFrame({"example_id": ids, "cluster": ["code/0", "code/0", "code/0", "law/1", "law/1"]})
    assert arrange(cells, groups).origins == ["math", "code"], "of equals the first by name"


def test_means_by_origin_are_those_of_a_loop_over_examples(random: np.random.Generator):
    found = matrix(random.normal(size=(3, 7)), sizes=[1, 2, 3, 4, 5, 6, 7])
    means = means_by_origin(found)
    for row, column in np.ndindex(means.values.shape):
        cells = [
            found.values[row, n]
            for n, origin in enumerate(found.origins)
            for _ in range(int(found.sizes[n]))
            if origin == means.columns[column]
        ]
        assert means.values[row, column] == pytest.approx(np.mean(cells))


def test_planted_blocks_give_the_planted_ratio():
    """Own clusters at 3, others at 2: the ratio is 1.5, whatever their sizes, and its error the delta method's."""
    origins = ["code", "code", "law", "math"]
    values = np.array([[3.0 if origin == name else 2.0 for origin in origins] for name in NAMES])
    found = own_and_other(matrix(values, 0.3, sizes=[1, 50, 7, 9], origins=origins))
    assert found.ratio[0] == pytest.approx(1.5)
    error = 0.3 / math.sqrt(3)
    assert found.error == pytest.approx([error, error])
    assert found.ratio[1] == pytest.approx(1.5 * math.hypot(error / 3, error / 2))
    assert np.nansum(found.own) == 4
    assert np.isfinite(found.own).all()


def test_a_folder_named_after_a_subset_is_its_own_and_other_domains_have_none():
    cells, groups = tables(np.array([[3.0, 1.0], [9.0, 9.0]]), origins=["math", "law"])
    names = {"code": "math/part-0.parquet", "law": "elsewhere"}
    found = own_and_other(arrange(cells.with_columns(pl.col("domain").replace(names)), groups))
    assert found.means.rows == ["math/part-0.parquet"]
    assert found.mean == pytest.approx([3, 1])
    assert np.isnan(found.own[1]).all()


def test_the_error_of_a_mean_is_that_of_cells_that_are_wrong_together(random: np.random.Generator):
    """Monte Carlo: one draw per domain, shared by its cells; domains by themselves."""
    origins = ["code", "code", "law", "math", "math"]
    values, errors = random.normal(size=(3, 5)), random.uniform(0.1, 1, (3, 5))
    found = own_and_other(matrix(values, errors, origins=origins))
    drawn = [
        own_and_other(matrix(values + errors * random.normal(size=(3, 1)), errors, origins=origins)).mean
        for _ in range(1000)
    ]
    assert np.std(drawn, axis=0) == pytest.approx(found.error, rel=0.1)


def test_unknown_errors_do_not_count_and_leave_none_where_they_are_all():
    values, errors = np.ones((1, 3)), np.array([[0.2, math.nan, math.nan]])
    _, error = weighted(values, errors, np.array([[1.0, 0], [5, 0], [0, 1]]))
    assert error[0, 0] == pytest.approx(0.2)
    assert np.isnan(error[0, 1])


def test_totals_are_sums_and_their_errors_those_of_independent_domains(random: np.random.Generator):
    values, errors = random.normal(size=(4, 6)), random.uniform(0.1, 1, (4, 6))
    total, error = totals(matrix(values, errors))
    assert total == pytest.approx(values.sum(axis=0))
    drawn = [(values + errors * random.normal(size=values.shape)).sum(axis=0) for _ in range(3000)]
    assert np.std(drawn, axis=0) == pytest.approx(error, rel=0.1)


def test_the_average_tells_the_domains_shares(random: np.random.Generator):
    found = average_and_mean(matrix(random.normal(size=(3, 8)), shares=[0.5, 0.3, 0.2]))
    assert found.shares == pytest.approx([0.5, 0.3, 0.2])
    assert found.misfit < 1e-12
    assert average_and_mean(matrix(np.ones((3, 8)))).shares is None, "equal rows do not tell"


def test_a_matrix_of_rank_one_has_one_component(random: np.random.Generator):
    domains, clusters = np.array([0.6, 0.0, -0.8]), random.normal(size=9)
    found = components(matrix(np.outer(domains, clusters)))
    assert found.shares == pytest.approx([1, 0, 0])
    assert found.loadings[:, 0] == pytest.approx(-domains), "the largest loading is positive"
    assert found.scores[:, 0] == pytest.approx(clusters.mean() - clusters)


def test_components_are_the_eigenvectors_of_the_covariance(random: np.random.Generator):
    found_in = matrix(random.normal(size=(4, 30)) * np.array([[1], [2], [4], [8]]))
    found = components(found_in)
    shares, vectors = np.linalg.eigh(np.cov(found_in.values))
    assert found.shares == pytest.approx(shares[::-1] / shares.sum())
    assert np.abs((found.loadings * vectors[:, ::-1]).sum(axis=0)) == pytest.approx(1)
    assert found.loadings @ found.scores.T == pytest.approx(
        found_in.values - found_in.values.mean(axis=1, keepdims=True)
    )


def test_errors_of_components_are_those_of_drawing_anew(random: np.random.Generator):
    values = np.outer([3, 2, 1], random.normal(size=12)) + 0.1 * random.normal(size=(3, 12))
    found = components(matrix(values, 0.1))
    drawn = [components_of(values + 0.1 * random.normal(size=values.shape)) for _ in range(400)]
    assert np.std([share for share, _ in drawn]) == pytest.approx(found.share_errors[0], rel=0.25)
    assert np.std([loading for _, loading in drawn], axis=0) == pytest.approx(found.loading_errors[:, 0], rel=0.25)


def components_of(values: np.ndarray) -> tuple[float, np.ndarray]:
    shares, vectors = np.linalg.eigh(np.cov(values))
    first = vectors[:, -1]
    return shares[-1] / shares.sum(), first * np.sign(first[np.abs(first).argmax()])


def test_a_symmetric_matrix_has_no_asymmetry_and_an_antisymmetric_part_its_share():
    square = np.array([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    origins = list(NAMES)
    plain = matrix(square, 1e-9, origins=origins)
    found = asymmetry(plain, means_by_origin(plain))
    assert found.ratio == pytest.approx(0)
    assert found.of == "subsets of origin"
    turned = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 0]])
    other = matrix(square + turned, 0.3, origins=origins)
    found = asymmetry(other, means_by_origin(other))
    assert found.ratio == pytest.approx(np.linalg.norm(turned) / np.linalg.norm(square))
    assert found.differences.values == pytest.approx(2 * turned)
    assert found.differences.errors[0, 1] == pytest.approx(0.3 * math.sqrt(2))


def test_errors_alone_give_about_the_asymmetry_by_chance(random: np.random.Generator):
    values = np.full((20, 20), 1.0)
    names = [f"name {n}" for n in range(20)]
    noisy = Values(names, names, values + 0.05 * random.normal(size=values.shape), np.full(values.shape, 0.05))
    found = asymmetry(as_square(noisy), noisy)
    assert found.of == "clusters"
    assert found.ratio == pytest.approx(found.by_chance, rel=0.15)


def as_square(values: Values) -> Matrix:
    none = np.zeros(len(values.columns))
    return Matrix(values.rows, values.columns, values.values, values.errors, none, none, none + 1, values.columns)


def test_correlations_are_pearsons_over_clusters(random: np.random.Generator):
    values = random.normal(size=(3, 40))
    values[2] = -2 * values[0] + 1
    found = correlations(matrix(values, 0.1))
    assert found.values[0, 2] == pytest.approx(-1)
    one, other = values[0] - values[0].mean(), values[1] - values[1].mean()
    assert found.values[0, 1] == pytest.approx(one @ other / math.sqrt((one @ one) * (other @ other)))


def test_the_table_and_the_metrics_have_every_part(random: np.random.Generator):
    found = analyse(*tables(random.normal(size=(3, 9))))
    table = analysis_table(found)
    assert table.columns == ["measure", "name", "value", "error", "note"]
    ranked = table.filter(pl.col("measure") == "average influence")["value"].to_numpy()
    assert (np.diff(ranked) <= 0).all()
    assert not table.filter(pl.col("name") == "left out").height
    numbers = analysis_metrics(found)
    assert {"influence/intra_inter_ratio", "influence/asymmetry", "influence/explained_by_first"} <= set(numbers)
    assert all(type(value) is float and math.isfinite(value) for value in numbers.values())
    shown = table.filter(pl.col("measure") == "intra / inter")["value"][0]
    assert numbers["influence/intra_inter_ratio"] == shown


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (3, 6)])
@pytest.mark.parametrize("error", [0.01, math.nan, 0.0])
def test_a_matrix_of_any_shape_has_a_table_that_says_what_it_lacks(shape: tuple[int, int], error: float):
    values = np.random.default_rng(0).normal(size=shape)
    found = analyse(*tables(values, error))
    left_out = analysis_table(found).filter(pl.col("name") == "left out")
    assert all(left_out["note"])
    assert ("principal components" in left_out["measure"].to_list()) == (min(shape) < 2)
    assert all(math.isfinite(value) for value in analysis_metrics(found).values())


def test_influences_that_are_all_the_same_are_no_error():
    for value in (0.0, 1.0):
        found = analyse(*tables(np.full((3, 6), value)))
        assert isinstance(found.components, str)
        assert isinstance(found.correlations, str)
        assert isinstance(found.asymmetry, Asymmetry) == bool(value)
        assert all(math.isfinite(number) for number in analysis_metrics(found).values())
