"""Every error a user can cause. A message names the value, the cause and the remedy."""


class WinnowError(Exception):
    """Base of all errors that are the user's to mend; shown without a traceback by the commands."""


class BadInput(WinnowError):
    """A file or folder of raw data cannot be used at all (single bad rows become rejects instead)."""


class BadSetting(WinnowError):
    """A parameter, recipe or environment variable has a value that cannot work."""


class MissingResource(WinnowError):
    """Something needed is not there: a model folder, a package, an accelerator, disk space."""


class StaleOutput(WinnowError):
    """A record points at a finished directory that is gone or damaged."""


class WorkerFailed(WinnowError):
    """A worker process ended without a result."""


class NothingToTrainOn(WinnowError):
    """A selection or split left no usable example."""


class WrongConversion(WinnowError):
    """A converted model is not what its base model and the settings make."""


class OutOfMemory(WinnowError):
    """An accelerator or the host is full."""
