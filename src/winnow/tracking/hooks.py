"""Kedro hooks that log a run: parameters of all stages, live and final metrics of each arm, figures, lineage.

What is logged of a dataset is said in the catalog (`metadata: {mlflow: {as: metrics | artifact}}`).
"""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node

from winnow.progress import News, listening
from winnow.stages import Finished, FinishedParts
from winnow.tracking.history import finetune_points
from winnow.tracking.store import Store, flatten

FLUSH_POINTS = 50
_active: list["TrackingHooks"] = []


class TrackingHooks:
    """Logs one `kedro run` as a parent run with a child per arm."""

    def __init__(self, project: Path, uri: str) -> None:
        self.project = project
        self.uri = uri
        self.context: KedroContext | None = None
        self.params: dict[str, Any] = {}
        self.store: Store | None = None
        self.parent = ""
        self.children: dict[str, str] = {}
        self.arm = ""
        self.live: list[tuple[str, float, int]] = []
        self.streamed: set[str] = set()
        self.listening = ExitStack()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: its parameters are those of all stages, of reused ones too."""
        self.context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Begin the parent run."""
        assert self.context is not None
        self.params = flatten(self.context.params)
        self.store = Store(self.uri, self.project, self._study())
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "study"]
        self.parent = self.store.start(f"{'+'.join(filter(None, names)) or 'study'}", self._tags("study"))
        self.store.params(self.parent, self.params)
        self.listening.enter_context(listening(self._hear))
        _active.append(self)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """From here on news belong to this node's arm."""
        self._flush()
        self.arm = node.namespace or ""
        if self.arm and self.arm not in self.children and self.store:
            tags = {**self._tags("arm"), "winnow.arm": self.arm, "mlflow.parentRunId": self.parent}
            self.children[self.arm] = self.store.start(self.arm, tags)

    @hook_impl
    def after_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any], outputs: dict[str, Any]
    ) -> None:
        """Log what the catalog says of the outputs, and which data went in."""
        self._flush()
        if self.store is None:
            return
        run = self.children.get(node.namespace or "", self.parent)
        used = {
            name: value.fingerprint for name, value in inputs.items() if isinstance(value, Finished | FinishedParts)
        }
        if node.namespace and used:
            self.store.inputs(run, used)
        for name, value in outputs.items():
            if name.endswith(".model") and isinstance(value, FinishedParts):
                self.store.metrics(run, finetune_points(value, self.streamed))
            self._log_output(run, catalog.get(name), value)
        self.streamed.clear()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """All went well."""
        self.end("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """A node failed."""
        self.end("FAILED")

    def end(self, status: str) -> None:
        """End all runs that are open."""
        if self.store is None:
            return
        self._flush()
        for run in (*self.children.values(), self.parent):
            self.store.end(run, status)
        self.listening.close()
        self.store, self.children, self.arm = None, {}, ""
        _active.remove(self)

    def _log_output(self, run: str, dataset: Any, value: Any) -> None:
        kind = ((getattr(dataset, "metadata", None) or {}).get("mlflow") or {}).get("as")
        assert self.store is not None
        if kind == "metrics":
            self.store.params(run, value["params"])
            self.store.metrics(run, [(name, number, 0) for name, number in value["metrics"].items()])
            for tag, text in value.get("tags", {}).items():
                self.store.client.set_tag(run, tag, text)
        elif kind == "artifact":
            self.store.artifact(run, Path(str(dataset._filepath)), "report")

    def _hear(self, news: News) -> None:
        self.live += [(name, value, news.step or 0) for name, value in news.metrics.items()]
        if len(self.live) >= FLUSH_POINTS:
            self._flush()

    def _flush(self) -> None:
        if self.live and self.store:
            self.store.metrics(self.children.get(self.arm, self.parent), self.live)
            self.streamed |= {name for name, _, _ in self.live}
        self.live = []

    def _study(self) -> str:
        return str(self.params.get("study.name") or "winnow")

    def _tags(self, kind: str) -> dict[str, str]:
        base = str(self.params.get("model.base") or "fabricated")
        return {
            "winnow.kind": kind,
            "winnow.study": self._study(),
            "winnow.git_sha": _git_sha(self.project),
            "winnow.base_model": base,
        }


def end_killed() -> None:
    """End the runs of this process as KILLED; Kedro tells hooks nothing of an interrupt."""
    for hooks in tuple(_active):
        hooks.end("KILLED")


def _git_sha(project: Path) -> str:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
