"""A user's mistake becomes one message without a traceback."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import click

Result = TypeVar("Result")

# Kedro's words where a name on the command line is unknown.
_NOT_IN_THE_PIPELINE = ("Failed to find the pipeline", "Pipeline does not contain", "Pipeline contains no nodes")


def kindly(action: Callable[[], Result]) -> Result:
    """Do ``action``; what the user can mend becomes a message and exit code 1, anything else stays a traceback."""
    try:
        return action()
    except Exception as error:
        message = next(filter(None, map(_message, _chain(error))), None)
        if message is None:
            raise
        logging.getLogger("winnow").debug("the error in full", exc_info=True)
        raise click.ClickException(message) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes: Kedro wraps what a dataset raises."""
    while error is not None:
        yield error
        error = error.__cause__


def _message(error: BaseException) -> str | None:
    from kedro.config import MissingConfigException
    from kedro.framework.cli.utils import KedroCliError
    from kedro.validation.exceptions import ParameterValidationError
    from omegaconf.errors import OmegaConfBaseException
    from pydantic import ValidationError
    from yaml import YAMLError

    from winnow.errors import WinnowError

    if isinstance(error, WinnowError | KedroCliError):
        return str(error)
    if isinstance(error, ParameterValidationError | ValidationError):
        return "\n".join(_complaints()) or str(error)
    if isinstance(error, MissingConfigException | OmegaConfBaseException | YAMLError):
        return f"The configuration cannot be read: {error}"
    if isinstance(error, ValueError) and str(error).startswith(_NOT_IN_THE_PIPELINE):
        text = " ".join(str(error).split())
        return f"{text} `kedro registry list` and `kedro registry describe NAME` show the names."
    return None


def _complaints() -> list[str]:
    """What is wrong with the parameters as they are now, in the words of recipes."""
    from winnow.recipes import complaints
    from winnow.registration import parameters

    return complaints(parameters())
