"""The influence matrix is the mean of all cosines, and its error the formula, by plain loops over pairs of rows."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.gradients.nodes import collect_targets
from pipelines.influence_matrix.nodes import find_matrix, show_matrix
from pipelines.mixture.nodes import (
    mix_at_budget,
    mix_everything,
    tell_mixture,
    weigh_full_mixture,
    weigh_mixture,
    write_reweighted,
)
from pipelines.pareto.nodes import change_mixture, find_mixtures, show_mixtures
from pipelines.warmup.nodes import named_retraining
from support.gradients import EXACT, WARMUP, collected
from support.tiny import Tiny, checksums
from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.gradients.store import FeatureStore
from winnow.influence.groups import read_groups
from winnow.params import ArmParams, BudgetParams, InfluenceParams, IngestParams, ParetoParams, SelectionParams
from winnow.records.ingest import RawFile, read_file
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
    figures, heatmap, _, analysis, metrics = show_matrix(
        find_matrix(*stores, targets, tiny.tokens, params, tiny.machine(root))
    )
    assert {"average_ranking.png", "total_ranking.png"} <= set(figures)
    assert len(heatmap.axes) == 2
    assert "influence/average" in metrics
    ranked = analysis[analysis["measure"] == "average influence"].set_index("name")
    assert ranked["error"].isna().to_dict() == {"one": True, "many": False}
    nowhere = InfluenceParams(columns="nothing.csv")
    with pytest.raises(MissingResource, match=r"nothing\.csv"):
        find_matrix(*stores, targets, tiny.tokens, nowhere, tiny.machine(root))
    (tmp_path / "other.csv").write_text("name,group\na,b\n")
    with pytest.raises(BadInput, match="no column 'example_id'"):
        read_groups(tmp_path / "other.csv", str(tmp_path / "other.csv"))
    (tmp_path / "twice.csv").write_text("example_id,group\na,b\na,c\n")
    with pytest.raises(BadInput, match="'a' more than once"):
        read_groups(tmp_path / "twice.csv", "twice.csv")
    (tmp_path / "nameless.csv").write_text('example_id,group\na,""\nb,\nc,d\n')
    assert read_groups(tmp_path / "nameless.csv", "nameless.csv") == {"c": "d"}
    strange = InfluenceParams(columns=str(tmp_path / "strange.csv"))
    (tmp_path / "strange.csv").write_text("example_id,group\na,b\n")
    with pytest.raises(BadInput, match="None of the 1 examples"):
        find_matrix(*stores, targets, tiny.tokens, strange, tiny.machine(root))
    unknown = InfluenceParams(columns="subset", dim=99)
    with pytest.raises(BadSetting, match=r"`influence\.dim` is 99"):
        find_matrix(*stores, targets, tiny.tokens, unknown, tiny.machine(root))


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
    told = tell_mixture("balanced")(mixtures)
    assert {name.split("/")[0] for name in told} == {"pareto", "mixture"}
    for name, value in told.items():
        column = name.replace("pareto/predicted_gain/", "gain/").replace("mixture/beta/", "beta/")
        assert value == chosen[column]
    with pytest.raises(BadSetting, match="best_law"):
        weigh_mixture("best_law")(tiny.tokens, matrix, mixtures, BUDGET, ArmParams())


def test_reweighted_data_is_the_mix_in_the_raw_folders(
    tiny: Tiny, root: Path, matrix: Finished, mixtures: Finished, tmp_path: Path
):
    weights = weigh_mixture("random_beta")(tiny.tokens, matrix, mixtures, BUDGET, ArmParams(seeds=2))
    mix = mix_at_budget(weights, tiny.tokens, BUDGET, SelectionParams())
    mix.loc[0, "multiplicity"] = 3
    inputs = (mix, tiny.train, tiny.raw, matrix, IngestParams())
    data, table = write_reweighted(*inputs, tiny.machine(tiny.root))
    first = mix[mix["seed"] == 0]
    wanted = {name: int(times) for name, times in zip(first["example_id"], first["multiplicity"], strict=True)}
    assert dict(data.scan("manifest").collect().iter_rows()) == wanted
    found: dict[str, int] = {}
    for file in sorted((data.path / "reweighted_data").rglob("*.*")):
        name = file.relative_to(data.path / "reweighted_data").as_posix()
        rows = list(read_file(data.path / "reweighted_data", RawFile(name), IngestParams()))
        assert (tiny.root / tiny.raw.summary["folder"] / name).exists()
        for row in rows:
            found[row["content_hash"]] = found.get(row["content_hash"], 0) + 1
    contents = dict(tiny.train.scan().select("example_id", "content_hash").collect().iter_rows())
    expected: dict[str, int] = {}
    for name, times in wanted.items():
        expected[contents[name]] = expected.get(contents[name], 0) + times
    assert found == expected
    for kind in ("cluster", "subset"):
        part = table[table["kind"] == kind]
        assert part["after"].sum() == sum(wanted.values())
        assert part["before"].sum() == len(contents)
        assert part["share_after"].sum() == pytest.approx(1)


def test_units_of_loss_are_products_by_summed_learning_rates(
    tiny: Tiny, root: Path, stores: tuple[FinishedParts, ...], targets: Finished
):
    train, validation = stores
    params = InfluenceParams(columns="subset", normalize=False)
    cells = find_matrix(*stores, targets, tiny.tokens, params, tiny.machine(root)).scan("cells").collect()
    total: np.ndarray | float = 0.0
    for step, rate in train.summary["rates"].items():
        names, ours = FeatureStore(train.parts[f"{step}@0"].path).features()
        _, theirs = FeatureStore(validation.parts[f"{step}@0"].path).features()
        total = total + rate * (ours.astype(np.float64) @ theirs.T)
    subset = dict(tiny.tokens.scan("lengths").select("example_id", "subset").collect().iter_rows())
    for cell in cells.filter(pl.col("domain") == "average").iter_rows(named=True):
        z = [n for n, name in enumerate(names) if subset[name] == cell["cluster"]]
        assert cell["influence"] == pytest.approx(np.asarray(total)[z].mean(), rel=1e-4)


def test_stored_bits_keep_the_size_of_cosines(tiny: Tiny, tmp_path: Path, warmup: Finished, targets: Finished,
                                              target_tokens: Finished, matrix: Finished):  # fmt: skip
    """A row of one bit each is longer than what it stands for: it is divided by the length that it had."""
    few = EXACT.model_copy(update={"projection": "sketch", "dims": [16384], "store": "1-bit"})
    train = collected(tiny, tmp_path, warmup, few)
    validation = collect_targets(warmup, target_tokens, tiny.base, few, tiny.machine(tmp_path))
    bits = find_matrix(train, validation, targets, tiny.tokens, BY_SUBSET, tiny.machine(tmp_path))
    exact, found = (part.scan("cells").collect()["influence"].to_numpy() for part in (matrix, bits))
    assert found @ exact / (exact @ exact) == pytest.approx(1, abs=0.05)


def test_rows_are_files_or_groups_of_ones_own(
    tiny: Tiny, root: Path, tmp_path: Path, stores: tuple[FinishedParts, ...], targets: Finished, matrix: Finished
):
    def domains(rows: str) -> set[str]:
        params = InfluenceParams(columns="subset", rows=rows)
        found = find_matrix(*stores, targets, tiny.tokens, params, tiny.machine(root)).scan("cells").collect()
        return set(found["domain"])

    ids = targets.scan().select("example_id").collect()["example_id"].to_list()
    assert domains("file") == {*(name.rpartition(":")[0] for name in ids), "average"}
    assert domains("subtask") == {*(f"{name}/{name}" for name in {i.split("/")[0] for i in ids}), "average"}
    pl.DataFrame({"example_id": ids, "group": ["one", *["others"] * (len(ids) - 1)]}).write_csv(tmp_path / "v.csv")
    assert domains(str(tmp_path / "v.csv")) == {"one", "others", "average"}
    with pytest.raises(MissingResource, match="neither domain, subtask nor file"):
        domains("clusters")
    (tmp_path / "strange.csv").write_text("example_id,group\na,b\n")
    with pytest.raises(BadInput, match="is a row of the targets"):
        domains(str(tmp_path / "strange.csv"))


def test_a_full_mixture_has_as_many_rows_as_the_pool(tiny: Tiny, matrix: Finished):
    params = ParetoParams(mode="relative", change=0.3, population=24, generations=8)
    relative = find_mixtures(matrix, tiny.tokens, params, BUDGET, tiny.machine(tiny.root))
    weights = weigh_full_mixture("random_beta")(tiny.tokens, matrix, relative, ArmParams(seeds=2))
    mix = mix_everything(weights, tiny.tokens)
    groups = matrix.scan("groups").collect()
    chosen = relative.scan("choices").filter(pl.col("strategy") == "random_beta").collect().to_dicts()[0]
    for _, rows in mix.groupby("seed"):
        assert rows["multiplicity"].sum() == groups.height
        counts = rows.merge(groups.to_pandas(), on="example_id").groupby("cluster")["multiplicity"].sum()
        for name, count in counts.items():
            assert abs(count - groups.height * chosen[f"weight/{name}"]) < 1
            assert abs(chosen[f"beta/{name}"]) <= 0.3 + 1e-9


def test_a_round_begins_with_the_mix_before(
    tiny: Tiny, root: Path, tmp_path: Path, matrix: Finished, mixtures: Finished
):
    mix = mix_at_budget(
        weigh_mixture("random_beta")(tiny.tokens, matrix, mixtures, BUDGET, ArmParams(seeds=2)),
        tiny.tokens, BUDGET, SelectionParams(),
    )  # fmt: skip
    mix.loc[0, "multiplicity"] = 3
    retrained = named_retraining("less")(mix, tiny.tokens, tiny.base, WARMUP, tiny.machine(tmp_path))
    first = mix[mix["seed"] == 0]
    assert retrained.summary["rows"] == first["multiplicity"].sum()
    assert retrained.summary["steps"] == [4, 8]
    again = named_retraining("less")(mix[mix["seed"] == 0], tiny.tokens, tiny.base, WARMUP, tiny.machine(tmp_path))
    assert again.fingerprint == retrained.fingerprint

    params = ParetoParams(mode="relative", change=0.5, population=24, generations=8)
    changed = change_mixture(mix, matrix, tiny.tokens, params, BUDGET, tiny.machine(tmp_path))
    groups = matrix.scan("groups").collect().to_pandas()
    sizes = first.merge(groups, on="example_id", suffixes=("_before", "")).groupby("cluster")["multiplicity"].sum()
    sizes = sizes.reindex(sorted(set(groups["cluster"])), fill_value=0).clip(lower=1)
    for row in changed.scan("choices").collect().to_dicts():
        for name, size in sizes.items():
            assert row[f"weight/{name}"] == pytest.approx((1 + row[f"beta/{name}"]) * size / sizes.sum())
