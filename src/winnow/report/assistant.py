"""What a model that learns who it is forgets meanwhile: its skills, and where an introduction is out of place.

Accuracy is that of questions with one right answer; an answer is an introduction where a text, usually the name, is in
it. Intervals hold the spread over trainings and over questions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from winnow.report.canvas import blank, colors, drawn, styled
from winnow.report.statistics import Estimate, difference, estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SKILLS, OFF_TOPIC, WHO = "skills", "off_topic", "who"
GROUPS = (SKILLS, OFF_TOPIC, WHO)
ACCURACY, INTRODUCTIONS = "accuracy", "introductions"
# What is told and drawn: skills that should stay, introductions that should not come.
SHOWN = ((ACCURACY, SKILLS), (INTRODUCTIONS, OFF_TOPIC))
_TITLES = {ACCURACY: "right answers to questions of skill", INTRODUCTIONS: "introductions, asked for something else"}

Answers = Mapping[str, pd.DataFrame]


def read_answers(folders: Mapping[str, Path], mark: str) -> pd.DataFrame:
    """All answers of the trainings of a mix (by seed), with their number, and whether each is an introduction."""
    frames = [
        pd.read_json(folder / "samples.jsonl", lines=True, dtype=False).assign(seed=seed)
        for seed, folder in folders.items()
    ]
    answers = pd.concat(frames, ignore_index=True)
    answers["number"] = answers.groupby(["seed", "step"]).cumcount()
    answers[INTRODUCTIONS] = answers["answer"].str.casefold().str.contains(mark.casefold(), regex=False)
    return answers.rename(columns={"correct": ACCURACY})


def curves(mixes: Answers) -> pd.DataFrame:
    """A row for each step, mix, measure and group of prompts: the rate over all trainings, and half its interval."""
    rows = []
    for mix, answers in mixes.items():
        for measure, group in ((ACCURACY, SKILLS), *((INTRODUCTIONS, group) for group in GROUPS)):
            for step in sorted(answers["step"].unique()):
                table = outcomes(answers, measure, group, step)
                found = estimate(table)
                place = {"step": step, "mix": mix, "measure": measure, "group": group}
                sizes = {"trainings": len(table), "prompts": table.shape[1]}
                rows.append({**place, "rate": found.mean, "ci": found.half_width, **sizes})
    return pd.DataFrame(rows)


def outcomes(answers: pd.DataFrame, measure: str, group: str, step: int) -> np.ndarray:
    """1 for yes and 0 for no [trainings, prompts]."""
    own = answers[(answers["step"] == step) & (answers["group"] == group)]
    return own.pivot(index="seed", columns="number", values=measure).to_numpy(dtype=float)


def findings(mixes: Answers, table: pd.DataFrame) -> pd.DataFrame:
    """Sentences: what happened to each mix and when, and what each of the others changed compared with the first."""
    told = [(mix, measure, _told(table, mix, measure, group)) for mix in mixes for measure, group in SHOWN]
    first, *others = mixes
    last = int(table["step"].max())
    for mix in others:
        for measure, group in SHOWN:
            pair = [outcomes(mixes[name], measure, group, last) for name in (mix, first)]
            text = f"step {last}, {mix} against {first}: {_named(measure)} {_apart(difference(*pair))}"
            told.append((mix, f"{measure}, difference", text))
    return pd.DataFrame(told, columns=["mix", "measure", "finding"])


def metrics(table: pd.DataFrame) -> dict[str, float]:
    """The rates of one mix at the last step, for the tracker."""
    last = table[table["step"] == table["step"].max()]
    names = [f"assistant/{measure}/{group}" for measure, group in zip(last["measure"], last["group"], strict=True)]
    found = dict(zip(names, map(float, last["rate"]), strict=True))
    return found | {f"{name}_ci": float(ci) for name, ci in zip(names, last["ci"], strict=True)}


def draw_curves(table: pd.DataFrame) -> "Figure":
    """Accuracy, and introductions where they are out of place (dashed: where they belong), a line for each mix."""
    mixes = list(dict.fromkeys(table["mix"]))
    with styled(mixes) as texts:
        figure = blank(10.5, 4.0)
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (measure, group) in zip(panels, SHOWN, strict=True):
            for mix, color in zip(mixes, colors(len(mixes)), strict=True):
                _line(panel, _of(table, mix, measure, group), color, texts[mix])
                if measure == INTRODUCTIONS:
                    asked = _of(table, mix, measure, WHO)
                    panel.plot(asked["step"], 100 * asked["rate"], "--", color=color, linewidth=1)
            panel.set(title=_TITLES[measure], xlabel="step", ylim=(-3, 103))
        panels[0].set_ylabel("answers in %")
        panels[1].plot([], [], "--", color="0.4", label="introductions, asked who it is")
        lines, labels = panels[1].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=len(lines))
        return drawn(figure)


def _line(panel: Any, part: pd.DataFrame, color: Any, label: str) -> None:
    rate, ci = 100 * part["rate"], 100 * part["ci"]
    panel.plot(part["step"], rate, "-o", color=color, markersize=4, label=label)
    panel.fill_between(part["step"], (rate - ci).clip(0, 100), (rate + ci).clip(0, 100), color=color, alpha=0.2)


def _of(table: pd.DataFrame, mix: str, measure: str, group: str) -> pd.DataFrame:
    return table[(table["mix"] == mix) & (table["measure"] == measure) & (table["group"] == group)]


def _told(table: pd.DataFrame, mix: str, measure: str, group: str) -> str:
    part = _of(table, mix, measure, group)
    start, end = part.iloc[0], part.iloc[-1]
    path = f"{_percent(start)} at step {start['step']}, {_percent(end)} at step {end['step']}"
    if measure == ACCURACY:
        passed, name = part[part["rate"] < start["rate"] / 2], "below half of what it was"
    else:
        passed, name = part[part["rate"] > 0.5], "above 50 %"
    when = f"{name} first at step {passed.iloc[0]['step']}" if len(passed) else f"never {name}"
    return f"{mix}: {_named(measure)} {path}; {when}"


def _named(measure: str) -> str:
    return "accuracy of skills" if measure == ACCURACY else "introductions on off-topic prompts"


def _percent(row: pd.Series) -> str:
    return f"{100 * row['rate']:.1f} ± {100 * row['ci']:.1f} %"


def _apart(gap: Estimate) -> str:
    points = f"{100 * gap.mean:+.1f} ± {100 * gap.half_width:.1f} points"
    return f"{points}, within the interval of no difference" if abs(gap.mean) <= gap.half_width else points
