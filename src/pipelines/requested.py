"""The arms that this process was asked for, said by the `run` command before pipelines are registered."""

_requested: tuple[str, ...] = ()


def set_requested_arms(names: tuple[str, ...]) -> None:
    """Remember the arms of this run, so that its comparison covers exactly them."""
    global _requested
    _requested = names


def requested_arms() -> tuple[str, ...]:
    """The arms named on the command line; empty where whole studies or single stages run."""
    return _requested
