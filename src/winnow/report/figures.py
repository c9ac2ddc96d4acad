"""Figures of a study: accuracy per arm and domain with intervals, and loss curves with the spread over seeds."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import seaborn as sns
from matplotlib import font_manager
from matplotlib.figure import Figure

# Families with Chinese, Japanese, Korean or emoji glyphs, in the order of preference.
WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Noto Emoji",
    "Symbola",
)


def use_fonts(labels: Sequence[str]) -> None:
    """Let matplotlib fall back to fonts that have the labels' characters, and say what is missing."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]
    plt.rcParams["font.family"] = families
    missing = {character for label in labels for character in label} - _covered(families)
    if missing:
        warnings.warn(
            f"No installed font draws {''.join(sorted(missing))[:20]!r}; figures show boxes there. Install one, for "
            "example `apt-get install fonts-noto-cjk fonts-symbola`, and delete matplotlib's font cache.",
            stacklevel=2,
        )


def _covered(families: Sequence[str]) -> set[str]:
    characters: set[str] = set()
    for name in families:
        font = font_manager.get_font(font_manager.findfont(name))
        characters |= {chr(code) for code in font.get_charmap()}
    return characters


def draw_accuracy(comparison: pd.DataFrame) -> Figure:
    """Accuracy of each arm, overall and per domain, with 95 % intervals."""
    domains = domains_of(comparison)
    use_fonts([*comparison["arm"], *domains])
    sns.set_theme(style="whitegrid", rc={"font.family": plt.rcParams["font.family"]})
    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.6 * len(comparison)), layout="constrained")
    places = np.arange(len(comparison))
    for number, domain in enumerate(["", *domains]):
        accuracy, half_width = (comparison[_column(name, domain)] for name in ("accuracy", "accuracy_ci"))
        offset = (number - len(domains) / 2) * 0.16
        color = "black" if not domain else sns.color_palette("colorblind")[number - 1]
        axes.errorbar(
            100 * accuracy,
            places + offset,
            xerr=100 * half_width,
            fmt="o",
            capsize=3,
            label=domain or "all",
            color=color,
        )
    axes.set_yticks(places, comparison["arm"])
    axes.invert_yaxis()
    axes.set_xlabel("exact match in %, 95 % interval")
    axes.legend(title="domain", bbox_to_anchor=(1.02, 1), loc="upper left")
    return figure


def draw_losses(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Training loss of each arm: the mean over its seeds, and the range between them."""
    use_fonts(list(curves))
    sns.set_theme(style="whitegrid", rc={"font.family": plt.rcParams["font.family"]})
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for color, (arm, curve) in zip(sns.color_palette("colorblind", len(curves)), curves.items(), strict=True):
        losses = curve.pivot(index="step", columns="seed", values="loss").rolling(5, min_periods=1).mean()
        axes.plot(losses.index, losses.mean(axis=1), label=arm, color=color)
        axes.fill_between(losses.index, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.2, linewidth=0)
    axes.set(xlabel="optimizer step", ylabel="training loss (mean of 5 steps; band: seeds)")
    if curves:
        axes.legend(title="arm")
    return figure


def accuracy_chart(comparison: pd.DataFrame) -> go.Figure:
    """The interactive twin of `draw_accuracy`."""
    chart = go.Figure()
    for domain in ["", *domains_of(comparison)]:
        bars: dict[str, Any] = {"type": "data", "array": 100 * comparison[_column("accuracy_ci", domain)]}
        accuracy = 100 * comparison[_column("accuracy", domain)]
        chart.add_bar(name=domain or "all", x=comparison["arm"], y=accuracy, error_y=bars)
    chart.update_layout(barmode="group", yaxis_title="exact match in %", legend_title="domain", template="plotly_white")
    return chart


def domains_of(comparison: pd.DataFrame) -> list[str]:
    """The domains a comparison has columns for."""
    return [name.removeprefix("accuracy/") for name in comparison.columns if name.startswith("accuracy/")]


def _column(name: str, domain: str) -> str:
    return f"{name}/{domain}" if domain else name
