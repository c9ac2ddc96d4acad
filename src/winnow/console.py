"""What a run shows: a progress bar on a terminal, plain lines elsewhere, and the table of arms at the end."""

import atexit
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from winnow.progress import News, listening

SECONDS_BETWEEN_LINES = 5.0
SECONDS_OF_SILENCE = 60.0
PERCENT_BETWEEN_LINES = 10
WIDTH = 150
MOST_DOMAINS = 6


class ProgressHooks:
    """Shows which node runs, and how far it is."""

    def __init__(self) -> None:
        self.console = Console()
        self.active = ExitStack()
        self.bar: Progress | None = None
        self.node = ""
        self.started = 0.0
        self.said_at = 0.0
        self.said_part = 0

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Begin to listen."""
        self.active.enter_context(listening(self._hear))
        # An interrupt reaches no hook, and a bar that is not closed leaves the terminal without a cursor.
        atexit.register(self.active.close)
        if self.console.is_terminal:
            self.bar = self.active.enter_context(_bar(self.console))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Remember the node, and show it."""
        self.node, self.started = node.name, time.monotonic()
        self.said_at, self.said_part = self.started, 0
        if self.bar:
            self._clear()
            self.bar.add_task(node.name, total=None)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Say how long it took."""
        self._clear()
        _say(self.console, f"{node.name:<28} {time.monotonic() - self.started:6.1f} s")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Stop listening."""
        self._close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Stop listening."""
        self._close()

    def _close(self) -> None:
        self._clear()
        self.active.close()
        atexit.unregister(self.active.close)
        self.bar = None

    def _clear(self) -> None:
        if self.bar:
            for task in self.bar.task_ids:
                self.bar.remove_task(task)

    def _hear(self, news: News) -> None:
        if news.total is None or news.done is None:
            if news.message:
                _say(self.console, f"{self.node}: {news.message}")
            return
        measured = [f"{name.split('/')[1]} {value:.3f}" for name, value in news.metrics.items() if "/" in name]
        detail = " ".join([news.message, *measured]).strip()
        if self.bar:
            for task in self.bar.task_ids:
                name = f"{self.node} {detail}".rstrip()
                self.bar.update(task, description=name, total=news.total, completed=news.done)
        elif self._worth_a_line(news.done / max(news.total, 1)):
            _say(self.console, f"{self.node}: {news.done}/{news.total} {news.unit} {detail}".rstrip())

    def _worth_a_line(self, share: float) -> bool:
        """Not too often, and only for news: some progress, or a sign of life after a long silence."""
        silence = time.monotonic() - self.said_at
        part = int(100 * share + 1e-6) // PERCENT_BETWEEN_LINES
        moved = part != self.said_part
        worth = silence >= SECONDS_BETWEEN_LINES and (moved or silence >= SECONDS_OF_SILENCE)
        if worth:
            self.said_at, self.said_part = time.monotonic(), part
        return worth


class ReportHooks:
    """Prints the table of arms, or what their selections were found to be, and how to look further."""

    def __init__(self, project: Path, store: str) -> None:
        self.project = project
        self.store = store
        self.rows: Any = None
        self.verified: Any = None
        self.has_page = False

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Forget an earlier run of this process."""
        self.rows = self.verified = None
        self.has_page = False

    @hook_impl
    def after_node_run(self, outputs: dict[str, Any]) -> None:
        """Keep the comparison of this run."""
        if "comparison" in outputs:
            self.rows = outputs["comparison"]
        if "verification" in outputs:
            self.verified = outputs["verification"]
        self.has_page = self.has_page or "comparison_page" in outputs

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Print them."""
        if self.rows is None and self.verified is None:
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        if self.rows is not None:
            console.print(arms_table(self.rows))
            for line in verdicts(self.rows):
                _say(console, line)
        if self.verified is not None:
            console.print(verification_table(self.verified))
        store = "sqlite:///mlflow.db" if self.store == f"sqlite:///{self.project}/mlflow.db" else self.store
        _say(console, "\nLook further:")
        for command in (f"mlflow ui --backend-store-uri {store}", "kedro viz run --include-hooks"):
            _say(console, f"  .venv/bin/{command}")
        if self.has_page:
            # Settings import this module.
            from winnow.settings import DATA_ROOT

            page = DATA_ROOT / "08_reporting" / "comparison.html"
            shown = page.relative_to(self.project) if page.is_relative_to(self.project) else page
            _say(console, f"  {shown}  (all of it in one page, with examples)")


def arms_table(rows: Any) -> Table:
    """Arms with accuracy and its confidence interval, per domain too where these are few, and cost."""
    domains = [column.removeprefix("accuracy/") for column in rows.columns if column.startswith("accuracy/")]
    few = domains if len(domains) <= MOST_DOMAINS else []
    notes = [] if few == domains else [f"{len(domains)} domains are in comparison.csv"]
    title = Text(f"Study {rows['study'].iloc[0]}: accuracy in %, with 95 % confidence intervals")
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.caption = "\n".join([*notes, "work: seconds of each process by itself, summed over seeds"])
    for name in ("arm", "seeds", "all", *few, "work", "memory"):
        table.add_column(Text(name), justify="left" if name == "arm" else "right", no_wrap=True)
    for _, row in rows.iterrows():
        table.add_row(
            Text(row["arm"]),
            str(row["seeds"]),
            _percent(row["accuracy"], row["accuracy_ci"]),
            *(_percent(row[f"accuracy/{domain}"], row[f"accuracy_ci/{domain}"]) for domain in few),
            f"{row['seconds']:.0f} s",
            f"{row['peak_memory_gb']:.2f} GB",
        )
    return table


def verification_table(rows: Any) -> Table:
    """What each arm's selection consists of, in % of its rows; planted truth is there of generated data alone."""
    shown = {
        "clean": "precision",
        "copies": "copies",
        "near-duplicates": "near_duplicates",
        "contaminated": "contaminated",
        "shared with random": "overlap_with_random",
    }
    table = Table(title="Selections, in % of their rows", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    known = {title: column for title, column in shown.items() if column in rows.columns}
    for name in ("arm", *known):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for _, row in rows.iterrows():
        cells = [_percent(row[column], row.get(f"{column}_ci", float("nan"))) for column in known.values()]
        table.add_row(Text(row["arm"]), *cells)
    if "pool_precision" in rows.columns:
        table.add_section()
        table.add_row("(the pool)", _percent(rows["pool_precision"].iloc[0], float("nan")))
    return table


def verdicts(rows: Any) -> list[str]:
    """A sentence for each arm that has a control."""
    return [f"  {row['arm']}: {row['verdict']}" for _, row in rows.iterrows() if row["verdict"]]


def _say(console: Console, line: str) -> None:
    """A line as it is: a name may hold brackets, which are no markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _bar(console: Console) -> Progress:
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}", markup=False), *columns, console=console, transient=True)


def _percent(value: float, half_width: float) -> str:
    if math.isnan(value):
        return ""
    return f"{100 * value:.1f}" + ("" if math.isnan(half_width) else f" ± {100 * half_width:.1f}")
