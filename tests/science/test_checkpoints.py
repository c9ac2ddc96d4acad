"""Which checkpoints a specification means."""

import json
from pathlib import Path

import pytest

from winnow.checkpoints import chosen_steps, learning_rates, rate_weights, steps_in
from winnow.errors import BadInput, BadSetting

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
    assert chosen_steps(spec, STEPS, "trajectories.checkpoints") == steps


def test_missing_checkpoints_are_named():
    with pytest.raises(BadSetting, match=r"no checkpoint at step 4000\. There are: 500, 1000"):
        chosen_steps("3000:4000:1000", STEPS, "trajectories.checkpoints")
    with pytest.raises(BadSetting, match=r"gradients\.checkpoints.*of that range"):
        chosen_steps("5:4:1", STEPS, "gradients.checkpoints")
    with pytest.raises(BadSetting, match="Give `all`, a list"):
        chosen_steps("last", STEPS, "gradients.checkpoints")


def test_steps_are_sorted_as_numbers(tmp_path: Path):
    for name in ("checkpoint-1000", "checkpoint-200", "checkpoint-final", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5").write_text("no folder")
    assert steps_in(tmp_path) == [200, 1000]


def write_log(folder: Path, step: int, rates: dict[int, float]) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    log = [{"step": number, "learning_rate": rate, "loss": 1.0} for number, rate in rates.items() if number <= step]
    (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": [*log, {"train_runtime": 3.0}]}))
    return checkpoint


def test_a_checkpoint_weighs_the_mean_rate_since_the_chosen_one_before(tmp_path: Path):
    rates = {1: 4.0, 2: 4.0, 3: 2.0, 4: 2.0, 5: 1.0, 6: 0.0}
    folders = {step: write_log(tmp_path, step, rates) for step in (2, 4, 6)}
    assert learning_rates(folders[4]) == {1: 4.0, 2: 4.0, 3: 2.0, 4: 2.0}
    assert rate_weights(folders) == pytest.approx({2: 4 / 6.5, 4: 2 / 6.5, 6: 0.5 / 6.5})
    assert rate_weights({2: folders[2], 6: folders[6]}) == pytest.approx({2: 4 / 5.25, 6: 1.25 / 5.25})


def test_the_rates_of_less_give_the_weights_its_users_know(tmp_path: Path):
    """Linear from 2e-5 with 3 % warm-up over four epochs: 1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06."""
    steps = 1688
    rates = {n: 2e-5 * min(n / (0.03 * steps), (steps - n) / (0.97 * steps)) for n in range(1, steps + 1)}
    weights = rate_weights({step: write_log(tmp_path, step, rates) for step in (422, 845, 1268, 1688)})
    known = [1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06]
    assert list(weights.values()) == pytest.approx([rate / sum(known) for rate in known], rel=0.01)


def test_rates_that_were_not_logged_or_are_zero_are_a_clear_error(tmp_path: Path):
    folders = {step: write_log(tmp_path, step, {1: 1.0, 2: 1.0}) for step in (2, 4)}
    with pytest.raises(BadInput, match=r"no learning rate between the steps 2 and 4.*checkpoint_weights"):
        rate_weights(folders)
    with pytest.raises(BadInput, match="so they have no weight"):
        rate_weights({2: write_log(tmp_path / "zero", 2, {1: 0.0, 2: 0.0})})
