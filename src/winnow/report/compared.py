"""What `kedro compare` and the page of a study are made of: one `Compared` per arm, by the names of the tracker.

A run in progress makes them from its own results, the command from the tracking store; all that is shown is drawn from
them alone, so a page says the same whoever made it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from winnow.report.statistics import LEVEL
from winnow.report.verdict import MOST_SEEDS

ACCURACY, ACCURACY_CI = "evaluate/accuracy", "evaluate/accuracy_ci"
LOSS, SECONDS, CHOOSING = "evaluate/loss", "cost/seconds", "cost/choosing_seconds"
MEMORY, SPEED = "cost/peak_memory_gb", "cost/tokens_per_second"
CHOSEN = "selection/rows/"
BENCHMARKS = "benchmarks/"
STANDARD_ERROR = "_stderr"
# Half the width of a 95 % interval in standard errors, for what has one and no more.
NORMAL = 1.96
VERDICT = ("effect", "effect_ci", "p_holm", "seeds_needed")
EXAMPLES = ["end", "rank", "score", "times", "example_id", "text"]
# Said of a study or of all its arms, not of the arm that a row is about.
_NOT_OF_AN_ARM = ("study.", "arms.")
_BOOKKEEPING = ("arm.seeds", "arm.control")


def no_examples() -> pd.DataFrame:
    """The examples of an arm that ranks nothing, or of a run that kept none."""
    return pd.DataFrame(columns=EXAMPLES)


@dataclass(frozen=True)
class Compared:
    """One arm of one run: its parameters and metrics, and what was found of it against its control.

    ``effect`` is its accuracy minus its control's, NaN where nothing was compared. ``asked`` is what it was evaluated
    on and how, as far as that is known: only arms that were asked the same can be ranked. ``parent`` is the run that it
    was part of.
    """

    name: str
    arm: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seeds: int = 1
    control: str = ""
    verdict: str = ""
    effect: float = math.nan
    effect_ci: float = math.nan
    p_holm: float = math.nan
    seeds_needed: float = math.nan
    examples: pd.DataFrame = field(default_factory=no_examples)
    asked: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    parent: str = ""
    study: str = ""

    def metric(self, name: str) -> float:
        """A metric, NaN where it was not measured."""
        return self.metrics.get(name, math.nan)

    @property
    def seconds_per_seed(self) -> float:
        """Training and evaluating one model of it."""
        return self.metric(SECONDS) / self.seeds

    @property
    def choosing_seconds(self) -> float:
        """What was computed to choose its rows alone; NaN where the run did not tell."""
        return self.metric(CHOOSING)

    @property
    def seeds_to_tell(self) -> str:
        """How many seeds of each would tell it from its control; empty where it is told, or nothing is known."""
        if math.isnan(self.seeds_needed) or self.p_holm < 1 - LEVEL:
            return ""
        if math.isinf(self.seeds_needed):
            return "more rows"
        return f"> {MOST_SEEDS:,}" if self.seeds_needed > MOST_SEEDS else f"{self.seeds_needed:.0f}"


def differing(rows: Sequence[Compared]) -> list[str]:
    """The parameters that have more than one value among the rows that have them at all."""
    found = dict.fromkeys(name for row in rows for name in row.params if _is_of_an_arm(name))
    return [name for name in found if len({_value(row.params[name]) for row in rows if name in row.params}) > 1]


def domains_of(rows: Iterable[Compared]) -> list[str]:
    """The domains that any row was evaluated on."""
    start = f"{ACCURACY}/"
    return sorted({name.removeprefix(start) for row in rows for name in row.metrics if name.startswith(start)})


def benchmarks_of(rows: Iterable[Compared]) -> list[str]:
    """The benchmark metrics that any row has, without their standard errors."""
    names = {name for row in rows for name in row.metrics if name.startswith(BENCHMARKS)}
    return sorted(name for name in names if not is_error(name))


def is_error(name: str) -> bool:
    """Whether a benchmark's metric is the standard error of another."""
    return any(part.endswith(STANDARD_ERROR) for part in name.split("/"))


def error_of(row: Compared, name: str) -> float:
    """Half the width of a benchmark metric's 95 % interval."""
    metric, _, kind = name.rpartition("/")
    spelled = (f"{metric}{STANDARD_ERROR}/{kind}", f"{name}{STANDARD_ERROR}")
    return NORMAL * next((row.metrics[error] for error in spelled if error in row.metrics), math.nan)


def best_first(rows: Iterable[Compared]) -> list[Compared]:
    """By accuracy; what was not evaluated comes last."""
    return sorted(rows, key=lambda row: -math.inf if math.isnan(row.metric(ACCURACY)) else row.metric(ACCURACY))[::-1]


def controls_of(row: Compared) -> list[str]:
    """The arms that it is measured against."""
    return [name for name in row.control.split(",") if name and name != "none"]


def were_asked_differently(rows: Sequence[Compared]) -> bool:
    """Whether the rows' accuracies are of different questions, and so cannot be ranked."""
    parts = {name for row in rows for name in row.asked}
    return any(len({row.asked[name] for row in rows if name in row.asked}) > 1 for name in parts)


def verdict_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of a comparison says of an arm against its control, as far as it does: fields of `Compared`."""
    sentences = [found.get(name) for name in ("verdict", "versus_control")]
    sentence = next((text for text in sentences if isinstance(text, str) and text), "")
    return {"verdict": sentence, **{name: float(found.get(name, math.nan)) for name in VERDICT}}


def have_other_controls(rows: Sequence[Compared]) -> bool:
    """Whether a verdict is against a control of its own study, while an arm of that name from another one is here."""
    there = {(row.parent, row.arm) for row in rows}
    here = {row.arm for row in rows}
    named = [(row.parent, name) for row in rows if row.verdict for name in controls_of(row)]
    return any(name in here and (parent, name) not in there for parent, name in named)


def table_of(rows: Sequence[Compared]) -> pd.DataFrame:
    """All that is known, a line per row: for a file."""
    params = differing(rows)
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    kept = [name for name in metrics if name.startswith(("evaluate/", "cost/", BENCHMARKS, CHOSEN))]
    lines = [
        {
            "arm": row.name,
            "study": row.study,
            "run": row.run,
            "seeds": row.seeds,
            "control": row.control,
            **{name: row.params.get(name) for name in params},
            **{name: row.metric(name) for name in kept},
            **{name: getattr(row, name) for name in VERDICT},
            "seeds_needed": row.seeds_to_tell,
            "verdict": row.verdict,
        }
        for row in rows
    ]
    return pd.DataFrame(lines)


def _is_of_an_arm(name: str) -> bool:
    return not name.startswith(_NOT_OF_AN_ARM) and name not in _BOOKKEEPING


def _value(text: str) -> float | str:
    """A parameter as it is compared: 8 and 8.0 are one number."""
    try:
        return float(text)
    except ValueError:
        return text
