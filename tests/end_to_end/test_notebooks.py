"""The notebooks run on a small study, and what they show is what the stages of that study made."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from support.study import PROJECT, Study

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
FEW = "study.name=notebooks,pareto.population=24,pareto.generations=5"
Evaluate = Callable[[str], Any]


@pytest.fixture(scope="module")
def explored(study: Study) -> Study:
    params = f"arms.pareto_balanced.seeds=2,{FEW}"
    study.kedro("run", "--pipelines", "random,s2l,pareto_balanced", "--env", "test", "--params", params)
    return study


@contextmanager
def executed(name: str, study: Study, folder: Path) -> Iterator[Evaluate]:
    """Run a notebook, and give a function that tells the value of an expression in it."""
    notebook = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
    environment = {**study.environment(), "KEDRO_ENV": "test", "IPYTHONDIR": str(study.folder / "ipython")}
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    with ExitStack() as stack:
        stack.enter_context(client.setup_kernel(env=environment))
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)

        def evaluate(expression: str) -> Any:
            cell = nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({expression}))")
            notebook.cells.append(cell)
            client.execute_cell(cell, len(notebook.cells) - 1)
            return json.loads(cell.outputs[-1].text)

        yield evaluate


def mix(study: Study, arm: str) -> dict[str, int]:
    """What the arm trains on with its first seed."""
    table = pd.read_parquet(study.data / f"03_primary/arms/{arm}/training_mix.parquet")
    return table[table.seed == 0].set_index("example_id").multiplicity.to_dict()


def test_trajectories_show_what_s2l_takes(explored: Study):
    with executed("explore_trajectories", explored, PROJECT / "notebooks") as evaluate:
        taken = evaluate("mix.set_index('example_id').multiplicity.to_dict()")
        assert taken == mix(explored, "s2l")
        assert evaluate("int(spread['taken'].sum())") == len(taken)
        rises = evaluate("forgotten['rise'].tolist()")
        assert rises == sorted(rises, reverse=True)
        assert evaluate("float(rows.select(pl.col(last) - pl.min_horizontal(steps[:-1])).max().item())") == rises[0]
        assert all(text.startswith("user: ") for text in evaluate("[*forgotten.text, *late.text]"))


def test_the_mixture_chosen_on_the_front_is_the_one_that_its_command_trains_on(explored: Study):
    with executed("choose_on_the_front", explored, PROJECT) as evaluate:
        chosen = evaluate("mix.set_index('example_id').multiplicity.to_dict()")
        assert sum(chosen.values()) == evaluate("total") == sum(mix(explored, "random").values())
        assert evaluate("int(plan['mixture'].sum())") == sum(chosen.values())
        worth = "[importance[name] for name in able]"
        mine, tried = evaluate(f"[(as_shares(t) @ {worth}).max() for t in (mine, choices)]")
        assert mine > tried - 1e-9, "no other choice is worth more by the given importance"
        command = evaluate("command")
    program, *arguments = shlex.split(command)
    assert program == "kedro"
    arguments[-1] += f",{FEW}"
    explored.kedro(*arguments, "--env", "test", "--to-outputs", "pareto_weighted.training_mix")
    assert mix(explored, "pareto_weighted") == chosen


def test_runs_from_mlflow_are_told_as_the_study_told_them(explored: Study):
    with executed("compare_runs", explored, PROJECT / "notebooks") as evaluate:
        shown = pd.DataFrame(evaluate("table[['arm', 'accuracy', 'accuracy_ci']].to_dict('list')")).set_index("arm")
        verdicts = evaluate("dict(zip(told['arm'], told['verdict']))")
        corrected = evaluate("dict(zip(told['arm'], told['p (Holm)']))")
        steps = evaluate("curves.groupby('arm')['step'].nunique().to_dict()")
        differing = evaluate("differing")
        assert evaluate("study") == "notebooks"
    told = pd.read_csv(explored.data / "08_reporting" / "comparison.csv").set_index("arm")
    assert set(shown.index) == {"random", "s2l", "pareto_balanced"}
    # The table has arms of other runs with the same settings, too.
    told = told.loc[list(shown.index)]
    pd.testing.assert_frame_equal(shown.sort_index(), told[["accuracy", "accuracy_ci"]].sort_index())
    assert verdicts == told["verdict"].drop("random").to_dict()
    assert corrected == pytest.approx(told["p_holm"].drop("random").to_dict())
    assert set(steps) == set(shown.index)
    assert min(steps.values()) > 1
    assert "params.arm.strategy" in differing
    assert "params.finetune.lr" not in differing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_saved_without_outputs_and_with_ids_that_stay(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    # Jupyter's own ids are eight hexadecimal digits, others whenever a cell is pasted; a name says which cell it is.
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)
    assert not [name for name in names if re.fullmatch("[0-9a-f]{8}(-.*)?", name)]
