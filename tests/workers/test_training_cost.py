"""A cell of the table is a real training of a few steps; what fails or cannot be is told, and tried again or not."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from safetensors.torch import load_file

from pipelines.compare_parallelism import create_pipeline, nodes
from pipelines.finetune.nodes import finetune
from support.tiny import Tiny, kill_launched, when
from support.training import history
from winnow.errors import OutOfMemory, WorkerFailed
from winnow.params import (
    ArmParams,
    CompareParallelismParams,
    FinetuneParams,
    Machine,
    Method,
    Sharing,
    TokenizeParams,
)
from winnow.progress import News, listening
from winnow.records.tokens import TokenTable
from winnow.stages import FinishedParts, WouldRun, planning
from winnow.training.data import expand

FINETUNE = FinetuneParams(batch=4, lr=0.01)
ASKED = CompareParallelismParams(methods=["full"], engines=["single", "ddp"], steps=5, warmup_steps=2)


def measure(
    tiny: Tiny, machine: Machine, engine: Sharing, method: Method = "full", params: FinetuneParams = FINETUNE
) -> FinishedParts:
    cost, *_ = nodes.measure(method, engine)(tiny.tokens, tiny.base, ASKED, params, machine)
    return cost


@pytest.fixture(scope="module")
def machine(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return tiny.machine(tmp_path_factory.mktemp("cost"))


@pytest.fixture(scope="module")
def killed(tiny: Tiny, machine: Machine) -> FinishedParts:
    """Two processes that were killed after some steps."""
    with listening(when(lambda news: (news.done or 0) >= 2, kill_launched(signal.SIGKILL))):
        return measure(tiny, machine, "ddp")


@pytest.fixture(scope="module")
def cells(tiny: Tiny, machine: Machine, killed: FinishedParts) -> dict[str, FinishedParts]:
    del killed
    return {engine: measure(tiny, machine, engine) for engine in ("single", "ddp")}


def test_a_cell_that_was_killed_is_told_and_measured_by_the_next_run(
    killed: FinishedParts, cells: dict[str, FinishedParts]
):
    assert killed.summary["status"] == "failed"
    assert killed.summary["reason"]
    assert not killed.parts
    assert cells["ddp"].summary["status"] == "measured"


def test_a_cell_trains_what_a_fine_tuning_trains(tiny: Tiny, machine: Machine, cells: dict[str, FinishedParts]):
    mix = pd.DataFrame({"example_id": TokenTable.open(tiny.tokens.path, "train").ids, "multiplicity": 1, "seed": 0})
    settings = FINETUNE.model_copy(update={"method": "full", "steps": ASKED.steps})
    model = finetune(mix, tiny.tokens, tiny.base, settings, TokenizeParams(), ArmParams(seeds=1), machine)
    expected = history(model.parts["0"].path)["loss"]
    for cell in cells.values():
        steps = pd.read_parquet(cell.parts["cell"].path / nodes.STEPS)
        np.testing.assert_allclose(steps["loss"], expected, atol=1e-4)
        assert cell.parts["cell"].cost["loss"] == steps["loss"].iloc[-1]


def test_rates_are_those_of_the_steps_after_the_warm_up(tiny: Tiny, cells: dict[str, FinishedParts]):
    table = TokenTable.open(tiny.tokens.path, "train")
    order = expand(dict.fromkeys(table.ids, 1), 0, ASKED.steps, 1.0, FINETUNE.batch)
    timed = table.rows(order[ASKED.warmup_steps * FINETUNE.batch :])
    for cell in cells.values():
        cost = cell.parts["cell"].cost
        steps = pd.read_parquet(cell.parts["cell"].path / nodes.STEPS)
        seconds = steps["seconds"][ASKED.warmup_steps :].sum()
        assert cost["step_seconds"] == pytest.approx(seconds / 3)
        assert cost["tokens_per_second"] == pytest.approx(sum(len(row.input_ids) for row in timed) / seconds)
        supervised = sum(row.supervised.sum() for row in timed)
        assert cost["supervised_tokens_per_second"] == pytest.approx(supervised / seconds)
        assert cost["seconds"] > cost["startup_seconds"] + steps["seconds"].sum()


def test_memory_is_that_of_each_process_and_of_all_together(cells: dict[str, FinishedParts]):
    single, ddp = (cells[engine].parts["cell"].cost for engine in ("single", "ddp"))
    assert single["memory_sum_gb"] == single["peak_memory_gb"] > 0.1
    assert ddp["peak_memory_gb"] < ddp["memory_sum_gb"] <= 2 * ddp["peak_memory_gb"]


def test_all_weights_are_counted_and_none_are_saved(tiny: Tiny, cells: dict[str, FinishedParts]):
    weights = load_file(tiny.base.path / "model.safetensors")
    for cell in cells.values():
        found = cell.parts["cell"]
        assert found.summary["trainable_parameters"] == sum(tensor.numel() for tensor in weights.values())
        assert {path.name for path in found.path.rglob("*")} == {"record.json", "cost.json", nodes.STEPS}


def test_what_is_measured_is_reused_and_becomes_the_table_with_other_trainers_logs(
    tiny: Tiny, machine: Machine, cells: dict[str, FinishedParts], tmp_path: Path
):
    log = tmp_path / "trainer_log.jsonl"
    lines = [{"current_steps": step, "elapsed_time": f"0:00:{step}", "loss": 1.0} for step in (10, 20)]
    log.write_text("\n".join(map(json.dumps, lines)))
    params = ASKED.model_copy(update={"logs": {"factory": log}})
    given = {"tokens": tiny.tokens, "base_model": tiny.base, "params:compare_parallelism": params}
    given |= {"params:finetune": FINETUNE, "params:machine": machine}
    news: list[News] = []
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in given.items()})
    with listening(news.append):
        found = SequentialRunner().run(create_pipeline(params), catalog)
    assert not [one for one in news if one.stage == nodes.STAGE], "a cell was measured again"
    table = found["parallelism"].load()
    assert list(table["status"]) == ["measured", "measured", "imported"]
    assert list(table["processes"].dropna()) == [1, 2]
    speed = cells["ddp"].parts["cell"].cost["tokens_per_second"]
    assert table["tokens_per_second"].iloc[1] == pytest.approx(speed, abs=1e-4)
    assert table["step_seconds"].iloc[2] == 1.0
    curve = found["cell_full_ddp.cost_curve"].load()
    assert list(curve.columns) == ["step", "curve/step_seconds", "curve/loss"]
    assert list(found["cell_log_factory.cost_curve"].load()["curve/loss"]) == [1.0, 1.0]


def test_a_setting_that_cannot_work_is_told_of_its_cell_alone(tiny: Tiny, machine: Machine):
    odd = FINETUNE.model_copy(update={"batch": 3})
    found = measure(tiny, machine.model_copy(update={"micro_batch": 2}), "single", params=odd)
    assert found.summary["status"] == "failed"
    assert found.summary["reason"].startswith("`finetune.batch` is 3: it cannot be shared by 1 processes")


def test_out_of_memory_is_told_in_a_line_and_tried_again(
    tiny: Tiny, machine: Machine, cells: dict[str, FinishedParts], monkeypatch: pytest.MonkeyPatch
):
    del cells

    def full(*_: object) -> None:
        raise OutOfMemory("training_cost does not fit into memory: tried 80 GB\nWhat takes less:\n  ...")

    with monkeypatch.context() as patched:
        patched.setattr(nodes, "built", full)
        found = measure(tiny, machine, "single")
    assert found.summary["reason"] == "training_cost does not fit into memory: tried 80 GB"
    assert not found.parts
    assert measure(tiny, machine, "single").summary["status"] == "measured"


def test_what_can_never_be_is_not_launched(tiny: Tiny, machine: Machine, monkeypatch: pytest.MonkeyPatch):
    def launched(*_: object) -> None:
        raise AssertionError("it was launched")

    monkeypatch.setattr(nodes, "built", launched)
    for engine in ("fsdp", "zero3", "zero2_offload"):
        found = measure(tiny, machine, engine, "qlora")
        assert found.summary["status"] == "impossible"
        assert "cannot cut the 4-bit weights" in found.summary["reason"]


def test_too_few_cuda_devices_are_counted(tiny: Tiny, machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("winnow.workers.devices._cuda_devices", lambda _: ("NVIDIA H100",))
    for device in ("cuda", "auto"):
        found = measure(tiny, machine.model_copy(update={"device": device}), "ddp")
        assert found.summary["status"] == "impossible"
        assert found.summary["reason"].startswith("This machine has 1 CUDA device; 2 processes need one each")


def test_a_cost_belongs_to_the_machine_and_the_settings_it_was_measured_with(
    tiny: Tiny, machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    def place(params: FinetuneParams = FINETUNE, **changed: object) -> str:
        with planning(), pytest.raises(WouldRun) as caught:
            measure(tiny, machine.model_copy(update={"threads": 7, **changed}), "ddp", "lora", params)
        return caught.value.places[0].fingerprint

    first = place()
    assert place(FINETUNE.model_copy(update={"checkpoints": 3, "moments": True, "validation_rows": 9})) == first
    assert place(processes=4, engine="zero3") == first, "the cell says what shares it"
    others = [place(threads=2), place(micro_batch=1), place(gradient_checkpointing=True)]
    others.append(place(FINETUNE.model_copy(update={"batch": 8})))
    monkeypatch.setattr(nodes, "device_of", lambda _: ("cuda", "NVIDIA H100"))
    others.append(place())
    assert len({first, *others}) == 6


def test_an_error_is_told_in_the_line_that_says_most():
    died = (
        "The worker for training_cost ended with exit code 1\nIts last lines:\n  File x\nRuntimeError: no such kernel\n"
    )
    assert nodes.shortest(WorkerFailed(died)) == "RuntimeError: no such kernel"
