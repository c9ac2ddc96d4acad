"""Conversion and its verification as nodes: sealed, resumed after a kill, and named by what decides them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.select_moe.convert_nodes import convert_selector, verify_selector
from support.converted import converted, saved_base
from support.tiny import checksums
from winnow.errors import BadInput, WrongConversion
from winnow.moe import full
from winnow.moe.convert import CONFIG, load_selector
from winnow.params import ConstraintParams, Machine, ModelParams, SelectMoeParams
from winnow.pretrained import record_pretrained
from winnow.stages import Finished, Work, WouldRun, planning

DELTA = SelectMoeParams(dtype="fp32")
FULL = SelectMoeParams(dtype="fp32", full_checkpoint=True)


def machine_of(root: Path, **values: object) -> Machine:
    return Machine.model_validate({"data_root": root, "device": "cpu", "threads": 1, **values})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("select_moe")


@pytest.fixture(scope="module")
def base(root: Path) -> Finished:
    """A folder that somebody else made."""
    folder = saved_base(root / "elsewhere").path
    return record_pretrained(ModelParams(base=str(folder)), root)


@pytest.fixture(scope="module")
def whole(root: Path, base: Finished) -> Finished:
    return convert_selector(base, FULL, machine_of(root))


@pytest.mark.parametrize("params", [DELTA, FULL], ids=["delta", "full"])
def test_a_conversion_is_made_and_verified(root: Path, base: Finished, params: SelectMoeParams):
    machine = machine_of(root)
    result = convert_selector(base, params, machine)
    assert (result.stage, result.path.parent.parent.name) == ("select_moe_converted", "06_models")
    assert result.summary["routers"]["model.layers.0.mlp.gate"] == [6, 2, 16]
    verified, table = verify_selector(base, result, params, machine)
    assert table["ok"].all()
    assert {"logits", "rows of experts", "rows of trash", "settings", "tensors"} <= set(table["check"])
    assert verified.summary["checks"] == len(table)
    _, routers = load_selector(result, None if params.full_checkpoint else base, "fp32", "cpu")
    assert [router.trash for router in routers.values()] == [2, 2]
    with planning():
        assert convert_selector(base, params, machine) == result
        assert verify_selector(base, result, params, machine)[0] == verified


class Killed(BaseException):
    """Nothing may clean up after it."""


@pytest.mark.parametrize("writes", range(0, 12, 2))
@pytest.mark.parametrize("half", [False, True])
def test_a_conversion_that_is_killed_at_any_file_goes_on_and_ends_with_the_same_bytes(
    base: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, half: bool
):
    monkeypatch.setattr(full, "SHARD_BYTES", 10_000)
    expected = converted(tmp_path / "whole", base, FULL)
    commit, done, written = Work.commit, [0], list[str]()

    def killed(work: Work, name: str, write: Callable[[Path], object]) -> None:
        if done[0] == writes:
            if half:
                scratch = work.path / ".writing" / name
                scratch.parent.mkdir(exist_ok=True)
                scratch.write_bytes(b"half")
            raise Killed
        done[0] += 1
        commit(work, name, write)

    def recorded(work: Work, name: str, write: Callable[[Path], object]) -> None:
        written.append(name)
        commit(work, name, write)

    monkeypatch.setattr(Work, "commit", killed)
    with pytest.raises(Killed):
        converted(tmp_path / "killed", base, FULL)
    monkeypatch.setattr(Work, "commit", recorded)
    resumed = converted(tmp_path / "killed", base, FULL)
    assert checksums(resumed.path) == checksums(expected.path)
    files = sorted(path.name for path in expected.path.glob("model-*.safetensors"))
    assert len(files) > 6
    assert [name for name in written if name in files] == files[writes:]


def test_a_process_of_its_own_writes_the_same_bytes(base: Finished, whole: Finished, tmp_path: Path):
    again = convert_selector(base, FULL, machine_of(tmp_path, forkserver=False, processes=2, threads=2))
    assert checksums(again.path) == checksums(whole.path)


def test_only_what_changes_the_gates_gives_another_conversion(root: Path, base: Finished, whole: Finished):
    machine = machine_of(root)
    assert convert_selector(base, DELTA, machine).fingerprint != whole.fingerprint
    with planning():
        for other in ({"trash_experts": 3}, {"trash_init_std": 0.1}, {"seed": 1}, {"dtype": "bf16"}):
            with pytest.raises(WouldRun):
                convert_selector(base, FULL.model_copy(update=other), machine)
        same = {"tokens": "supervised", "tolerance": 0.5, "constraint": ConstraintParams(weight=1), "base": "another"}
        assert convert_selector(base, FULL.model_copy(update=same), machine) == whole


def test_only_what_changes_the_checks_asks_for_them_anew(root: Path, base: Finished, whole: Finished):
    machine = machine_of(root)
    verified, _ = verify_selector(base, whole, FULL, machine)
    with planning():
        same = FULL.model_copy(update={"constraint": ConstraintParams(weight=1), "base": "another"})
        assert verify_selector(base, whole, same, machine)[0] == verified
        with pytest.raises(WouldRun):
            verify_selector(base, whole, FULL.model_copy(update={"tolerance": 0.5}), machine)


def test_a_corrupted_conversion_is_not_verified(base: Finished, tmp_path: Path):
    machine = machine_of(tmp_path)
    result = convert_selector(base, DELTA, machine)
    content = json.loads((result.path / CONFIG).read_text())
    (result.path / CONFIG).write_text(json.dumps({**content, "seed": 9}))
    with pytest.raises(WrongConversion, match=r"settings of 'select_moe\.json'.*'seed': 9"):
        verify_selector(base, result, DELTA, machine)
    assert not list(tmp_path.glob("08_reporting/select_moe_verified/*/record.json"))


def test_a_conversion_is_not_converted_again(root: Path, whole: Finished, tmp_path: Path):
    taken = record_pretrained(ModelParams(base=str(whole.path)), tmp_path)
    with pytest.raises(BadInput, match=r"select_moe\.json.*untouched"):
        convert_selector(taken, FULL, machine_of(tmp_path))
