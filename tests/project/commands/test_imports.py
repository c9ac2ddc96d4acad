"""Commands that only look answer at once: nothing heavy is imported for them."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
HEAVY = ["torch", "transformers", "peft", "mlflow", "lm_eval"]
CODE = """
import atexit, sys
atexit.register(lambda: print("LOADED", *[name for name in {heavy} if name in sys.modules]))
sys.argv = ["kedro", *{arguments}]
from kedro.framework.cli.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], [*HEAVY, "pandas"]),
        (["recipes"], [*HEAVY, "pandas"]),
        (["inspect", "--help"], [*HEAVY, "pandas"]),
        # The typed signatures of nodes name DataFrames.
        (["registry", "list"], HEAVY),
    ],
)
def test_commands_that_only_look_import_nothing_heavy(arguments: list[str], heavy: list[str]):
    code = CODE.format(heavy=heavy, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"
