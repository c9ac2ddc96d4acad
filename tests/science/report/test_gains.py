"""Predicted beside realised: differences of losses from one reference, and the agreement of their ranks."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from winnow.report.gains import (
    Losses,
    Mixed,
    draw_gains,
    gains_table,
    losses_by_domain,
    predicted_gains,
    rank_agreement,
    realised_gains,
)
from winnow.stages import Finished, FinishedParts, Work, locate

DOMAINS = ("code", "math")


ROWS = pl.concat(pl.DataFrame({"example_id": [f"{d}/f:{n}" for n in range(20)], "domain": d}) for d in DOMAINS)


def scored(root: Path, name: str, means: dict[str, float], seeds: int = 4, noise: float = 0.01) -> Losses:
    """Evaluations whose losses lie around ``means``, read back by domain."""
    random = np.random.default_rng(sum(map(ord, name)))
    parts = {}
    for seed in range(seeds):
        place = locate(root, "evaluate", 1, {"name": name, "seed": seed}, {})
        table = pl.concat(
            pl.DataFrame({"example_id": [f"{d}/f:{n}" for n in range(20)], "domain": "", "correct": True}).with_columns(
                loss=pl.Series(mean + noise * (random.normal() + random.normal(size=20)))
            )
            for d, mean in means.items()
        )
        with Work.resume(place) as work:
            tables = work.commit_tables({"rows": table})
            parts[str(seed)] = work.finish({"tables": tables}, {})
    return losses_by_domain(FinishedParts(parts), ROWS)


@pytest.fixture
def mixed(tmp_path: Path) -> list[Mixed]:
    """Five mixtures that gain what was predicted for code, and the opposite for math."""
    plain = scored(tmp_path, "plain", dict.fromkeys(DOMAINS, 1.0))
    gains = [-0.2, -0.1, 0.1, 0.2, 0.3]
    return [
        Mixed(
            f"arm_{n}",
            {"code": gain, "math": gain},
            scored(tmp_path, f"arm_{n}", {"code": 1 - gain, "math": 1 + gain}),
            plain,
        )
        for n, gain in enumerate(gains)
    ]


def test_a_gain_is_how_much_lower_the_loss_is_than_the_references(mixed: list[Mixed]):
    found = realised_gains(mixed[0].losses, mixed[0].reference)
    assert set(found) == set(DOMAINS)
    assert found["code"].mean == pytest.approx(-0.2, abs=0.05)
    assert found["math"].mean == pytest.approx(0.2, abs=0.05)
    assert 0 < found["code"].half_width < 0.1
    same = realised_gains(mixed[0].reference, mixed[0].reference)
    assert same["code"].mean == 0


def test_agreement_is_spearmans_of_each_domain_and_their_mean(mixed: list[Mixed]):
    found = rank_agreement(mixed)
    table = gains_table(mixed)
    for domain in DOMAINS:
        part = table[table["domain"] == domain]
        assert found[f"pareto/spearman/{domain}"] == pytest.approx(spearmanr(part["predicted"], part["realised"])[0])
    assert found["pareto/spearman/code"] == pytest.approx(1)
    assert found["pareto/spearman/math"] == pytest.approx(-1)
    assert found["pareto/spearman"] == pytest.approx(0)
    assert found["pareto/spearman_low"] <= 0 <= found["pareto/spearman_high"]


def test_what_was_predicted_well_has_an_interval_away_from_zero(mixed: list[Mixed]):
    right = [Mixed(arm.name, {"code": arm.predicted["code"]}, arm.losses, arm.reference) for arm in mixed]
    found = rank_agreement(right)
    assert found["pareto/spearman"] == pytest.approx(1)
    assert found["pareto/spearman_low"] > 0.5
    assert rank_agreement(right) == found, "drawn by a seed"


def test_noise_alone_is_not_distinguishable_from_no_relation(tmp_path: Path):
    plain = scored(tmp_path, "plain", dict.fromkeys(DOMAINS, 1.0))
    random = np.random.default_rng(2)
    found = []
    for trial in range(20):
        losses = [scored(tmp_path, f"{trial}-{n}", {"code": 1.0}, seeds=3) for n in range(6)]
        arms = [Mixed(f"{n}", {"code": float(random.normal())}, own, plain) for n, own in enumerate(losses)]
        agreement = rank_agreement(arms)
        found.append(agreement["pareto/spearman_low"] <= 0 <= agreement["pareto/spearman_high"])
    assert np.mean(found) >= 0.8


def test_two_mixtures_have_gains_but_no_correlation(mixed: list[Mixed]):
    assert rank_agreement(mixed[:2]) == {}
    assert rank_agreement([mixed[0], mixed[0], mixed[0]]) == {}
    table = gains_table(mixed[:2])
    assert len(table) == 4
    assert "too few mixtures" in draw_gains(table, {})._suptitle.get_text()


def test_the_figure_has_a_panel_for_each_domain_and_says_what_is_uncertain(mixed: list[Mixed]):
    figure = draw_gains(gains_table(mixed), rank_agreement(mixed))
    assert len(figure.axes) == len(DOMAINS)
    assert "not distinguishable from no relation" in figure._suptitle.get_text()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [arm.name for arm in mixed]


def test_domains_that_were_not_trained_for_are_left_out(mixed: list[Mixed]):
    strange = [Mixed(arm.name, {**arm.predicted, "law": 1.0}, arm.losses, arm.reference) for arm in mixed]
    assert set(gains_table(strange)["domain"]) == set(DOMAINS)
    assert set(rank_agreement(strange)) == set(rank_agreement(mixed))


def test_predictions_are_those_of_the_choice(tmp_path: Path):
    choices = pl.DataFrame({"strategy": ["knee", "additive"], "gain/math": [0.5, 0.4], "beta/a": [1.0, 0.0]})
    place = locate(tmp_path, "pareto", 1, {}, {})
    with Work.resume(place) as work:
        work.finish({"tables": work.commit_tables({"choices": choices})}, {})
    assert predicted_gains(Finished.open(place.folder), "additive") == {"math": 0.4}


def test_rounds_are_ranked_by_themselves(mixed: list[Mixed]):
    """The second round's predictions are ten times as large: ranked with the first's, they would all be above them."""
    second = [
        Mixed(arm.name, {name: 10 * gain + 5 for name, gain in arm.predicted.items()}, arm.losses, arm.reference, 2)
        for arm in mixed
    ]
    alone, both = rank_agreement(mixed), rank_agreement([*mixed, *second])
    for domain in DOMAINS:
        assert both[f"pareto/spearman/{domain}"] == pytest.approx(alone[f"pareto/spearman/{domain}"])
    assert rank_agreement([*mixed, second[0]])["pareto/spearman"] == pytest.approx(alone["pareto/spearman"])
