"""What a run shows: a progress bar on a terminal, plain lines elsewhere, and the table of arms at the end."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from rich.console import Console
from rich.table import Table

from winnow.progress import News, listening

SECONDS_BETWEEN_LINES = 10.0
WIDTH = 150


class ProgressHooks:
    """Shows which node runs, and how far it is."""

    def __init__(self) -> None:
        self.console = Console()
        self.active = ExitStack()
        self.node = ""
        self.last_line = 0.0
        self.started = 0.0
        self.status: Any = None

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Begin to listen."""
        self.active.enter_context(listening(self._hear))
        if self.console.is_terminal:
            self.status = self.active.enter_context(self.console.status(""))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Remember the node."""
        self.node, self.started, self.last_line = node.name, time.monotonic(), time.monotonic()
        if self.status:
            self.status.update(self.node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Say how long it took."""
        self.console.print(f"{node.name:<28} {time.monotonic() - self.started:6.1f} s", highlight=False)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Stop listening."""
        self.active.close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Stop listening."""
        self.active.close()

    def _hear(self, news: News) -> None:
        if news.total is None:
            return
        line = f"{self.node}: {news.done}/{news.total} {news.unit} {news.message}".rstrip()
        if self.status:
            self.status.update(line)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            self.console.print(line, highlight=False)


class ReportHooks:
    """Prints the table of arms, and how to look further."""

    def __init__(self, project: Path, store: str) -> None:
        self.project = project
        self.store = store
        self.rows: Any = None

    @hook_impl
    def after_node_run(self, catalog: CatalogProtocol, outputs: dict[str, Any]) -> None:
        """Keep the comparison of this run."""
        del catalog
        if "comparison" in outputs:
            self.rows = outputs["comparison"]

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Print it."""
        if self.rows is None:
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        console.print(arms_table(self.rows))
        shown = "sqlite:///mlflow.db" if self.store == f"sqlite:///{self.project}/mlflow.db" else self.store
        console.print("\nLook further:", highlight=False)
        for command in (f"mlflow ui --backend-store-uri {shown}", "kedro viz run --include-hooks"):
            console.print(f"  .venv/bin/{command}", highlight=False, soft_wrap=True)


def arms_table(rows: Any) -> Table:
    """Arms with accuracy and its confidence interval, per domain too, cost, and the verdict against the control."""
    domains = [column.removeprefix("accuracy/") for column in rows.columns if column.startswith("accuracy/")]
    table = Table(title=f"Study {rows['study'].iloc[0]}: accuracy in %, with 95 % confidence intervals")
    for name in ("arm", "seeds", "accuracy", *domains, "train + eval", "peak memory", "against its control"):
        table.add_column(name, justify="left" if name in ("arm", "against its control") else "right")
    for _, row in rows.iterrows():
        table.add_row(
            row["arm"],
            str(row["seeds"]),
            _percent(row["accuracy"], row["accuracy_ci"]),
            *(_percent(row[f"accuracy/{domain}"], row[f"accuracy_ci/{domain}"]) for domain in domains),
            f"{row['seconds']:.0f} s",
            f"{row['peak_memory_gb']:.2f} GB",
            row["versus_control"],
        )
    return table


def _percent(value: float, half_width: float) -> str:
    return f"{100 * value:.1f} ± {100 * half_width:.1f}"
