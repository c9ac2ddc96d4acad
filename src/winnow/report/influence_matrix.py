"""Figures of an influence matrix and its analysis: red harms, blue helps; bars are one standard error."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.influence.analysis import Asymmetry, AverageAndMean, Components, Matrix, OwnAndOther, totals
from winnow.influence.figures_of_merit import Analysis
from winnow.influence.values import Values
from winnow.report.canvas import blank, colors, drawn, styled
from winnow.report.heatmap import MOST_NUMBERS, draw_heatmap, shortened, told, unit_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLUSTERS = 40
MOST_SUBSETS = 20
MOST_BARS = 30
MOST_LEGEND = 20
MOST_ARROWS = 6
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
    title = "influence (dot: not known to be two standard errors from zero)" + _left_between(len(shown), left_out)
    lines = (len(matrix.rows) if average else 0, len(shown) // 2 if left_out else 0)
    return draw_heatmap(cells, title, ("domain", "cluster"), len(shown) <= MOST_NUMBERS, lines=lines)


def draw_means(means: Values) -> "Figure":
    """Domains x subsets of origin."""
    title = (
        "mean influence of a subset's clusters,\nweighed by rows (dot: not known to be two standard errors from zero)"
    )
    return draw_heatmap(means, title, ("domain", "subset of origin"), len(means.columns) <= MOST_SUBSETS)


def draw_correlations(found: Values) -> "Figure":
    """Domains x domains."""
    title = "correlation of domains over clusters"
    return draw_heatmap(found, title, ("domain", "domain"), len(found.rows) <= MOST_SUBSETS, most=1)


def draw_asymmetry(found: Asymmetry) -> "Figure":
    """The difference of each pair as a heatmap; of many names the largest differences as bars."""
    pairs = found.differences
    title = f"asymmetry {told(found.ratio, found.error)}"
    title += f" (by chance {found.by_chance:.2f})" if math.isfinite(found.by_chance) else ""
    if len(pairs.rows) <= MOST_SUBSETS:
        wide = f"{title}\ninfluence of the column on the row, less the row's on the column"
        return draw_heatmap(pairs, wide, ("domain", found.of), numbers=True)
    above = np.triu_indices(len(pairs.rows), 1)
    values, errors = pairs.values[above], pairs.errors[above]
    largest = np.argsort(-np.abs(values), kind="stable")[:MOST_BARS]
    short = shortened(pairs.rows)
    names = [f"{short[pairs.rows[above[1][place]]]} on {short[pairs.rows[above[0][place]]]}" for place in largest]
    title += f"\ninfluence less that of the reverse, {len(largest)} largest of {len(values)} pairs"
    return _draw_bars(names, values[largest], errors[largest], title, 0)


def draw_ranking(matrix: Matrix, values: np.ndarray, errors: np.ndarray, title: str) -> "Figure":
    """Clusters from the best to the worst; of many both ends."""
    shown, left_out = ends(values, MOST_BARS)
    shown = sorted(shown, key=lambda place: -values[place])
    short = shortened(matrix.columns)
    names = [short[matrix.columns[place]] for place in shown]
    title += _left_between(len(shown), left_out)
    return _draw_bars(names, values[shown], errors[shown], title, len(shown) // 2 if left_out else 0)


def draw_origins(matrix: Matrix, found: OwnAndOther) -> "Figure":
    """Cells of a domain's own clusters and of all others, and the means of each domain."""
    sides, means = ("intra", "inter"), found.means
    names = shortened(means.rows)
    ratio = told(*found.ratio)
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
        spread.set(title=f"intra / inter = {ratio}", xlabel="influence (area: rows; diamond: mean)")
        each.set_yticks(range(len(means.rows)), [text[names[name]] for name in means.rows])
        each.set(title="means of each domain, weighed by rows", xlabel="influence", ylim=(len(means.rows) - 0.5, -0.5))
        each.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
        spread.set_ylim(1.5, -0.5)
        for axes in (spread, each):
            axes.axvline(0, color="black", linewidth=0.8)
            axes.locator_params(axis="x", nbins=6)
        return drawn(figure)


def draw_average(matrix: Matrix, found: AverageAndMean) -> "Figure":
    """Each cluster's influence on all validation rows, against the plain mean over domains."""
    short, palette = shortened(matrix.columns), _palette(matrix.origins)
    with styled([*short.values(), *palette]) as text:
        figure = blank(6.5, 5)
        axes = figure.subplots()
        _points(axes, (found.mean, matrix.average), (found.mean_errors, matrix.average_errors), matrix, palette, text)
        limits = [find(np.concatenate([found.mean, matrix.average])) for find in (np.min, np.max)]
        axes.plot(limits, limits, color="black", linewidth=0.8, linestyle="--", label="equal")
        difference = np.abs(matrix.average - found.mean)
        most = int(difference.argmax())
        if difference[most] > 1e-6 * np.abs(matrix.average).max():
            label = f"largest difference:\n{text[short[matrix.columns[most]]]}"
            spot: dict[str, Any] = {"xytext": (0.97, 0.05), "textcoords": "axes fraction", "ha": "right"}
            axes.annotate(label, (found.mean[most], matrix.average[most]), **spot, arrowprops={"arrowstyle": "->"})
        axes.set(xlabel="plain mean over domains", ylabel="average over all validation rows")
        axes.set_title("influence of clusters", fontsize="medium")
        _legend(axes, palette)
        return drawn(figure)


def draw_components(matrix: Matrix, found: Components) -> "Figure":
    """Clusters by their first two scores, domains as arrows of their loadings; and what each component explains."""
    palette, short = _palette(matrix.origins), shortened(matrix.rows)
    scores, errors, loadings = _two(found.scores), _two(found.score_errors), _two(found.loadings)
    none = np.abs(scores).max(axis=0) < 1e-9 * np.abs(scores).max()
    scores[:, none], errors[:, none], loadings[:, none] = 0, 0, 0
    with styled([*palette, *short.values()]) as text:
        figure = blank(11, 5)
        both, explained = figure.subplots(1, 2, width_ratios=(3, 2))
        _points(both, list(scores.T), list(errors.T), matrix, palette, text)
        _arrows(both, loadings, scores, [text[short[name]] for name in matrix.rows])
        shares = [f"{100 * share:.0f} %" for share in [*found.shares, 0.0][:2]]
        more = f", {MOST_ARROWS} longest" if len(matrix.rows) > MOST_ARROWS else ""
        both.set(xlabel=f"component 1 ({shares[0]})", ylabel=f"component 2 ({shares[1]})")
        both.set_title(f"clusters (dots) and loadings of domains (arrows{more})", fontsize="medium")
        _legend(both, palette)
        count = min(MOST_COMPONENTS, len(found.shares))
        explained.bar(range(1, count + 1), 100 * found.shares[:count], yerr=100 * found.share_errors[:count], **_BARS)
        explained.set_xticks(range(1, count + 1))
        explained.set(xlabel="component", ylabel="explained share in %", ylim=(0, 105), xlim=(0.4, max(count, 3) + 0.6))
        return drawn(figure)


def ends(values: np.ndarray, most: int) -> tuple[list[int], int]:
    """All places where they are not many, else those of the highest and the lowest values; how many are left out."""
    if len(values) <= most:
        return list(range(len(values))), 0
    order = [int(place) for place in np.argsort(-values, kind="stable")]
    return order[: most // 2] + order[-(most // 2) :], len(values) - 2 * (most // 2)


def _two(values: np.ndarray) -> np.ndarray:
    """The first two components, of which the second may be missing."""
    return np.pad(values[:, :2], ((0, 0), (0, max(0, 2 - values.shape[1]))))


def _arrows(axes: Any, loadings: np.ndarray, scores: np.ndarray, names: Sequence[str]) -> None:
    """The longest loadings, to the scale of the scores; labels keep their distance."""
    extent = np.abs(loadings).max(axis=0)
    reach = np.min((np.abs(scores).max(axis=0) / np.where(extent > 0, extent, 1))[extent > 0])
    longest = np.argsort(-np.linalg.norm(loadings, axis=1), kind="stable")[:MOST_ARROWS]
    # The axes make room for the tips, and for labels beside them.
    axes.plot(*(loadings[longest] * reach).T, alpha=0)
    axes.margins(x=0.2)
    step, height = 0.06 * np.ptp(axes.get_ylim()), -np.inf
    for place in sorted(longest, key=lambda place: float(loadings[place, 1])):
        tip = loadings[place] * reach
        height = max(height + step, tip[1])
        axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0})
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
        axes.text(tip[0], height, f" {names[place]}", va="center", fontweight="bold", fontsize="small", bbox=box)


def _left_between(shown: int, left_out: int) -> str:
    return f"\ntop {shown // 2} and bottom {shown // 2}; {left_out} between are left out" if left_out else ""


def _draw_bars(names: Sequence[str], values: np.ndarray, errors: np.ndarray, title: str, cut: int) -> "Figure":
    """Bars from top to bottom, coloured by sign; a gap after ``cut`` bars."""
    places = np.arange(len(names)) + (np.arange(len(names)) >= cut if cut else 0)
    factor, unit = unit_of(float(np.abs(values).max(initial=0)))
    with styled(names) as text:
        figure = blank(8, 1.4 + 0.24 * len(names))
        axes = figure.subplots()
        shades = np.where(values < 0, "#b2182b", "#2166ac")
        axes.barh(places, values * factor, xerr=errors * factor, color=shades, **_BARS)
        axes.set_yticks(places, [text[name] for name in names])
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


def _legend(axes: Any, palette: dict[str, Any]) -> None:
    if len(palette) <= MOST_LEGEND:
        axes.legend(title="mostly from", fontsize="small", bbox_to_anchor=(1.01, 1), loc="upper left")
