"""Plan mode: nodes are called as usual, but a result that would have to be built raises `WouldRun`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from winnow.stages.place import Place

_planning: ContextVar[bool] = ContextVar("planning", default=False)


class WouldRun(Exception):
    """Raised in plan mode by a stage that is not finished yet."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__(", ".join(f"{place.stage} {place.fingerprint}" for place in places))
        self.places = tuple(places)


@contextmanager
def planning() -> Iterator[None]:
    """Within this context nothing is built."""
    token = _planning.set(True)
    try:
        yield
    finally:
        _planning.reset(token)


def require_build(places: Sequence[Place]) -> None:
    """Called by a stage before it starts to build ``places``."""
    if places and _planning.get():
        raise WouldRun(places)
