"""Kedro hooks that log a run: parameters of all stages, live and final metrics of each arm, figures, lineage.

What is logged of a dataset is said in the catalog, `metadata: {mlflow: {as: KIND}}`. `metrics` is a JSON object of
numbers, `params` one with `params` and `tags`, `by_arm` one of arms with `metrics` and `tags`, `curves` a table with a
column `step`, `artifact` a file or a folder.
"""

import atexit
import logging
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from winnow.progress import News, listening
from winnow.stages import Finished, FinishedParts
from winnow.tracking.history import curve_points, finetune_points
from winnow.tracking.store import Point, Store, flatten, now

# What a namespace is of, where its name begins so; all others are arms.
KINDS = ("round", "cell")
FLUSH_POINTS = 50
FLUSH_MILLISECONDS = 5000
_active: list["TrackingHooks"] = []
_names: list[str] = []
_tags: dict[str, str] = {}
_log = logging.getLogger(__name__)


class TrackingHooks:
    """Logs one `kedro run` as a parent run with a child per arm."""

    def __init__(self, project: Path, uri: str) -> None:
        self.project = project
        self.uri = uri
        self.context: KedroContext | None = None
        self.catalog: CatalogProtocol | None = None
        self.store: Store | None = None
        self.parent = ""
        self.tags: dict[str, str] = {}
        self.children: dict[str, str] = {}
        self.arms: dict[str, str] = {}
        self.open_nodes: Counter[str] = Counter()
        self.arm = ""
        self.live: list[Point] = []
        self.streamed: set[tuple[str, int]] = set()
        self.listening = ExitStack()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: its parameters are those of all stages, of reused ones too."""
        self.context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Begin the parent run."""
        assert self.context is not None
        self.catalog = catalog
        params = flatten(self.context.params)
        study = str(params.get("study.name") or "winnow")
        base = str(params.get("model.base") or "fabricated")
        self.tags = {"winnow.study": study, "winnow.git_sha": git_sha(self.project), "winnow.base_model": base}
        self.tags |= _tags
        self.store = Store(self.uri, self.project, study)
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name")]
        name = "+".join(filter(None, _names or names)) or "study"
        self.parent = self.store.start(name, {**self.tags, "winnow.kind": "study"})
        _active.append(self)
        self.listening.enter_context(listening(self._hear))
        self.open_nodes = Counter(node.namespace or "" for node in pipeline.nodes)
        self.store.params(self.parent, params)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """From here on news belong to this node's arm; log which data go in."""
        if self.store is None:
            return
        self._flush()
        self.arm = node.namespace or ""
        self._end_complete_arms()
        if not self.arm:
            return
        if self.arm not in self.children:
            kind = next((kind for kind in KINDS if self.arm.startswith(f"{kind}_")), "arm")
            tags = {"winnow.kind": kind, f"winnow.{kind}": self.arm, "mlflow.parentRunId": self.parent}
            self.arms[self.arm] = self.children[self.arm] = self.store.start(self.arm, {**self.tags, **tags})
        handles = {name: value for name, value in inputs.items() if isinstance(value, Finished | FinishedParts)}
        if handles:
            fingerprints = {name: handle.fingerprint for name, handle in handles.items()}
            self.store.inputs(self.children[self.arm], fingerprints)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log what the node's worker said last."""
        self._flush()
        self.open_nodes[node.namespace or ""] -= 1

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log what the catalog says of an output; a file is there only now."""
        if self.store is None or self.catalog is None:
            return
        run = self.children.get(self.arm, self.parent)
        if dataset_name.endswith(".model") and isinstance(data, FinishedParts):
            self.store.metrics(run, finetune_points(data, self.streamed))
            self.streamed.clear()
        dataset: Any = self.catalog.get(dataset_name)
        match ((getattr(dataset, "metadata", None) or {}).get("mlflow") or {}).get("as"):
            case "params":
                self.store.params(run, data["params"])
                self.store.tags(run, data["tags"])
            case "metrics":
                self._log_numbers(run, data)
            case "by_arm":
                # Their runs may have ended: all arms are needed to say something of one.
                for arm in self.arms.keys() & data.keys():
                    self._log_numbers(self.arms[arm], data[arm]["metrics"])
                    self.store.tags(self.arms[arm], data[arm]["tags"])
            case "curves":
                self.store.metrics(run, curve_points(data))
            case "artifact":
                self.store.artifact(run, Path(str(dataset._filepath)), "report")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """All went well."""
        self.arm = ""
        self.end("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """A node failed."""
        self.end("FAILED")

    def end(self, status: str) -> None:
        """End all runs that are open; arms that were complete are FINISHED all the same."""
        self.listening.close()
        if self not in _active:
            return
        _active.remove(self)
        try:
            self._flush()
            self._end_complete_arms()
            for run in (*self.children.values(), self.parent):
                if self.store:
                    self.store.end(run, status)
        except Exception:
            # The run is over, well or not: its own outcome must reach the user.
            _log.warning("The tracking store did not take the end of the run", exc_info=True)
        self.store, self.children, self.arm, self.live = None, {}, "", []
        self.arms.clear()
        self.streamed.clear()

    def _log_numbers(self, run: str, numbers: Mapping[str, float]) -> None:
        assert self.store is not None
        self.store.metrics(run, [Point(name, value) for name, value in numbers.items()])

    def _end_complete_arms(self) -> None:
        """An arm whose last node has run, and saved, is finished, whatever becomes of the others."""
        for arm in [name for name in self.children if self.open_nodes[name] <= 0 and name != self.arm]:
            if self.store:
                self.store.end(self.children.pop(arm), "FINISHED")

    def _hear(self, news: News) -> None:
        self.live += [Point(name, value, news.step or 0, now()) for name, value in news.metrics.items()]
        if self.live and (len(self.live) >= FLUSH_POINTS or now() - self.live[0].time >= FLUSH_MILLISECONDS):
            self._flush()

    def _flush(self) -> None:
        if self.live and self.store:
            self.store.metrics(self.children.get(self.arm, self.parent), self.live)
            self.streamed |= {(point.name, point.step) for point in self.live}
        self.live = []


@contextmanager
def labelled(name: str, tags: Mapping[str, str]) -> Iterator[None]:
    """Give a run that begins meanwhile this name, and it and its children these tags too."""
    _names.append(name)
    _tags.update(tags)
    try:
        yield
    finally:
        _names.clear()
        _tags.clear()


def end_killed() -> None:
    """End the runs of this process as KILLED; Kedro tells hooks nothing of an interrupt."""
    for hooks in tuple(_active):
        hooks.end("KILLED")


# For whoever runs a session without the command: a notebook that is closed, a script that is interrupted.
atexit.register(end_killed)


def git_sha(project: Path) -> str:
    """The commit that the project is at."""
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
