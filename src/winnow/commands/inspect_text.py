"""How `kedro inspect` writes text of unknown origin, curves and tables."""

import unicodedata
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from winnow.inspection.pieces import Piece
from winnow.inspection.results import Missing
from winnow.inspection.rows import Excerpt

WIDTH = 150
BLOCKS = "▁▂▃▄▅▆▇█"
NO_NUMBER = "·"
OPEN, CLOSE = "⟦", "⟧"
LEARNT, READ, HEADING = "bold green", "dim", "bold"
# Control and format characters: escapes of the terminal, and those that turn the direction of text.
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
_KEPT = "\n\t"
# They join characters into one, and hide nothing.
_JOINERS = "\u200c\u200d"
EXCERPT = 160


def console() -> Console:
    """Standard output; wide where it is no terminal."""
    own = Console(highlight=False)
    return own if own.is_terminal else Console(highlight=False, width=max(own.width, WIDTH))


def literal(text: str) -> str:
    """The same text, with every character that a terminal would obey written out."""
    return "".join(_escaped(one) if _is_unseen(one) else one for one in text)


def _is_unseen(one: str) -> bool:
    return one not in _KEPT and one not in _JOINERS and unicodedata.category(one) in _UNSEEN


def _escaped(one: str) -> str:
    code = ord(one)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def excerpt(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(literal(text[: 2 * EXCERPT]).split())
    return line if len(line) <= EXCERPT and len(text) <= 2 * EXCERPT else f"{line[:EXCERPT]} ..."


def masked(pieces: Iterable[Piece], coloured: bool) -> Text:
    """A row's text: what is learnt in a colour, or in brackets where there is none."""
    whole = Text()
    for piece in pieces:
        text = literal(piece.text)
        if coloured:
            whole.append(text, LEARNT if piece.supervised else READ)
        else:
            whole.append(f"{OPEN}{text}{CLOSE}" if piece.supervised else text)
    return whole


def blocks(values: Sequence[float], low: float, high: float) -> str:
    """A line of blocks, from ``low`` to ``high``."""
    step = (high - low) / len(BLOCKS) or 1.0
    return "".join(
        BLOCKS[min(max(int((value - low) / step), 0), len(BLOCKS) - 1)] if value == value else NO_NUMBER
        for value in values
    )


def some_of(count: int, most: int) -> list[int]:
    """At most so many places of a curve, its first and its last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def curves_table(steps: Sequence[str], curves: Sequence[tuple[str, Sequence[float]]], width: int) -> Table:
    """Curves below each other on one scale: blocks for all checkpoints, numbers for as many as fit, up to eight."""
    known = [value for _, values in curves for value in values if value == value]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    title = "loss at checkpoint"
    left = max(len(title), *(len(name) for name, _ in curves)) + len(steps) + 6
    column = max(5, *map(len, steps)) + 3
    shown = some_of(len(steps), min(8, max(2, (width - left) // column)))
    table = plain_table(title, "", *(steps[place] for place in shown), left=2)
    for name, values in curves:
        table.add_row(name, blocks(values, low, high), *(f"{values[place]:.3f}" for place in shown))
    return table


def plain_table(*columns: str, left: int = 1) -> Table:
    """A table without frames; numbers, after the first columns, to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, name in enumerate(columns):
        table.add_column(Text(literal(name)), justify="left" if number < left else "right", no_wrap=number >= left)
    return table


def excerpts_table(rows: Sequence[Excerpt], value: str) -> Table:
    """Rows with the beginning of their text."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, justify in ((value, "right"), ("cluster", "left"), ("row, and its text", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=justify == "right")
    for row in rows:
        text = Text(literal(row.example_id), HEADING).append(f"\n{excerpt(row.text)}", "not bold")
        table.add_row(f"{row.value:.4f}", Text(literal(row.cluster or row.subset)), text)
    return table


def heading(out: Console, text: str) -> None:
    """A line above what follows."""
    out.print()
    line(out, text, HEADING)


def line(out: Console, text: str, style: str = "") -> None:
    """One line of text, as it is."""
    out.print(Text(literal(text), style), soft_wrap=True)


def show_missing(out: Console, missing: Sequence[Missing]) -> None:
    """What is not there, and how to make it."""
    if not missing:
        return
    out.print()
    for one in missing:
        state = f"was made from another `{one.outdated}`; again" if one.outdated else "is not there; make it"
        line(out, f"`{one.dataset}` {state}: {one.command}", "yellow")
