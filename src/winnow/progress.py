"""News of long work: stages publish, and whoever is interested (a progress bar, the tracker) subscribes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class News:
    """How far a stage is, and what it measured at a step."""

    stage: str
    done: int | None = None
    total: int | None = None
    unit: str = "rows"
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    message: str = ""


Listener = Callable[[News], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener`` with all news published in this context."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def publish(news: News) -> None:
    """Tell every listener."""
    for listener in tuple(_listeners):
        listener(news)
