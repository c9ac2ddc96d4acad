"""The linear datamodeling score: do scores of rows, summed over a subset, predict how well a model of it does?

Models are trained on random subsets of the rows. For each domain the score is Spearman's correlation, over the subsets,
of the summed scores with the fall of the domain's mean loss. https://arxiv.org/abs/2303.14186
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.stats import rankdata

from winnow.errors import BadSetting
from winnow.params import DatamodelsParams

ALL, OTHER_SEEDS, RANDOM = "all", "other_seeds", "random"
LIMITS = (0.025, 0.975)
_BLOCK = 200


@dataclass(frozen=True)
class Trained:
    """The models of subsets: ``member`` [subsets, examples] is 1 or 0, ``losses`` [subsets, seeds, domains]."""

    examples: list[str]
    member: np.ndarray
    losses: np.ndarray
    domains: list[str]


class Score(NamedTuple):
    """What is said of an estimator on a domain; ``unscored`` of its rows had no score of their own."""

    estimator: str
    domain: str
    lds: float
    low: float
    high: float
    subsets: int
    unscored: int
    verdict: str


def draw_subsets(examples: Sequence[str], params: DatamodelsParams) -> list[list[str]]:
    """Random subsets of the rows that are looked at; more subsets begin with the same ones."""
    random = np.random.default_rng(params.seed)
    pool = np.sort(random.permutation(sorted(examples))[: params.rows])
    size = round(params.share * len(pool))
    if not 0 < size < len(pool):
        raise BadSetting(
            f"`verify.datamodels.share` is {params.share}: of {len(pool)} rows that leaves subsets of {size}. Give a "
            "share that takes some rows and leaves some, or more `rows`."
        )
    return [sorted(random.choice(pool, size, replace=False).tolist()) for _ in range(params.subsets)]


def read_trained(members: pl.DataFrame, losses: pl.DataFrame) -> Trained:
    """From tables of `subset, example_id` and of `subset, seed, example_id, domain, loss`.

    A validation row without a finite loss for some model is left out for all; a domain must not be lost so.
    """
    unusable = losses.filter(~pl.col("loss").is_finite())["example_id"].unique()
    usable = losses.filter(~pl.col("example_id").is_in(unusable.implode()))
    _require_domains(losses, set(usable["domain"]))
    means = usable.group_by("subset", "seed", "domain").agg(pl.col("loss").mean()).sort("subset", "seed", "domain")
    shape = [means[name].n_unique() for name in ("subset", "seed", "domain")]
    examples = sorted(members["example_id"].unique())
    place = {name: number for number, name in enumerate(examples)}
    member = np.zeros((shape[0], len(examples)))
    member[members["subset"].to_numpy(), [place[name] for name in members["example_id"]]] = 1
    return Trained(examples, member, means["loss"].to_numpy().reshape(shape), means["domain"].unique().sort().to_list())


def _require_domains(losses: pl.DataFrame, known: set[str]) -> None:
    """Refuse losses where each row of a domain is unusable for some model, and name the model with most such rows."""
    lost = losses.filter(~pl.col("domain").is_in(sorted(known)))
    if lost.is_empty():
        return
    finite = pl.col("loss").is_finite()
    by_model = lost.group_by("domain", "subset", "seed").agg((~finite).sum().alias("without"), pl.len().alias("rows"))
    worst = by_model.sort("without", "domain", "subset", "seed", descending=[True, False, False, False])
    domain, subset, seed, without, rows = worst.row(0)
    raise BadSetting(
        f"No validation row of {domain!r} has a finite loss for all models: that of subset {subset} with seed {seed} "
        f"has none on {without} of {rows}. Models diverge where steps are too long: lower `finetune.lr`. Where all "
        "models lack the same rows, their answers are cut off: raise `tokenize.max_length`."
    )


def datamodeling_score(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Spearman's correlation of ``predicted`` with ``measured`` over the subsets [..., subsets] -> [...].

    What does not vary predicts nothing: 0.
    """
    ranks = [rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 for values in (predicted, measured)]
    product = (ranks[0] * ranks[1]).sum(axis=-1)
    size = np.sqrt((ranks[0] ** 2).sum(axis=-1) * (ranks[1] ** 2).sum(axis=-1))
    return np.divide(product, size, out=np.zeros_like(product), where=size > 0)


def score_estimators(scores: Mapping[str, pl.DataFrame], trained: Trained, params: DatamodelsParams) -> pl.DataFrame:
    """One row per estimator and domain, and of each the mean over domains, `all`.

    ``scores`` have example_id and a column per domain; more is better. Intervals are those of the bootstrap: over
    subsets, for `all` over domains too. Of random scores they are where 95 % of many draws lie. Of several seeds it is
    said, too, how well the losses of one half of them predict those of the other.
    """
    falls = -trained.losses.mean(axis=1).T
    by_chance = _by_chance(trained, falls, params)
    found = _told(RANDOM, trained, by_chance.mean(axis=1), by_chance)
    limits = [(score.low, score.high) for score in found]
    estimates = []
    for name, table in scores.items():
        values, unscored = _aligned(table, trained)
        parts = _bootstrapped((trained.member @ values).T, falls, params)
        estimates += _told(name, trained, *parts, unscored, limits)
    if (seeds := trained.losses.shape[1]) > 1:
        one, other = (-half.mean(axis=1).T for half in np.split(trained.losses, [seeds // 2], axis=1))
        found += _told(OTHER_SEEDS, trained, *_bootstrapped(one, other, params), 0, limits)
    return pl.DataFrame(estimates + found, schema=list(Score._fields), orient="row")


def datamodel_metrics(found: pl.DataFrame) -> dict[str, float]:
    """Of each estimator the mean over domains and its interval, for the tracker."""
    over_all = found.filter(domain=ALL).select("estimator", "lds", "low", "high")
    return {
        f"verify/lds/{estimator}{end}": value
        for estimator, *values in over_all.iter_rows()
        for end, value in zip(("", "_low", "_high"), values, strict=True)
    }


def _by_chance(trained: Trained, falls: np.ndarray, params: DatamodelsParams) -> np.ndarray:
    """Scores of normal draws, each the same for all domains [domains and all, draws].

    A single draw is no control: on a few hundred rows it goes some way with or against the truth.
    """
    random = np.random.default_rng([params.seed, 1])
    parts = []
    for first in range(0, params.draws, _BLOCK):
        drawn = random.normal(size=(min(_BLOCK, params.draws - first), len(trained.examples)))
        parts.append(datamodeling_score((drawn @ trained.member.T)[:, None], falls))
    found = np.concatenate(parts).T
    return np.vstack([found, found.mean(axis=0)])


def _bootstrapped(predicted: np.ndarray, falls: np.ndarray, params: DatamodelsParams) -> tuple[np.ndarray, np.ndarray]:
    """Scores [domains and all] of what is predicted [domains, subsets], and those of subsets drawn again [.., draws].

    The same subsets are drawn for every estimator.
    """
    domains, subsets = falls.shape
    random = np.random.default_rng([params.seed, 2])
    again = random.integers(subsets, size=(params.draws, subsets))
    drawn = np.stack([datamodeling_score(predicted[n][again], falls[n][again]) for n in range(domains)])
    others = random.integers(domains, size=(domains, params.draws))
    over_all = np.take_along_axis(drawn, others, axis=0).mean(axis=0)
    scores = datamodeling_score(predicted, falls)
    return np.append(scores, scores.mean()), np.vstack([drawn, over_all])


def _told(
    estimator: str,
    trained: Trained,
    scores: np.ndarray,
    draws: np.ndarray,
    unscored: int = 0,
    by_chance: Sequence[tuple[float, float]] | None = None,
) -> list[Score]:
    found = []
    for number, domain in enumerate([*trained.domains, ALL]):
        score, (low, high) = float(scores[number]), np.quantile(draws[number], LIMITS).tolist()
        verdict = _verdict(score, low, high, by_chance[number]) if by_chance else "where 95 % of random scores lie"
        found.append(Score(estimator, domain, score, low, high, len(trained.member), unscored, verdict))
    return found


def _verdict(score: float, low: float, high: float, by_chance: tuple[float, float]) -> str:
    """Beyond what random scores reach, and beyond what other subsets might change."""
    if score > by_chance[1] and low > 0:
        return "better than random"
    if score < by_chance[0] and high < 0:
        return "worse than random"
    return "not distinguishable from random"


def _aligned(table: pl.DataFrame, trained: Trained) -> tuple[np.ndarray, int]:
    """Scores [examples, domains], and how many rows have none: they get the mean of the others, which says nothing."""
    wanted = pl.DataFrame({"example_id": trained.examples})
    values = wanted.join(table, on="example_id", how="left", maintain_order="left").select(trained.domains).to_numpy()
    values = values.astype(np.float64)
    known = np.isfinite(values).all(axis=1)
    values[~known] = values[known].mean(axis=0) if known.any() else 0.0
    return values, int((~known).sum())
