"""What `kedro inspect example` prints."""

from typing import TYPE_CHECKING

from rich.text import Text

from winnow.commands.inspect_text import (
    CLOSE,
    LEARNT,
    OPEN,
    curves_table,
    heading,
    line,
    literal,
    masked,
    plain_table,
    show_missing,
)

if TYPE_CHECKING:
    from rich.console import Console

    from winnow.inspection.arms import Keeps
    from winnow.inspection.example import Copies, Example, Origin, Tokens
    from winnow.inspection.scores import Standing

_SIDES = {
    "train": "in the pool (train)",
    "validation": "validated with, never trained on",
    "held_out": "held out: nothing is chosen by it",
    "set aside": "set aside",
    None: "not split yet",
}


def show_example(out: "Console", found: "Example") -> None:
    """Print all that is known of a row, part by part; parts that are not there are left out."""
    line(out, found.example_id, "bold")
    if found.rejected is not None:
        line(out, f"rejected: {found.rejected}", "red")
        line(out, found.excerpt)
    if found.origin:
        _show_origin(out, found.origin)
    if found.copies:
        _show_copies(out, found.copies)
    _show_text(out, found)
    _show_curve(out, found)
    if found.scores:
        _show_scores(out, found.scores)
    if found.arms:
        _show_arms(out, found.arms)
    show_missing(out, found.missing)
    if found.planted:
        out.print()
        line(out, f"planted: {found.planted}")


def _show_origin(out: "Console", origin: "Origin") -> None:
    line(out, f"record {origin.row} of {origin.file}, subset {origin.subset}, read as {origin.shape}")
    line(out, _SIDES[origin.side])


def _show_copies(out: "Console", copies: "Copies") -> None:
    if copies.kept:
        line(out, f"{copies.kind}: repeats {copies.kept}")
    if copies.number:
        more = f" and {copies.number - len(copies.others)} more" if copies.number > len(copies.others) else ""
        line(out, f"repeated by {', '.join(copies.others)}{more}")


def _show_text(out: "Console", found: "Example") -> None:
    tokens = found.tokens
    if tokens and tokens.pieces:
        _show_tokens(out, tokens)
        return
    if tokens and tokens.reason:
        out.print()
        line(out, f"{tokens.supervised} of {tokens.number} tokens are learnt from: {tokens.reason}", "red")
    for message in found.messages:
        heading(out, message["role"])
        line(out, message["content"])


def _show_tokens(out: "Console", tokens: "Tokens") -> None:
    coloured = out.color_system is not None and not out.no_color
    mark = f"learnt from: {tokens.supervised} of {tokens.number} tokens"
    legend = Text(mark, LEARNT) if coloured else Text(f"{mark}, between {OPEN} and {CLOSE}")
    out.print()
    out.print(legend)
    # The terminal breaks long lines: nothing is put in or taken away.
    out.print(masked(tokens.pieces, coloured), soft_wrap=True)


def _show_curve(out: "Console", found: "Example") -> None:
    curve, cluster = found.curve, found.cluster
    if curve:
        curves = [("this row", curve.losses)]
        if cluster and cluster.mean:
            curves.append((f"mean of {cluster.name}", cluster.mean))
        out.print()
        out.print(curves_table(curve.steps, curves, out.width))
    if cluster:
        out.print()
        line(out, f"cluster {cluster.name}: {cluster.rows} rows")


def _show_scores(out: "Console", scores: "list[Standing]") -> None:
    table = plain_table("score (rank 1 is the highest)", "value", "rank", "of", "percentile")
    for own in scores:
        table.add_row(Text(literal(own.score)), f"{own.value:.4f}", str(own.rank), str(own.of), f"{own.percentile:.1f}")
    out.print()
    out.print(table)


def _show_arms(out: "Console", arms: "list[Keeps]") -> None:
    table = plain_table("arm keeps it", "seeds", "times")
    for own in arms:
        if own.keeps:
            table.add_row(own.arm, f"{own.keeps} of {own.seeds}", f"{own.times}x")
    out.print()
    out.print(table)
    none = [own.arm for own in arms if not own.keeps]
    if none:
        line(out, f"not kept by {', '.join(none)}")
