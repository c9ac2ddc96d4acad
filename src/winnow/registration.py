"""Keeps the configuration that pipelines are registered from: domains, arms and sources are declared there."""

from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

_parameters: dict[str, Any] = {}


class RegistrationHooks:
    """Remembers the parameters of the environment, run-time parameters included."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Called by Kedro before it asks for the pipelines."""
        _parameters.clear()
        # Not `context.params`: reading it validates, and validation asks for the pipelines.
        _parameters.update(context.config_loader["parameters"])


def parameters() -> dict[str, Any]:
    """The parameters to register pipelines with; read from `conf/base` where no session was opened."""
    return _parameters or _from_base()


def _from_base() -> dict[str, Any]:
    from kedro.framework.project import settings

    from winnow.settings import PROJECT

    loader = settings.CONFIG_LOADER_CLASS(str(PROJECT / settings.CONF_SOURCE), env=None, **settings.CONFIG_LOADER_ARGS)
    return dict(loader["parameters"])
