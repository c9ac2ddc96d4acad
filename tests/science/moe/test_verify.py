"""A faithful conversion passes; one that was corrupted in any single way fails with the tensor's or the file's name."""

import json
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from support.converted import converted, saved_base
from support.experts import KINDS
from winnow.errors import BadInput, StaleOutput, WinnowError, WrongConversion
from winnow.moe.checkpoint import Checkpoint, same_bits
from winnow.moe.convert import GATES
from winnow.moe.logits import compare_logits
from winnow.moe.verify import Report, verify
from winnow.params import SelectMoeParams
from winnow.stages import Finished

DELTA = SelectMoeParams(dtype="fp32")
FULL = SelectMoeParams(dtype="fp32", full_checkpoint=True)
GATE = "model.layers.1.mlp.gate.weight"
EXPERT = "model.layers.0.mlp.experts.4.up_proj.weight"
Tensors = dict[str, torch.Tensor]


def report_of(folder: Path, params: SelectMoeParams, kind: str = "olmoe", **base: object) -> Report:
    model = saved_base(folder, kind, **base)
    return verify(model, converted(folder, model, params), params, "cpu")


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_faithful_conversion_passes(tmp_path: Path, kind: str, dtype: str, stored: torch.dtype, full: bool):
    params = SelectMoeParams.model_validate({"dtype": dtype, "full_checkpoint": full, "seed": 3})
    report = report_of(tmp_path, params, kind, dtype=stored)
    assert report.failures == []
    table = {(check.check, check.name): check for check in report.checks}
    assert table["logits", "eager, without trash"].value == "0 apart"
    assert table["logits", "eager, with trash"].value != "0 apart"
    assert table["rows of experts", GATE].value == "6 rows identical"
    assert ("tensors", "identical" if full else "untouched") in table


def test_the_table_has_a_row_for_each_check(tmp_path: Path):
    report = report_of(tmp_path, FULL)
    table = report.table()
    assert table.columns == ["check", "name", "value", "expected", "ok", "note"]
    assert table.height == len(report.checks)
    assert table["ok"].all()
    assert set(table.filter(pl.col("name").is_in(["missing", "changed", "added"]))["value"]) == {"0"}
    identical = table.filter(name="identical").row(0, named=True)
    assert identical["value"] == identical["expected"] == str(len(Checkpoint(saved_base(tmp_path).path).headers) - 2)


def test_tensors_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Beside the gates no more are alive than one of each model, and the pair before."""
    read, alive, most = Checkpoint.tensor, set[int](), [0]

    def counted(files: Checkpoint, name: str) -> torch.Tensor:
        tensor = read(files, name)
        if not name.endswith("gate.weight"):
            alive.add(id(tensor))
            weakref.finalize(tensor, alive.discard, id(tensor))
            most.append(len(alive))
        return tensor

    base = saved_base(tmp_path)
    result = converted(tmp_path, base, FULL)
    monkeypatch.setattr(Checkpoint, "tensor", counted)
    assert not verify(base, result, FULL, "cpu").failures
    assert len(most) > 50
    assert max(most) <= 4


def in_tensors(pattern: str, change: Callable[[Tensors], object]) -> Callable[[Path], None]:
    """Rewrite a file with other tensors."""

    def corrupt(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    return corrupt


def in_json(name: str, **values: object) -> Callable[[Path], None]:
    def corrupt(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))

    return corrupt


def shortened(pattern: str) -> Callable[[Path], None]:
    def corrupt(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        file.write_bytes(file.read_bytes()[:-1])

    return corrupt


def removed(pattern: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(pattern)).unlink()


def nudge(name: str, row: int) -> Callable[[Tensors], object]:
    """The least change there is."""

    def change(tensors: Tensors) -> None:
        tensors[name][row, 3] = torch.nextafter(tensors[name][row, 3], torch.tensor(9.0))

    return change


def reshaped(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: tensors[name].T.contiguous()[:-1].clone()})


def halved(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: tensors[name].bfloat16()})


IN_GATES = {
    "a row of an expert": (in_tensors(GATES, nudge(GATE, 2)), GATE, "rows of experts"),
    "a row of trash": (in_tensors(GATES, nudge(GATE, 7)), GATE, "rows of trash"),
    "NaN": (in_tensors(GATES, lambda t: t[GATE].__setitem__((0, 0), torch.nan)), GATE, "rows of experts"),
    "rows exchanged": (in_tensors(GATES, lambda t: t.update({GATE: t[GATE].flip(0)})), GATE, "row 0 and 5 more"),
    "another shape": (in_tensors(GATES, reshaped(GATE)), GATE, r"shape .*found \(15, 8\)"),
    "another dtype": (in_tensors(GATES, halved(GATE)), GATE, "bfloat16"),
    "a gate is missing": (in_tensors(GATES, lambda t: t.pop(GATE)), GATE, "found missing"),
    "a gate too many": (in_tensors(GATES, lambda t: t.update({"more.weight": torch.ones(2)})), "more.weight", "none"),
    "gates cut short": (shortened(GATES), GATES, "cannot be read"),
    "no gates": (removed(GATES), GATES, "cannot be read"),
    "another seed": (in_json("select_moe.json", seed=7), "select_moe.json", "'seed': 7"),
    "another spread": (in_json("select_moe.json", trash_init_std=0.1), "select_moe.json", "0.1"),
    "another number": (in_json("select_moe.json", trash_experts=9), "select_moe.json", "9"),
    "an unknown setting": (in_json("select_moe.json", bias=True), "select_moe.json", "'bias'"),
    "settings cut short": (shortened("select_moe.json"), "select_moe.json", "cannot be read"),
    "no settings": (removed("select_moe.json"), "select_moe.json", "cannot be read"),
}
MODEL = "model-*.safetensors"
IN_MODEL = {
    "an expert": (in_tensors(MODEL, nudge(EXPERT, 0)), EXPERT, "1 of 384 values changed"),
    "a norm": (in_tensors(MODEL, lambda t: t["model.norm.weight"].mul_(-1)), "model.norm.weight", "16 of 16"),
    "a sign of zero": (in_tensors(MODEL, lambda t: t[EXPERT].mul_(0)), EXPERT, "384 of 384"),
    "a row of a gate": (in_tensors(MODEL, nudge(GATE, 2)), GATE, "1 of 128 values changed"),
    "a row of its trash": (in_tensors(MODEL, nudge(GATE, 6)), GATE, "1 of 128 values changed"),
    "a tensor is missing": (in_tensors(MODEL, lambda t: t.pop(EXPERT)), EXPERT, "missing"),
    "a tensor too many": (
        in_tensors(MODEL, lambda t: t.update({"more": torch.ones(2)})),
        "more",
        "expected none",
    ),
    "another shape": (in_tensors(MODEL, reshaped(EXPERT)), EXPERT, r"\(15, 24\)"),
    "another dtype": (in_tensors(MODEL, halved(EXPERT)), EXPERT, "bfloat16"),
    "files cut short": (shortened(MODEL), "model-00001-of-00001.safetensors", "cannot be read"),
    "no files": (removed(MODEL), "model-00001-of-00001.safetensors", "cannot be read"),
    "no index": (removed("model.safetensors.index.json"), "model.safetensors.index.json", "neither"),
    "an index of something else": (
        in_json("model.safetensors.index.json", weight_map={EXPERT: "model-00001-of-00001.safetensors"}),
        "lm_head.weight",
        "found none, expected a file",
    ),
    "another configuration": (in_json("config.json", num_experts_per_tok=3), "config.json", "'num_experts_per_tok': 3"),
    "no configuration": (removed("config.json"), "config.json", "cannot be read"),
    "another tokenizer": (in_json("tokenizer.json", version="2"), "tokenizer.json", "bytes"),
    "no tokenizer": (removed("tokenizer.json"), "tokenizer.json", "found missing"),
}


def test_all_that_fails_is_in_the_table(tmp_path: Path):
    base = saved_base(tmp_path)
    result = converted(tmp_path, base, FULL)
    (file,) = result.path.glob(MODEL)
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    tensors[EXPERT][0] = tensors["lm_head.weight"][0] = 1
    save_file({**tensors, "more": torch.ones(1)}, file, metadata={"format": "pt"})
    table = verify(base, result, FULL, "cpu").table()
    assert dict(table.filter(check="tensors").select("name", "value").iter_rows())["changed"] == "2"
    odd = table.filter(~pl.col("ok")).filter(pl.col("note") != "")
    assert set(odd.select("name", "note").iter_rows()) == {
        ("model.norm.weight", "missing"),
        ("more", "added"),
        ("lm_head.weight", "changed"),
        (EXPERT, "changed"),
    }


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, dict[bool, Finished]]:
    folder = tmp_path_factory.mktemp("faithful")
    base = saved_base(folder)
    return base, {params.full_checkpoint: converted(folder, base, params) for params in (DELTA, FULL)}


def expect_failure(
    tmp_path: Path, base: Finished, whole: Finished, corruption: tuple[Callable[[Path], None], str, str]
) -> None:
    corrupt, name, found = corruption
    params = FULL if whole.summary["full_checkpoint"] else DELTA
    shutil.copytree(whole.path, tmp_path / "copy")
    corrupt(tmp_path / "copy")
    copy = Finished.open(tmp_path / "copy")
    with pytest.raises((WrongConversion, StaleOutput)) as caught:
        verify(base, copy, params, "cpu").require(copy)
    message = str(caught.value)
    assert name in message
    assert re.search(found, message), message
    assert "again" in message


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("how", IN_GATES)
def test_corrupted_gates_fail_with_their_name(
    tmp_path: Path, faithful: tuple[Finished, dict[bool, Finished]], how: str, full: bool
):
    base, forms = faithful
    expect_failure(tmp_path, base, forms[full], IN_GATES[how])


@pytest.mark.parametrize("how", IN_MODEL)
def test_a_corrupted_full_checkpoint_fails_with_the_name(
    tmp_path: Path, faithful: tuple[Finished, dict[bool, Finished]], how: str
):
    base, forms = faithful
    expect_failure(tmp_path, base, forms[True], IN_MODEL[how])


def test_gates_of_another_base_model_fail(tmp_path: Path):
    base = saved_base(tmp_path)
    other = saved_base(tmp_path, initializer_range=0.5, num_hidden_layers=3)
    result = converted(tmp_path, other, DELTA)
    with pytest.raises(WrongConversion, match=r"'model\.layers\.2\.mlp\.gate\.weight'.*expected none"):
        verify(base, result, DELTA, "cpu").require(result)


def test_other_settings_than_those_of_the_conversion_fail(tmp_path: Path):
    base = saved_base(tmp_path)
    result = converted(tmp_path, base, DELTA)
    for other in ({"seed": 5}, {"trash_init_std": 0.5}, {"trash_experts": 1}, {"dtype": "bf16"}):
        with pytest.raises(WrongConversion, match=r"settings of 'select_moe\.json'"):
            verify(base, result, DELTA.model_copy(update=other), "cpu").require(result)


def test_without_any_spread_trash_rows_are_zero_and_pass(tmp_path: Path):
    assert report_of(tmp_path, DELTA.model_copy(update={"trash_init_std": 0.0})).failures == []


def test_draws_of_another_spread_leave_the_interval(tmp_path: Path):
    report = report_of(tmp_path, DELTA)
    (low, high), value = next(
        ([float(end) for end in check.expected.split(" to ")], float(check.value))
        for check in report.checks
        if check.check == "standard deviation of trash rows"
    )
    assert low < value < high
    assert 0.002 < low < 0.02 < high < 0.05


def test_logits_beyond_the_tolerance_fail_and_nan_always_does():
    one = torch.ones(1, 2, 3)

    class Constant(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = logits
            self.device = "cpu"
            self.config = type(
                "Config",
                (),
                {"_experts_implementation": "eager", "get_text_config": lambda self: self, "vocab_size": 4},
            )()

        def set_experts_implementation(self, kind: str) -> None:
            """Take any."""

        def forward(self, **inputs: object) -> "Constant":
            return self

    def passes(logits: torch.Tensor, tolerance: float | None, dtype: torch.dtype = torch.float32) -> bool:
        first, *_ = compare_logits({"eager": one.to(dtype)}, Constant(logits.to(dtype)), {}, tolerance)
        return first[3]

    assert passes(one, None)
    assert not passes(torch.nextafter(one, 2 * one), None)
    assert passes(one + 0.1, 0.2)
    assert not passes(one + 0.3, 0.2)
    assert passes(one + 0.1, None, torch.bfloat16)
    assert not passes(one * torch.nan, 1e9)


def test_the_same_bits_are_asked_for_not_the_same_values():
    zero = torch.tensor([0.0, torch.nan])
    assert same_bits(zero, zero.clone())
    assert not same_bits(zero, torch.tensor([-0.0, torch.nan]))
    assert not same_bits(zero, zero.double())
    assert same_bits(torch.tensor(1.0), torch.tensor(1.0))


def test_a_base_whose_files_lack_the_gate_is_named(tmp_path: Path):
    base = saved_base(tmp_path, shard_size="1GB")
    tensors = load_file(base.path / "model.safetensors")
    tensors["model.layers.1.mlp.router.weight"] = tensors.pop(GATE)
    save_file(tensors, base.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=re.escape(GATE)) as caught:
        converted(tmp_path, base, FULL)
    assert isinstance(caught.value, WinnowError)
