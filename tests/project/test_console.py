"""What a user sees of a run, on a terminal and in a log."""

import io
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from winnow import console
from winnow.console import ProgressHooks, ReportHooks
from winnow.progress import News, publish

DOMAINS = ("code", "math", "science")


def comparison(domains: tuple[str, ...] = DOMAINS) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "study": "demo",
            "arm": ["length", "random"],
            "seeds": [5, 10],
            "accuracy": [0.7123, 0.65],
            "accuracy_ci": [0.0213, 0.02],
            "seconds": [41.2, 80.0],
            "peak_memory_gb": [0.64, 0.6],
            "verdict": ["better than random by 6.1 ± 2.4 points", ""],
        }
    )
    own = {f"{name}/{domain}": value for domain in domains for name, value in (("accuracy", 0.5), ("accuracy_ci", 0.1))}
    return pd.concat([table, pd.DataFrame(own, index=table.index)], axis=1)


def test_a_message_without_a_count_is_shown_as_a_line():
    hooks = ProgressHooks()
    hooks.console, hooks.node = Console(file=io.StringIO(), width=200), "tokenize"
    hooks.before_pipeline_run()
    publish(News("tokenize", message="chat template tulu (the tokenizer has none)"))
    hooks.after_pipeline_run()
    assert hooks.console.file.getvalue() == "tokenize: chat template tulu (the tokenizer has none)\n"


def shown(rows: pd.DataFrame, width: int) -> str:
    screen = Console(file=io.StringIO(), width=width, force_terminal=False)
    screen.print(console.arms_table(rows))
    return screen.file.getvalue()


def test_the_table_of_arms_fits_a_terminal_of_80_columns():
    text = shown(comparison(), 80)
    for part in ("length", "71.2 ± 2.1", "50.0 ± 10.0", "41 s", "0.64 GB", *DOMAINS):
        assert part in text
    assert "…" not in text


def test_names_with_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Any):
    rows = comparison(("[en] wiki",)).assign(study="a [/b]", arm=["[red]x[/]", "random"])
    hooks = ReportHooks(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    hooks.after_node_run(outputs={"comparison": rows, "verification": pd.DataFrame({"arm": ["[/x]"], "copies": 0.1})})
    hooks.after_pipeline_run()
    text = capsys.readouterr().out
    for name in ("Study a [/b]:", "[en] wiki", "[red]x[/]: better", "[/x]"):
        assert name in text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_news_with_brackets_are_shown_as_they_are(is_terminal: bool):
    hooks = ProgressHooks()
    hooks.console = Console(file=io.StringIO(), width=100, force_terminal=is_terminal, force_interactive=is_terminal)
    hooks.before_pipeline_run()
    hooks.before_node_run(SimpleNamespace(name="cluster"))
    publish(News("cluster", message="subset [/b]"))
    publish(News("cluster", done=1, total=2, message="[en] wiki"))
    if hooks.bar:
        hooks.bar.refresh()
    hooks.on_pipeline_error()
    text = hooks.console.file.getvalue()
    assert "cluster: subset [/b]" in text
    assert ("[en] wiki" in text) is is_terminal


def test_the_table_of_selections_shows_what_is_known():
    rows = pd.DataFrame({"arm": ["random", "less"], "near_duplicates": [0.004, 0.0168], "contaminated": [0.0, 0.25]})
    rows["near_duplicates_ci"] = [0.0011, float("nan")]
    rows["overlap_with_random"] = [0.053, 0.051]

    def shown_in(table: pd.DataFrame) -> str:
        screen = Console(file=io.StringIO(), width=80, force_terminal=False)
        screen.print(console.verification_table(table))
        return screen.file.getvalue()

    text = shown_in(rows)
    for part in ("0.4 ± 0.1", "1.7  ", "25.0", "5.3"):
        assert part in text
    assert "clean" not in text
    assert "nan" not in text
    planted = shown_in(rows.assign(precision=[0.43, 0.97], pool_precision=0.424))
    assert "97.0" in planted
    assert "(the pool)    42.4" in planted


def test_many_domains_are_left_to_the_file():
    text = shown(comparison(tuple(f"subject{number}" for number in range(57))), 80)
    assert "71.2 ± 2.1" in text
    assert "57 domains are in comparison.csv" in text


def test_a_run_ends_with_verdicts_and_the_two_commands(capsys: pytest.CaptureFixture[str], tmp_path: Any):
    hooks = ReportHooks(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    hooks.after_node_run(outputs={"comparison": comparison()})
    hooks.after_pipeline_run()
    text = capsys.readouterr().out
    assert "length: better than random by 6.1 ± 2.4 points" in text
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in text
    assert "kedro viz" in text


def test_the_page_is_named_where_the_run_made_one(capsys: pytest.CaptureFixture[str], tmp_path: Any):
    hooks = ReportHooks(tmp_path, "sqlite:///x.db")
    hooks.after_node_run(outputs={"comparison": comparison()})
    hooks.after_pipeline_run()
    assert "comparison.html" not in capsys.readouterr().out
    hooks.after_node_run(outputs={"comparison_page": "<html>"})
    hooks.after_pipeline_run()
    assert "08_reporting/comparison.html" in capsys.readouterr().out


def test_a_run_without_a_comparison_prints_no_old_one(capsys: pytest.CaptureFixture[str], tmp_path: Any):
    hooks = ReportHooks(tmp_path, "sqlite:///x.db")
    hooks.after_node_run(outputs={"comparison": comparison()})
    hooks.before_pipeline_run()
    hooks.after_pipeline_run()
    assert capsys.readouterr().out == ""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that passes only when a test says so."""
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def told(hooks: ProgressHooks, clock: SimpleNamespace, seconds_per_step: float, steps: int) -> list[str]:
    hooks.console = Console(file=io.StringIO(), width=100, force_terminal=False)
    hooks.before_pipeline_run()
    hooks.before_node_run(SimpleNamespace(name="random.finetune"))
    for step in range(1, steps + 1):
        clock.now += seconds_per_step
        metrics = {"finetune/loss/seed_0": 1.5}
        publish(News("finetune", done=step, total=steps, unit="steps", message="seed 0", metrics=metrics))
    hooks.after_node_run(SimpleNamespace(name="random.finetune"))
    hooks.after_pipeline_run()
    return hooks.console.file.getvalue().splitlines()


def test_a_log_gets_a_line_every_tenth_of_the_way_and_no_more(clock: SimpleNamespace):
    lines = told(ProgressHooks(), clock, seconds_per_step=1.0, steps=200)
    assert lines[0] == "random.finetune: 20/200 steps seed 0 loss 1.500"
    assert len(lines) == 10 + 1
    assert lines[-1].split() == ["random.finetune", "200.0", "s"]


def test_a_log_shows_a_sign_of_life_of_slow_work(clock: SimpleNamespace):
    assert len(told(ProgressHooks(), clock, seconds_per_step=20.0, steps=1000)) > 300


def test_short_work_is_one_line(clock: SimpleNamespace):
    assert len(told(ProgressHooks(), clock, seconds_per_step=0.01, steps=100)) == 1


def test_a_terminal_gets_a_bar_that_is_gone_afterwards():
    hooks = ProgressHooks()
    hooks.console = Console(file=io.StringIO(), width=100, force_terminal=True, force_interactive=True)
    hooks.before_pipeline_run()
    hooks.before_node_run(SimpleNamespace(name="random.finetune"))
    publish(News("finetune", done=30, total=100, unit="steps", message="seed 0"))
    hooks.bar.refresh()
    assert "random.finetune seed 0" in hooks.console.file.getvalue()
    assert "30/100" in hooks.console.file.getvalue()
    hooks.on_pipeline_error()
    assert hooks.bar is None
    before = hooks.console.file.getvalue()
    publish(News("finetune", done=40, total=100))
    assert hooks.console.file.getvalue() == before
    assert before.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in before
