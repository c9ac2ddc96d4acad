"""Figures of an influence matrix and its analysis: red harms, blue helps; bars are one standard error."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.influence.analysis import Asymmetry, AverageAndMean, Components, Matrix, OwnAndOther, Values, totals
from winnow.influence.figures_of_merit import Analysis
from winnow.report.canvas import blank, colors, drawn, styled
from winnow.report.heatmap import MOST_NUMBERS, draw_heatmap, shortened, unit_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLUSTERS = 40
MOST_SUBSETS = 20
MOST_BARS = 30
MOST_LEGEND = 20
MOST_ARROWS = 10
MOST_COMPONENTS = 8
_BARS: dict[str, Any] = {"error_kw": {"ecolor": "0.3", "capsize": 2, "elinewidth": 0.8}}


def draw_analysis(found: Analysis) -> dict[str, "Figure"]:
    """Every figure that the matrix has, by file name; without the main one, `draw_matrix`."""
    matrix = found.matrix
    pictures = {
        "heatmap_without_average": draw_matrix(matrix, average=False),
        "average_ranking": draw_ranking(matrix, matrix.average, matrix.average_errors, "average influence"),
        "total_ranking": draw_ranking(matrix, *totals(matrix), "total influence (sum over domains)"),
        "average_and_mean": draw_average(matrix, found.average),
    }
    parts: list[tuple[str, Any, Callable[..., Figure]]] = [
        ("domain_means", found.means, draw_means),
        ("intra_and_inter", found.origins, lambda part: draw_origins(matrix, part)),
        ("components", found.components, lambda part: draw_components(matrix, part)),
        ("asymmetry", found.asymmetry, draw_asymmetry),
        ("correlations", found.correlations, draw_correlations),
    ]
    pictures |= {name: draw(part) for name, part, draw in parts if not isinstance(part, str)}
    return {f"{name}.png": figure for name, figure in pictures.items()}


def draw_matrix(matrix: Matrix, average: bool = True) -> "Figure":
    """Domains x clusters, with the average row or without; of many clusters the best and the worst of the average."""
    shown, left_out = ends(matrix.average, MOST_CLUSTERS)
    values, errors, names = matrix.values[:, shown], matrix.errors[:, shown], list(matrix.rows)
    if average:
        values, errors = np.vstack([values, matrix.average[shown]]), np.vstack([errors, matrix.average_errors[shown]])
        names.append("average")
    cells = Values(names, [matrix.columns[place] for place in shown], values, errors)
    title = "influence (dot: less than two standard errors from zero)" + _told(len(shown), left_out, "\n")
    lines = (len(matrix.rows) if average else 0, len(shown) // 2 if left_out else 0)
    return draw_heatmap(cells, title, ("domain", "cluster"), len(shown) <= MOST_NUMBERS, lines=lines)


def draw_means(means: Values) -> "Figure":
    """Domains x subsets of origin."""
    title = "mean influence of a subset's clusters,\nweighed by rows (dot: less than two standard errors from zero)"
    return draw_heatmap(means, title, ("domain", "subset of origin"), len(means.columns) <= MOST_SUBSETS)


def draw_correlations(found: Values) -> "Figure":
    """Domains x domains."""
    title = "correlation of domains over clusters"
    return draw_heatmap(found, title, ("domain", "domain"), len(found.rows) <= MOST_SUBSETS, most=1)


def draw_asymmetry(found: Asymmetry) -> "Figure":
    """The difference of each pair as a heatmap; of many names the largest differences as bars."""
    pairs = found.differences
    title = f"asymmetry {found.ratio:.2f} ± {found.error:.2f} (by chance {found.by_chance:.2f})"
    if len(pairs.rows) <= MOST_SUBSETS:
        told = f"{title}\ninfluence of the column on the row, less the row's on the column"
        return draw_heatmap(pairs, told, ("domain", found.of), numbers=True)
    above = np.triu_indices(len(pairs.rows), 1)
    values, errors = pairs.values[above], pairs.errors[above]
    largest = np.argsort(-np.abs(values), kind="stable")[:MOST_BARS]
    short = shortened(pairs.rows)
    names = [f"{short[pairs.rows[above[1][place]]]} on {short[pairs.rows[above[0][place]]]}" for place in largest]
    told = f"influence less that of the reverse, {len(largest)} largest of {len(values)} pairs"
    return _draw_bars(names, values[largest], errors[largest], f"{title}\n{told}", 0)


def draw_ranking(matrix: Matrix, values: np.ndarray, errors: np.ndarray, title: str) -> "Figure":
    """Clusters from the best to the worst; of many both ends."""
    shown, left_out = ends(values, MOST_BARS)
    shown = sorted(shown, key=lambda place: -values[place])
    names = [matrix.columns[place] for place in shown]
    told = title + _told(len(shown), left_out, "\n")
    return _draw_bars(names, values[shown], errors[shown], told, len(shown) // 2 if left_out else 0)


def draw_origins(matrix: Matrix, found: OwnAndOther) -> "Figure":
    """Cells of a domain's own clusters and of all others, and the means of each domain."""
    sides, means = ("intra", "inter"), found.means
    names = shortened(means.rows)
    ratio, error = found.ratio
    sizes = np.broadcast_to(matrix.sizes, matrix.values.shape)
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, matrix.values.shape)
    with styled(names.values()) as text:
        figure = blank(11, max(3.5, 1.5 + 0.34 * len(means.rows)))
        spread, each = figure.subplots(1, 2)
        for place, (side, color) in enumerate(zip(sides, colors(2), strict=True)):
            cells = found.own == 1 - place
            areas = 4 + 40 * sizes[cells] / sizes.max()
            spread.scatter(matrix.values[cells], place + jitter[cells], areas, color=color, alpha=0.4, linewidth=0)
            mean = {"xerr": found.error[place], "fmt": "D", "color": "black", "capsize": 4, "markersize": 6}
            spread.errorbar(found.mean[place], place, **mean)
            spots = np.arange(len(means.rows)) + (place - 0.5) * 0.3
            each.errorbar(
                means.values[:, place], spots, xerr=means.errors[:, place], fmt="o", capsize=3, color=color, label=side
            )
        spread.set_yticks(
            range(2), [f"{side}\n({(found.own == 1 - place).sum()} cells)" for place, side in enumerate(sides)]
        )
        spread.set(title=f"intra / inter = {ratio:.2f} ± {error:.2f}", xlabel="influence (area: rows; diamond: mean)")
        each.set_yticks(range(len(means.rows)), [text[names[name]] for name in means.rows])
        each.set(title="means of each domain, weighed by rows", xlabel="influence", ylim=(len(means.rows) - 0.5, -0.5))
        each.legend()
        spread.set_ylim(1.5, -0.5)
        for axes in (spread, each):
            axes.axvline(0, color="black", linewidth=0.8)
        return drawn(figure)


def draw_average(matrix: Matrix, found: AverageAndMean) -> "Figure":
    """Each cluster's influence on all validation rows, against the plain mean over domains."""
    short, palette = shortened(matrix.columns), _palette(matrix.origins)
    with styled([*short.values(), *palette]) as text:
        figure = blank(6.5, 5)
        axes = figure.subplots()
        _points(axes, (found.mean, matrix.average), (found.mean_errors, matrix.average_errors), matrix, palette, text)
        ends_ = [f(np.concatenate([found.mean, matrix.average])) for f in (np.min, np.max)]
        axes.axline((ends_[0], ends_[0]), slope=1, color="black", linewidth=0.8, linestyle="--", label="equal")
        difference = np.abs(matrix.average - found.mean)
        for place in np.argsort(-difference)[:3]:
            if difference[place] > 1e-6 * np.abs(matrix.average).max():
                axes.annotate(text[short[matrix.columns[place]]], (found.mean[place], matrix.average[place]),
                              xytext=(6, -10), textcoords="offset points", fontsize="small")  # fmt: skip
        axes.set(
            xlabel="plain mean over domains", ylabel="average over all validation rows", title="influence of clusters"
        )
        _legend(axes, palette)
        return drawn(figure)


def draw_components(matrix: Matrix, found: Components) -> "Figure":
    """Clusters by their first two scores, domains as arrows of their loadings; and what each component explains."""
    palette = _palette([*matrix.origins, *matrix.rows])
    with styled(palette) as text:
        figure = blank(11, 5)
        both, explained = figure.subplots(1, 2, width_ratios=(3, 2))
        scores, errors = list(found.scores[:, :2].T), list(found.score_errors[:, :2].T)
        _points(both, scores, errors, matrix, palette, text)
        reach = np.abs(scores).max() / max(np.abs(found.loadings[:, :2]).max(), 1e-300)
        lengths = np.linalg.norm(found.loadings[:, :2], axis=1)
        for place in np.argsort(-lengths, kind="stable")[:MOST_ARROWS]:
            tip = found.loadings[place, :2] * reach
            arrow = {
                "arrowstyle": "-|>",
                "color": palette[matrix.rows[place]],
                "linewidth": 1.8,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            both.annotate("", tip, (0, 0), arrowprops=arrow)
        shares = [f"{100 * share:.0f} %" for share in found.shares[:2]]
        more = f", {MOST_ARROWS} longest" if len(lengths) > MOST_ARROWS else ""
        both.set(xlabel=f"component 1 ({shares[0]})", ylabel=f"component 2 ({shares[1]})",
                 title=f"clusters (dots) and loadings of domains (arrows{more})")  # fmt: skip
        _legend(both, palette)
        count = min(MOST_COMPONENTS, len(found.shares))
        explained.bar(range(1, count + 1), 100 * found.shares[:count], yerr=100 * found.share_errors[:count], **_BARS)
        explained.set_xticks(range(1, count + 1))
        explained.set(xlabel="component", ylabel="explained share in %", ylim=(0, 105))
        return drawn(figure)


def ends(values: np.ndarray, most: int) -> tuple[list[int], int]:
    """All places where they are not many, else those of the highest and the lowest values; how many are left out."""
    if len(values) <= most:
        return list(range(len(values))), 0
    order = [int(place) for place in np.argsort(-values, kind="stable")]
    return order[: most // 2] + order[-(most // 2) :], len(values) - 2 * (most // 2)


def _told(shown: int, left_out: int, before: str) -> str:
    return f"{before}top {shown // 2} and bottom {shown // 2}; {left_out} between are left out" if left_out else ""


def _draw_bars(names: Sequence[str], values: np.ndarray, errors: np.ndarray, title: str, cut: int) -> "Figure":
    """Bars from top to bottom, coloured by sign; a gap after ``cut`` bars."""
    short = shortened(names)
    places = np.arange(len(names)) + (np.arange(len(names)) >= cut if cut else 0)
    factor, unit = unit_of(float(np.abs(values).max(initial=0)))
    with styled(short.values()) as text:
        figure = blank(7, 1.4 + 0.24 * len(names))
        axes = figure.subplots()
        shades = np.where(values < 0, "#b2182b", "#2166ac")
        axes.barh(places, values * factor, xerr=errors * factor, color=shades, **_BARS)
        axes.set_yticks(places, [text[short[name]] for name in names])
        axes.set_ylim(places[-1] + 0.7, -0.7)
        axes.grid(visible=False, axis="y")
        axes.axvline(0, color="black", linewidth=0.8)
        if cut:
            axes.axhline(cut, color="0.5", linestyle=":")
        axes.set(xlabel="influence (bar: one standard error)" + unit)
        axes.set_title(title, fontsize="medium")
        return drawn(figure)


def _palette(names: Sequence[str]) -> dict[str, Any]:
    """One colour per name: a domain and the subset of the same name share it."""
    different = sorted(set(names))
    return dict(zip(different, colors(len(different)), strict=True))


def _points(
    axes: Any, at: Sequence[np.ndarray], errors: Sequence[np.ndarray], matrix: Matrix, palette: dict[str, Any],
    text: dict[str, str],
) -> None:  # fmt: skip
    """Clusters with errors both ways, coloured by their subset of origin."""
    for name, color in palette.items():
        here = np.array([origin == name for origin in matrix.origins])
        bars = {"xerr": errors[0][here], "yerr": errors[1][here], "fmt": "o", "markersize": 4, "elinewidth": 0.5}
        axes.errorbar(at[0][here], at[1][here], **bars, color=color, alpha=0.7, label=text[name] or "subset not known")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.axvline(0, color="0.6", linewidth=0.8)


def _legend(axes: Any, palette: dict[str, Any]) -> None:
    if len(palette) <= MOST_LEGEND:
        axes.legend(fontsize="small", bbox_to_anchor=(1.01, 1), loc="upper left")
