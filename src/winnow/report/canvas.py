"""What all figures share: one look, fonts for every script, colours that can be told apart."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from winnow.report.fonts import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def styled(labels: Iterable[str]) -> Iterator[dict[str, str]]:
    """One look for all figures, no change to the caller's own settings; gives the labels as they can be drawn."""
    from matplotlib import style

    families, texts = drawable(labels)
    # A label is text, also where a folder's name has dollar signs in it.
    with style.context(["seaborn-v0_8-whitegrid", {"font.family": families, "text.parse_math": False}]):
        yield texts


def blank(width: float, height: float) -> "Figure":
    """A figure that pyplot does not know: nothing is shown, and nothing stays in memory."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def room_for(lines: int, height: float) -> float:
    """A figure's height where so many lines stand in a legend beside it: too long a legend squeezes what is drawn."""
    return max(height, 1.0 + 0.23 * lines)


def drawn(figure: "Figure") -> "Figure":
    """A figure as it stays: tick labels are made with the style of this moment, and no save arranges it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return figure


def logarithmic(axes: Any) -> None:
    """A logarithmic axis of x with plain numbers: matplotlib's own labels are mathematics, which is not parsed here."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def colors(number: int) -> list[Any]:
    """Colours that a colour-blind reader tells apart, as far as there are enough of them."""
    import matplotlib as mpl

    few = mpl.color_sequences["petroff10"]
    return few[:number] if number <= len(few) else list(mpl.colormaps["turbo"].resampled(number)(range(number)))
