"""What each of several workers is told to do, and on which part of the machine."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from winnow.params import Machine
from winnow.stages import Place, Work, locate
from winnow.workers import launch, orders
from winnow.workers.orders import Order, one_device, shared_out, visible_devices, workers_at_once

TASK = {"params": {"lr": 1.0}, "mixes": {name: {name: 1} for name in "abcde"}, "seeds": dict.fromkeys("abcde", 0)}


def places(root: Path, names: Sequence[str] = "abcde") -> dict[str, Place]:
    return {name: locate(root, "finetune", 1, {"name": name}, {}) for name in names}


def machine(root: Path, **values: object) -> Machine:
    return Machine.model_validate({"data_root": root, "device": "cpu", **values})


def test_a_worker_is_told_of_its_own_results_alone(tmp_path: Path):
    found = shared_out("finetune", TASK, places(tmp_path), machine(tmp_path, side_by_side=2, threads=3))
    assert [list(order.places) for order in found] == [["a", "c", "e"], ["b", "d"]]
    for order in found:
        assert list(order.task["mixes"]) == list(order.task["seeds"]) == list(order.places)
        assert order.task["params"] == TASK["params"]
        assert (order.machine.side_by_side, order.machine.threads) == (2, 3)
    (alone,) = shared_out("finetune", TASK, places(tmp_path, "d"), machine(tmp_path, side_by_side=2))
    assert alone.task["mixes"] == {"d": {"d": 1}}
    assert alone.machine.side_by_side == 1, "it shares its memory with no other"
    assert alone.machine.threads == found_threads(tmp_path), "as many as it would have beside others"


def test_the_dimensions_of_a_checkpoint_stay_with_one_worker(tmp_path: Path):
    names = [f"{step}@{dim}" for step in (5, 10, 15) for dim in (64, 128)]
    for stage, expected in (
        ("gradients", [["5@64", "5@128", "15@64", "15@128"], ["10@64", "10@128"]]),
        ("finetune", [names[::2], names[1::2]]),
        ("warmup", [names]),
    ):
        found = shared_out(stage, {}, places(tmp_path, names), machine(tmp_path, side_by_side=2))
        assert [list(order.places) for order in found] == expected


def found_threads(root: Path) -> int | None:
    return shared_out("finetune", TASK, places(root), machine(root, side_by_side=2))[0].machine.threads


@pytest.mark.parametrize(
    ("given", "count", "visible"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("", 2, []),
        ("-1", 2, []),
        ("3", 8, ["3"]),
        ("1, GPU-8f,-1,2", 8, ["1", "GPU-8f"]),
    ],
)
def test_devices_are_those_that_cuda_would_show(given: str | None, count: int, visible: list[str]):
    environment = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert visible_devices(environment, count) == visible


def test_each_worker_sees_one_device_in_turn_and_without_devices_nothing_is_changed():
    assert [one_device(number, ["4", "7"])["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["4", "7", "4"]
    assert one_device(0, []) == {}


@pytest.mark.parametrize(
    ("device", "devices", "count"), [("auto", 0, 3), ("auto", 1, 1), ("cuda", 2, 2), ("auto", 8, 3), ("cpu", 1, 3)]
)
def test_no_more_workers_at_once_than_devices_where_these_are_used(
    tmp_path: Path, device: str, devices: int, count: int, monkeypatch: pytest.MonkeyPatch
):
    asked = machine(tmp_path, device=device, side_by_side=3)
    assert workers_at_once(asked, [str(number) for number in range(devices)]) == count
    monkeypatch.setattr(orders, "_cuda_devices", lambda: devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert len(shared_out("finetune", TASK, places(tmp_path), asked)) == count


def test_very_many_results_are_built_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built: list[tuple[str, int]] = []

    def build(given: Sequence[Order]) -> None:
        built.append(("".join(name for order in given for name in order.places), open_files(tmp_path)))
        for place in (place for order in given for place in order.places.values()):
            Work(place).finish({}, {})

    monkeypatch.setattr(launch, "AT_ONCE", 2)
    monkeypatch.setattr(launch, "_launch_all", build)
    launch.launch_missing("finetune", TASK, places(tmp_path), machine(tmp_path))
    assert built == [("ab", 2), ("cd", 2), ("e", 1)]
    assert all(place.finished() for place in places(tmp_path).values())
    launch.launch_missing("scores", {}, places(tmp_path / "other"), machine(tmp_path))
    assert built[3:] == [("abcde", 5)], "what goes side by side with nothing is one job"


def open_files(folder: Path) -> int:
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(folder in link.resolve().parents for link in links)
