"""Predicted against realised: what a mixture was chosen for beside how the validation losses changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.canvas import blank, colors, drawn, room_for, styled
from winnow.report.comparison import answers, matrix
from winnow.report.statistics import Estimate, difference
from winnow.stages import Finished, FinishedParts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The losses [seeds, rows] of each domain.
Losses = Mapping[str, np.ndarray]
DRAWS = 2000
LEAST_MIXTURES = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Mixed:
    """An arm's predicted gain of each domain, and the losses of its models and of those it is measured against."""

    name: str
    predicted: Mapping[str, float]
    losses: Losses
    reference: Losses
    round: int = 1


def predicted_gains(mixtures: Finished, choice: str) -> dict[str, float]:
    """What a choice is predicted to gain, by domain."""
    row = mixtures.scan("choices").filter(pl.col("strategy") == choice).collect().to_dicts()[0]
    return {name.removeprefix("gain/"): value for name, value in row.items() if name.startswith("gain/")}


def losses_by_domain(losses: FinishedParts, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """The losses of an arm's models on the rows of a matrix (example_id, domain)."""
    known = answers(losses).drop(columns="domain").merge(rows.to_pandas(), on="example_id")
    return {str(domain): matrix(part, "loss") for domain, part in known.groupby("domain")}


def realised_gains(losses: Losses, reference: Losses) -> dict[str, Estimate]:
    """How much lower the loss of each domain is than the reference's, with its interval over seeds and rows."""
    return {domain: difference(reference[domain], losses[domain]) for domain in sorted(losses)}


def gains_table(mixed: Sequence[Mixed]) -> pd.DataFrame:
    """One row per arm and domain that influence was measured for."""
    rows = []
    for arm in mixed:
        realised = realised_gains(arm.losses, arm.reference)
        for domain, predicted in arm.predicted.items():
            if domain in realised:
                gain = realised[domain]
                rows.append((arm.name, domain, predicted, gain.mean, gain.half_width, gain.p_value))
    return pd.DataFrame(rows, columns=["arm", "domain", "predicted", "realised", "realised_ci", "p_value"])


def rank_agreement(mixed: Sequence[Mixed], seed: int = 0) -> dict[str, float]:
    """Spearman's correlation of predicted and realised gains over the mixtures: of each domain, and the mean of these.

    The intervals are from drawing the mixtures anew, and for each of them, and for its reference, the seeds.
    Predictions of different rounds have different units: each round is ranked by itself, and correlations are averaged.
    Fewer than three different predictions have no correlation.
    """
    domains = [name for name in mixed[0].predicted if all(name in arm.losses for arm in mixed)]
    rounds = [[arm for arm in mixed if arm.round == number] for number in sorted({arm.round for arm in mixed})]
    parts = [part for part in (_Round.of(arms, domains) for arms in rounds) if part is not None]
    if not parts:
        return {}
    random = np.random.default_rng(seed)
    by_domain = np.mean([part.correlations() for part in parts], axis=0)
    drawn = np.stack([np.stack([part.redrawn(random) for part in parts]) for _ in range(DRAWS)])
    low, high = _interval(np.array([_mean(draw) for draw in drawn]))
    found = {"pareto/spearman": _mean(by_domain), "pareto/spearman_low": low, "pareto/spearman_high": high}
    for place, name in enumerate(domains):
        low, high = _interval(np.array([_mean(draw) for draw in drawn[:, :, place]]))
        found |= {f"pareto/spearman/{name}": by_domain[place]}
        found |= {f"pareto/spearman_low/{name}": low, f"pareto/spearman_high/{name}": high}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


@dataclass(frozen=True)
class _Round:
    """Mixtures whose predictions have the same units [mixtures, domains], and mean losses [seeds, domains]."""

    predicted: np.ndarray
    losses: list[np.ndarray]
    references: list[np.ndarray]

    @classmethod
    def of(cls, arms: Sequence[Mixed], domains: Sequence[str]) -> "_Round | None":
        predicted = np.array([[arm.predicted[domain] for domain in domains] for arm in arms])
        if not domains or len(np.unique(predicted.round(12), axis=0)) < LEAST_MIXTURES:
            return None
        # Arms that share a reference share its draws.
        known = {id(arm.reference): _seed_means(arm.reference, domains) for arm in arms}
        references = [known[id(arm.reference)] for arm in arms]
        return cls(predicted, [_seed_means(arm.losses, domains) for arm in arms], references)

    def correlations(self) -> np.ndarray:
        """One of each domain."""
        pairs = zip(self.references, self.losses, strict=True)
        return _spearman(self.predicted, np.stack([theirs.mean(0) - ours.mean(0) for theirs, ours in pairs]))

    def redrawn(self, random: np.random.Generator) -> np.ndarray:
        """The same of other mixtures and seeds."""
        references = {id(values): _redrawn(values, random) for values in self.references}
        pairs = zip(self.references, self.losses, strict=True)
        gains = np.stack([references[id(theirs)] - _redrawn(ours, random) for theirs, ours in pairs])
        chosen = random.integers(0, len(gains), len(gains))
        return _spearman(self.predicted[chosen], gains[chosen])


def draw_gains(table: pd.DataFrame, metrics: Mapping[str, float]) -> "Figure":
    """A panel for each domain: predicted gain across, realised gain up, with its interval."""
    domains, arms = table["domain"].unique().tolist(), table["arm"].unique().tolist()
    shades = dict(zip(arms, colors(len(arms)), strict=True))
    with styled([*domains, *arms]) as text:
        figure = blank(3 + 4 * len(domains), room_for(len(arms), 4.5))
        panels = figure.subplots(1, max(1, len(domains)), squeeze=False)[0]
        for axes, domain in zip(panels, domains, strict=True):
            for row in table[table["domain"] == domain].itertuples():
                bar = 0.0 if np.isnan(row.realised_ci) else row.realised_ci
                axes.errorbar(row.predicted, row.realised, bar, fmt="o", color=shades[row.arm], label=text[row.arm])
            axes.axhline(0, color="0.5", linewidth=0.8)
            axes.axvline(0, color="0.5", linewidth=0.8)
            axes.locator_params(axis="x", nbins=5)
            rank = metrics.get(f"pareto/spearman/{domain}")
            said = "" if rank is None else f" (Spearman {rank:.2f})"
            axes.set(xlabel="predicted gain", title=f"{text[domain]}{said}")
        panels[0].set_ylabel("realised fall of the validation loss")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", title="arm")
        figure.suptitle(_summary(metrics))
        return drawn(figure)


def _summary(metrics: Mapping[str, float]) -> str:
    if "pareto/spearman" not in metrics:
        return "predicted and realised gains (too few mixtures for a correlation)"
    low, high = metrics["pareto/spearman_low"], metrics["pareto/spearman_high"]
    doubt = "; not distinguishable from no relation" if low <= 0 <= high else ""
    return f"predicted and realised gains: Spearman {metrics['pareto/spearman']:.2f} ({low:.2f} to {high:.2f}{doubt})"


def _seed_means(losses: Losses, domains: Sequence[str]) -> np.ndarray:
    """Mean losses [seeds, domains]."""
    return np.stack([losses[domain].mean(axis=1) for domain in domains], axis=1)


def _redrawn(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.asarray(values[random.integers(0, len(values), len(values))].mean(axis=0))


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each column; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    x, y = (ranks - ranks.mean(axis=0) for ranks in (rankdata(part, axis=0) for part in (first, second)))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return found


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
