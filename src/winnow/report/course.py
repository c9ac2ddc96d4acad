"""What validation loss and sampled answers say of a training: where it begins to overfit, and what answers repeat."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from winnow.report.canvas import blank, colors, drawn, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = "samples.jsonl"
VALIDATION = "validation.parquet"
LEVEL = 0.05
LABELS = {
    "repetition": "repeated runs of four tokens",
    "same_answer": "prompts that share an answer",
    "distinct_2": "different pairs of tokens",
}


def read_losses(folders: Mapping[str, Path]) -> pd.DataFrame:
    """Validation loss of each row at each step, the mean over seeds: [step, example_id]."""
    found = [pd.read_parquet(folder / VALIDATION) for folder in folders.values() if (folder / VALIDATION).exists()]
    if not found:
        return pd.DataFrame()
    return pd.concat(found).pivot_table(index="step", columns="example_id", values="loss", aggfunc="mean")


def read_samples(folders: Mapping[str, Path]) -> pd.DataFrame:
    """All answers of all seeds."""
    rows = [
        {"seed": int(seed), **json.loads(line)}
        for seed, folder in folders.items()
        if (folder / SAMPLES).exists()
        for line in (folder / SAMPLES).read_text(encoding="utf-8").splitlines()
    ]
    return pd.DataFrame(rows)


def least(losses: pd.DataFrame) -> int:
    """The step of the least validation loss."""
    means = losses.mean(axis=1).to_numpy()
    return int(losses.index[int(np.where(np.isfinite(means), means, np.inf).argmin())])


def overfitting_step(losses: pd.DataFrame) -> int | None:
    """The step of the least validation loss, where the loss at the end is higher than noise between rows explains.

    The paired difference of each row's losses is tested, at a level shared among the steps that could have been least.
    """
    from scipy import stats

    if len(losses) < 2 or losses.shape[1] < 2:
        return None
    best = least(losses)
    if best == losses.index[-1]:
        return None
    risen = (losses.iloc[-1] - losses.loc[best]).to_numpy()
    error = risen.std(ddof=1) / len(risen) ** 0.5
    if error == 0:
        return best if risen.mean() > 0 else None
    p_value = stats.t.sf(risen.mean() / error, len(risen) - 1)
    return best if p_value < LEVEL / (len(losses) - 1) else None


def course_of(losses: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A row per step: validation loss with the half-width of its interval over rows, and the answers' figures."""
    found = pd.DataFrame(index=pd.Index([], name="step"))
    if len(losses):
        half = 1.96 * losses.std(axis=1, ddof=1) / losses.shape[1] ** 0.5
        found = pd.DataFrame({"validation_loss": losses.mean(axis=1), "validation_loss_ci": half})
    if len(samples):
        texts = samples.groupby(["seed", "step"])["answer"]
        shared = texts.transform(lambda answers: answers.map(answers.value_counts()) > 1).astype(float)
        figures = samples.assign(same_answer=shared).groupby("step")[list(LABELS)].mean()
        asked = samples[samples["correct"].notna()]
        correct = asked.assign(correct=asked["correct"].astype(float)).pivot_table("correct", "step", "group")
        found = found.join(figures.join(correct.add_prefix("correct/")), how="outer")
    return found.reset_index()


def course_metrics(course: pd.DataFrame, losses: pd.DataFrame) -> dict[str, float]:
    """For the tracker: the least validation loss and its step, the step at which overfitting starts, and the end."""
    last = course.iloc[-1].drop("step")
    metrics = {f"course/{name}": float(value) for name, value in last.items() if np.isfinite(value)}
    if len(losses):
        best = least(losses)
        metrics |= {"course/best_step": best, "course/best_validation_loss": float(losses.mean(axis=1).min())}
        if (step := overfitting_step(losses)) is not None:
            metrics["course/overfitting_step"] = step
    return metrics


def verdict(losses: pd.DataFrame) -> str:
    """The plain sentence."""
    if losses.empty:
        return "validation loss was not measured (`finetune.validation_rows`)"
    if (step := overfitting_step(losses)) is not None:
        return f"overfitting starts at step {step}: validation loss is least there, and higher at the end"
    if not np.isfinite(losses.iloc[-1]).all():
        return "validation loss at the end is not finite: the training diverged"
    if least(losses) == losses.index[-1]:
        return "validation loss falls to the end: no overfitting seen"
    return "validation loss at the end is not distinguishable from its least: no overfitting seen"


def draw_course(course: pd.DataFrame, losses: pd.DataFrame) -> "Figure":
    """Validation loss over steps, and below it what the answers repeat and how many are right."""
    answered = [name for name in course.columns if name in LABELS or name.startswith("correct/")]
    with styled([name.removeprefix("correct/") for name in answered]) as text:
        panels = [name for name, shown in (("loss", len(losses) > 0), ("answers", bool(answered))) if shown]
        figure = blank(7.5, 0.6 + 3.0 * len(panels))
        axes = dict(zip(panels, np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)), strict=True))
        if "loss" in axes:
            _draw_losses(axes["loss"], course)
        if "answers" in axes:
            named = {name: LABELS.get(name) or f"right: {text[name.removeprefix('correct/')]}" for name in answered}
            _draw_answers(axes["answers"], course, named)
        if (step := overfitting_step(losses)) is not None:
            for panel in axes.values():
                panel.axvline(step, color="black", linestyle=":", linewidth=1.2)
        figure.suptitle(verdict(losses), fontsize="medium")
        figure.axes[-1].set_xlabel("step")
        return drawn(figure)


def _draw_losses(axes: Any, course: pd.DataFrame) -> None:
    known = course.dropna(subset="validation_loss")
    low, high = (known["validation_loss"] + sign * known["validation_loss_ci"] for sign in (-1, 1))
    axes.plot(known["step"], known["validation_loss"], marker="o", color=colors(1)[0])
    axes.fill_between(known["step"], low, high, alpha=0.2, color=colors(1)[0])
    axes.set_ylabel("validation loss")


def _draw_answers(axes: Any, course: pd.DataFrame, named: Mapping[str, str]) -> None:
    for (name, label), color in zip(named.items(), colors(len(named)), strict=True):
        known = course.dropna(subset=name)
        axes.plot(known["step"], known[name], marker="o", label=label, color=color)
    axes.set(ylim=(-0.03, 1.03), ylabel="share")
    axes.legend(fontsize="small", bbox_to_anchor=(1.02, 1), loc="upper left")


def shown_samples(samples: pd.DataFrame, most: int = 2000) -> pd.DataFrame:
    """The answers as a table for people: each prompt's in a row of steps, the first seed alone."""
    columns: Sequence[str] = ("group", "prompt", "step", "answer", "expected", "correct", "repetition", "distinct_2")
    first = samples[samples["seed"] == samples["seed"].min()]
    return first.sort_values(["group", "prompt", "step"])[list(columns)].head(most).reset_index(drop=True)
