"""What `kedro compare` prints of arms, and how it ends where there is nothing to compare."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from winnow.commands import compare as command
from winnow.commands.compare_table import MOST_PARAMETERS, show
from winnow.report.compared import Compared


def arm(name: str, accuracy: float, **params: str) -> Compared:
    domains = {f"evaluate/accuracy/{domain}": accuracy for domain in ("code", "math")}
    metrics = {"evaluate/accuracy": accuracy, "evaluate/accuracy_ci": 0.0213, "evaluate/loss": 0.5, **domains}
    return Compared(name=name, arm=name, params=params, metrics=metrics, study="demo", run=name)


def printed(capsys: pytest.CaptureFixture[str], rows: list[Compared]) -> str:
    show("Study [demo]", rows)
    return capsys.readouterr().out


def test_results_and_what_differs_are_printed(capsys: pytest.CaptureFixture[str]):
    text = printed(capsys, [arm("less", 0.7123, lr="0.1", batch="8"), arm("random", 0.5, lr="0.2", batch="8")])
    for part in ("Study [demo]", "71.2 ± 2.1", "code", "math", "Parameters that differ", "lr"):
        assert part in text
    assert "batch" not in text
    assert "benchmarks" not in text


def test_lists_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]):
    text = printed(capsys, [arm("a", 0.5, targets="[q_proj,v_proj]"), arm("b", 0.5, targets="[red]")])
    assert "[q_proj,v_proj]" in text
    assert "[red]" in text


def test_nothing_from_a_store_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]):
    evil = "\x1b]0;owned\x07\u202e"
    rows = [arm(f"a{evil}", 0.5, **{f"lr{evil}": evil}), arm("b", 0.5, **{f"lr{evil}": "1"})]
    show(evil, [replace(row, verdict=f"better {evil}") for row in rows])
    text = capsys.readouterr().out
    assert "\\x1b]0;owned" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_many_parameters_get_a_line_each(capsys: pytest.CaptureFixture[str]):
    names = [f"parameter{number}" for number in range(MOST_PARAMETERS + 1)]
    rows = [arm(name, 0.5, **dict.fromkeys(names, f"[{name}]")) for name in ("x", "y")]
    lines = printed(capsys, rows).splitlines()
    assert [line.split() for line in lines if line.startswith("parameter0")] == [
        ["parameter0", "[x]", "(x);", "[y]", "(y)"]
    ]


def test_without_any_run_the_command_says_which_one_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    done = CliRunner().invoke(command.compare, [])
    assert done.exit_code == 1
    assert "`kedro run`" in done.output
    assert list(tmp_path.iterdir()) == []
