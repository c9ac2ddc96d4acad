"""The ranking of a sweep: which settings are best on the validation rows, and how sure that is.

Every setting answers the same rows. So the interval of one setting is over its seeds alone, while two of them are
compared row by row and over their seeds (`winnow.report.statistics`). The best of many is chosen on these rows: its
value on them is a little too good.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from winnow.errors import BadSetting
from winnow.report.comparison import answers, matrix, summarise
from winnow.report.statistics import LEVEL, Estimate, difference
from winnow.stages import FinishedParts
from winnow.sweeps import label, same_tokens, spelled

By = Literal["loss", "accuracy"]
MEASURES: dict[By, str] = {"loss": "validation loss", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Result:
    """What a setting reached: losses and right answers [seeds, rows], in the order of the rows' ids, and its cost."""

    losses: np.ndarray
    correct: np.ndarray
    rows: tuple[str, ...]
    seconds: float
    peak_memory_gb: float

    def estimate(self, by: By) -> Estimate:
        """The mean, and its interval over seeds; one seed has none."""
        from scipy import special

        means = (self.losses if by == "loss" else self.correct).mean(axis=1)
        if len(means) < 2:
            return Estimate(float(means[0]), float("nan"))
        reach = float(special.stdtrit(len(means) - 1, (1 + LEVEL) / 2)) * means.std(ddof=1) / math.sqrt(len(means))
        return Estimate(float(means.mean()), float(reach))

    def is_same(self, other: "Result") -> bool:
        """Whether the two are answer for answer the same: what differs between their settings had no effect."""
        pairs = ((self.losses, other.losses), (self.correct, other.correct))
        return self.rows == other.rows and all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    def of_rows(self, rows: Sequence[str]) -> "Result":
        """The same, of these rows alone, in this order."""
        place_of = {row: place for place, row in enumerate(self.rows)}
        places = [place_of[row] for row in rows]
        return replace(self, losses=self.losses[:, places], correct=self.correct[:, places], rows=tuple(rows))


@dataclass(frozen=True)
class Tried:
    """A setting, and its result or the reason why there is none."""

    values: dict[str, Any]
    result: Result | None = None
    reason: str = ""


def read_result(evaluation: FinishedParts, model: FinishedParts) -> Result:
    """What the validation rows of an evaluation say."""
    rows, metrics = answers(evaluation), summarise(evaluation, model)
    return Result(
        losses=matrix(rows, "loss"),
        correct=matrix(rows),
        rows=tuple(sorted(rows["example_id"].unique())),
        seconds=metrics["cost/seconds"],
        peak_memory_gb=metrics["cost/peak_memory_gb"],
    )


def on_common_rows(tried: Sequence[Tried]) -> tuple[list[Tried], int]:
    """The results on the rows that all settings were asked, and how many are left out.

    Other tokens, or another length at which rows are cut, decide which rows can be asked at all.
    """
    asked = [set(one.result.rows) for one in tried if one.result]
    if not asked:
        return list(tried), 0
    common = sorted(set.intersection(*asked))
    if not common:
        raise BadSetting(
            "No validation row could be asked of all settings, so nothing can be ranked. Leave the settings out with "
            "which most rows are too long (`tokenize.max_length`)."
        )
    settled = [replace(one, result=one.result.of_rows(common)) if one.result else one for one in tried]
    return settled, len(set.union(*asked)) - len(common)


def apart(tried: Sequence[Tried]) -> list[Tried]:
    """Those with a result, each result once."""
    found: list[Tried] = []
    for one in tried:
        if one.result and not any(other.result and one.result.is_same(other.result) for other in found):
            found.append(one)
    return found


def ranked(tried: Sequence[Tried], by: By) -> list[Tried]:
    """Best first; settings without a result come last, and so do those whose training ran away to no number."""
    settled = [_without_numberless(one) for one in tried]
    done = [one for one in settled if one.result]
    assert len({one.result.rows for one in done if one.result}) <= 1, "settings were asked different questions"
    has_same_tokens = same_tokens(key for one in settled for key in one.values)
    return sorted(done, key=lambda one: _badness(one, by)[: 1 + has_same_tokens]) + [
        one for one in settled if not one.result
    ]


def telling(tried: Sequence[Tried], by: By) -> By:
    """The measure that can rank these: where none is more often right than another, as in free text, the loss."""
    accuracies = [float(one.result.correct.mean()) for one in tried if one.result]
    losses_compare = same_tokens(key for one in tried for key in one.values)
    return "loss" if len(accuracies) > len(set(accuracies)) == 1 and losses_compare else by


def ranking(order: Sequence[Tried], by: By) -> pd.DataFrame:
    """One row per setting, in this order: values, results with intervals, cost, and how it differs from the first."""
    rows = []
    for rank, one in enumerate(order, 1):
        row: dict[str, Any] = {"rank": rank if one.result else None, **one.values}
        if one.result:
            for measure in MEASURES:
                found = one.result.estimate(measure)
                row |= {measure: found.mean, f"{measure}_ci": found.half_width}
            row |= {"seeds": len(one.result.losses), "seconds": one.result.seconds}
            row |= {"peak_memory_gb": one.result.peak_memory_gb}
            behind = gap(one, order[0], by) if rank > 1 else Estimate(0.0, 0.0)
            row |= {"worse_than_best": behind.mean, "worse_than_best_ci": behind.half_width, "p_value": behind.p_value}
        rows.append({**row, "reason": one.reason})
    # Nullable: a rank stays a whole number beside settings that have none.
    return pd.DataFrame(rows).astype({"rank": "Int64"})


def gap(worse: Tried, better: Tried, by: By) -> Estimate:
    """By how much the first is worse than the second: more loss, or less accuracy."""
    assert worse.result is not None
    assert better.result is not None
    if worse.result.is_same(better.result):
        return Estimate(0.0, 0.0, 1.0)
    if by == "loss":
        return difference(worse.result.losses, better.result.losses)
    return difference(better.result.correct, worse.result.correct)


def told(found: Estimate, by: By, percent: str = " %") -> str:
    """A value with its interval, in the measure's own units."""
    factor, digits, unit = (1, 4, "") if by == "loss" else (100, 1, percent)
    spread = "" if math.isnan(found.half_width) else f" ± {factor * found.half_width:.{digits}f}"
    return f"{factor * found.mean:.{digits}f}{spread}{unit}"


def told_gap(found: Estimate, by: By) -> str:
    """The same of a difference."""
    return told(found, by, " points")


def is_noise(found: Estimate) -> bool:
    """Whether a difference may well be chance; one seed tells nothing."""
    return not found.p_value < 1 - LEVEL


def sentences(order: Sequence[Tried], grid: Mapping[str, Sequence[Any]], by: By) -> Iterator[str]:
    """What the ranking says in words, and what it does not."""
    done = [one for one in order if one.result]
    best = done[0]
    yield f"Best by {MEASURES[by]}: {label(best.values)}."
    if len(done) > 1:
        yield _versus_second(done, by)
    other: By = "accuracy" if by == "loss" else "loss"
    if not same_tokens(grid):
        keys = " and ".join(f"`{key}`" for key in grid if not same_tokens([key]))
        yield f"Validation losses are not compared: {keys} changes what a token is."
    elif (rival := ranked(done, other)[0]) is not best:
        found = gap(best, rival, other)
        amount = f"{told_gap(found, other)}, {'within the noise' if is_noise(found) else 'more than noise'}"
        yield (
            f"By {MEASURES[other]} the best is {label(rival.values)} (the difference there is {amount}). "
            f"`--by {other}` ranks by it."
        )
    for key, side in edges(best.values, grid).items():
        yield f"{key}={spelled(best.values[key])} is the {side} that was tried: try {_beyond(side)}."


def edges(best: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The swept numbers whose best value lies at the edge: `largest` or `smallest` of the values."""
    found = {}
    for key, values in grid.items():
        if is_numeric(values) and len(values) > 1 and best[key] in (min(values), max(values)):
            found[key] = "largest" if best[key] == max(values) else "smallest"
    return found


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether a parameter's values have an order: numbers, and not yes or no."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def carried_over(order: Sequence[Tried], grid: Mapping[str, Sequence[Any]], by: By) -> list[str]:
    """For a grid of a number and a choice: whether the number found with the first choice is good for the others.

    For example a learning rate found with LoRA, used for full fine-tuning. Empty for any other grid.
    """
    numbers = [key for key, values in grid.items() if is_numeric(values)]
    choices = [key for key, values in grid.items() if not is_numeric(values)]
    if len(numbers) != 1 or len(choices) != 1:
        return []
    number, choice = numbers[0], choices[0]
    of_choice = {
        spelled(value): [one for one in order if one.result and one.values[choice] == value] for value in grid[choice]
    }
    found = [_own_best(name, tried, choice, number, grid, by) for name, tried in of_choice.items()]
    first, *others = of_choice
    if of_choice[first]:
        found += [_carried(first, name, of_choice, number, by) for name in others if of_choice[name]]
    return found


def _own_best(
    name: str, tried: Sequence[Tried], choice: str, number: str, grid: Mapping[str, Sequence[Any]], by: By
) -> str:
    if not tried or tried[0].result is None:
        return f"{choice}={name}: no setting has a result."
    best = tried[0]
    found = tried[0].result.estimate(by)
    edge = edges(best.values, {number: grid[number]}).get(number)
    rest = f"; the {edge} that was tried, so try {_beyond(edge)}" if edge else ""
    if alike := ", ".join(spelled(one.values[number]) for one in tried[1:] if is_noise(gap(one, best, by))):
        rest += f"; {alike} cannot be told from it"
    return f"{choice}={name}: best {number} {spelled(best.values[number])} ({MEASURES[by]} {told(found, by)}{rest})."


def _carried(first: str, other: str, of_choice: Mapping[str, Sequence[Tried]], number: str, by: By) -> str:
    """Whether ``other`` may take the number that is best for ``first``."""
    source, own = of_choice[first][0], of_choice[other][0]
    value, own_value = source.values[number], own.values[number]
    if value == own_value:
        shared = f"{other} has the same best {number} as {first}"
        if any(all(is_noise(gap(one, of_choice[name][0], by)) for one in of_choice[name]) for name in (first, other)):
            return f"{shared}, but no other value is worse beyond the noise for both: the grid cannot tell."
        return f"{shared}: on this grid it carries over."
    ratio = f" ({value / own_value:.3g} times its own best)" if own_value else ""
    start = f"{first}'s best {number} {spelled(value)} used for {other}{ratio}"
    carried = next((one for one in of_choice[other] if one.values[number] == value), None)
    if carried is None:
        return f"{start}: has no result, so nothing can be said."
    cost = gap(carried, own, by)
    amount = f"{told_gap(cost, by)} {'more' if by == 'loss' else 'less'} {MEASURES[by]} than its own best"
    if math.isnan(cost.p_value):
        return f"{start}: {amount}; one seed cannot tell whether that is noise."
    if is_noise(cost):
        return f"{start}: {amount}, not distinguishable from no cost."
    verdict = f"{start}: {amount}, beyond the noise. It does not carry over."
    same = next((one for one in of_choice[first] if one.values[number] == own_value), None)
    if same and is_noise(gap(same, source, by)):
        verdict += f" But {spelled(own_value)} cannot be told from the best for {first} either, and would."
    return verdict


def _versus_second(done: Sequence[Tried], by: By) -> str:
    best, second = done[:2]
    found = gap(second, best, by)
    if math.isnan(found.p_value):
        return f"The second is worse by {told_gap(found, by)}; one seed cannot tell whether that is noise. Try more."
    if not is_noise(found):
        return f"The second is worse by {told_gap(found, by)}: more than the noise of seeds and rows."
    alike = sum(is_noise(gap(one, best, by)) for one in done[1:])
    return (
        f"The second ({label(second.values)}) is worse by {told_gap(found, by)}: within the noise of seeds and rows. "
        f"Of {len(done)} settings, {alike + 1} cannot be told from the best, itself included."
    )


def _without_numberless(one: Tried) -> Tried:
    if one.result is None or np.isfinite(one.result.losses).all():
        return one
    return Tried(one.values, None, "Its validation loss is not a number: the training diverged. Try a lower lr.")


def _badness(one: Tried, by: By) -> tuple[float, float]:
    """Where the measure is the same, the other one decides."""
    assert one.result is not None
    loss, error = float(one.result.losses.mean()), -float(one.result.correct.mean())
    return (loss, error) if by == "loss" else (error, loss)


def _beyond(side: str) -> str:
    return "larger ones" if side == "largest" else "smaller ones"
