"""`kedro inspect`: text of unknown origin is shown literally, the loss mask exactly, and what is missing by name."""

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console

from support.looked_at import HOSTILE, IDS, LookedAt
from support.study import KEDRO, PROJECT, Study
from winnow.commands import inspect
from winnow.commands.inspect import _with_null
from winnow.commands.inspect_example import show_example
from winnow.commands.inspect_lists import show_cluster, show_target
from winnow.commands.inspect_text import blocks, curves_table, excerpt, literal, some_of
from winnow.inspection import Example, inspect_cluster, inspect_example, inspect_target
from winnow.inspection.pieces import decoder_of
from winnow.inspection.results import Missing
from winnow.records.tokens import TokenTable


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("inspect"))


@pytest.fixture(scope="module")
def project(study: Study) -> LookedAt:
    project = LookedAt(study.data)
    project.add_everything()
    return project


@pytest.fixture(scope="module")
def hostile(project: LookedAt) -> Example:
    return inspect_example(project.results(), IDS[1], lambda ids: decoder_of(project.base, ids))


def shown(show: object, found: object, coloured: bool) -> str:
    out = io.StringIO()
    system = "standard" if coloured else None
    show(Console(file=out, force_terminal=coloured, color_system=system, width=100, highlight=False), found)
    return out.getvalue()


def learnt_texts(project: LookedAt, name: str) -> list[str]:
    """The supervised tokens of each answer, decoded."""
    (row,) = TokenTable.open(project.tokens.path, "train").rows([name])
    decode = decoder_of(project.base, row.input_ids.tolist())
    ids = [int(number) if learnt else None for number, learnt in zip(row.input_ids, row.supervised, strict=True)]
    runs: list[list[int]] = [[]]
    for number in ids:
        if number is not None:
            runs[-1].append(number)
        elif runs[-1]:
            runs.append([])
    return [literal(decode(run)) for run in runs if run]


def test_the_coloured_text_is_the_supervised_tokens_exactly(project: LookedAt, hostile: Example):
    printed = shown(show_example, hostile, coloured=True)
    # A colour ends with its line; the first is the legend.
    legend, *coloured = re.findall(r"\x1b\[1;32m(.*?)\x1b\[0m", printed)
    assert legend.startswith("learnt from: ")
    assert "".join(coloured) == "".join(learnt_texts(project, IDS[1])).replace("\n", "")


def test_without_colour_brackets_hold_the_supervised_tokens_exactly(project: LookedAt, hostile: Example):
    printed = shown(show_example, hostile, coloured=False)
    body = printed.split("between ⟦ and ⟧\n")[1]
    assert re.findall("⟦(.*?)⟧", body, re.DOTALL) == learnt_texts(project, IDS[1])


@pytest.mark.parametrize("coloured", [True, False])
def test_markup_and_escapes_in_a_text_are_shown_literally(hostile: Example, coloured: bool):
    printed = shown(show_example, hostile, coloured)
    assert "[red]no[/red] \\x1b[31m你好 👋 \\u202eabc" in printed
    assert "\x1b[31m" not in printed
    assert "\u202e" not in printed


def test_lists_show_texts_and_ids_literally_too(project: LookedAt):
    cluster = shown(show_cluster, inspect_cluster(project.results(), "math/0"), coloured=False)
    target = shown(show_target, inspect_target(project.results(), "math"), coloured=False)
    for printed in (cluster, target):
        assert "[red]no[/red] \\x1b[31m你好" in printed
        assert IDS[1] in printed
    assert excerpt("a\nb\x07" + "c" * 1000) == "a b\\x07" + "c" * 153 + " ..."


def test_numbers_of_a_cluster_and_a_target_are_printed(project: LookedAt):
    cluster = shown(show_cluster, inspect_cluster(project.results(), "math/0"), coloured=False)
    assert "4 rows, 80.0 % of the pool of 5" in cluster
    assert re.search(r"less +2 +1\.0 +1\.6 ± 0\.5 +0\.62 +60\.0 %", cluster)
    target = shown(show_target, inspect_target(project.results(), "math"), coloured=False)
    assert "4 rows: min 0.0000, 25 % 2.2500, median 3.0000, 75 % 4.5000, max 9.0000" in target


def test_blocks_span_the_scale_and_a_number_that_is_none_is_a_dot():
    assert blocks([0.0, 1.0, float("nan"), 0.5], 0.0, 1.0) == "▁█·▅"
    assert blocks([2.0, 2.0], 2.0, 2.0) == "▁▁"
    assert some_of(15, 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert some_of(3, 8) == [0, 1, 2]


@pytest.mark.parametrize("width", [80, 120])
def test_a_curve_fits_the_terminal_and_shows_its_first_and_last_loss(width: int):
    out = Console(file=io.StringIO(), width=width, color_system=None)
    losses = [20 - number / 2 for number in range(30)]
    out.print(curves_table([str(1000 * number) for number in range(30)], [("mean of science/12", losses)], width))
    header, _, row = out.file.getvalue().splitlines()
    assert max(len(header), len(row)) <= width
    assert "…" not in header + row
    assert (row.split()[3 + 1], row.split()[-1]) == ("20.000", "5.500")


def test_an_example_is_found_what_is_missing_is_named_and_nothing_is_written(study: Study, project: LookedAt):
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")}
    printed = study.kedro("inspect", "example", IDS[1])
    assert literal(HOSTILE) in printed
    assert re.search(r"less for math +3\.0000 +2 +4", printed)
    assert re.search(r"less +1 of 2 +2x", printed)
    assert "not kept by random" in printed
    assert "`bm25_scores` is not there; make it: kedro run --pipelines bm25_scores" in printed
    assert "Traceback" not in printed
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")} == before


def test_json_is_one_object_and_nothing_heavy_is_imported_for_it(study: Study, project: LookedAt):
    arguments = ["kedro", "inspect", "example", IDS[0], "--json"]
    code = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", *[name for name in ["torch", "transformers", "faiss"] if name in sys.modules]))
sys.argv = {arguments}
from kedro.framework.cli.cli import main
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, env=study.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found, loaded = done.stdout.splitlines()
    assert [piece["text"] for piece in json.loads(found)["tokens"]["pieces"] if piece["supervised"]]
    assert loaded == "LOADED"


def test_a_number_that_is_none_is_null_in_json():
    assert _with_null({"value": [float("nan"), (1.0, float("inf"))]}) == {"value": [None, [1.0, None]]}


def test_json_holds_nothing_that_a_terminal_obeys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    text = "\u202e\x1b é"
    monkeypatch.setattr(inspect, "_results", lambda options: None)
    inspect._inspect(lambda results: Missing(text, ""), lambda *_: None, as_json=True, options={})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert text in json.loads(printed).values()


def test_an_unknown_id_is_one_message_with_the_nearest(study: Study, project: LookedAt):
    command = [str(KEDRO), "inspect", "example", "math/a.jsonl:99"]
    done = subprocess.run(command, cwd=PROJECT, env=study.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No example has the id 'math/a.jsonl:99'.")
    assert IDS[4] in done.stderr
    assert "Traceback" not in done.stderr
