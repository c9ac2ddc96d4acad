"""Benchmark tasks: each arm beside the base model, with standard errors over rows and the spread over seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.canvas import blank, colors, drawn, room_for, styled
from winnow.report.statistics import difference_from_fixed
from winnow.stages import FinishedParts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEYS = ["task", "n_shot", "metric", "filter"]
SHOWN = 10
MOST_SHOWN = 1000
EXCERPT = 500


def benchmark_metrics(answers: FinishedParts) -> dict[str, float]:
    """Means over seeds under the names that the tracker uses: benchmarks/<task>/<n>-shot/<metric>/<filter>."""
    metrics = {}
    for row in _scores(answers).group_by(KEYS, maintain_order=True).agg(pl.col("value", "stderr").mean()).to_dicts():
        shots = "" if row["n_shot"] is None else f"/{row['n_shot']}-shot"
        kind = "" if row["filter"] == "none" else f"/{row['filter']}"
        metrics[f"benchmarks/{row['task']}{shots}/{row['metric']}{kind}"] = row["value"]
        if row["stderr"] is not None:
            metrics[f"benchmarks/{row['task']}{shots}/{row['metric']}_stderr{kind}"] = row["stderr"]
    return metrics


def benchmark_table(answers: Mapping[str, FinishedParts]) -> pd.DataFrame:
    """A row per arm, task, count of examples, metric and filter; `base` is what the others are held against.

    ``stderr`` is over rows (the mean over seeds of what the harness says), ``seeds_sd`` the spread between the seeds'
    values. A difference has a 95 % interval where the value is a mean over rows and there are several seeds.
    """
    scores = {arm: _by_key(found) for arm, found in answers.items()}
    members = _members(answers["base"])
    rows_of = {arm: _Rows(found, members) for arm, found in answers.items()}
    table = []
    for key, base in scores["base"].items():
        for arm, found in scores.items():
            if key in found:
                table.append(_row(arm, key, found[key], base, rows_of, members))
    order = list(dict.fromkeys(row["task"] for row in table))
    table.sort(key=lambda row: (row["part_of"] != "", order.index(row["task"]), row["n_shot"] or 0))
    return pd.DataFrame(table).astype(dict.fromkeys(("stderr", "seeds_sd", "difference", "difference_ci"), float))


def shown_samples(answers: FinishedParts) -> pd.DataFrame:
    """The first answers of the first seed's model to each task, to be read; all of them are in the result's folder."""
    samples = next(iter(answers.parts.values())).scan("samples")
    asked = ["task", "n_shot", "filter"]
    each = MOST_SHOWN // samples.select(asked).unique().collect().height
    first = samples.group_by(asked, maintain_order=True).head(min(SHOWN, max(1, each)))
    shown = first.drop("doc").collect()
    # The end of a prompt is the question; before it are the examples.
    question, answer = pl.col("prompt").str.tail(EXCERPT), pl.col("response", "filtered", "target").str.head(EXCERPT)
    return shown.with_columns(question, answer).to_pandas()


def draw_benchmarks(table: pd.DataFrame) -> "Figure":
    """Each arm beside the base model, with standard errors; of groups the average alone, of shares in percent."""
    shown = table[(table["part_of"] == "") & table.groupby(KEYS, dropna=False)["value"].transform(_are_shares)]
    labels = list(dict.fromkeys(_label(row) for row in shown.to_dict("records")))
    arms = list(dict.fromkeys(table["arm"]))
    with styled([*arms, *labels]) as text:
        figure = blank(8, room_for(len(arms), 1.2 + len(labels) * max(0.5, 0.16 * len(arms))))
        axes = figure.subplots()
        for number, (arm, color) in enumerate(zip(arms, ["black", *colors(max(1, len(arms) - 1))], strict=False)):
            own = shown[shown["arm"] == arm]
            offset = ((number + 0.5) / len(arms) - 0.5) * 0.7
            places = [labels.index(_label(row)) + offset for row in own.to_dict("records")]
            bars: dict[str, Any] = {"xerr": 100 * own["stderr"], "fmt": "o", "capsize": 3, "markersize": 4}
            axes.errorbar(100 * own["value"], places, **bars, label=text[arm], color=color)
        axes.set_yticks(range(len(labels)), [text[label] for label in labels])
        axes.invert_yaxis()
        axes.set_xlabel("%, with standard errors over rows")
        axes.legend(title="arm", bbox_to_anchor=(1.02, 1), loc="upper left")
        return drawn(figure)


class _Rows:
    """An arm's values of single rows, looked up by metric."""

    def __init__(self, answers: FinishedParts, members: Mapping[str, list[str]]) -> None:
        self.members = members
        self.samples = [
            part.scan("samples").drop("doc", "prompt", "response", "filtered", "target").collect()
            for part in answers.parts.values()
        ]

    def matrix(self, task: str, n_shot: int | None, metric: str, kind: str) -> np.ndarray | None:
        """Values [seeds, rows], where there is one for each row."""
        tasks = self.members.get(task, [task])
        wanted = pl.col("task").is_in(tasks) & (pl.col("filter") == kind)
        if n_shot is not None:
            # A task whose count is fixed has no rows of another one, and is in the group's average all the same.
            fits = pl.col("n_shot") == n_shot
            wanted &= fits | ~fits.any().over("task")
        found = []
        for samples in self.samples:
            if metric not in samples.columns:
                return None
            rows = samples.filter(wanted).sort("task", "n_shot", "doc_id")[metric]
            if rows.is_empty() or rows.null_count():
                return None
            found.append(rows.to_numpy())
        return np.stack(found)


def _row(
    arm: str,
    key: tuple[Any, ...],
    own: Mapping[str, Any],
    base: Mapping[str, Any],
    rows_of: Mapping[str, _Rows],
    members: Mapping[str, list[str]],
) -> dict[str, Any]:
    task = key[0]
    row = {"arm": arm, **dict(zip(KEYS, key, strict=True))}
    row |= {name: own[name] for name in ("value", "stderr", "n", "seeds", "seeds_sd")}
    row |= {"base": base["value"], "difference": None, "difference_ci": None}
    if arm != "base":
        row["difference"] = own["value"] - base["value"]
        mine, bases = (rows_of[name].matrix(*key) for name in (arm, "base"))
        if mine is not None and bases is not None and _are_means((mine, own), (bases, base)):
            row["difference_ci"] = difference_from_fixed(mine, bases[0]).half_width
    return {**row, "part_of": next((group for group, tasks in members.items() if task in tasks), "")}


def _are_means(*found: tuple[np.ndarray, Mapping[str, Any]]) -> bool:
    """Whether values are means over rows; a perplexity is not, nor an average of languages of different sizes."""
    return all(bool(np.isclose(rows.mean(), score["value"], rtol=0, atol=1e-9)) for rows, score in found)


def _scores(answers: FinishedParts) -> pl.DataFrame:
    return pl.concat([part.scan("scores").collect() for part in answers.parts.values()])


def _by_key(answers: FinishedParts) -> dict[tuple[Any, ...], dict[str, Any]]:
    means = pl.col("value", "stderr").mean()
    spread = pl.col("value").std().alias("seeds_sd")
    rest = [pl.col("n").first(), pl.len().alias("seeds"), spread]
    grouped = _scores(answers).group_by(KEYS, maintain_order=True).agg(means, *rest)
    return {tuple(row[name] for name in KEYS): row for row in grouped.to_dicts()}


def _members(answers: FinishedParts) -> dict[str, list[str]]:
    groups = next(iter(answers.parts.values())).scan("groups").collect()
    return {str(group): rows["task"].to_list() for (group,), rows in groups.group_by("group", maintain_order=True)}


def _are_shares(values: pd.Series) -> bool:
    return bool(values.between(0, 1).all())


def _label(row: Mapping[Any, Any]) -> str:
    shots = "" if pd.isna(row["n_shot"]) else f", {row['n_shot']:.0f}-shot"
    kind = "" if row["filter"] == "none" else f" ({row['filter']})"
    return f"{row['task']}{shots}\n{row['metric']}{kind}"
