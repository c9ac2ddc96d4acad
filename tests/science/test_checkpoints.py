"""Which checkpoints a specification means."""

from pathlib import Path

import pytest

from winnow.checkpoints import chosen_steps, steps_in
from winnow.errors import BadSetting

STEPS = [500, 1000, 2000, 3000, 10000]


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        ("all", STEPS),
        ("1000,2000", [1000, 2000]),
        ([3000, 500], [500, 3000]),
        (2000, [2000]),
        ("1000:3000:1000", [1000, 2000, 3000]),
        ("10000", [10000]),
    ],
)
def test_a_specification_and_its_steps(spec: object, steps: list[int]):
    assert chosen_steps(spec, STEPS) == steps


def test_missing_checkpoints_are_named():
    with pytest.raises(BadSetting, match=r"no checkpoint at step 4000\. There are: 500, 1000"):
        chosen_steps("3000:4000:1000", STEPS)
    with pytest.raises(BadSetting, match="of that range"):
        chosen_steps("5:4:1", STEPS)
    with pytest.raises(BadSetting, match="Give `all`, a list"):
        chosen_steps("last", STEPS)


def test_steps_are_sorted_as_numbers(tmp_path: Path):
    for name in ("checkpoint-1000", "checkpoint-200", "checkpoint-final", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5").write_text("no folder")
    assert steps_in(tmp_path) == [200, 1000]
