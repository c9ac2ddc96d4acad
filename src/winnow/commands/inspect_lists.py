"""What `kedro inspect cluster` and `kedro inspect target` print."""

from typing import TYPE_CHECKING

from rich.text import Text

from winnow.commands.inspect_text import (
    blocks,
    curves_table,
    excerpts_table,
    heading,
    line,
    literal,
    plain_table,
    show_missing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from winnow.inspection.arms import Share
    from winnow.inspection.cluster import Cluster, Influence
    from winnow.inspection.rows import Excerpt
    from winnow.inspection.target import Target

_QUARTILES = ("min", "25 %", "median", "75 %", "max")
_NAMES = {"less": "gradient influence (LESS)", "rds": "nearness of embeddings (RDS+)", "bm25": "words in common (BM25)"}


def show_cluster(out: "Console", found: "Cluster") -> None:
    """Print all that is known of a cluster."""
    line(out, f"cluster {found.name}", "bold")
    line(out, f"{found.rows} rows, {100 * found.rows / found.pool:.1f} % of the pool of {found.pool}")
    for part in found.subsets:
        share, of_subset = 100 * part.rows / found.rows, 100 * part.rows / part.pool
        line(out, f"  {part.subset}: {part.rows} rows, {share:.1f} % of the cluster, {of_subset:.1f} % of the subset")
    if curves := found.curves:
        spread = [("a tenth is below", curves.low), ("mean", curves.mean), ("a tenth is above", curves.high)]
        out.print()
        out.print(curves_table(curves.steps, spread, out.width))
    if found.influence:
        _show_influence(out, found.influence)
    if found.arms:
        _show_shares(out, found.arms)
    _show_rows(out, "Typical rows, the nearest to the mean loss curve", found.typical, "distance")
    _show_rows(out, "Odd rows, the farthest from it", found.odd, "distance")
    show_missing(out, found.missing)


def show_target(out: "Console", found: "Target") -> None:
    """Print a target's best and worst rows."""
    line(out, f"target {found.name} by {_NAMES[found.by]}", "bold")
    spread = found.spread
    told = ", ".join(f"{name} {value:.4f}" for name, value in zip(_QUARTILES, spread.quartiles, strict=True))
    line(out, f"{spread.rows} rows: {told}")
    line(
        out,
        f"{spread.quartiles[0]:.4f} {blocks(spread.histogram, 0, max(spread.histogram))} {spread.quartiles[-1]:.4f}",
    )
    _show_rows(out, "Highest scores", found.best, "score")
    _show_rows(out, "Lowest scores", found.worst, "score")
    show_missing(out, found.missing)


def _show_influence(out: "Console", cells: "Sequence[Influence]") -> None:
    table = plain_table("influence on", "", "standard error")
    for cell in cells:
        error = "" if cell.error is None else f"{cell.error:.4f}"
        table.add_row(Text(literal(cell.domain)), f"{cell.influence:.4f}", error)
    out.print()
    out.print(table)


def _show_shares(out: "Console", arms: "Sequence[Share]") -> None:
    table = plain_table("arm", "seeds", "keeps rows", "random would", "times random", "of its mix")
    for own in arms:
        ratio = f"{own.kept / own.expected:.2f}" if own.expected else ""
        chance = f"{own.expected:.1f} ± {own.deviation:.1f}"
        table.add_row(own.arm, str(own.seeds), f"{own.kept:.1f}", chance, ratio, f"{100 * own.share:.1f} %")
    out.print()
    out.print(table)


def _show_rows(out: "Console", title: str, rows: "Sequence[Excerpt]", value: str) -> None:
    if rows:
        heading(out, title)
        out.print(excerpts_table(rows, value))
