"""Logs of other trainers give the costs that are written in them, and a line that cannot be read is an error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.errors import BadInput, MissingResource
from winnow.report.trainer_logs import read_trainer_log


def write(folder: Path, *lines: Any) -> Path:
    file = folder / "log.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def factory(step: int, elapsed: str, **more: Any) -> dict[str, Any]:
    told = {"current_steps": step, "total_steps": 40, "epoch": step / 40, "percentage": 2.5 * step, "lr": 1e-4}
    return {**told, "elapsed_time": elapsed, "remaining_time": "0:01:00", **more}


def swift(step: int, elapsed: str, **more: Any) -> dict[str, Any]:
    told = {"grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 0.1, "percentage": "5.00%", "remaining_time": "1m 3s"}
    return {**told, "global_step/max_steps": f"{step}/100", "elapsed_time": elapsed, **more}


def test_llamafactorys_log_with_tokens_and_memory(tmp_path: Path):
    log = read_trainer_log(
        write(
            tmp_path,
            factory(
                10, "0:00:30", loss=2.5, throughput=100.0, total_tokens=3000, vram_allocated=5.5, vram_reserved=7.0
            ),
            factory(
                20, "0:00:50", loss=2.0, throughput=140.0, total_tokens=7000, vram_allocated=6.5, vram_reserved=8.0
            ),
            factory(40, "0:01:30", loss=1.5, throughput=166.67, total_tokens=15000, vram_allocated=6.5),
            factory(40, "0:01:32", throughput=163.04, total_tokens=15000),
        )
    )
    assert log.framework == "llamafactory"
    assert log.costs == {
        "seconds": 92,
        "step_seconds": 2.0,
        "tokens_per_second": 200.0,
        "peak_memory_gb": 6.5,
        "loss": 1.5,
    }
    assert list(log.curve["step"]) == [10, 20, 40]
    assert list(log.curve["loss"]) == [2.5, 2.0, 1.5]
    assert list(log.curve["tokens_per_second"]) == [100.0, 140.0, 166.67]


def test_an_old_llamafactory_log_has_no_tokens_and_long_trainings_have_days(tmp_path: Path):
    file = write(tmp_path, factory(10, "23:59:50", loss=2.5), "", factory(30, "1 day, 0:00:10", loss=None))
    log = read_trainer_log(file)
    assert log.costs == {"seconds": 86410, "step_seconds": 1.0, "loss": 2.5}
    assert np.isnan(log.curve["tokens"]).all()


def test_a_resumed_training_is_timed_from_where_it_went_on(tmp_path: Path):
    lines = [factory(step, f"0:00:{seconds:02}", loss=1.0) for step, seconds in ((10, 10), (20, 50), (20, 5), (30, 15))]
    log = read_trainer_log(write(tmp_path, *lines))
    assert log.costs["step_seconds"] == 1.0
    assert log.costs["seconds"] == 15
    assert len(log.curve) == 4


@pytest.mark.parametrize("key", ["global_step/max_steps", "steps[global_step/max_steps]"])
def test_ms_swifts_log_with_speed_and_what_it_knows_of_the_model(tmp_path: Path, key: str):
    rows = [(5, "10s", 0.5, 5.5), (10, "18s", 0.555556, 6.25), (20, "33s", 0.606061, 6.25)]
    lines = [
        {key if name == "global_step/max_steps" else name: value for name, value in line.items()}
        for line in (
            swift(step, elapsed, loss=3 - step / 10, **{"memory(GiB)": memory, "train_speed(iter/s)": speed})
            for step, elapsed, speed, memory in rows
        )
    ]
    info = "PeftModelForCausalLM: 498.4319M Params (4.3991M Trainable [0.8826%]), 0.0000M Buffers."
    last = {"last_model_checkpoint": "out/checkpoint-20", "global_step": 20, "model_parameter_info": info}
    evaluated = swift(20, "32s", eval_loss=1.4)
    log = read_trainer_log(write(tmp_path, *lines, {key: evaluated.pop("global_step/max_steps"), **evaluated}, last))
    assert log.framework == "ms-swift"
    assert log.costs["step_seconds"] == pytest.approx((20 / 0.606061 - 5 / 0.5) / 15)
    assert log.costs["peak_memory_gb"] == 6.25
    assert log.costs["trainable_parameters"] == 4_399_100
    assert log.costs["loss"] == 1.0
    assert "tokens_per_second" not in log.costs
    assert list(log.curve["step"]) == [5, 10, 20]


@pytest.mark.parametrize(
    ("elapsed", "seconds"), [("12s", 12), ("1m 3s", 63), ("2h 0m 5s", 7205), ("1d 1h 0m 1s", 90001), ("0:01:23", 83)]
)
def test_ms_swifts_times(tmp_path: Path, elapsed: str, seconds: int):
    assert read_trainer_log(write(tmp_path, swift(5, elapsed, loss=1.0))).costs["seconds"] == seconds


def test_ms_swifts_newer_speed_is_seconds_per_step(tmp_path: Path):
    lines = [swift(step, "9s", loss=1.0, **{"train_speed(s/it)": 0.9}) for step in (5, 10)]
    assert read_trainer_log(write(tmp_path, *lines)).costs["step_seconds"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"current_steps": 20, "loss"', "not JSON"),
        ("[1, 2]", r"'\[1, 2\]' is no JSON object"),
        (factory(20, "soon"), r"`elapsed_time` is 'soon', not such as"),
        (factory(20, ""), r"`elapsed_time` is '', not such as"),
        (factory(20, "0:00:20", loss="low"), "`loss` is 'low', not a number"),
        ({**factory(20, "0:00:20"), "current_steps": None}, "`current_steps` is None"),
        (swift(5, "1s") | {"global_step/max_steps": "half/100"}, "`global_step/max_steps` is 'half/100'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: Any, why: str):
    with pytest.raises(BadInput, match=rf"log\.jsonl, line 2: {why}"):
        read_trainer_log(write(tmp_path, factory(10, "0:00:10", loss=1.0), line))


def test_a_file_that_is_no_log_and_one_that_is_not_there(tmp_path: Path):
    with pytest.raises(BadInput, match="has lines of neither LLaMA-Factory"):
        read_trainer_log(write(tmp_path, {"loss": 1.0}))
    with pytest.raises(BadInput, match="has lines of both LLaMA-Factory"):
        read_trainer_log(write(tmp_path, factory(1, "0:00:01"), swift(1, "1s")))
    with pytest.raises(MissingResource, match="where no file is"):
        read_trainer_log(tmp_path / "elsewhere.jsonl")
